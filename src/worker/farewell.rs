//! Ending well: what must not be dropped halfway gets the time that is left, and the report names the true cause.

use std::time::Duration;

use tokio::time::sleep;

use super::{Failure, Watch};
use crate::api::Reason;

/// Time for one thing that a worker ends after it was told to stop. Its Pod is given 60 seconds in all.
pub(super) const HURRY: Duration = Duration::from_secs(6);
/// The same for a worker that stops by itself, at one of its deadlines: nobody is about to kill it.
const LEISURE: Duration = Duration::from_mins(3);

impl Watch {
    /// Carries out work that winds itself up when the attempt must stop, or whose end must be known. Only when it takes
    /// longer than there is time left, it is dropped.
    pub(super) async fn finish<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            cause = self.out_of_time() => Err(cause),
        }
    }

    async fn out_of_time(&self) -> Failure {
        let cause = self.stopped().await;
        let hurried = async {
            self.hurry().cancelled().await;
            sleep(HURRY).await;
        };
        tokio::select! {
            () = hurried => {}
            () = sleep(LEISURE) => {}
        }
        cause
    }

    /// The failure as it is reported: work that was cancelled has failed for the reason for which it was cancelled.
    pub(super) fn ended(&self, failure: Failure) -> Failure {
        if failure.reason == Reason::Interrupted && self.token().is_cancelled() { self.cause() } else { failure }
    }
}
