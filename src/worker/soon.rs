//! What is wrong from the start is said soon, because somebody waits for it.

use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, Place, Watch};
use crate::api::Reason;

/// From a worker's start to the end of its first look at store, folder and server, in all. A refusal is promised within
/// 15 seconds of the Pod's start; the rest is for the container's start and the report.
pub const SOON: Duration = Duration::from_secs(10);

/// Whom a worker looks at first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
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
        timeout(left, look).await.unwrap_or_else(|_| Err(silent(asked, left)))
    }
}

fn silent(asked: Asked, waited: Duration) -> Failure {
    let (reason, whom) = match asked {
        Asked::Store(Place::Bucket) => (Reason::StorageUnreachable, "the bucket"),
        Asked::Store(Place::Volume) => (Reason::StorageUnreachable, "the volume of the repository"),
        Asked::Store(Place::Staging) => (Reason::StorageUnreachable, "the volume of the staging folder"),
        Asked::Store(Place::TargetBucket) => (Reason::StorageUnreachable, "the bucket of the target"),
        Asked::Store(Place::TargetVolume) => (Reason::StorageUnreachable, "the volume of the target"),
        Asked::Server => (Reason::ServerUnreachable, "MatrixOne"),
    };
    Failure::new(reason, format!("failed to look at {whom}: no answer within {:.1} seconds", waited.as_secs_f32()))
}
