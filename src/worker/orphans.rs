//! Removing orphans: what attempts have left that no backup refers to. An attempt that is under way looks the same, so that
//! nothing goes unless it is certain that nobody is at work there: its Backup, if it has one, is over, and the last object was
//! written longer ago than any attempt may take.

use std::{collections::HashMap, collections::HashSet, time::Duration};

use jiff::Timestamp;

use super::{
    Failure, Places, clean,
    inventory::{self, NAME, Orphan, plain},
    kubernetes::Known,
    report::{duration, size},
    watch::signed,
};
use crate::{
    api::Swept,
    plan::{AttemptDir, BackupId, Intent},
    store::{self, Key, Prefix, catalog},
    task::StorageTask,
};

/// The longest run of Backups whose objects are gone: the default, and time for their last words.
const LEAST: Duration = Duration::from_hours(25);
/// Beyond the longest run of those that are there.
const GRACE: Duration = Duration::from_hours(1);
/// Folders looked at in one sweep.
const MOST: usize = 10_000;

/// What may be removed.
pub(super) struct Orphans {
    /// Why nothing may be.
    refused: Option<String>,
    found: Vec<Orphan>,
    more: u64,
}

/// Folders that stay, by reason.
#[derive(Default)]
struct Left {
    busy: u64,
    young: u64,
    undated: u64,
    strange: u64,
    failed: u64,
    first: Option<String>,
}

impl Orphans {
    /// Looks what there is. Nothing, where somebody else may write, or where a file of the catalogue cannot be read: what
    /// that one refers to is not known.
    pub(super) async fn find(storage: &StorageTask, places: &Places, now: Timestamp) -> Result<Self, Failure> {
        let repository = &*places.repository;
        let failed = |e: store::Failure| Failure::of_repository(places.kind, &e);
        let refused = |why: String| Ok(Self { refused: Some(why), found: Vec::new(), more: 0 });
        let marker = catalog::marker(repository).await.map_err(failed)?;
        let own = marker.as_ref().map(|marker| catalog::own(marker, &storage.uid));
        match own {
            _ if storage.read_only => return refused("the BackupStorage is read-only".into()),
            None => return refused("the repository has no marker that says whose it is".into()),
            Some(Err(e)) => return refused(plain(&e.to_string(), 4 * NAME)),
            Some(Ok(())) => {}
        }
        let catalog::Dependents { catalogs, under_way } = match catalog::dependents(repository, now).await {
            Ok(dependents) => dependents,
            Err(e @ store::Failure::Store(_)) => return Err(failed(e)),
            Err(damaged) => {
                let what = plain(&damaged.to_string(), 4 * NAME);
                return refused(format!("what a file of the catalogue refers to is not known: {what}"));
            }
        };
        let named = catalogs.iter().flat_map(|c| &c.sources).map(|s| (s.backup, s.attempt));
        // Their own folders are told as busy.
        let of_others =
            |i: &Intent| i.holds.iter().filter(|h| h.backup != i.id).map(|h| (h.backup, h.attempt)).collect::<Vec<_>>();
        let held: HashSet<(BackupId, AttemptDir)> = named.chain(under_way.iter().flat_map(of_others)).collect();
        let (mut found, mut more) = (Vec::new(), 0);
        let add = |orphan: Orphan| if found.len() < MOST { found.push(orphan) } else { more += 1 };
        let listed = inventory::orphans(repository, &held, add).await;
        listed.map_err(|e| Failure::of_store(places.kind, &e))?;
        Ok(Self { refused: None, found, more })
    }

    /// Removes what is certain to be nobody's, given all Backups as they were after the look.
    pub(super) async fn sweep(
        self,
        token: &str,
        places: &Places,
        there: &[Known],
        now: Timestamp,
    ) -> Result<Swept, Failure> {
        let token = token.to_owned();
        if let Some(why) = self.refused {
            return Ok(Swept { token, message: format!("nothing was removed: {why}"), ..Swept::default() });
        }
        let known = over(there);
        let longest = there.iter().map(|k| k.run_deadline).max().unwrap_or_default();
        let age = LEAST.max(longest.saturating_add(GRACE));
        let (mut left, mut gone) = (Left::default(), Orphan { place: None, objects: 0, bytes: 0, newest: None });
        let mut attempts = 0;
        for orphan in self.found {
            let Some(place) = left.free(&orphan, &known, now, age) else { continue };
            match remove(places, place).await? {
                Removed::Gone => {
                    attempts += 1;
                    gone.objects += orphan.objects;
                    gone.bytes = gone.bytes.saturating_add(orphan.bytes);
                }
                Removed::Committed => left.busy += 1,
                Removed::Left(why) => {
                    left.failed += 1;
                    left.first.get_or_insert(plain(&why, NAME));
                }
            }
        }
        let message = left.words(attempts, &gone, age, self.more);
        let left = left.busy + left.young + left.undated + left.strange + left.failed + self.more;
        tracing::info!(message, "swept");
        Ok(Swept {
            token,
            attempts: signed(attempts),
            objects: signed(gone.objects),
            bytes: signed(gone.bytes),
            left: signed(left),
            message: message.chars().take(1000).collect(),
        })
    }
}

/// Of each id, up to which attempt all have ended. Several Backups can have one id, since anybody may write an imported one:
/// the one that is furthest from its end counts, and `None`, which is less than any number, is under way.
fn over(there: &[Known]) -> HashMap<BackupId, Option<u32>> {
    let mut least = HashMap::new();
    for (id, over) in there.iter().flat_map(|known| known.ids.iter().map(|id| (*id, known.over))) {
        least.entry(id).and_modify(|least: &mut Option<u32>| *least = over.min(*least)).or_insert(over);
    }
    least
}

impl Left {
    /// The place of an orphan at which nobody can be at work; else it is counted here.
    fn free(
        &mut self,
        orphan: &Orphan,
        known: &HashMap<BackupId, Option<u32>>,
        now: Timestamp,
        age: Duration,
    ) -> Option<(BackupId, AttemptDir)> {
        let Some((id, dir)) = orphan.place else {
            self.strange += 1;
            return None;
        };
        if known.get(&id).is_some_and(|over| over.is_none_or(|over| dir.attempt > over)) {
            self.busy += 1;
            return None;
        }
        let Some(newest) = orphan.newest else {
            self.undated += 1;
            return None;
        };
        if Duration::try_from(now.duration_since(newest)).unwrap_or_default() <= age {
            self.young += 1;
            return None;
        }
        Some((id, dir))
    }

    fn words(&self, attempts: u64, gone: &Orphan, age: Duration, more: u64) -> String {
        let mut message = format!("removed {attempts} attempts, {} objects, {}", gone.objects, size(gone.bytes));
        let failed = self.first.as_ref().map_or_else(String::new, |why| format!("that could not be removed: {why}"));
        for (count, why) in [
            (self.busy, "of Backups that are not over".to_owned()),
            (self.young, format!("written in the last {}", duration(age))),
            (self.undated, "of which the store does not say when they were written".to_owned()),
            (self.strange, "whose names are none of ours".to_owned()),
            (self.failed, failed),
            (more, "for the next sweep".to_owned()),
        ] {
            if count > 0 {
                message.push_str(&format!("; left {count} {why}"));
            }
        }
        message
    }
}

/// What came of a folder.
enum Removed {
    /// Nothing is left in it.
    Gone,
    /// It belongs to a backup by now, or to one under way.
    Committed,
    /// Something is left in it.
    Left(String),
}

async fn remove(places: &Places, (id, dir): (BackupId, AttemptDir)) -> Result<Removed, Failure> {
    let repository = &*places.repository;
    let intent =
        repository.stat(&Key::intent(id, dir.attempt)).await.map_err(|e| Failure::of_store(places.kind, &e))?;
    if intent.is_some() {
        return Ok(Removed::Committed);
    }
    let committed = catalog::read(repository, id).await.map_err(|e| Failure::of_repository(places.kind, &e))?;
    if committed.is_some_and(|catalog| catalog.attempt == dir) {
        return Ok(Removed::Committed);
    }
    Ok(match clean::empty(repository, &Prefix::attempt(id, dir), |_| true).await {
        Ok(()) => Removed::Gone,
        Err(left) => Removed::Left(left.to_string()),
    })
}
