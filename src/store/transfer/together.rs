//! Several at a time within a budget of memory, ended cleanly by the first failure.

use futures::{Stream, StreamExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::store::Failure;

/// Unit of the budget.
const UNIT: u64 = 4096;

/// What the work of one call shares: memory, and the news that it must end.
pub(super) struct Together {
    memory: Semaphore,
    limits: Limits,
    /// Cancelled by the caller, and by the first failure.
    pub stop: CancellationToken,
}

impl Together {
    pub(super) fn new(limits: Limits, stop: &CancellationToken) -> Self {
        let units = usize::try_from(limits.budget / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { memory: Semaphore::new(units), limits, stop: stop.child_token() }
    }

    /// Waits until this many bytes may be held. What is larger than the budget gets all of it.
    pub(super) async fn hold(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Failure> {
        let budget = self.limits.budget;
        let units = bytes.min(budget).div_ceil(UNIT).min(budget / UNIT);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Cancelled),
            held = self.memory.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)) => {
                held.map_err(|_closed| Failure::Cancelled)
            }
        }
    }

    /// Does the work for every item, and hands on what each came to, in any order. After the first failure, and when the
    /// caller's token is cancelled, nothing new begins, what is under way is awaited, and the failure is returned.
    pub(super) async fn each<T, R, E, F>(
        &self,
        stop: &CancellationToken,
        items: impl Stream<Item = T> + Send,
        work: impl Fn(T) -> F + Send,
        mut done: impl FnMut(R) -> Result<(), E> + Send,
    ) -> Result<(), E>
    where
        E: From<Failure>,
        F: Future<Output = Result<R, E>>,
    {
        let items = items.take_until(self.stop.cancelled());
        let mut outcomes = std::pin::pin!(items.map(work).buffer_unordered(self.limits.at_once.max(1)));
        let mut failed = None;
        while let Some(outcome) = outcomes.next().await {
            if failed.is_some() {
                continue;
            }
            if let Err(e) = outcome.and_then(&mut done) {
                failed = Some(e);
                self.stop.cancel();
            }
        }
        match failed {
            Some(e) => Err(e),
            None if stop.is_cancelled() => Err(Failure::Cancelled.into()),
            None => Ok(()),
        }
    }
}
