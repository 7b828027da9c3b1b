//! Which backup, and where its bytes lie.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};

use super::{by_time, foreign::Foreign, reading::Reading};
use crate::{
    api::Reason,
    plan::{BackupId, Catalog, Digest, Entry, Framing, Placed, RepositoryId, Restored, newest::Asked, restored},
    store::{self, Key, catalog, framing, presence::of_list, transfer::Load},
    task::Choice,
    worker::{Failure, inventory::plain, report::Findings},
};

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
        let asked = Asked { repository, before, whose: self.whose, now: self.watch.now().as_nanosecond() };
        let found = by_time::newest(self.source, &asked, &|_| false, findings).await;
        found.map_err(|e| self.source_failure(&e))?.map(Chosen::of)
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
