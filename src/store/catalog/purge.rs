//! Removing a backup: first its commit goes, then the objects that no other backup names. A crash at any point leaves
//! a state from which the same call goes on.

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{
    CATALOG_MAX, damaged,
    dependents::{Dependents, Needed, dependents},
    intents, small,
};
use crate::{
    plan::BackupId,
    store::{Failure, Key, Objects, Prefix},
};

/// Keys deleted at once.
const BATCH: usize = 1000;

/// How often a backup is removed that appears again meanwhile.
const TRIES: u32 = 3;

/// What a removal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Objects removed.
    pub objects: u64,
    /// Bytes they took.
    pub bytes: u64,
    /// Objects that stay because other backups need them.
    pub kept: u64,
    /// A backup under way that may need some of them: what it does not name in the end goes with a later removal.
    pub under_way: Option<BackupId>,
}

/// Removes a backup: its catalogue entry, and what lies in its folders and is needed by no other backup, committed or
/// under way. What others need stays until the last of them is removed. Attempts of this backup that may still be at work
/// are ended. Backups that were removed earlier and left such objects are looked through as well; what cannot be removed of
/// those is no failure of this removal.
pub async fn purge(objects: &dyn Objects, id: BackupId, now: Timestamp) -> Result<Purged, Failure> {
    let mut sum = Purged::default();
    for _ in 0..TRIES {
        intents::settle(objects, id).await?;
        unreference(objects, id).await?;
        let dependents = dependents(objects, now).await.map_err(|cause| blocked(id, cause))?;
        // A worker that was believed dead has committed meanwhile.
        if dependents.catalogs.iter().any(|catalog| catalog.id == id) {
            continue;
        }
        let swept = sweep(objects, id, &dependents).await?;
        sum = Purged { objects: sum.objects + swept.objects, bytes: sum.bytes + swept.bytes, ..swept };
        if objects.stat(&Key::catalog(id)).await?.is_none() {
            sweep_others(objects, id, now).await?;
            return Ok(sum);
        }
    }
    Err(Failure::Left { left: 1, first: Key::catalog(id).to_string() })
}

/// Takes the catalogue entry away; a copy stays as a record until the sweep is complete. The entry need not be readable.
async fn unreference(objects: &dyn Objects, id: BackupId) -> Result<(), Failure> {
    let key = Key::catalog(id);
    let content = match small(objects, &key, CATALOG_MAX).await {
        Ok(None) => return Ok(()),
        Ok(Some(content)) => content,
        // Longer than any entry can be: the record need not say more than that there was one.
        Err(Failure::Damaged { .. }) => bytes::Bytes::new(),
        Err(e) => return Err(e),
    };
    objects.put(&Key::trash(id), content).await?;
    objects.delete(vec![key.clone()]).await?;
    match objects.stat(&key).await? {
        None => Ok(()),
        Some(_) => Err(Failure::Left { left: 1, first: key.to_string() }),
    }
}

/// Removes what nobody needs, and the record when nothing is left. Nothing is deleted before every list that names objects
/// of this backup has been read to its end and compared with its digest.
async fn sweep(objects: &dyn Objects, id: BackupId, dependents: &Dependents) -> Result<Purged, Failure> {
    let needed = Needed::find(objects, id, dependents).await.map_err(|cause| blocked(id, cause))?;
    let mut swept = Purged { under_way: needed.under_way, ..Purged::default() };
    let mut batch = Vec::new();
    let mut failed = None;
    let below = Prefix::backup(id);
    let mut listing = objects.list(&below);
    while let Some(listed) = listing.try_next().await? {
        // A wrong answer must not name what lies elsewhere.
        if needed.has(id, &listed.key) || listed.key.below(&below).is_none() {
            continue;
        }
        swept.objects += 1;
        swept.bytes += listed.size;
        batch.push(listed.key);
        if batch.len() == BATCH {
            failed = objects.delete(std::mem::take(&mut batch)).await.err().or(failed);
        }
    }
    if !batch.is_empty() {
        failed = objects.delete(batch).await.err().or(failed);
    }
    let (kept, left) = left(objects, id, &needed).await?;
    match (left, failed) {
        (Some((..)), Some(e)) => return Err(e.into()),
        (Some((left, first)), None) => return Err(Failure::Left { left, first }),
        (None, _) => swept.kept = kept,
    }
    if kept == 0 {
        objects.delete(vec![Key::trash(id)]).await?;
        swept.under_way = None;
    } else if swept.under_way.is_some() {
        // An attempt that had written no entry yet has no record, and what it may need of it is swept later all the same.
        record(objects, id).await?;
    }
    Ok(swept)
}

/// Sees to it that a later removal looks through this backup again.
async fn record(objects: &dyn Objects, id: BackupId) -> Result<(), Failure> {
    let key = Key::trash(id);
    if objects.stat(&key).await?.is_none() {
        objects.put(&key, bytes::Bytes::new()).await?;
    }
    Ok(())
}

fn blocked(id: BackupId, cause: Failure) -> Failure {
    if matches!(cause, Failure::Store(_)) { cause } else { Failure::Blocked { id, cause: Box::new(cause) } }
}

/// What is still there: the number of needed objects, and how many others with the first of them.
async fn left(objects: &dyn Objects, id: BackupId, needed: &Needed) -> Result<(u64, Option<(u64, String)>), Failure> {
    let mut listing = objects.list(&Prefix::backup(id));
    let (mut kept, mut left) = (0, None);
    while let Some(listed) = listing.try_next().await? {
        if needed.has(id, &listed.key) {
            kept += 1;
        } else {
            left.get_or_insert((0, listed.key.to_string())).0 += 1;
        }
    }
    Ok((kept, left))
}

/// Sweeps what earlier removals had to leave.
async fn sweep_others(objects: &dyn Objects, id: BackupId, now: Timestamp) -> Result<(), Failure> {
    let records: Vec<_> = objects.list(&Prefix::trash()).try_collect().await?;
    let mut others = Vec::new();
    for record in records {
        match record.key.backup().ok_or_else(|| damaged(&record.key, "its name is none of a deleted backup")) {
            Ok(other) if other == id => {}
            // Its entry is still there: that removal has only begun, and is not ours to go on with.
            Ok(other) if objects.stat(&Key::catalog(other)).await?.is_some() => {}
            Ok(other) => others.push(other),
            Err(e) => tracing::warn!(error = %e, "a foreign file lies among the records of deleted backups"),
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    // Only now, because none of their entries is there any more.
    let dependents = match dependents(objects, now).await {
        Ok(dependents) => dependents,
        Err(Failure::Store(e)) if e.temporary => return Err(e.into()),
        Err(error) => {
            tracing::warn!(%error, "looking for who needs what earlier removals have left");
            return Ok(());
        }
    };
    let committed = |id| dependents.catalogs.iter().any(|catalog| catalog.id == id);
    for other in others.into_iter().filter(|other| !committed(*other)) {
        match sweep(objects, other, &dependents).await {
            Ok(_) => {}
            // The store is out: what waits to be swept must not be forgotten because of it.
            Err(Failure::Store(e)) if e.temporary => return Err(e.into()),
            // The record stays, so that every later removal tries again.
            Err(error) => tracing::warn!(backup = %other, %error, "sweeping a backup that was removed earlier"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
