//! What is found out about a backup before its target is touched.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Attempt, Chosen};
use crate::{
    api::Reason,
    plan::Restored,
    store::{
        self,
        presence::Fault,
        transfer::{self, Load, Moved},
    },
    worker::Failure,
};

impl Attempt<'_> {
    /// Reads every object and compares it with its digest, so that a damaged backup is refused while the target is still
    /// as it was. When the target was begun before, that was done then, and each object is compared as it is copied.
    pub(super) async fn read(&self, chosen: &mut Chosen, all: bool, draft: &Restored) -> Result<(), Failure> {
        if !all {
            return Ok(());
        }
        self.watch.step("reading every object");
        self.watch.total(draft.objects, draft.bytes);
        let failed = |e: store::Failure| self.source_failure(&e);
        let moved = Moved::default();
        let loads = self.loads(chosen).await.map_err(failed)?;
        let checks = loads.map(|load| async { self.right(load.map_err(failed)?, &moved).await });
        let reading = checks.buffer_unordered(usize::from(self.task.parallelism)).try_collect::<()>();
        tokio::select! {
            read = reading => read,
            never = self.follow(&moved) => match never {},
        }
    }

    async fn right(&self, load: Load, moved: &Moved) -> Result<(), Failure> {
        // Once more before it is judged: what was changed on its way is right the second time.
        for last in [false, true] {
            let found = transfer::hash(self.source, &load.from, load.stored, moved, self.watch.token()).await;
            let wrong = match found {
                Ok(found) if found == (load.size, load.digest) => return Ok(()),
                Ok((size, _)) if size != load.size => format!("{size} bytes instead of {}", load.size),
                Ok((_, digest)) => format!("its SHA-256 is {digest} instead of {}", load.digest),
                Err(store::Failure::Differs { what: _, detail }) => detail,
                Err(e) => return Err(self.source_failure(&e)),
            };
            if last {
                let what = load.from.to_string();
                return Err(self.source_failure(&store::Failure::Differs { what, detail: wrong }));
            }
        }
        Ok(())
    }
}

/// Refuses a backup of which something is missing.
pub(super) fn judge(first: &[Fault], faults: u64) -> Result<(), Failure> {
    let Some(fault) = first.first() else { return Ok(()) };
    let reason = match fault {
        Fault::Missing(_) => Reason::ObjectMissing,
        Fault::Size { .. } => Reason::ObjectCorrupted,
    };
    let names: Vec<_> = first.iter().map(ToString::to_string).collect();
    let detail = format!("{} ({faults} objects in all)", names.join(", "));
    Err(Failure { retryable: false, ..Failure::new(reason, detail) })
}
