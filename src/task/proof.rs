//! What a worker is to prove of the MatrixOne that was started on a restored place.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClusterTask, InvalidSpec, Subject, duration, quantity};
use crate::api::{Address, Proof, Restore, RestoreReport};

/// The step of a proof, as its progress says it, until MatrixOne has answered.
pub const WAITING_FOR_BOOT: &str = "waiting for MatrixOne to start";

/// A MatrixOne to be proven.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofTask {
    /// For whom.
    pub subject: Subject,
    /// The server. Its login lies under [`super::mount::SQL`].
    pub cluster: ClusterTask,
    /// Names of the Secrets with further logins, for the words of an error. The first one's lies under
    /// [`super::mount::ACCOUNTS`]`/0`, and so on.
    pub logins: Vec<String>,
    /// What was restored: the version that was backed up, and when everything was in place.
    pub restored: Box<RestoreReport>,
    /// How long to wait for the server.
    pub boot_deadline: Duration,
    /// Limit of the whole attempt.
    pub run_deadline: Duration,
    /// Limit of standing still.
    pub stall_deadline: Duration,
}

impl ProofTask {
    /// The Task of an attempt. `address` is where the MatrixOne is that `target.cluster` names.
    ///
    /// # Errors
    /// When the spec names no cluster, or a deadline is none.
    pub fn for_attempt(
        restore: &Restore,
        address: &Address,
        restored: &RestoreReport,
        attempt: u32,
    ) -> Result<Self, InvalidSpec> {
        let spec = &restore.spec;
        quantity::check(&spec.job)?;
        let cluster = spec.target.cluster.as_ref();
        let cluster = cluster.ok_or_else(|| InvalidSpec::field("spec.target.cluster", "nothing is named"))?;
        let proof = spec.proof.clone().unwrap_or_default();
        let boot_deadline = boot_deadline(&proof)?;
        Ok(Self {
            subject: Subject::of(&restore.metadata, attempt)?,
            cluster: ClusterTask::of(cluster, address)?,
            logins: proof.credentials_secrets.iter().map(|secret| secret.name.clone()).collect(),
            restored: Box::new(restored.clone()),
            boot_deadline,
            run_deadline: boot_deadline + duration("spec.deadlines.run", &spec.deadlines.run)?,
            stall_deadline: duration("spec.deadlines.stall", &spec.deadlines.stall)?,
        })
    }
}

/// How long the proof waits for the server.
///
/// # Errors
/// When it is no duration.
pub fn boot_deadline(proof: &Proof) -> Result<Duration, InvalidSpec> {
    duration("spec.proof.bootDeadline", &proof.boot_deadline)
}
