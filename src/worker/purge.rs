//! Removing a backup, if its object still wants that.

use super::{Failure, Places, Staging, clean};
use crate::{
    api::Reason,
    plan::BackupId,
    store::{
        Prefix,
        catalog::{self, Purged},
    },
    task::{PurgeTask, SweepTask},
};

/// Removes the backup of the task from the repository and from the staging folder. Nothing that another backup needs is
/// removed; nothing at all, when the repository is not ours.
pub async fn purge(task: &PurgeTask, places: &Places) -> Result<(), Failure> {
    if task.storage.read_only {
        let detail = format!("BackupStorage {} is read-only", task.storage.name);
        return Err(Failure::new(Reason::StorageReadOnly, detail));
    }
    let repository = &*places.repository;
    let failed = |e| Failure::of_repository(places.kind, &e);
    if let Some(marker) = catalog::marker(repository).await.map_err(failed)? {
        catalog::own(&marker, &task.storage.uid).map_err(failed)?;
        let Purged { objects, bytes, kept } = catalog::purge(repository, task.id).await.map_err(failed)?;
        tracing::info!(objects, bytes, kept, "removed");
    }
    match &places.staging {
        Some(staging) => empty(task.id, staging).await,
        None => Ok(()),
    }
}

/// Removes what a stopped worker left of a backup in the staging folder, and nothing else.
pub async fn sweep(task: &SweepTask, staging: &Staging) -> Result<(), Failure> {
    empty(task.id, staging).await
}

async fn empty(id: BackupId, staging: &Staging) -> Result<(), Failure> {
    let left = Prefix::backup(id);
    clean::empty_folder(staging, &left).await.map_err(|why| {
        Failure::new(Reason::PurgeFailed, format!("failed to empty {left} in the staging folder: {why}"))
    })
}
