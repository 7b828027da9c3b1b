//! Removing what is not needed any more. Success is judged by listing, never by a store's reply.

use std::io::ErrorKind;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{Staging, backup::Attempt, report::Findings};
use crate::{
    api::Reason,
    plan::{AttemptDir, BackupId, RepositoryId},
    store::{self, Key, Objects, Prefix, Problem, catalog},
};

/// Keys that are deleted at once.
const BATCH: usize = 1000;

/// Empties folders of this backup in the staging folder, also when the attempt must stop. What cannot be removed is a
/// warning.
pub(super) async fn staging(
    attempt: &Attempt<'_>,
    repository: RepositoryId,
    folders: &[Prefix],
    findings: &mut Findings,
) {
    let Some(staging) = &attempt.lasting.staging else { return };
    attempt.watch.step("emptying the staging folder");
    for prefix in folders {
        if let Err(why) = empty_folder(staging, prefix, Some(repository)).await {
            tracing::warn!(%why, "emptying the staging folder");
            findings.warn(Reason::StagingNotEmptied, format!("{prefix} in the staging folder: {why}"));
        }
    }
}

/// What could not be emptied.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct NotEmpty {
    /// What is in the way, in words.
    pub why: String,
    /// Whether it is the same the next time: we may not, or there is no such place.
    pub lasting: bool,
}

impl From<store::Error> for NotEmpty {
    fn from(error: store::Error) -> Self {
        let lasting = matches!(error.problem, Problem::Denied | Problem::NoCredentials | Problem::NoBucket);
        Self { why: error.to_string(), lasting }
    }
}

impl From<std::io::Error> for NotEmpty {
    fn from(error: std::io::Error) -> Self {
        Self { why: error.to_string(), lasting: error.kind() == ErrorKind::PermissionDenied }
    }
}

/// Removes the files below the prefix, and the folders, also those that MatrixOne made and put nothing into.
///
/// Nothing is removed from the repository itself: it is looked for once more in the open folder below which everything is
/// removed. Without knowing the repository, any is refused.
pub(super) async fn empty_folder(
    staging: &Staging,
    prefix: &Prefix,
    repository: Option<RepositoryId>,
) -> Result<(), NotEmpty> {
    let Some(folder) = staging.folder.pinned().await? else { return Ok(()) };
    let marker = catalog::marker(&folder).await.map_err(|e| NotEmpty { why: e.to_string(), lasting: true })?;
    if marker.is_some_and(|marker| repository.is_none_or(|ours| ours == marker.repository)) {
        let why = "there is a repository in the folder, and nothing is removed from it".into();
        return Err(NotEmpty { why, lasting: true });
    }
    Ok(folder.remove_folder(prefix).await?)
}

/// Removes what other attempts of this backup have left in the repository. Only the committed attempt counts from now on.
pub(super) async fn other_attempts(attempt: &Attempt<'_>, committed: AttemptDir) {
    attempts(attempt, &|dir| dir != Some(committed)).await;
}

/// Removes what earlier attempts of this backup have left in the repository: they are over, and not committed.
pub(super) async fn earlier_attempts(attempt: &Attempt<'_>) {
    let own = attempt.task.subject.attempt;
    attempts(attempt, &|dir| dir.is_some_and(|dir| dir.attempt < own)).await;
}

/// Removes the folders that are chosen. A commit of an earlier release that was taken back can have become somebody's base
/// before; then nothing is removed.
async fn attempts(attempt: &Attempt<'_>, chosen: &(dyn Fn(Option<AttemptDir>) -> bool + Sync)) {
    let (repository, id) = (&*attempt.ports.repository, attempt.task.id);
    let is_chosen = |key: &Key| chosen(key.attempt_path(id).map(|(dir, _)| dir));
    match needed(repository, id, attempt.watch.now(), (chosen, &is_chosen)).await {
        Ok(false) => {}
        Ok(true) => return tracing::info!("other backups need what another attempt left"),
        Err(error) => return tracing::warn!(%error, "looking for who needs what other attempts left"),
    }
    if let Err(why) = empty(repository, &Prefix::backup(id), is_chosen).await {
        tracing::warn!(%why, "removing what other attempts left; the purge of this backup will");
    }
}

/// Whether another backup needs something of the chosen attempts. Nobody is asked where nothing of them is there.
async fn needed(
    objects: &dyn Objects,
    id: BackupId,
    now: Timestamp,
    (chosen, is_chosen): (&(dyn Fn(Option<AttemptDir>) -> bool + Sync), &(dyn Fn(&Key) -> bool + Sync)),
) -> Result<bool, store::Failure> {
    let below = Prefix::backup(id);
    let others = objects.list(&below).try_any(|found| std::future::ready(is_chosen(&found.key)));
    if !others.await? {
        return Ok(false);
    }
    let catalog::Dependents { catalogs, under_way } = catalog::dependents(objects, now).await?;
    let named = catalogs.iter().filter(|c| c.id != id).flat_map(|c| &c.sources).map(|s| (s.backup, s.attempt));
    let held = under_way.iter().filter(|i| i.id != id).flat_map(|i| &i.holds).map(|h| (h.backup, h.attempt));
    Ok(named.chain(held).any(|(backup, dir)| backup == id && chosen(Some(dir))))
}

/// Removes what this attempt itself has written to the repository, also when it must stop.
pub(super) async fn own(attempt: &Attempt<'_>, folders: &[Prefix]) {
    for prefix in folders {
        if let Err(why) = empty(&*attempt.lasting.repository, prefix, |_| true).await {
            tracing::warn!(%why, "removing what the attempt has written; the next one will");
        }
    }
}

/// Deletes what lies below the prefix and is chosen, and looks whether it is gone.
pub(super) async fn empty(
    objects: &dyn Objects,
    prefix: &Prefix,
    chosen: impl Fn(&Key) -> bool,
) -> Result<(), NotEmpty> {
    let mut refused = None;
    let mut batch = Vec::new();
    let mut listed = objects.list(prefix);
    loop {
        let next = listed.try_next().await?;
        let ended = next.is_none();
        batch.extend(next.map(|found| found.key).filter(|key| chosen(key)));
        if !batch.is_empty() && (ended || batch.len() >= BATCH) {
            // A reply can name a wrong reason, or none: the look below decides.
            refused = objects.delete(std::mem::take(&mut batch)).await.err().or(refused);
        }
        if ended {
            break;
        }
    }
    drop(listed);
    let mut left = objects.list(prefix);
    while let Some(found) = left.try_next().await? {
        if chosen(&found.key) {
            let still = || NotEmpty { why: format!("{} is still there", found.key), lasting: false };
            return Err(refused.map_or_else(still, NotEmpty::from));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "clean/tests.rs"]
mod tests;
