//! The commit of a backup: one small file, created if it is not there, last of all.

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{CATALOG_MAX, Catalog, check, damaged, read, small};
use crate::store::{Failure, Key, Objects, Patience, Problem};

/// Tries of a create that is refused though nothing is there: a store that keeps versions can refuse a key that was
/// deleted for ever.
const REFUSED: u32 = 6;

/// Commits a backup. The bytes are unique by their nonce, so that after an unclear reply the file itself tells whose
/// commit it is, and sending the same bytes once more does no harm.
///
/// A backup whose base or whose own objects were removed in the same moment is taken back: a removal first takes the
/// entry of its backup away and then looks who needs its objects, a commit first adds its entry and then looks whether
/// what it needs is still there; so one of the two sees the other.
pub async fn commit(objects: &dyn Objects, catalog: &Catalog, patience: Patience) -> Result<(), Failure> {
    let key = Key::catalog(catalog.id);
    let body = Bytes::from(serde_json::to_vec(catalog).map_err(|e| damaged(&key, e.to_string()))?);
    if body.len() > CATALOG_MAX {
        return Err(damaged(&key, format!("it would be longer than {CATALOG_MAX} bytes")));
    }
    check(&key, catalog.id, &body)?;
    create(objects, catalog, &key, body, patience).await?;
    if let Err(gone) = still_there(objects, catalog).await {
        if !matches!(gone, Failure::Store(_)) {
            objects.delete(vec![key]).await?;
        }
        return Err(gone);
    }
    Ok(())
}

/// Creates the entry. A create is never repeated by the store's own retries, so the patience of every other call is kept
/// here: after each unclear reply it is looked whether the entry has arrived.
async fn create(
    objects: &dyn Objects,
    catalog: &Catalog,
    key: &Key,
    body: Bytes,
    patience: Patience,
) -> Result<(), Failure> {
    // Some stores ignore the condition of a create and replace what is there.
    if let Some(found) = small(objects, key, CATALOG_MAX).await? {
        return if found == body { Ok(()) } else { Err(Failure::Conflict(catalog.id)) };
    }
    let end = Instant::now() + patience.limit;
    let (mut pause, mut refused) = (patience.first, 0);
    loop {
        let e = match objects.create(key, body.clone()).await {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        match small(objects, key, CATALOG_MAX).await? {
            Some(found) if found == body => return Ok(()),
            Some(_) => return Err(Failure::Conflict(catalog.id)),
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

/// Whether the base is still committed and the entry list still in its place.
async fn still_there(objects: &dyn Objects, catalog: &Catalog) -> Result<(), Failure> {
    let id = catalog.id;
    if let Some(base) = catalog.base {
        let found = read(objects, base).await?.ok_or(Failure::BaseGone { id, base })?;
        // A commit that had lost its objects is taken back, and the same backup committed again from another attempt.
        if catalog.sources.iter().any(|s| s.backup == base && s.attempt != found.attempt) {
            return Err(Failure::BaseGone { id, base });
        }
    }
    match objects.stat(&Key::entries(id, catalog.attempt)).await? {
        Some(bytes) if bytes == catalog.entries.bytes => Ok(()),
        Some(_) | None => Err(Failure::Swept(id)),
    }
}

#[cfg(test)]
mod tests;
