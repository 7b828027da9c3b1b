//! Removing a backup: first its commit goes, then the objects that no other backup names. A crash at any point leaves
//! a state from which the same call goes on.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use futures::TryStreamExt as _;

use super::{CATALOG_MAX, all, damaged, entries, small};
use crate::{
    plan::{BackupId, Catalog, references::needs},
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
}

/// Removes a backup: its catalogue entry, and what lies in its folders and is needed by no other backup. What others
/// need stays until the last of them is removed. Backups that were removed earlier and left such objects are looked
/// through as well; what cannot be removed of those is no failure of this removal.
pub async fn purge(objects: &dyn Objects, id: BackupId) -> Result<Purged, Failure> {
    let mut sum = Purged::default();
    for _ in 0..TRIES {
        unreference(objects, id).await?;
        let swept = sweep(objects, id).await?;
        sum = Purged { objects: sum.objects + swept.objects, bytes: sum.bytes + swept.bytes, kept: swept.kept };
        // A worker that was believed dead may have committed meanwhile.
        if objects.stat(&Key::catalog(id)).await?.is_none() {
            break;
        }
    }
    sweep_others(objects, id).await?;
    Ok(sum)
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
async fn sweep(objects: &dyn Objects, id: BackupId) -> Result<Purged, Failure> {
    let needed = Needed::find(objects, id).await.map_err(|cause| blocked(id, cause))?;
    let mut swept = Purged::default();
    let mut batch = Vec::new();
    let mut failed = None;
    let mut listing = objects.list(&Prefix::backup(id));
    while let Some(listed) = listing.try_next().await? {
        if needed.has(&listed.key) {
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
    }
    Ok(swept)
}

fn blocked(id: BackupId, cause: Failure) -> Failure {
    if matches!(cause, Failure::Store(_)) { cause } else { Failure::Blocked { id, cause: Box::new(cause) } }
}

/// The objects of a removed backup that other backups name, by 64-bit hashes of their keys: eight bytes for each. Two keys
/// with one hash cost nothing but an object that stays.
#[derive(Default)]
struct Needed {
    hasher: RandomState,
    keys: HashSet<u64>,
}

impl Needed {
    /// Reads the lists of all other backups that name objects of this one.
    async fn find(objects: &dyn Objects, id: BackupId) -> Result<Self, Failure> {
        let catalogue = all(objects).await?;
        let own = Key::catalog(id);
        if let Some(cause) = catalogue.unreadable.into_iter().find(|f| f.key() != Some(own.as_str())) {
            return Err(cause);
        }
        let mut needed = Self::default();
        for catalog in catalogue.catalogs.iter().filter(|catalog| needs(catalog, id)) {
            // Once more before it is judged: what was changed on its way is right the second time.
            match needed.add(objects, catalog, id).await {
                Err(e) if e.is_damage() => needed.add(objects, catalog, id).await?,
                done => done?,
            }
        }
        Ok(needed)
    }

    /// Adds what one backup names. A list that is not what its catalogue entry says is an error, so that what it named
    /// or left out decides nothing.
    async fn add(&mut self, objects: &dyn Objects, catalog: &Catalog, id: BackupId) -> Result<(), Failure> {
        let sources: Vec<_> = catalog.sources.iter().map(|s| (s.backup == id).then_some(s.attempt)).collect();
        let mut list = entries(objects, catalog).await?;
        while let Some(entry) = list.next().await? {
            let source = usize::try_from(entry.from).ok().and_then(|from| sources.get(from).copied().flatten());
            if let Some(attempt) = source {
                let key = Key::object(id, attempt, &entry.path);
                self.keys.insert(self.hasher.hash_one(&key));
            }
        }
        Ok(())
    }

    fn has(&self, key: &Key) -> bool {
        self.keys.contains(&self.hasher.hash_one(key))
    }
}

/// What is still there: the number of needed objects, and how many others with the first of them.
async fn left(objects: &dyn Objects, id: BackupId, needed: &Needed) -> Result<(u64, Option<(u64, String)>), Failure> {
    let mut listing = objects.list(&Prefix::backup(id));
    let (mut kept, mut left) = (0, None);
    while let Some(listed) = listing.try_next().await? {
        if needed.has(&listed.key) {
            kept += 1;
        } else {
            left.get_or_insert((0, listed.key.to_string())).0 += 1;
        }
    }
    Ok((kept, left))
}

/// Sweeps what earlier removals had to leave.
async fn sweep_others(objects: &dyn Objects, id: BackupId) -> Result<(), Failure> {
    let records: Vec<_> = objects.list(&Prefix::trash()).try_collect().await?;
    for record in records {
        let other = record.key.backup().ok_or_else(|| damaged(&record.key, "its name is none of a deleted backup"));
        match other {
            Ok(other) if other == id => {}
            // Its entry is still there: that removal has only begun, and is not ours to go on with.
            Ok(other) if objects.stat(&Key::catalog(other)).await?.is_some() => {}
            Ok(other) => match sweep(objects, other).await {
                Ok(_) => {}
                // The store is out: what waits to be swept must not be forgotten because of it.
                Err(Failure::Store(e)) if e.temporary => return Err(e.into()),
                // The record stays, so that every later removal tries again.
                Err(error) => tracing::warn!(backup = %other, %error, "sweeping a backup that was removed earlier"),
            },
            Err(e) => tracing::warn!(error = %e, "a foreign file lies among the records of deleted backups"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
