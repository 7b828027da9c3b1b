//! Removing a backup, if its object still wants that.

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{Failure, Places, Staging, clean};
use crate::{
    api::{ManifestRef, Reason},
    plan::{BackupId, RepositoryId},
    store::{
        self, Key, Objects, Prefix,
        catalog::{self, Purged},
    },
    task::{PurgeTask, SweepTask},
};

/// Removes the backup of the task from the repository and from the staging folder. Nothing that another backup needs is
/// removed; nothing at all, when the repository is not ours. By the time of day it is judged whether the time of other
/// attempts is over.
pub async fn purge(task: &PurgeTask, places: &Places, now: Timestamp) -> Result<Purged, Failure> {
    if task.storage.read_only {
        let detail = format!("BackupStorage {} is read-only", task.storage.name);
        return Err(Failure::new(Reason::StorageReadOnly, detail));
    }
    let repository = &*places.repository;
    let failed = |e| Failure::of_repository(places.kind, &e);
    let marker = catalog::marker(repository).await.map_err(failed)?;
    let purged = match &marker {
        Some(marker) => {
            catalog::own(marker, &task.storage.uid).map_err(failed)?;
            is_there(task, marker.repository)?;
            let purged = catalog::purge(repository, task.id, now).await.map_err(failed)?;
            let Purged { objects, bytes, kept, under_way } = purged;
            let under_way = under_way.map(tracing::field::display);
            tracing::info!(objects, bytes, kept, under_way, "removed");
            purged
        }
        None => {
            let left = first_left(repository, task.id).await.map_err(|e| Failure::of_store(places.kind, &e))?;
            if let Some(left) = left {
                return Err(unmarked(task, &left));
            }
            if let Some(known) = &task.known {
                return Err(elsewhere(task, known, "there is no repository in it"));
            }
            Purged::default()
        }
    };
    if let Some(staging) = &places.staging {
        // A storage can be changed later: in the repository itself lies what others need of this backup.
        let repository = marker.map(|marker| marker.repository);
        let is_repository = match repository {
            Some(repository) => staging.is_of(repository).await?,
            None => false,
        };
        if !is_repository {
            empty(task.id, staging, repository).await?;
        }
    }
    Ok(purged)
}

/// Refuses another repository than the one that the backup was written to: there is nothing of it here, and to say that it
/// was removed would leave it for ever. Reports of earlier versions do not name the repository.
fn is_there(task: &PurgeTask, here: RepositoryId) -> Result<(), Failure> {
    match task.known.as_ref().map(|known| (known, known.repository.as_deref())) {
        Some((known, Some(repository))) if repository != here.to_string() => {
            Err(elsewhere(task, known, &format!("it is repository {here}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The storage is another place than the one that the backup was written to.
fn elsewhere(task: &PurgeTask, known: &ManifestRef, here: &str) -> Failure {
    let (namespace, name) = (&task.storage.namespace, &task.storage.name);
    let repository = known.repository.as_deref().unwrap_or("of unknown id");
    let detail = format!(
        "backup {} was written to {} of repository {repository}; BackupStorage {namespace}/{name} is another place now: {here}. \
         Nothing was removed. Let a BackupStorage of this name point to the place of that repository, or set \
         deletionPolicy: Retain and remove the data there",
        task.id, known.key
    );
    Failure::new(Reason::PurgeFailed, detail)
}

/// Something of the backup that is still there.
async fn first_left(repository: &dyn Objects, id: BackupId) -> Result<Option<Key>, store::Error> {
    let entry = Key::catalog(id);
    if repository.stat(&entry).await?.is_some() {
        return Ok(Some(entry));
    }
    Ok(repository.list(&Prefix::backup(id)).try_next().await?.map(|found| found.key))
}

/// Without a marker nothing says whose the data is, so nothing is removed; and to say that it is would leave it for ever.
fn unmarked(task: &PurgeTask, left: &Key) -> Failure {
    let (namespace, name) = (&task.storage.namespace, &task.storage.name);
    let detail = format!(
        "{left} is there, and {}, which says whose repository it is, is not: nothing was removed. If the data belongs to \
         BackupStorage {namespace}/{name}, let it be probed, which writes the marker again",
        Key::marker()
    );
    Failure::new(Reason::PurgeFailed, detail)
}

/// Removes what a stopped worker left of a backup in the staging folder, and nothing else.
pub async fn sweep(task: &SweepTask, staging: &Staging) -> Result<(), Failure> {
    empty(task.id, staging, None).await
}

async fn empty(id: BackupId, staging: &Staging, repository: Option<RepositoryId>) -> Result<(), Failure> {
    let left = Prefix::backup(id);
    clean::empty_folder(staging, &left, repository).await.map_err(|why| {
        Failure::new(Reason::PurgeFailed, format!("failed to empty {left} in the staging folder: {why}"))
    })
}
