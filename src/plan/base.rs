//! Which backup an incremental one can stand on.

use std::fmt;

use super::{BackupId, Catalog, RepositoryId, Timestamp};

/// Longest chain of incrementals after a full backup.
pub const CHAIN_MAX: u32 = 32;

/// What the base is for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Identity of the server that is asked.
    pub identity: &'a str,
    /// The repository.
    pub repository: RepositoryId,
    /// The server's clock. A backup from later than now is from a history that was undone.
    pub now: Timestamp,
    /// The backup that was named as base.
    pub named: Option<BackupId>,
    /// The backup being made.
    pub own: BackupId,
}

/// Why a backup was not chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Another one was named.
    NotNamed,
    /// It is the backup being made.
    Itself,
    /// It was written for another repository: somebody copied it here.
    OtherRepository,
    /// It is of another MatrixOne cluster.
    OtherCluster,
    /// It is from later than the server's clock says now.
    FromTheFuture,
    /// One more incremental would make the chain longer than [`CHAIN_MAX`].
    ChainTooLong,
    /// A newer one can be used.
    Older,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNamed => "another base was named",
            Self::Itself => "it is the backup being made",
            Self::OtherRepository => "it was written for another repository",
            Self::OtherCluster => "it is of another MatrixOne cluster",
            Self::FromTheFuture => {
                "it is from a later time than the server's clock, so the server's history was changed"
            }
            Self::ChainTooLong => "its chain of incrementals has reached the limit",
            Self::Older => "there is a newer one",
        })
    }
}

/// The choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The base, if there is a usable one.
    pub base: Option<BackupId>,
    /// Every other backup, and why it is not the base.
    pub others: Vec<(BackupId, WhyNot)>,
}

impl Choice {
    /// Why the backup that was named, or else the newest one, is not the base. `None`: there is none at all.
    #[must_use]
    pub fn reason(&self, named: Option<BackupId>) -> Option<(BackupId, WhyNot)> {
        let usable = |why: &WhyNot| !matches!(why, WhyNot::NotNamed | WhyNot::Itself);
        match named {
            Some(id) => self.others.iter().find(|(other, _)| *other == id).copied(),
            None => self.others.iter().filter(|(_, why)| usable(why)).max_by_key(|(id, _)| *id).copied(),
        }
    }
}

/// Chooses the newest backup that can be a base. Whether its objects match is only known after BACKUP, see
/// [`super::resolve`].
pub fn choose<'a>(catalogs: impl IntoIterator<Item = &'a Catalog>, wanted: &Wanted) -> Choice {
    let mut best: Option<(Timestamp, BackupId)> = None;
    let mut others = Vec::new();
    for catalog in catalogs {
        if let Some(why) = refuse(catalog, wanted) {
            others.push((catalog.id, why));
            continue;
        }
        let this = (catalog.backup_ts, catalog.id);
        let older = if best.is_none_or(|b| b < this) { best.replace(this) } else { Some(this) };
        others.extend(older.map(|(_, id)| (id, WhyNot::Older)));
    }
    Choice { base: best.map(|(_, id)| id), others }
}

fn refuse(catalog: &Catalog, wanted: &Wanted) -> Option<WhyNot> {
    if catalog.id == wanted.own {
        Some(WhyNot::Itself)
    } else if wanted.named.is_some_and(|named| named != catalog.id) {
        Some(WhyNot::NotNamed)
    } else if catalog.repository != wanted.repository {
        Some(WhyNot::OtherRepository)
    } else if catalog.cluster.identity != wanted.identity {
        Some(WhyNot::OtherCluster)
    } else if catalog.backup_ts > wanted.now {
        Some(WhyNot::FromTheFuture)
    } else if catalog.chain >= CHAIN_MAX {
        Some(WhyNot::ChainTooLong)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;
    use crate::{plan::ClusterSeen, sample};

    fn at(physical: i64) -> Timestamp {
        Timestamp { physical, logical: 0 }
    }

    fn backup(physical: i64) -> Catalog {
        Catalog {
            id: BackupId::of_object(Uuid::from_u128(physical.unsigned_abs().into()), physical.unsigned_abs()),
            backup_ts: at(physical),
            exact_until: at(physical),
            ..sample::blank()
        }
    }

    fn wanted(named: Option<BackupId>) -> Wanted<'static> {
        let own = BackupId::fresh();
        Wanted { identity: "prod", repository: RepositoryId(Uuid::nil()), now: at(100), named, own }
    }

    #[test]
    fn the_newest_is_chosen() {
        let all = [backup(10), backup(30), backup(20)];
        let choice = choose(&all, &wanted(None));
        assert_eq!(choice.base, Some(all[1].id));
        assert_eq!(choice.others, [(all[0].id, WhyNot::Older), (all[2].id, WhyNot::Older)]);
        assert_eq!(choose(&[], &wanted(None)), Choice { base: None, others: Vec::new() });
    }

    #[rstest]
    #[case(Catalog { repository: RepositoryId(Uuid::max()), ..backup(10) }, WhyNot::OtherRepository)]
    #[case(Catalog { cluster: ClusterSeen { identity: "test".into(), ..backup(10).cluster }, ..backup(10) }, WhyNot::OtherCluster)]
    #[case(backup(101), WhyNot::FromTheFuture)]
    #[case(Catalog { chain: CHAIN_MAX, ..backup(10) }, WhyNot::ChainTooLong)]
    fn every_refusal_has_its_reason(#[case] catalog: Catalog, #[case] why: WhyNot) {
        let choice = choose([&catalog], &wanted(None));
        assert_eq!((choice.base, choice.reason(None)), (None, Some((catalog.id, why))));
    }

    #[test]
    fn a_named_base_is_the_only_one() {
        let all = [backup(10), backup(30)];
        let choice = choose(&all, &wanted(Some(all[0].id)));
        assert_eq!((choice.base, &choice.others[..]), (Some(all[0].id), &[(all[1].id, WhyNot::NotNamed)][..]));
        let itself = Wanted { own: all[0].id, ..wanted(Some(all[0].id)) };
        assert_eq!(choose(&all, &itself).reason(Some(all[0].id)), Some((all[0].id, WhyNot::Itself)));
    }
}
