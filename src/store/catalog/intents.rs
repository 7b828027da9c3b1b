//! Intents: what a backup under way may come to need, said before it relies on it.
//!
//! An intent is created once and never written again, so a worker that still finds its own has been counted by every
//! removal since it began. A worker looks at its intent right before it commits; whoever ends an attempt of somebody else
//! deletes the intent and then waits [`SETTLE`], which is longer than a commit may be on its way after that look.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Catalog, damaged, parse, read, small};
use crate::{
    plan::{BackupId, Intent},
    store::{Failure, Key, Listed, Objects, Patience, Prefix},
};

/// Largest intent, in bytes.
const MAX: usize = 64 << 10;

/// Longest time from a worker's look at its own intent to the arrival of the commit that it sends then.
pub(super) const FLIGHT: Duration = Duration::from_secs(15);

/// How long after an intent was deleted its attempt can commit no more.
pub const SETTLE: Duration = Duration::from_secs(30);

/// Difference of two clocks that costs nobody an intent.
const MARGIN: Duration = Duration::from_hours(1);

/// Writes an intent, and then looks whether the base is still the one that was chosen: a removal that does not count the
/// intent has taken the entry of the base away before.
///
/// Says whether the base is there. The intent stays in any case: what it holds too much goes with it.
pub async fn begin(
    objects: &dyn Objects,
    intent: &Intent,
    base: Option<&Catalog>,
    patience: Patience,
) -> Result<bool, Failure> {
    let key = Key::intent(intent.id, intent.attempt);
    let body = Bytes::from(serde_json::to_vec(intent).map_err(|e| damaged(&key, e.to_string()))?);
    if body.len() > MAX {
        return Err(damaged(&key, format!("it would be longer than {MAX} bytes")));
    }
    match super::commit::create(objects, &key, &body, intent.id, patience, || async { Ok(()) }).await {
        Err(Failure::Conflict(id)) => return Err(Failure::AttemptTaken(id)),
        created => created?,
    }
    let Some(base) = base else { return Ok(true) };
    let found = read(objects, base.id).await?;
    Ok(found.is_some_and(|found| found.nonce == base.nonce && found.attempt == base.attempt))
}

/// Whether the intent of this very process is still there.
pub(super) async fn is_there(objects: &dyn Objects, intent: &Intent) -> Result<bool, Failure> {
    let key = Key::intent(intent.id, intent.attempt);
    let Some(content) = small(objects, &key, MAX).await? else { return Ok(false) };
    Ok(check(&key, &content)? == *intent)
}

/// Removes the intent of an attempt that is over, if it is there. That of another process stays.
pub async fn end(objects: &dyn Objects, intent: &Intent) -> Result<(), Failure> {
    if is_there(objects, intent).await? {
        objects.delete(vec![Key::intent(intent.id, intent.attempt)]).await?;
    }
    Ok(())
}

/// Removes the intents of a backup's attempts, or of those before one. Says whether there were any: then their attempts can
/// commit for [`SETTLE`] yet.
pub async fn end_all(objects: &dyn Objects, id: BackupId, before: Option<u32>) -> Result<bool, Failure> {
    let found: Vec<Listed> = objects.list(&Prefix::intents_of(id)).try_collect().await?;
    let is_over = |key: &Key| match (key.attempt(), before) {
        (Some((_, attempt)), Some(before)) => attempt < before,
        (None, _) | (_, None) => true,
    };
    let keys: Vec<_> = found.into_iter().map(|listed| listed.key).filter(is_over).collect();
    if keys.is_empty() {
        return Ok(false);
    }
    tracing::info!(backup = %id, count = keys.len(), "ending earlier attempts");
    objects.delete(keys).await?;
    Ok(true)
}

/// The same for all of a backup, and waits until none of them can commit any more.
pub(super) async fn settle(objects: &dyn Objects, id: BackupId) -> Result<(), Failure> {
    if end_all(objects, id, None).await? {
        sleep(SETTLE).await;
    }
    Ok(())
}

/// An intent that was found, and its stored bytes.
pub(super) struct Found {
    pub key: Key,
    pub content: Bytes,
    /// Why nothing is known of what it holds, where it is not what it should be.
    pub intent: Result<Intent, Failure>,
    pub is_over: bool,
}

/// Reads a listed file, if it is an intent by its name and still there.
pub(super) async fn of_listed(objects: &dyn Objects, listed: Listed, now: Timestamp) -> Result<Option<Found>, Failure> {
    let Listed { key, size: _, modified } = listed;
    if key.attempt().is_none() {
        tracing::warn!(%key, "an unexpected file among the intents");
        return Ok(None);
    }
    let (content, intent) = match small(objects, &key, MAX).await {
        Ok(None) => return Ok(None),
        Ok(Some(content)) => (content.clone(), check(&key, &content)),
        Err(e @ Failure::Damaged { .. }) => (Bytes::new(), Err(e)),
        Err(e) => return Err(e),
    };
    let is_over = intent.as_ref().is_ok_and(|intent| is_over(intent, modified, now));
    Ok(Some(Found { key, content, intent, is_over }))
}

fn check(key: &Key, content: &[u8]) -> Result<Intent, Failure> {
    let intent: Intent = parse(key, content)?;
    if key.attempt() != Some((intent.id, intent.attempt)) {
        return Err(damaged(key, "it is of another attempt"));
    }
    Ok(intent)
}

/// Whether its time is over. The store's clock counts, where it says when the file was written.
fn is_over(intent: &Intent, modified: Option<Timestamp>, now: Timestamp) -> bool {
    let began = modified.or_else(|| intent.started.parse().ok());
    let lasts = intent.life() + MARGIN;
    began.is_some_and(|began| now.duration_since(began) > jiff::SignedDuration::try_from(lasts).unwrap_or_default())
}

#[cfg(test)]
mod tests;
