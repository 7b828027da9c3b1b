//! What is found out about a backup before its target is touched.

use super::{
    Attempt, Chosen,
    choose::{Bytes, Loads},
};
use crate::{
    plan::Restored,
    store::{self, Tag, transfer},
    worker::Failure,
};

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
    /// What is to be restored. It counts only when the stream has ended: the list's digest is compared at its end.
    pub(super) async fn loads<'a>(&'a self, chosen: &'a Chosen) -> Result<Loads<'a>, store::Failure> {
        let target = &self.task.target;
        self.reading.loads(chosen, (super::placed(&target.data), super::placed(&target.hk_data))).await
    }

    /// Room for the tags of this many objects, if they serve for anything.
    fn tags(&self, objects: u64, all: bool) -> Tags {
        let wanted = all && transfer::share_a_store(self.reading.source, self.target);
        let room = usize::try_from(objects).unwrap_or_default();
        Tags { kept: if wanted { Vec::with_capacity(room) } else { Vec::new() }, wanted }
    }

    /// Reads every object and compares it with its digest, so that a damaged backup is refused while the target is still
    /// as it was. When the target was begun before, that was done then, and each object is compared as it is copied.
    pub(super) async fn read(&self, chosen: &mut Chosen, all: bool, draft: &Restored) -> Result<Read, Failure> {
        let reading = self.reading;
        reading.watch.step("reading every object");
        reading.watch.total(draft.objects, draft.bytes);
        if let Bytes::Foreign(foreign) = &mut chosen.bytes {
            let mut tags = self.tags(foreign.totals().0, all);
            reading.read_foreign(foreign, all, &mut tags).await?;
            let (objects, bytes) = foreign.totals();
            return Ok(Read { objects, bytes, tags });
        }
        let mut tags = self.tags(draft.objects, all);
        if all {
            let loads = self.loads(chosen).await.map_err(|e| reading.source_failure(&e))?;
            reading.read_listed(loads, &mut tags).await?;
        }
        Ok(Read { objects: draft.objects, bytes: draft.bytes, tags })
    }
}
