//! What a repository holds: its backups by their catalogue entries, and what belongs to none of them. However many there
//! are, one entry and one name are held of each attempt.

use std::collections::HashSet;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{
    Failure, Places,
    report::{rfc3339, size},
    watch::signed,
};
use crate::{
    api::{Reason, RepositorySeen, Warning},
    plan::{AttemptDir, BackupId, Catalog, Marker, RepositoryId},
    store::{self, Objects, Prefix, catalog},
};

/// Names that are told of those that cannot be used.
const NAMED: usize = 5;
/// The longest of these names: whoever writes to the bucket chooses them.
pub(super) const NAME: usize = 200;

/// What a repository holds, and what is good to know about it.
pub(super) struct Inventory {
    /// For the status.
    pub seen: RepositorySeen,
    /// What is damaged, or of another repository.
    pub warnings: Vec<Warning>,
}

/// Things that cannot be used: how many, and the first of them.
#[derive(Default)]
struct Faults {
    count: u64,
    first: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(plain(what, NAME));
        }
    }

    fn warning(&self, reason: Reason, what: &str) -> Option<Warning> {
        let names = self.first.join("; ");
        let message = format!("{} {what}: {names}", self.count);
        (self.count > 0).then(|| Warning { reason: reason.as_str().into(), message })
    }
}

/// A text that somebody else has written, in one line that does nothing to a terminal.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(most).collect()
}

/// What the catalogue says.
#[derive(Default)]
struct Counted {
    backups: u64,
    bytes: u64,
    /// Times of data, nanoseconds since 1970.
    newest: Option<i64>,
    oldest: Option<i64>,
    held: HashSet<(BackupId, AttemptDir)>,
    damaged: Faults,
    foreign: Faults,
}

impl Counted {
    fn add(&mut self, catalog: &Catalog, repository: Option<RepositoryId>) {
        self.held.extend(catalog.sources.iter().map(|s| (s.backup, s.attempt)));
        if !belongs(catalog, repository) {
            self.foreign.add(&catalog.id.to_string());
            return;
        }
        let at = catalog.backup_ts.physical;
        self.backups += 1;
        self.bytes = self.bytes.saturating_add(catalog.totals.copied_bytes);
        self.newest = self.newest.max(Some(at));
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }
}

/// Whether a backup was written for this repository. Without a marker nobody can tell.
pub(super) fn belongs(catalog: &Catalog, repository: Option<RepositoryId>) -> bool {
    repository.is_none_or(|here| catalog.repository == here)
}

/// Takes stock.
pub(super) async fn take(places: &Places, marker: Option<&Marker>) -> Result<Inventory, Failure> {
    let repository = &*places.repository;
    let here = marker.map(|m| m.repository);
    let mut counted = Counted::default();
    let add = |found: Result<Catalog, store::Failure>| match found {
        Ok(catalog) => counted.add(&catalog, here),
        Err(failure) => counted.damaged.add(&failure.to_string()),
    };
    let mut unexpected = Faults::default();
    let looked = catalog::each_file(repository, add, |key| unexpected.add(key.as_str())).await;
    looked.map_err(|e| Failure::of_repository(places.kind, &e))?;
    let (mut count, mut orphan_bytes) = (0, 0_u64);
    let add = |orphan: Orphan| {
        count += 1;
        orphan_bytes = orphan_bytes.saturating_add(orphan.bytes);
    };
    orphans(repository, &counted.held, add).await.map_err(|e| Failure::of_store(places.kind, &e))?;
    let Counted { backups, bytes, newest, oldest, held: _, damaged, foreign } = counted;
    let time = |at: i64| Timestamp::from_nanosecond(i128::from(at)).ok().map(rfc3339);
    let seen = RepositorySeen {
        id: marker.map(|m| m.repository.to_string()).unwrap_or_default(),
        owner: marker.map(|m| plain(&format!("{}/{}", m.owner.namespace, m.owner.name), NAME)).unwrap_or_default(),
        backups: signed(backups),
        bytes: signed(bytes),
        size: size(bytes),
        newest: newest.and_then(time),
        oldest: oldest.and_then(time),
        unreadable: signed(damaged.count + foreign.count),
        orphans: signed(count),
        orphan_bytes: signed(orphan_bytes),
        orphan_size: size(orphan_bytes),
    };
    let warnings = [
        damaged.warning(Reason::RepositoryDamaged, "files of the catalogue cannot be read"),
        foreign.warning(Reason::BackupForeign, "backups were written for another repository"),
        unexpected.warning(Reason::UnexpectedFiles, "unexpected files lie in the catalogue"),
    ];
    Ok(Inventory { seen, warnings: warnings.into_iter().flatten().collect() })
}

/// A folder of an attempt that no backup holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    /// Whose it is; `None`: its name is none of ours.
    pub place: Option<(BackupId, AttemptDir)>,
    /// Its objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last of them was written, if the store says so of each.
    pub newest: Option<Timestamp>,
}

/// Shows every folder of an attempt that no backup holds. A listing ascends, so that what lies in one folder follows each
/// other, and one folder is held at a time.
pub(super) async fn orphans(
    repository: &dyn Objects,
    held: &HashSet<(BackupId, AttemptDir)>,
    mut show: impl FnMut(Orphan),
) -> Result<(), store::Error> {
    let data = Prefix::data();
    let mut objects = repository.list(&data);
    let mut last: Option<(String, Orphan)> = None;
    while let Some(found) = objects.try_next().await? {
        let below = found.key.below(&data).unwrap_or_default();
        let mut parts = below.split('/');
        let (id, dir) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // A file beside the attempts is in none of them.
        let place = id.parse().ok().zip(dir.parse().ok()).filter(|_| parts.next().is_some());
        if place.is_some_and(|place| held.contains(&place)) {
            continue;
        }
        let folder = below.get(..id.len() + 1 + dir.len()).unwrap_or(below);
        match &mut last {
            Some((name, orphan)) if name == folder && orphan.place == place => {
                orphan.objects += 1;
                orphan.bytes = orphan.bytes.saturating_add(found.size);
                orphan.newest = orphan.newest.zip(found.modified).map(|(a, b)| a.max(b));
            }
            Some(_) | None => {
                let next = Orphan { place, objects: 1, bytes: found.size, newest: found.modified };
                if let Some((_, before)) = last.replace((folder.to_owned(), next)) {
                    show(before);
                }
            }
        }
    }
    if let Some((_, orphan)) = last {
        show(orphan);
    }
    Ok(())
}
