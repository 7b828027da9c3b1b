//! Objects that the store copies by itself, without a way through us.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Carrier, Load, Trouble, cancelled, check, source, target};
use crate::{
    plan::Framing,
    store::{
        Address, Failure, Objects, Problem, Tag,
        copies::COPY_MAX,
        transfer::{Moved, hash_tagged},
    },
};

/// What is known of the store that both places lie in.
pub(super) struct Duplicator {
    /// Where the source lies in it; `None` when there is no such store.
    from: Option<Address>,
    /// It has refused once, and is not asked again.
    refused: AtomicBool,
}

impl Duplicator {
    pub(super) fn between(source: &dyn Objects, target: &dyn Objects) -> Self {
        let from = source.address().filter(|from| target.address().is_some_and(|to| to.store == from.store));
        Self { from, refused: AtomicBool::new(false) }
    }
}

/// Whether both places lie in one store that can copy by itself.
pub fn share_a_store(source: &dyn Objects, target: &dyn Objects) -> bool {
    Duplicator::between(source, target).from.is_some()
}

impl Load {
    /// Whether the stored bytes stay as they are, and are few enough to be copied by a store.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        (self.stored, self.placed) == (Framing::Raw, Framing::Raw) && self.size <= COPY_MAX
    }
}

impl Carrier<'_> {
    /// Whether the store has copied the object, and the copy is right. When it is not, it is written once more.
    pub(super) async fn duplicated(&self, load: &Load) -> Result<bool, Trouble> {
        let Duplicator { from, refused } = self.duplicator;
        let asked = load.is_plain() && !refused.load(Ordering::Relaxed);
        let Some(from) = from.as_ref().filter(|_| asked) else { return Ok(false) };
        let tag = match load.tag {
            // An attempt that goes on has not read everything before.
            None if self.way.resumed => self.compared(load).await.map_err(source)?,
            tag => tag,
        };
        let Some(tag) = tag else { return Ok(false) };
        let copied = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(cancelled()),
            copied = self.way.target.copy((from, &load.from), &tag, &load.to) => copied,
        };
        match copied {
            Ok(Some(sum)) if sum == load.digest => {
                self.moved.bytes.fetch_add(load.size, Ordering::Relaxed);
                Ok(true)
            }
            Ok(Some(sum)) => {
                tracing::warn!(key = %load.to, %sum, "the store has made another copy than it was asked for");
                refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Ok(None) => self.is_copied(load).await,
            Err(e) if e.problem == Problem::Cancelled => Err(target(e)),
            Err(e) => {
                // When the object was changed meanwhile, reading it says so; that is no matter of the store.
                let again = e.problem == Problem::Taken;
                if !again && !refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %e, "the store makes no copies by itself; everything goes through this worker");
                }
                Ok(false)
            }
        }
    }

    /// Reads an object of the source and compares it: its tag then is that of the right content.
    async fn compared(&self, load: &Load) -> Result<Option<Tag>, Failure> {
        let (found, tag) = hash_tagged(self.way.source, &load.from, load.stored, &Moved::default(), self.stop).await?;
        check(load, found)?;
        Ok(tag)
    }

    /// Reads a copy of which the store has not said what it is.
    async fn is_copied(&self, load: &Load) -> Result<bool, Trouble> {
        let mut read = 0;
        let found = self.sum(load, &mut read).await.map_err(target)?;
        let right = found == (load.size, load.digest);
        if !right {
            self.moved.bytes.fetch_sub(read, Ordering::Relaxed);
        }
        Ok(right)
    }
}
