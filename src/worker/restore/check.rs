//! What is found out about a backup before its target is touched.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Attempt, Chosen, choose::Bytes};
use crate::{
    plan::{Digest, Framing, Restored},
    store::{
        self, Key, Tag,
        presence::Fault,
        transfer::{self, Load, Moved},
    },
    worker::{Failure, verify},
};

/// Size and SHA-256 of a content, and its tag.
type Tagged = ((u64, Digest), Option<Tag>);

/// What was found out by reading.
pub(super) struct Read {
    /// Objects, now that they are known for sure.
    pub objects: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Tags of what was read.
    pub tags: Tags,
}

/// The source's tags of contents that were read and compared, by the number of the load. The store is asked by them to
/// copy just these contents. There are none when it cannot be asked.
#[derive(Debug, Default)]
pub(super) struct Tags {
    kept: Vec<Option<Tag>>,
    wanted: bool,
}

impl Tags {
    /// Bytes that they take in memory.
    pub(super) fn memory(&self) -> u64 {
        (self.kept.capacity() * size_of::<Option<Tag>>()) as u64
    }

    /// The tag of a load.
    pub(super) fn get(&self, n: usize) -> Option<Tag> {
        self.kept.get(n).copied().flatten()
    }

    pub(super) fn set(&mut self, n: usize, tag: Option<Tag>) {
        if !self.wanted {
            return;
        }
        if n >= self.kept.len() {
            self.kept.resize(n + 1, None);
        }
        self.kept[n] = tag;
    }
}

impl Attempt<'_> {
    /// Room for the tags of this many objects, if they serve for anything.
    pub(super) fn tags(&self, objects: u64, all: bool) -> Tags {
        let wanted = all && transfer::share_a_store(self.source, self.target);
        let room = usize::try_from(objects).unwrap_or_default();
        Tags { kept: if wanted { Vec::with_capacity(room) } else { Vec::new() }, wanted }
    }

    /// Reads every object and compares it with its digest, so that a damaged backup is refused while the target is still
    /// as it was. When the target was begun before, that was done then, and each object is compared as it is copied.
    pub(super) async fn read(&self, chosen: &mut Chosen, all: bool, draft: &Restored) -> Result<Read, Failure> {
        self.watch.step("reading every object");
        self.watch.total(draft.objects, draft.bytes);
        if let Bytes::Foreign(foreign) = &mut chosen.bytes {
            return self.read_foreign(foreign, all).await;
        }
        let mut tags = self.tags(draft.objects, all);
        if all {
            self.read_listed(chosen, &mut tags).await?;
        }
        Ok(Read { objects: draft.objects, bytes: draft.bytes, tags })
    }

    async fn read_listed(&self, chosen: &Chosen, tags: &mut Tags) -> Result<(), Failure> {
        let failed = |e: store::Failure| self.source_failure(&e);
        let moved = Moved::default();
        let loads = self.loads(chosen).await.map_err(failed)?;
        let counted = &moved;
        let checks = loads.enumerate().map(|(n, load)| async move {
            let Load { from, stored, size, digest, .. } = load.map_err(failed)?;
            let (_, tag) = self.read_one((&from, stored), (Some(size), Some(digest)), counted).await?;
            Ok((n, tag))
        });
        let reading = checks.buffer_unordered(usize::from(self.task.parallelism)).try_for_each(|(n, tag)| {
            tags.set(n, tag);
            std::future::ready(Ok(()))
        });
        tokio::select! {
            read = reading => read,
            never = self.follow(&moved) => match never {},
        }
    }

    /// Reads an object, and compares what is known of it. Returns its tag too, if the source has one.
    pub(super) async fn read_one(
        &self,
        (key, framing): (&Key, Framing),
        (size, digest): (Option<u64>, Option<Digest>),
        moved: &Moved,
    ) -> Result<Tagged, Failure> {
        let read = || transfer::hash_tagged(self.source, key, framing, moved, self.watch.token());
        let judge = |found: Result<Tagged, store::Failure>| match found {
            Ok(((found, _), _)) if size.is_some_and(|size| size != found) => Err(differs(key, found, size)),
            Ok(((_, found), _)) if digest.is_some_and(|digest| digest != found) => Err(differs(key, found, digest)),
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
