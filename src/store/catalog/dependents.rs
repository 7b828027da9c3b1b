//! Who needs the objects of a repository: its committed backups, and those under way.

use std::{
    collections::{BTreeMap, HashSet},
    future::ready,
    hash::{BuildHasher as _, RandomState},
};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::{
    AT_ONCE, CATALOG_MAX, Catalog, check, entries,
    intents::{self, Found, SETTLE},
    small,
};
use crate::{
    plan::{AttemptDir, BackupId, History, Intent, references::needs},
    store::{Error, Failure, Key, Listed, Objects, Prefix},
};

/// Readings until two that follow each other must have been the same.
const READINGS: u32 = 12;

/// Everything that may name an object, at one time.
#[derive(Debug, Default)]
pub struct Dependents {
    /// The committed backups, each without its history.
    pub catalogs: Vec<Catalog>,
    /// Attempts that have not committed and whose time is not over.
    pub under_way: Vec<Intent>,
}

/// One reading of intents and catalogue.
struct Reading {
    /// SHA-256 over all names and contents.
    digest: [u8; 32],
    catalogs: Vec<Catalog>,
    intents: Vec<Found>,
    unreadable: Option<Failure>,
}

/// Finds who needs objects: the intents are read first and the catalogue then, so that a backup that commits meanwhile is
/// seen in one of the two. A backup whose entry is removed meanwhile may hand what it needs to an attempt that is based on
/// it and was not there yet when the intents were read: so both are read again until nothing has changed between two
/// readings. Every attempt that was seen in any of them counts.
///
/// Intents whose time is over are removed first. Anything that cannot be read is an error: what it needs is not known.
pub async fn dependents(objects: &dyn Objects, now: Timestamp) -> Result<Dependents, Failure> {
    let mut before = None;
    let mut seen: BTreeMap<(BackupId, u32), Intent> = BTreeMap::new();
    for _ in 0..READINGS {
        let Reading { digest, catalogs, intents, unreadable } = reading(objects, now).await?;
        let over: Vec<_> = intents.iter().filter(|found| found.is_over).map(|found| found.key.clone()).collect();
        let (mut damage, current) = (unreadable, before == Some(digest));
        for found in intents.into_iter().filter(|found| !found.is_over) {
            match found.intent {
                Ok(intent) => drop(seen.insert((intent.id, intent.attempt), intent)),
                Err(e) => drop(damage.get_or_insert(e)),
            }
        }
        before = Some(digest);
        if !current {
            continue;
        }
        if !over.is_empty() {
            tracing::warn!(first = %over[0], count = over.len(), "removing intents of attempts whose time is over");
            objects.delete(over).await?;
            sleep(SETTLE).await;
            before = None;
            continue;
        }
        if let Some(damage) = damage {
            return Err(damage);
        }
        // A backup commits once; while its entry is there, no attempt of it can commit any more.
        let committed: HashSet<_> = catalogs.iter().map(|c| c.id).collect();
        let under_way = seen.into_values().filter(|intent| !committed.contains(&intent.id)).collect();
        return Ok(Dependents { catalogs, under_way });
    }
    Err(Failure::Unsettled)
}

async fn reading(objects: &dyn Objects, now: Timestamp) -> Result<Reading, Failure> {
    let mut hash = Sha256::new();
    let mut intents = Vec::new();
    let read = |listed: Result<Listed, Error>| async move { intents::of_listed(objects, listed?, now).await };
    let mut found = objects.list(&Prefix::intents()).map(read).buffered(AT_ONCE);
    while let Some(found) = found.next().await {
        if let Some(found) = found? {
            add(&mut hash, &found.key, &found.content);
            intents.push(found);
        }
    }
    let (mut catalogs, mut unreadable) = (Vec::new(), None);
    let read = |(key, id): (Key, BackupId)| async move {
        let content = small(objects, &key, CATALOG_MAX).await;
        Ok::<_, Error>((key, id, content))
    };
    // What has no name of an entry needs nothing.
    let entry = |Listed { key, .. }: Listed| ready(Ok::<_, Error>(key.backup().map(|id| (key, id))));
    let mut found = objects.list(&Prefix::catalog()).try_filter_map(entry).map_ok(read).try_buffered(AT_ONCE);
    while let Some((key, id, content)) = found.try_next().await? {
        let parsed = match content {
            // Deleted since it was listed.
            Ok(None) => continue,
            Ok(Some(content)) => {
                add(&mut hash, &key, &content);
                check(&key, id, &content)
            }
            Err(e @ Failure::Damaged { .. }) => Err(e),
            Err(e) => return Err(e),
        };
        match parsed {
            Ok(catalog) => catalogs.push(Catalog { history: History::default(), ..catalog }),
            Err(e) => drop(unreadable.get_or_insert(e)),
        }
    }
    // A removal leaves a record before it takes an entry away.
    let mut records = objects.list(&Prefix::trash());
    while let Some(record) = records.try_next().await? {
        add(&mut hash, &record.key, b"");
    }
    Ok(Reading { digest: hash.finalize().into(), catalogs, intents, unreadable })
}

fn add(hash: &mut Sha256, key: &Key, content: &[u8]) {
    for part in [key.as_str().as_bytes(), content] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
}

/// The objects of a removed backup that are needed, by 64-bit hashes of their keys: eight bytes for each. Two keys with one
/// hash cost nothing but an object that stays.
#[derive(Debug, Default)]
pub(super) struct Needed {
    hasher: RandomState,
    keys: HashSet<u64>,
    /// Folders that an attempt under way may name anything of.
    folders: HashSet<AttemptDir>,
    /// The backup of the first such attempt.
    pub under_way: Option<BackupId>,
}

impl Needed {
    /// Reads the lists of all backups that name objects of this one to their ends. A list that is not what its catalogue
    /// entry says is an error, so that what it named or left out decides nothing.
    pub(super) async fn find(objects: &dyn Objects, id: BackupId, of: &Dependents) -> Result<Self, Failure> {
        let mut needed = Self::default();
        for intent in &of.under_way {
            let held = intent.holds.iter().filter(|h| h.backup == id).map(|h| h.attempt);
            let before = needed.folders.len();
            needed.folders.extend(held);
            if needed.folders.len() > before {
                needed.under_way.get_or_insert(intent.id);
            }
        }
        for catalog in of.catalogs.iter().filter(|catalog| needs(catalog, id)) {
            // Once more before it is judged: what was changed on its way is right the second time.
            match needed.add(objects, catalog, id).await {
                Err(e) if e.is_damage() => needed.add(objects, catalog, id).await?,
                done => done?,
            }
        }
        Ok(needed)
    }

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

    pub(super) fn has(&self, id: BackupId, key: &Key) -> bool {
        let held = || key.attempt_path(id).is_some_and(|(dir, _)| self.folders.contains(&dir));
        self.keys.contains(&self.hasher.hash_one(key)) || held()
    }
}
