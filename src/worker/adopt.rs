//! Imported Backups: those that are waited for are looked up in the repository, and what has no Backup gets one, if its
//! storage says so.
//!
//! The catalogue is read first, the Backups after it, and each entry once more before a Backup is made of it. So a backup
//! that was committed by the time of the first look has its Backup in the list, unless that is gone; and where its data went
//! with it, the entry is gone by the second look. No backup gets two.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};

use super::{
    Failure, Place, Places, Untold, Watch,
    inventory::{NAME, belongs, plain},
    kubernetes::{Backups, Known, Made},
    orphans::Orphans,
    report,
};
use crate::{
    api::{Adoption, BackupReport, Reason, StorageReport, Swept, Warning},
    plan::{BackupId, Catalog, Digest, RepositoryId},
    store::{self, Objects, catalog},
    task::{ImportTask, ProbeTask},
};

/// Objects made or reported at the same time.
const AT_ONCE: usize = 8;
/// Troubles in a row after which the rest of a step is left to the next probe.
const PATIENCE: usize = 20;

/// Why imported Backups were not dealt with.
#[derive(Debug)]
enum Hindrance {
    /// The repository.
    Failed(Failure),
    /// The API server.
    Untold(Untold),
}

impl From<Untold> for Hindrance {
    fn from(untold: Untold) -> Self {
        Self::Untold(untold)
    }
}

impl Hindrance {
    fn words(&self) -> String {
        match self {
            Self::Failed(failure) => failure.to_string(),
            Self::Untold(untold) => untold.to_string(),
        }
    }
}

/// The first of what went wrong while the rest went on.
#[derive(Debug, Default)]
struct Troubles {
    first: Option<Hindrance>,
    in_a_row: usize,
}

impl Troubles {
    /// What came of a step; `None` where it went wrong.
    fn pass<T>(&mut self, done: Result<T, Hindrance>) -> Option<T> {
        match done {
            Ok(done) => {
                self.in_a_row = 0;
                Some(done)
            }
            Err(hindrance) => {
                self.in_a_row += 1;
                self.first.get_or_insert(hindrance);
                None
            }
        }
    }

    /// Whether the rest would fare no better: a quota is used up, or nobody answers.
    fn last(&self) -> bool {
        self.in_a_row >= PATIENCE
    }
}

/// Does for imported Backups what the task says, after a probe that went well. That something hinders it is said in a
/// warning: backups can be written and read all the same.
pub async fn import(
    task: &ProbeTask,
    probed: StorageReport,
    places: &Places,
    backups: &dyn Backups,
    watch: &Watch,
) -> StorageReport {
    let Some(imports) = task.imports.as_ref().filter(|_| probed.said.reason.is_none()) else { return probed };
    let mut troubles = Troubles::default();
    let done = deal_with(imports, task, places, backups, (watch, &mut troubles)).await;
    let (adoption, swept) = troubles.pass(done).unwrap_or_default();
    let mut warnings = probed.warnings;
    if let Some(first) = &troubles.first {
        let words = plain(&first.words(), 4 * NAME);
        let message = format!("{}. {}", words.trim_end_matches('.'), Reason::AdoptionRefused.remedy());
        tracing::warn!(message, "imported Backups were not all dealt with");
        warnings.push(Warning { reason: Reason::AdoptionRefused.as_str().into(), message });
    }
    let adoption = Some(adoption).filter(|adoption| *adoption != Adoption::default());
    StorageReport { adoption, swept: swept.or(probed.swept), warnings, ..probed }
}

/// Those that wait are told first, then come new ones, and then the sweep: none of them waits for another that is hindered.
async fn deal_with(
    imports: &ImportTask,
    task: &ProbeTask,
    places: &Places,
    backups: &dyn Backups,
    (watch, troubles): (&Watch, &mut Troubles),
) -> Result<(Adoption, Option<Swept>), Hindrance> {
    let storage = task.storage.name.as_str();
    let look = Look::begin(places).await?;
    // Before the Backups: an attempt whose folder is seen here belongs to one that is seen there, or to none any more.
    let orphans = match &imports.sweep {
        Some(token) => {
            let found = Orphans::find(&task.storage, places, watch.now()).await.map_err(Hindrance::Failed);
            troubles.pass(found).map(|orphans| (token, orphans))
        }
        None => None,
    };
    let found = if imports.adopt { troubles.pass(look.ids().await).unwrap_or_default() } else { Vec::new() };
    let there = backups.list().await?;
    let mut adoption = Adoption::default();
    let waiting = there.iter().filter(|known| known.storage == storage && known.awaited.is_some());
    let mut told = stream::iter(waiting).map(|known| look.tell(known, backups)).buffer_unordered(AT_ONCE);
    while let Some(told) = told.next().await {
        match troubles.pass(told) {
            Some(true) => adoption.found += 1,
            Some(false) => adoption.refused += 1,
            None if troubles.last() => break,
            None => {}
        }
    }
    drop(told);
    let known: HashSet<BackupId> = there.iter().flat_map(|known| known.ids.iter().copied()).collect();
    let missing = found.into_iter().filter(|id| !known.contains(id));
    let mut made = stream::iter(missing).map(|id| look.adopt(id, storage, backups)).buffer_unordered(AT_ONCE);
    troubles.in_a_row = 0;
    while let Some(made) = made.next().await {
        match troubles.pass(made) {
            Some(Made::New) => adoption.made += 1,
            Some(Made::NotNeeded) => {}
            None if troubles.last() => break,
            None => {}
        }
    }
    let swept = match orphans {
        Some((token, orphans)) => {
            let swept = orphans.sweep(token, places, &there, watch.now()).await;
            troubles.pass(swept.map_err(Hindrance::Failed))
        }
        None => None,
    };
    Ok((adoption, swept))
}

/// A repository that is looked through.
struct Look<'a> {
    repository: &'a dyn Objects,
    kind: Place,
    here: Option<RepositoryId>,
}

impl<'a> Look<'a> {
    async fn begin(places: &'a Places) -> Result<Self, Hindrance> {
        let (repository, kind) = (&*places.repository, places.kind);
        let marker = catalog::marker(repository).await.map_err(|e| failed(kind, &e))?;
        Ok(Self { repository, kind, here: marker.map(|m| m.repository) })
    }

    /// Every backup of this repository.
    async fn ids(&self) -> Result<Vec<BackupId>, Hindrance> {
        let mut ids = Vec::new();
        let add = |found: Result<Catalog, store::Failure>| {
            ids.extend(found.ok().filter(|c| belongs(c, self.here)).map(|c| c.id));
        };
        catalog::each(self.repository, add).await.map_err(|e| failed(self.kind, &e))?;
        Ok(ids)
    }

    async fn adopt(&self, id: BackupId, storage: &str, backups: &dyn Backups) -> Result<Made, Hindrance> {
        match catalog::read(self.repository, id).await {
            Ok(Some(_)) => Ok(backups.create(id, storage).await?),
            // Its Backup was deleted, and its data with it.
            Ok(None) => Ok(Made::NotNeeded),
            Err(e) => Err(failed(self.kind, &e)),
        }
    }

    /// Fills the report of an imported Backup. Whether the repository has it.
    async fn tell(&self, known: &Known, backups: &dyn Backups) -> Result<bool, Hindrance> {
        let (Some(run), Some(id)) = (&known.awaited, known.ids.first()) else { return Ok(false) };
        let report = match self.find(*id).await {
            Ok(found) => report::imported(run, &found),
            Err(Lookup::Refused(failure)) => {
                BackupReport { said: failure.said(run), id: Some(id.to_string()), ..BackupReport::default() }
            }
            Err(Lookup::Hindered(failure)) => return Err(Hindrance::Failed(failure)),
        };
        let is_found = report.said.reason.is_none();
        match backups.report(known, &report).await {
            Ok(()) => Ok(is_found),
            // Deleted meanwhile, or to be looked up once more.
            Err(Untold::Superseded(_)) => Ok(is_found),
            Err(untold @ (Untold::Later(_) | Untold::Refused(_))) => Err(untold.into()),
        }
    }

    async fn find(&self, id: BackupId) -> Result<(Catalog, Digest), Lookup> {
        let said = |reason, detail: String| Lookup::Refused(Failure::new(reason, detail));
        match catalog::stored(self.repository, id).await {
            Ok(Some(found)) if belongs(&found.0, self.here) => self.with_its_list(found).await,
            Ok(Some(_)) => Err(said(Reason::BackupForeign, format!("backup {id} was written for another repository"))),
            Ok(None) => Err(said(Reason::BackupNotFound, format!("{} does not exist", store::Key::catalog(id)))),
            Err(store::Failure::Store(e)) => Err(Lookup::Hindered(Failure::of_store(self.kind, &e))),
            Err(e) => Err(Lookup::Refused(Failure::of_repository(self.kind, &e))),
        }
    }

    /// Whether the entry list is there too: without it nothing of the backup can be restored.
    async fn with_its_list(&self, found: (Catalog, Digest)) -> Result<(Catalog, Digest), Lookup> {
        let key = store::Key::entries(found.0.id, found.0.attempt);
        match self.repository.stat(&key).await {
            Ok(Some(bytes)) if bytes == found.0.entries.bytes => Ok(found),
            Ok(Some(bytes)) => {
                let detail = format!("{key} has {bytes} bytes, not {}", found.0.entries.bytes);
                Err(Lookup::Refused(Failure::new(Reason::RepositoryDamaged, detail)))
            }
            Ok(None) => {
                let detail = format!("{key} is missing");
                Err(Lookup::Refused(Failure::new(Reason::RepositoryDamaged, detail)))
            }
            Err(e) => Err(Lookup::Hindered(Failure::of_store(self.kind, &e))),
        }
    }
}

/// Why a backup was not found.
enum Lookup {
    /// The repository says so.
    Refused(Failure),
    /// The repository cannot be asked.
    Hindered(Failure),
}

fn failed(kind: Place, failure: &store::Failure) -> Hindrance {
    Hindrance::Failed(Failure::of_repository(kind, failure))
}
