//! Which backup is the newest of one MatrixOne. A repository can hold backups of several.

use std::collections::BTreeMap;

use super::{Catalog, RepositoryId};

/// Nanoseconds that a backup may be ahead of the clock of this machine. More than clocks differ that somebody keeps right.
pub const SKEW: i128 = 600 * 1_000_000_000;

/// Of which MatrixOne.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whose<'a> {
    /// Its identity. `None`: of any.
    pub identity: Option<&'a str>,
    /// Where it was reached, `host:port`. `None`: anywhere.
    pub address: Option<&'a str>,
}

impl Whose<'_> {
    fn has(&self, catalog: &Catalog) -> bool {
        let identity = self.identity.is_none_or(|identity| identity == catalog.cluster.identity);
        identity && self.address.is_none_or(|address| catalog.cluster.address.as_deref() == Some(address))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The repository they must be of, if its marker says which it is.
    pub repository: Option<RepositoryId>,
    /// Latest moment of their data, nanoseconds since 1970.
    pub before: Option<i128>,
    /// Of which MatrixOne.
    pub whose: Whose<'a>,
    /// The clock of this machine, nanoseconds since 1970.
    pub now: i128,
}

/// The newest backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest<'a> {
    /// The newest of each MatrixOne that is asked for, newest first.
    pub of_each: Vec<&'a Catalog>,
    /// The newest of each MatrixOne that is not asked for, newest first.
    pub of_others: Vec<&'a Catalog>,
    /// The oldest of those that are asked for, whatever the time of its data.
    pub oldest: Option<&'a Catalog>,
    /// Those whose data is of a later time than now, oldest first.
    pub in_future: Vec<&'a Catalog>,
    /// Those that were written for another repository.
    pub elsewhere: Vec<&'a Catalog>,
}

/// Finds the newest backups.
///
/// Two MatrixOne can have the same identity: one that was restored from a backup of the other has it from there. Those are
/// told apart by the address where they were reached. A backup of an earlier version of this program does not say its
/// address; it counts as one of the other backups with its identity, if these are all of one address.
pub fn newest<'a>(catalogs: impl IntoIterator<Item = &'a Catalog>, asked: &Asked) -> Newest<'a> {
    let Asked { repository, before, whose, now } = *asked;
    let mut found = Newest::default();
    let (mut theirs, mut others) = (Vec::new(), Vec::new());
    for catalog in catalogs {
        let at = i128::from(catalog.backup_ts.physical);
        if repository.is_some_and(|here| catalog.repository != here) {
            found.elsewhere.push(catalog);
        } else if at > now + SKEW {
            found.in_future.push(catalog);
        } else if !whose.has(catalog) {
            others.push(catalog);
        } else {
            if found.oldest.is_none_or(|oldest| age(catalog) < age(oldest)) {
                found.oldest = Some(catalog);
            }
            theirs.extend(before.is_none_or(|before| at <= before).then_some(catalog));
        }
    }
    found.in_future.sort_by_key(|catalog| age(catalog));
    (found.of_each, found.of_others) = (of_each(&theirs), of_each(&others));
    found
}

/// What is younger has more of it.
fn age(catalog: &Catalog) -> (super::Timestamp, super::BackupId) {
    (catalog.backup_ts, catalog.id)
}

/// The newest backup of each MatrixOne, newest first.
fn of_each<'a>(catalogs: &[&'a Catalog]) -> Vec<&'a Catalog> {
    let mut identities: BTreeMap<&str, BTreeMap<Option<&str>, &Catalog>> = BTreeMap::new();
    for catalog in catalogs {
        let addresses = identities.entry(&catalog.cluster.identity).or_default();
        let newest = addresses.entry(catalog.cluster.address.as_deref()).or_insert(catalog);
        if age(newest) < age(catalog) {
            *newest = catalog;
        }
    }
    let mut each: Vec<&Catalog> = Vec::new();
    for addresses in identities.into_values() {
        let known = addresses.keys().filter(|address| address.is_some()).count();
        if known > 1 {
            each.extend(addresses.into_values());
        } else {
            each.extend(addresses.into_values().max_by_key(|catalog| age(catalog)));
        }
    }
    each.sort_by_key(|catalog| std::cmp::Reverse(age(catalog)));
    each
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        plan::{ClusterSeen, Timestamp},
        sample,
    };

    const NOW: i64 = 1_000_000_000_000_000;

    fn of(identity: &str, address: Option<&str>, at: i64) -> Catalog {
        let blank = sample::blank();
        let cluster =
            ClusterSeen { identity: identity.into(), address: address.map(str::to_owned), ..blank.cluster.clone() };
        Catalog { cluster, backup_ts: Timestamp { physical: at, logical: 0 }, ..blank }
    }

    fn asked(whose: Whose<'_>) -> Asked<'_> {
        Asked { repository: Some(RepositoryId(Uuid::nil())), before: None, whose, now: NOW.into() }
    }

    fn ats(found: &[&Catalog]) -> Vec<i64> {
        found.iter().map(|catalog| catalog.backup_ts.physical).collect()
    }

    #[test]
    fn each_matrixone_has_a_newest_one() {
        let all = [of("a", None, 1), of("a", Some("x:1"), 4), of("b", Some("x:1"), 3), of("b", Some("y:1"), 5)];
        let found = newest(&all, &asked(Whose::default()));
        assert_eq!((ats(&found.of_each), ats(&found.of_others)), (vec![5, 4, 3], vec![]));
        assert_eq!(found.oldest.map(|c| c.backup_ts.physical), Some(1));
        let of_b = Whose { identity: Some("b"), address: None };
        let found = newest(&all, &asked(of_b));
        assert_eq!((ats(&found.of_each), ats(&found.of_others)), (vec![5, 3], vec![4]));
        let at_y = Whose { address: Some("y:1"), ..of_b };
        assert_eq!(ats(&newest(&all, &asked(at_y)).of_each), [5]);
        assert_eq!(ats(&newest(&all, &Asked { before: Some(4), ..asked(of_b) }).of_each), [3]);
    }

    #[test]
    fn a_backup_without_an_address_belongs_to_the_only_one_there_is() {
        let mut all = vec![of("a", None, 9), of("a", Some("x:1"), 4)];
        assert_eq!(ats(&newest(&all, &asked(Whose::default())).of_each), [9]);
        all.push(of("a", Some("y:1"), 3));
        assert_eq!(ats(&newest(&all, &asked(Whose::default())).of_each), [9, 4, 3]);
    }

    #[test]
    fn what_is_later_than_now_is_apart() {
        let skew = i64::try_from(SKEW).unwrap();
        let all = [of("a", None, NOW + skew + 1), of("b", None, NOW + skew), of("b", None, 1)];
        let found = newest(&all, &asked(Whose::default()));
        assert_eq!((ats(&found.of_each), ats(&found.in_future)), (vec![NOW + skew], vec![NOW + skew + 1]));
    }
}
