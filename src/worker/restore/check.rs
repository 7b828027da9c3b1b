//! What is found out about a backup before its target is touched.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Attempt, Chosen, choose::Bytes};
use crate::{
    plan::{Digest, Framing, Restored},
    store::{
        self, Key,
        presence::Fault,
        transfer::{self, Load, Moved},
    },
    worker::{Failure, verify},
};

impl Attempt<'_> {
    /// Reads every object and compares it with its digest, so that a damaged backup is refused while the target is still
    /// as it was. When the target was begun before, that was done then, and each object is compared as it is copied.
    /// Returns objects and bytes, now that they are known for sure.
    pub(super) async fn read(&self, chosen: &mut Chosen, all: bool, draft: &Restored) -> Result<(u64, u64), Failure> {
        self.watch.step("reading every object");
        self.watch.total(draft.objects, draft.bytes);
        if let Bytes::Foreign(foreign) = &mut chosen.bytes {
            return self.read_foreign(foreign, all).await;
        }
        if all {
            self.read_listed(chosen).await?;
        }
        Ok((draft.objects, draft.bytes))
    }

    async fn read_listed(&self, chosen: &Chosen) -> Result<(), Failure> {
        let failed = |e: store::Failure| self.source_failure(&e);
        let moved = Moved::default();
        let loads = self.loads(chosen).await.map_err(failed)?;
        let checks = loads.map(|load| async {
            let Load { from, stored, size, digest, .. } = load.map_err(failed)?;
            self.read_one((&from, stored), (Some(size), Some(digest)), &moved).await.map(|_| ())
        });
        let reading = checks.buffer_unordered(usize::from(self.task.parallelism)).try_collect::<()>();
        tokio::select! {
            read = reading => read,
            never = self.follow(&moved) => match never {},
        }
    }

    /// Reads an object, and compares what is known of it.
    pub(super) async fn read_one(
        &self,
        (key, framing): (&Key, Framing),
        (size, digest): (Option<u64>, Option<Digest>),
        moved: &Moved,
    ) -> Result<(u64, Digest), Failure> {
        let read = || transfer::hash(self.source, key, framing, moved, self.watch.token());
        let judge = |found: Result<(u64, Digest), store::Failure>| match found {
            Ok((found, _)) if size.is_some_and(|size| size != found) => Err(differs(key, found, size)),
            Ok((_, found)) if digest.is_some_and(|digest| digest != found) => Err(differs(key, found, digest)),
            other => other,
        };
        let found = match judge(read().await) {
            // Once more before it is judged: what was changed on its way is right the second time.
            Err(store::Failure::Differs { .. }) => judge(read().await),
            other => other,
        };
        found.map_err(|e| self.source_failure(&e))
    }
}

fn differs<T: std::fmt::Display>(key: &Key, found: T, expected: Option<T>) -> store::Failure {
    let expected = expected.map(|e| e.to_string()).unwrap_or_default();
    let detail = format!("its size or SHA-256 is {found} instead of {expected}");
    store::Failure::Differs { what: key.to_string(), detail }
}

/// Refuses a backup of which something is missing.
pub(super) fn judge(first: &[Fault], faults: u64) -> Result<(), Failure> {
    verify::judge(first, faults).map_err(|failure| Failure { retryable: false, ..failure })
}
