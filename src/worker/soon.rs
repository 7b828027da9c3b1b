//! What is wrong from the start is said soon, because somebody waits for it.

use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, Place, Watch};
use crate::api::Reason;

/// From a worker's start to the end of its first look at store, folder and server, in all. A refusal is promised within
/// 15 seconds of the Pod's start; the rest is for the container's start and the report.
pub const SOON: Duration = Duration::from_secs(10);

/// Who is looked at first.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The repository, or the staging folder.
    Store(Place),
    /// MatrixOne.
    Server,
}

impl Watch {
    /// Carries out a part of the first look. What hangs is given up when the time for the whole look is over, so a part
    /// that answers quickly leaves its time to the next.
    pub(super) async fn soon<T>(
        &self,
        asked: Asked,
        look: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let left = SOON.saturating_sub(self.elapsed());
        within(left, asked, look).await
    }

    /// For what is tried though the look has failed: what is left of its time, one second at least.
    pub(super) fn rest_of_the_look(&self) -> Duration {
        SOON.saturating_sub(self.elapsed()).max(Duration::from_secs(1))
    }
}

/// Carries out the first look of a command, which is given up after [`SOON`].
///
/// # Errors
/// Those of the look, and that nobody answers.
pub async fn soon<T>(asked: Asked, look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    within(SOON, asked, look).await
}

async fn within<T>(
    limit: Duration,
    asked: Asked,
    look: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, look).await.unwrap_or_else(|_| Err(silent(asked, limit)))
}

fn silent(asked: Asked, waited: Duration) -> Failure {
    let (reason, whom) = match asked {
        Asked::Store(Place::Bucket | Place::TargetBucket) => (Reason::StorageUnreachable, "the bucket"),
        Asked::Store(Place::Volume | Place::Staging | Place::TargetVolume) => {
            (Reason::StorageUnreachable, "the volume")
        }
        Asked::Server => (Reason::ServerUnreachable, "MatrixOne"),
    };
    let place = match asked {
        Asked::Store(asked) => format!(" {}", asked.said()),
        Asked::Server => String::new(),
    };
    let waited = waited.as_secs_f32();
    Failure::new(reason, format!("failed to look at {whom}: no answer within {waited:.1} seconds{place}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A report has no other sign of the place.
    #[rstest]
    #[case(Asked::Store(Place::Bucket), "(in the repository)")]
    #[case(Asked::Store(Place::Volume), "(in the repository)")]
    #[case(Asked::Store(Place::Staging), "(in the staging folder)")]
    #[case(Asked::Store(Place::TargetBucket), "(in the target)")]
    #[case(Asked::Store(Place::TargetVolume), "(in the target)")]
    #[case(Asked::Server, "no answer within 10.0 seconds")]
    fn whoever_says_nothing_is_named(#[case] asked: Asked, #[case] end: &str) {
        let failure = silent(asked, SOON);
        assert!(failure.detail.ends_with(end) && failure.retryable, "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_given_up() {
        let begun = tokio::time::Instant::now();
        let hanging = std::future::pending::<Result<(), Failure>>();
        let failure = soon(Asked::Store(Place::TargetBucket), hanging).await.unwrap_err();
        assert_eq!((failure.reason, begun.elapsed()), (Reason::StorageUnreachable, SOON));
    }
}
