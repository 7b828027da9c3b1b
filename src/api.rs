//! What users write and read: the kinds, their CRDs, and the closed vocabulary of conditions and reasons.

mod backup;
mod backup_report;
mod backup_storage;
mod cluster;
mod job_options;
mod location;
mod reason;
mod restore;
mod restore_report;
mod run_status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

pub use backup::{
    Backup, BackupPhase, BackupSpec, BackupStatus, BackupType, Deadlines, DeletionPolicy, Imported, Method, Retry,
    Staging, StagingVolume, VerifyLevel,
};
pub use backup_report::{BackupReport, ManifestRef, Outcome, Progress, Said, ServerSeen, TakenType, Verified, Warning};
pub use backup_storage::{
    AccessMode, Adopt, Adoption, BackupStorage, BackupStoragePhase, BackupStorageSpec, BackupStorageStatus,
    Capabilities, ObjectLockSeen, ObjectLockState, RepositorySeen, ServerCredentials, StorageReport, Swept,
    VersioningSeen, VersioningState,
};
pub use cluster::{Address, Cluster, CredentialsSecret, MatrixOneClusterRef, Tls, TlsMode};
pub use job_options::{JobOptions, RunAs};
pub use location::{
    CaSecret, S3Credentials, S3Location, ServerSideEncryption, ServerSideEncryptionType, StorageType, VolumeLocation,
};
pub use reason::Reason;
pub use restore::{
    BackupRef, Format, Placement, Proof, RepositorySource, Restore, RestoreMode, RestorePhase, RestoreSource,
    RestoreSourceType, RestoreSpec, RestoreStatus, RestoreTarget, TargetVolume,
};
pub use restore_report::{AlreadyRestored, RestorePlan, RestoreProof, RestoreReport};
pub use run_status::{ATTEMPTS_KEPT, AttemptRecord, ConditionType, HandledRequests, Queue, RunStatus, set_condition};

/// API group of all kinds.
pub const GROUP: &str = "mo-backup.io";
/// Served version.
pub const VERSION: &str = "v1alpha1";
/// Annotation: a new token cancels the work under way. Answered in `status.handledRequests.cancel`.
pub const CANCEL_ANNOTATION: &str = "mo-backup.io/cancel";
/// Annotation: a new token starts a failed object over. Answered in `status.handledRequests.retry`.
pub const RETRY_ANNOTATION: &str = "mo-backup.io/retry";

/// Annotation of a BackupStorage: a new token removes what failed attempts have left. Answered in
/// `status.handledRequests.sweepOrphans`.
pub const SWEEP_ORPHANS_ANNOTATION: &str = "mo-backup.io/sweep-orphans";

/// Every CRD this program serves.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [Backup::crd(), BackupStorage::crd(), Restore::crd()].into_iter().map(without_status_defaults).collect()
}

/// A CRD as a YAML document. The same CRD always gives the same bytes.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, CrdYamlError> {
    // Through a JSON value: its maps are sorted, and fields that are not set are left out.
    let value = serde_json::to_value(crd)?;
    // Never folded: folding breaks CEL rules over lines, and a diff of a rule should be one line.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(&value, options)?)
}

/// Why a CRD could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum CrdYamlError {
    /// It is no JSON.
    #[error("failed to write a CRD as JSON")]
    Json(#[from] serde_json::Error),
    /// It is no YAML.
    #[error("failed to write a CRD as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// A default in the schema of a status would make the API server write what nobody has observed.
fn without_status_defaults(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let statuses = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut()?.properties.as_mut()?.get_mut("status"));
    for status in statuses {
        strip_defaults(status);
    }
    crd
}

fn strip_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        strip_defaults(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        strip_defaults(items);
    }
}
