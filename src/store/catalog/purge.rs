//! Removing a backup: first its commit goes, then the objects that no other backup names. A crash at any point leaves
//! a state from which the same call goes on.

use futures::TryStreamExt as _;

use super::{CATALOG_MAX, Entries, all, damaged, entries, small};
use crate::{
    plan::{
        AttemptDir, BackupId, Catalog,
        references::{Step, needs, source_index, step},
    },
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

/// Removes what nobody needs, and the record when nothing is left.
async fn sweep(objects: &dyn Objects, id: BackupId) -> Result<Purged, Failure> {
    let needing = needing(objects, id).await?;
    let mut join = Join { objects, id, needing: &needing, attempt: None, readers: Vec::new() };
    let mut swept = Purged::default();
    let mut batch = Vec::new();
    let mut failed = None;
    let mut listing = objects.list(&Prefix::backup(id));
    while let Some(listed) = listing.try_next().await? {
        if join.is_needed(&listed.key).await? {
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
    let (kept, left) = left(objects, id, &needing).await?;
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

/// The other backups that name objects of this one. Every one of their entry lists has been found whole: a list that
/// has lost names must not cost objects.
async fn needing(objects: &dyn Objects, id: BackupId) -> Result<Vec<Catalog>, Failure> {
    let blocked = |cause| Failure::Blocked { id, cause: Box::new(cause) };
    let catalogue = all(objects).await?;
    let own = Key::catalog(id);
    if let Some(cause) = catalogue.unreadable.into_iter().find(|f| f.key() != Some(own.as_str())) {
        return Err(blocked(cause));
    }
    let needing: Vec<_> = catalogue.catalogs.into_iter().filter(|catalog| needs(catalog, id)).collect();
    for catalog in &needing {
        entries(objects, catalog).await.map_err(blocked)?.verify().await.map_err(blocked)?;
    }
    Ok(needing)
}

/// What is still there: the number of needed objects, and how many others with the first of them.
async fn left(
    objects: &dyn Objects,
    id: BackupId,
    needing: &[Catalog],
) -> Result<(u64, Option<(u64, String)>), Failure> {
    let mut join = Join { objects, id, needing, attempt: None, readers: Vec::new() };
    let mut listing = objects.list(&Prefix::backup(id));
    let (mut kept, mut left) = (0, None);
    while let Some(listed) = listing.try_next().await? {
        if join.is_needed(&listed.key).await? {
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

/// The join of a backup's listing with the paths that others need of it. Both ascend within an attempt.
struct Join<'a> {
    objects: &'a dyn Objects,
    id: BackupId,
    needing: &'a [Catalog],
    attempt: Option<AttemptDir>,
    readers: Vec<Needed>,
}

/// The paths that one backup needs of an attempt.
struct Needed {
    entries: Entries,
    source: u32,
    next: Option<String>,
}

impl Needed {
    async fn advance(&mut self) -> Result<(), Failure> {
        self.next = loop {
            match self.entries.next().await? {
                None => break None,
                Some(entry) if entry.from == self.source => break Some(entry.path),
                Some(_) => {}
            }
        };
        Ok(())
    }
}

impl Join<'_> {
    async fn is_needed(&mut self, key: &Key) -> Result<bool, Failure> {
        let Some((attempt, path)) = key.attempt_path(self.id) else { return Ok(false) };
        if self.attempt != Some(attempt) {
            self.open(attempt).await?;
        }
        loop {
            let heads: Vec<Option<&str>> = self.readers.iter().map(|r| r.next.as_deref()).collect();
            match step(path, &heads) {
                Step::Keep => return Ok(true),
                Step::Delete => return Ok(false),
                Step::Advance(at) => match self.readers.get_mut(at) {
                    Some(reader) => reader.advance().await?,
                    None => return Ok(true),
                },
            }
        }
    }

    async fn open(&mut self, attempt: AttemptDir) -> Result<(), Failure> {
        self.attempt = Some(attempt);
        self.readers.clear();
        for catalog in self.needing {
            if let Some(source) = source_index(catalog, self.id, attempt) {
                let mut reader = Needed { entries: entries(self.objects, catalog).await?, source, next: None };
                reader.advance().await?;
                self.readers.push(reader);
            }
        }
        Ok(())
    }
}
