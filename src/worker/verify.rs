//! The proof before the commit: every object in its place with its size, and as many read back as was asked for.

use futures::{StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::{Failure, backup::Attempt, trouble::Trouble};
use crate::{
    api::{Reason, VerifyLevel},
    plan::{Assembled, Digest, Entry, Framing, Source},
    store::{
        Key, framing,
        presence::{self, Fault, Presence},
        transfer::{self, Moved},
    },
};

/// Objects that are named of those that are not as they must be.
const NAMED: usize = 5;

impl Attempt<'_> {
    /// Checks the backup where it will be restored from. Returns how many objects were read back.
    pub(super) async fn verify(&self, backup: &Assembled) -> Result<u64, Trouble> {
        self.watch.step("checking the presence of every object");
        let entries = presence::of_iter(backup.entries()).inspect_ok(|entry| self.watch.done(1, entry.size));
        let found = presence::present(&*self.ports.repository, &backup.sources, entries).await;
        let Presence { faults, first, of_earlier, .. } = found.map_err(|e| self.repository_failure(&e))?;
        if let Some(fault) = of_earlier {
            return Err(Trouble::Damaged(format!("{fault} ({faults} objects in all)")));
        }
        judge(&first, faults)?;
        let totals = backup.totals();
        let (every, offset) = match self.task.verify {
            VerifyLevel::Manifest => return Ok(0),
            VerifyLevel::Sample => stride(totals.objects),
            VerifyLevel::Full => (1, 0),
        };
        self.watch.step("reading back");
        self.watch.total(totals.objects / every, totals.bytes / every);
        let moved = Moved::default();
        let chosen = backup.entries().zip(0_u64..).filter(|(_, n)| n % every == offset).map(|(entry, _)| entry);
        let checks = chosen.map(|entry| async { self.read_back(&backup.sources, entry, &moved).await });
        let width = usize::from(self.task.parallelism.min(16));
        futures::stream::iter(checks).buffer_unordered(width).try_fold(0, |n, ()| async move { Ok(n + 1) }).await
    }

    async fn read_back(&self, sources: &[Source], entry: Entry, moved: &Moved) -> Result<(), Trouble> {
        let of_earlier = entry.from > 0;
        self.compare(sources, entry, moved).await.map_err(|failure| {
            if of_earlier && matches!(failure.reason, Reason::ObjectMissing | Reason::ObjectCorrupted) {
                return Trouble::Damaged(failure.detail);
            }
            failure.into()
        })
    }

    async fn compare(&self, sources: &[Source], entry: Entry, moved: &Moved) -> Result<(), Failure> {
        let source = usize::try_from(entry.from).ok().and_then(|n| sources.get(n));
        let source = source.ok_or_else(|| Failure::new(Reason::Internal, format!("{} has no source", entry.path)))?;
        let key = Key::object(source.backup, source.attempt, &entry.path);
        let framed = framing::of_path(source.framing, &entry.path);
        let (size, sha256) = self.hash(&key, framed, moved).await?;
        if (size, sha256) == (entry.size, entry.sha256) {
            return Ok(());
        }
        let detail = format!("{key} is not what it must be: its SHA-256 is {sha256} instead of {}", entry.sha256);
        Err(Failure::new(Reason::ObjectCorrupted, detail))
    }

    /// Reads an object of the repository.
    pub(super) async fn hash(&self, key: &Key, framed: Framing, moved: &Moved) -> Result<(u64, Digest), Failure> {
        let hashed = tokio::select! {
            hashed = transfer::hash(&*self.ports.repository, key, framed, moved, self.watch.token()) => hashed,
            never = self.follow(moved) => match never {},
        };
        hashed.map_err(|e| self.repository_failure(&e))
    }
}

/// Names the first of the objects that are not as they must be.
pub(super) fn judge(first: &[Fault], faults: u64) -> Result<(), Failure> {
    let Some(fault) = first.first() else { return Ok(()) };
    let reason = match fault {
        Fault::Missing(_) => Reason::ObjectMissing,
        Fault::Size { .. } => Reason::ObjectCorrupted,
    };
    let names: Vec<_> = first.iter().take(NAMED).map(ToString::to_string).collect();
    Err(Failure::new(reason, format!("{} ({faults} objects in all)", names.join(", "))))
}

/// One of a hundred objects, at least ten, beginning anywhere: every how many, and which of them.
fn stride(objects: u64) -> (u64, u64) {
    let wanted = (objects / 100).max(10);
    let every = (objects / wanted).max(1);
    let (_, chance) = Uuid::now_v7().as_u64_pair();
    (every, chance % every)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 0)]
    #[case(3, 3)]
    #[case(10, 10)]
    #[case(95, 10)]
    #[case(10_000, 100)]
    fn a_sample_is_one_of_a_hundred_and_at_least_ten(#[case] objects: u64, #[case] at_least: u64) {
        for _ in 0..20 {
            let (every, offset) = stride(objects);
            assert!(offset < every);
            assert!((0..objects).filter(|n| n % every == offset).count() as u64 >= at_least);
        }
    }
}
