//! Which backup, and where its bytes lie.

use std::cmp::Ordering;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};

use super::{foreign::Foreign, reading::Reading};
use crate::{
    api::{Reason, Warning},
    plan::{BackupId, Catalog, Digest, Entry, Framing, Placed, RepositoryId, Restored, restored},
    store::{self, Key, Objects, catalog, framing, presence::of_list, transfer::Load},
    task::Choice,
    worker::{
        Failure, Place,
        inventory::plain,
        report::{Findings, at_time},
    },
};

/// Names that are told of those that cannot be read.
const NAMED: usize = 5;
/// The longest version and identity of a server that a report takes.
const SAID: usize = 64;

/// A backup to be restored or checked.
pub(in crate::worker) struct Chosen {
    /// Its id; of one made without us, the path of its last folder.
    pub name: String,
    /// What tells its content from any other.
    pub list: Digest,
    /// The server that was backed up.
    pub server_version: Option<String>,
    /// What tells its cluster from others.
    pub server_identity: Option<String>,
    /// The moment of its data, nanoseconds since 1970.
    pub at: i64,
    /// Where its bytes lie.
    pub bytes: Bytes,
}

/// Where the bytes of a backup lie.
pub(in crate::worker) enum Bytes {
    /// Where the entry list of a repository says.
    Listed(Box<Catalog>),
    /// In the folders that MatrixOne has written to.
    Foreign(Box<Foreign>),
}

impl Chosen {
    fn of(catalog: Catalog) -> Self {
        Self {
            name: catalog.id.to_string(),
            list: catalog.entries.lines_sha256,
            // Whoever writes to the bucket chooses them, and a report with longer ones would be refused.
            server_version: Some(plain(&catalog.cluster.matrixone, SAID)),
            server_identity: Some(plain(&catalog.cluster.identity, SAID)),
            at: catalog.backup_ts.physical,
            bytes: Bytes::Listed(Box::new(catalog)),
        }
    }

    /// Bytes that are held in memory as long as the backup is worked on.
    pub(super) fn memory(&self) -> u64 {
        match &self.bytes {
            Bytes::Listed(_) => 0,
            Bytes::Foreign(foreign) => foreign.memory(),
        }
    }
}

/// Objects to be restored, ascending by their path.
pub(super) type Loads<'a> = BoxStream<'a, Result<Load, store::Failure>>;

impl Reading<'_> {
    /// Chooses. What an earlier attempt has begun with is gone on with, though a newer one may have come.
    pub(in crate::worker) async fn choose(
        &self,
        begun: Option<&Restored>,
        findings: &mut Findings,
    ) -> Result<Chosen, Failure> {
        let id = match (self.choice, begun) {
            (Choice::Id(id), _) => Some(*id),
            (Choice::Latest | Choice::Before(_), Some(begun)) => {
                let id = begun.backup.parse().map_err(|e| Failure::new(Reason::TargetNotEmpty, format!("{e}")))?;
                Some(id)
            }
            (Choice::Latest | Choice::Before(_), None) => None,
            (Choice::Paths(paths), _) => return self.foreign(paths).await,
        };
        let marker = catalog::marker(self.source).await.map_err(|e| self.source_failure(&e))?;
        if marker.is_none() {
            let detail = format!("{} is missing: whether the backup belongs here is not known", Key::marker());
            findings.warn(Reason::RepositoryDamaged, detail);
        }
        let repository = marker.map(|marker| marker.repository);
        match id {
            Some(id) => self.named(id, repository).await,
            None => self.newest(repository, findings).await,
        }
    }

    async fn named(&self, id: BackupId, repository: Option<RepositoryId>) -> Result<Chosen, Failure> {
        let found = catalog::read(self.source, id).await.map_err(|e| self.source_failure(&e))?;
        let missing = || Failure::new(Reason::BackupNotFound, format!("{} does not exist", Key::catalog(id)));
        let catalog = found.ok_or_else(missing)?;
        match repository {
            Some(here) if here != catalog.repository => {
                let detail = format!("backup {id} was written for repository {}, this is {here}", catalog.repository);
                Err(Failure::new(Reason::BackupForeign, detail))
            }
            Some(_) | None => Ok(Chosen::of(catalog)),
        }
    }

    async fn newest(&self, repository: Option<RepositoryId>, findings: &mut Findings) -> Result<Chosen, Failure> {
        let before = match self.choice {
            Choice::Before(time) => Some(time.as_nanosecond()),
            Choice::Latest | Choice::Id(_) | Choice::Paths(_) => None,
        };
        let among = Among { repository, before, left_out: &|_| false };
        let found = newest(self.source, among, findings).await.map_err(|e| self.source_failure(&e))?;
        found.map(Chosen::of)
    }

    /// What is to be restored, with the places of the objects and of the file with the ids. It counts only when the
    /// stream has ended: the list's digest is compared at its end.
    pub(super) async fn loads<'a>(
        &'a self,
        chosen: &'a Chosen,
        (data, hk_data): (Placed, Placed),
    ) -> Result<Loads<'a>, store::Failure> {
        match &chosen.bytes {
            Bytes::Listed(catalog) => {
                let entries = of_list(catalog::entries(self.source, catalog).await?);
                let load = move |entry: Entry| std::future::ready(load(catalog, &entry, (&data, &hk_data)));
                Ok(entries.try_filter_map(load).boxed())
            }
            Bytes::Foreign(foreign) => Ok(foreign.loads((data, hk_data))),
        }
    }
}

/// The backups that one is chosen from.
struct Among<'a> {
    /// The repository they must be of, if its marker says which it is.
    repository: Option<RepositoryId>,
    /// Latest moment of their data, nanoseconds since 1970.
    before: Option<i128>,
    /// Which of them do not count.
    left_out: &'a (dyn Fn(BackupId) -> bool + Sync),
}

/// The backup with the newest data of those that can be read, or why there is none. What is passed over is a finding.
async fn newest(
    source: &dyn Objects,
    among: Among<'_>,
    findings: &mut Findings,
) -> Result<Result<Catalog, Failure>, store::Failure> {
    let Among { repository, before, left_out } = among;
    let catalog::All { catalogs, unreadable } = catalog::all(source).await?;
    let counted = catalogs.into_iter().filter(|c| !left_out(c.id));
    let (own, others): (Vec<_>, Vec<_>) = counted.partition(|c| repository.is_none_or(|here| c.repository == here));
    let in_time = |c: &&Catalog| before.is_none_or(|before| i128::from(c.backup_ts.physical) <= before);
    let age = |a: &&Catalog, b: &&Catalog| -> Ordering { (a.backup_ts, a.id).cmp(&(b.backup_ts, b.id)) };
    let found = own.iter().filter(in_time).max_by(age);
    let instead = found.map(|c| format!(" (the newest of the others is {})", shown(c))).unwrap_or_default();
    if !unreadable.is_empty() {
        let names: Vec<_> = unreadable.iter().take(NAMED).map(ToString::to_string).collect();
        let detail = format!("passed over, {} in all{instead}: {}", unreadable.len(), names.join("; "));
        findings.warn(Reason::RepositoryDamaged, detail);
    }
    if let Some(first) = others.first() {
        let detail = format!("passed over {} of another repository{instead}, first {}", others.len(), first.id);
        findings.warn(Reason::BackupForeign, detail);
    }
    Ok(found.cloned().ok_or_else(|| none(own.iter().min_by(age), unreadable.len())))
}

/// The id of the backup with the newest data, as a restore chooses it, and what it is good to know about that choice.
/// Backups that are left out do not count; nor do those of another repository, if it is known which one this is.
///
/// # Errors
/// When there is none, or the store does not answer.
pub async fn latest(
    source: &dyn Objects,
    kind: Place,
    repository: Option<RepositoryId>,
    left_out: &(dyn Fn(BackupId) -> bool + Sync),
) -> Result<(BackupId, Vec<Warning>), Failure> {
    let mut findings = Findings::default();
    let among = Among { repository, before: None, left_out };
    let found = newest(source, among, &mut findings).await.map_err(|e| Failure::of_repository(kind, &e))?;
    Ok((found?.id, findings.warnings))
}

fn shown(catalog: &Catalog) -> String {
    format!("{} with data of {} UTC", catalog.id, at_time(catalog.backup_ts.physical).unwrap_or_default())
}

fn none(oldest: Option<&Catalog>, unreadable: usize) -> Failure {
    let nearest = match (oldest, unreadable) {
        (Some(oldest), _) => format!("no backup is that old; the oldest is {}", shown(oldest)),
        (None, 0) => "there is no backup".into(),
        (None, more) => format!("there is no backup that can be read, and {more} that cannot"),
    };
    Failure::new(Reason::BackupNotFound, nearest)
}

/// Where an entry lies, and in which frames.
pub(in crate::worker) fn located(catalog: &Catalog, entry: &Entry) -> Result<(Key, Framing), store::Failure> {
    let source = usize::try_from(entry.from).ok().and_then(|n| catalog.sources.get(n));
    let no = || store::Failure::Differs { what: entry.path.clone(), detail: "it lies in no source".into() };
    let source = source.ok_or_else(no)?;
    let key = Key::object(source.backup, source.attempt, &entry.path);
    Ok((key, framing::of_path(source.framing, &entry.path)))
}

/// From where to where an entry goes, if it does.
fn load(catalog: &Catalog, entry: &Entry, placed: (&Placed, &Placed)) -> Result<Option<Load>, store::Failure> {
    let (from, stored) = located(catalog, entry)?;
    Ok(to(&entry.path, placed).map(|(to, placed)| {
        let (size, digest) = (entry.size, entry.sha256);
        Load { from, stored, to, placed, size, digest, tag: None }
    }))
}

/// Where a path of a backup goes, if it does, and in which frames.
pub(super) fn to(path: &str, (data, hk_data): (&Placed, &Placed)) -> Option<(Key, Framing)> {
    match restored::part(path) {
        restored::Part::Data(rest) => Some((Key::placed_below(&data.path, rest), data.framing)),
        restored::Part::HkData => Some((Key::placed(&hk_data.path), hk_data.framing)),
        restored::Part::Apart => None,
    }
}
