//! The commit of a backup: one small file, created if it is not there, last of all, and never taken back.

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{
    CATALOG_MAX, Catalog, check, damaged,
    intents::{self, FLIGHT},
    small,
};
use crate::{
    plan::{BackupId, Intent},
    store::{Error, Failure, Key, Objects, Patience, Problem},
};

/// Tries of a create that is refused though nothing is there: a store that keeps versions can refuse a key that was
/// deleted for ever.
const REFUSED: u32 = 6;

/// Commits a backup. The bytes are unique by their nonce, so that after an unclear reply the file itself tells whose
/// commit it is, and sending the same bytes once more does no harm.
///
/// Right before the entry is sent, the intent of the attempt must still be there: then every removal since the attempt
/// began has left alone what the backup names. An entry that is there is never removed again but by a removal of its
/// backup.
///
/// After an error other than [`Failure::Conflict`] the entry may still arrive.
pub async fn commit(
    objects: &dyn Objects,
    catalog: &Catalog,
    intent: &Intent,
    patience: Patience,
) -> Result<(), Failure> {
    let key = Key::catalog(catalog.id);
    let body = Bytes::from(serde_json::to_vec(catalog).map_err(|e| damaged(&key, e.to_string()))?);
    if body.len() > CATALOG_MAX {
        return Err(damaged(&key, format!("it would be longer than {CATALOG_MAX} bytes")));
    }
    check(&key, catalog.id, &body)?;
    let is_held = || async {
        if intents::is_there(objects, intent).await? { Ok(()) } else { Err(Failure::IntentGone(catalog.id)) }
    };
    create(objects, &key, &body, catalog.id, patience, is_held).await
}

/// Creates a small file whose bytes are unique to this process. A create is never repeated by the store's own retries, so
/// the patience of every other call is kept here: after each unclear reply it is looked whether the file has arrived.
/// Before each try the caller is asked whether it may be made.
pub(super) async fn create<F: Future<Output = Result<(), Failure>>>(
    objects: &dyn Objects,
    key: &Key,
    body: &Bytes,
    id: BackupId,
    patience: Patience,
    may: impl Fn() -> F,
) -> Result<(), Failure> {
    // Some stores ignore the condition of a create and replace what is there.
    if let Some(found) = small(objects, key, CATALOG_MAX).await? {
        return if found == body { Ok(()) } else { Err(Failure::Conflict(id)) };
    }
    let end = Instant::now() + patience.limit;
    let (mut pause, mut refused) = (patience.first, 0);
    loop {
        let begun = Instant::now();
        may().await?;
        // What was true so long ago need not be true any more.
        let sent = match FLIGHT.checked_sub(begun.elapsed()) {
            Some(left) if left > FLIGHT / 2 => timeout(left, objects.create(key, body.clone())).await,
            Some(_) | None => Ok(Err(late(key))),
        };
        let e = match sent.unwrap_or_else(|_| Err(late(key))) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        match small(objects, key, CATALOG_MAX).await? {
            Some(found) if found == body => return Ok(()),
            Some(_) => return Err(Failure::Conflict(id)),
            None => {}
        }
        refused += u32::from(e.problem == Problem::Taken);
        let may_pass = e.temporary || e.problem == Problem::Taken && refused < REFUSED;
        if !may_pass || Instant::now() >= end {
            return Err(e.into());
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(patience.longest);
    }
}

fn late(key: &Key) -> Error {
    let detail = format!("no answer for {} s", FLIGHT.as_secs());
    Error { problem: Problem::Unreachable, verb: "create", what: key.to_string(), detail, temporary: true }
}

#[cfg(test)]
mod tests;
