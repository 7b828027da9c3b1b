//! The proof of a MatrixOne that was started on a restored place.

use super::{Failure, Files, Watch};
use crate::{
    api::{Reason, RestoreProof},
    task::{ProofTask, WAITING_FOR_BOOT},
};

/// Waits for MatrixOne, and proves it, or says why not.
pub async fn prove(task: &ProofTask, files: &Files, watch: &Watch) -> RestoreProof {
    watch.step(WAITING_FOR_BOOT);
    let result = match files.server(&task.cluster) {
        Ok(server) => watch.race(super::preflight::server(&server)).await.and_then(|done| done),
        Err(failure) => Err(failure),
    };
    let failure = match result {
        Ok(facts) => Failure::new(Reason::Internal, format!("MatrixOne {} answers, and is not proven", facts.version)),
        Err(failure) => failure,
    };
    RestoreProof { said: watch.ended(failure).said(&task.subject.run), ..RestoreProof::default() }
}
