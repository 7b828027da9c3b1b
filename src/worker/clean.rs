//! Removing what is not needed any more. Success is judged by listing, never by a store's reply.

use std::io::ErrorKind;

use futures::TryStreamExt as _;

use super::{Staging, backup::Attempt, report::Findings};
use crate::{
    api::Reason,
    plan::AttemptDir,
    store::{self, Key, Objects, Prefix},
};

/// Keys that are deleted at once.
const BATCH: usize = 1000;

/// Empties the staging folder of this backup, earlier attempts included. What cannot be removed is a warning.
pub(super) async fn staging(attempt: &Attempt<'_>, findings: &mut Findings) {
    let Some(staging) = &attempt.ports.staging else { return };
    attempt.watch.step("emptying the staging folder");
    let prefix = Prefix::backup(attempt.task.id);
    if let Err(why) = empty_folder(staging, &prefix).await {
        tracing::warn!(why, "emptying the staging folder");
        findings.warn(Reason::StagingNotEmptied, format!("{prefix} in the staging folder: {why}"));
    }
}

/// Removes the files below the prefix, and the folders, also those that MatrixOne made and put nothing into.
pub(super) async fn empty_folder(staging: &Staging, prefix: &Prefix) -> Result<(), String> {
    empty(&*staging.objects, prefix, |_| true).await?;
    let folder = staging.folder.join(prefix.as_str());
    match tokio::fs::remove_dir_all(&folder).await {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.to_string()),
        Ok(()) | Err(_) => {}
    }
    // The folder of all backups goes with the last of them.
    let parents = folder.ancestors().skip(1).take_while(|f| *f != staging.folder && f.starts_with(&staging.folder));
    for folder in parents {
        if tokio::fs::remove_dir(folder).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Removes what earlier attempts of this backup have left in the repository. Only the committed attempt counts from now
/// on, and no other backup can refer to what was never committed.
pub(super) async fn other_attempts(attempt: &Attempt<'_>, committed: AttemptDir) {
    attempt.watch.step("removing what earlier attempts left");
    let kept = Prefix::attempt(attempt.task.id, committed);
    let other = |key: &Key| key.below(&kept).is_none();
    if let Err(why) = empty(&*attempt.ports.repository, &Prefix::backup(attempt.task.id), other).await {
        tracing::warn!(why, "removing what earlier attempts left; the purge of this backup will");
    }
}

/// Deletes what lies below the prefix and is chosen, and looks whether it is gone.
pub(super) async fn empty(objects: &dyn Objects, prefix: &Prefix, chosen: impl Fn(&Key) -> bool) -> Result<(), String> {
    let words = |e: store::Error| e.to_string();
    let mut refused = None;
    let mut batch = Vec::new();
    let mut listed = objects.list(prefix);
    loop {
        let next = listed.try_next().await.map_err(words)?;
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
    while let Some(found) = left.try_next().await.map_err(words)? {
        if chosen(&found.key) {
            return Err(refused.map_or_else(|| format!("{} is still there", found.key), words));
        }
    }
    Ok(())
}
