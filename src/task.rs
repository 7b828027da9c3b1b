//! The treaty between operator and worker: what to do. What came of it is the report in [`crate::api`].

mod from_spec;
mod proof;
mod quantity;
mod restore;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    api::{
        BackupType, ManifestRef, Method, S3Location, ServerCredentials, Swept, TlsMode, VerifyLevel, VolumeLocation,
    },
    plan::BackupId,
};

pub use from_spec::{InvalidSpec, backup_id, duration, id_of, method};
pub use proof::{ProofTask, WAITING_FOR_BOOT, boot_deadline};
pub use restore::{Choice, RestoreTask, TargetTask, WhoseTask};

/// The fence of an attempt: `<uid>-<attempt>`. Written to the status before the Job, sent back with every report.
#[must_use]
pub fn run_name(uid: &str, attempt: u32) -> String {
    format!("{uid}-{attempt}")
}

/// Where a MatrixOne is reached, `host:port`. In Kubernetes a host without a dot means another server in each namespace.
#[must_use]
pub fn reached_at(host: &str, port: impl std::fmt::Display, namespace: &str) -> String {
    if namespace.is_empty() || host.contains(['.', ':']) {
        format!("{host}:{port}")
    } else {
        format!("{host}.{namespace}:{port}")
    }
}

/// Where the files of a Job's Pod lie. Secrets come as files, never as arguments or environment.
pub mod mount {
    /// User name and password of MatrixOne: `username`, `password`.
    pub const SQL: &str = "/run/mo-backup/sql";
    /// Certificates that MatrixOne's certificate is checked against: `ca.crt`.
    pub const SQL_CA: &str = "/run/mo-backup/sql-ca";
    /// Keys of the object store: `access_key_id`, `secret_access_key`, `session_token`.
    pub const STORE: &str = "/run/mo-backup/store";
    /// Certificates that the store's certificate is checked against: `ca.crt`.
    pub const STORE_CA: &str = "/run/mo-backup/store-ca";
    /// The volume shared with MatrixOne.
    pub const STAGING: &str = "/run/mo-backup/staging";
    /// The volume that is the repository.
    pub const REPOSITORY: &str = "/run/mo-backup/repository";
    /// The volume that a backup is restored to.
    pub const TARGET: &str = "/run/mo-backup/target";
    /// Keys of the store that a backup is restored to; the same files as in [`STORE`].
    pub const TARGET_STORE: &str = "/run/mo-backup/target-store";
    /// Certificates that its certificate is checked against: `ca.crt`.
    pub const TARGET_STORE_CA: &str = "/run/mo-backup/target-store-ca";
    /// Logins of further accounts, each in a folder `0`, `1` …: `username`, `password`.
    pub const ACCOUNTS: &str = "/run/mo-backup/accounts";
    /// The worker's last words, read by the kubelet.
    pub const TERMINATION_LOG: &str = "/run/mo-backup/termination-log";
}

/// Field manager of everything a worker writes.
pub const WORKER_MANAGER: &str = "mo-backup-worker";

/// Field manager of a worker that proves a restored MatrixOne: were it the same, what the restoring worker reported would
/// go with the first thing the proving one says.
pub const PROVER_MANAGER: &str = "mo-backup-prover";

/// Environment variable that holds the Task as JSON. It names things; it never holds a secret.
pub const TASK_ENV: &str = "MO_BACKUP_TASK";

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "task")]
pub enum Task {
    /// Take a backup.
    Backup(Box<BackupTask>),
    /// Remove the data of a backup.
    Purge(Box<PurgeTask>),
    /// Remove what a stopped backup left in the staging folder, and nothing else.
    Sweep(Box<SweepTask>),
    /// Try out a storage, and read what its repository holds.
    Probe(Box<ProbeTask>),
    /// Restore a backup.
    Restore(Box<RestoreTask>),
    /// Prove the MatrixOne that was started on what was restored.
    Proof(Box<ProofTask>),
}

/// The object that a worker works for, and its fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// UID of the object.
    pub uid: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// `<uid>-<attempt>`: sent back with every report.
    pub run: String,
}

/// A backup to be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupTask {
    /// For whom.
    pub subject: Subject,
    /// Id in the repository; the same for every attempt of an object.
    pub id: BackupId,
    /// The server.
    pub cluster: ClusterTask,
    /// The repository.
    pub storage: StorageTask,
    /// What to take.
    pub kind: BackupType,
    /// The base, when one was named.
    pub base: Option<BackupId>,
    /// Who writes.
    pub method: Method,
    /// Staging folder as the server sees it; the worker sees it under [`mount::STAGING`].
    pub staging: Option<StagingTask>,
    /// Copies at the same time.
    pub parallelism: u16,
    /// Keys may be sent in SQL to servers before 4.2.
    pub allow_keys_in_sql: bool,
    /// How deep to check.
    pub verify: VerifyLevel,
    /// Limit of the whole attempt.
    pub run_deadline: Duration,
    /// Limit of standing still.
    pub stall_deadline: Duration,
}

/// A MatrixOne server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTask {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption.
    pub tls: TlsMode,
    /// Whether certificates lie under [`mount::SQL_CA`].
    pub tls_ca: bool,
    /// Name in the certificate, when it is not the host.
    pub server_name: Option<String>,
}

/// Where MatrixOne puts files for the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagingTask {
    /// Folder below [`mount::STAGING`].
    pub path: String,
    /// The same folder as MatrixOne sees it.
    pub server_path: String,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageTask {
    /// Namespace of the BackupStorage.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: the owner in the repository's marker.
    pub uid: String,
    /// Where.
    pub location: Location,
    /// Nothing may be written.
    pub read_only: bool,
    /// Whose identity MatrixOne writes with.
    pub server_credentials: ServerCredentials,
}

/// Where a repository lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// A prefix of a bucket.
    S3(Box<S3Location>),
    /// A folder below [`mount::REPOSITORY`].
    Volume(Box<VolumeLocation>),
}

/// Data to be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeTask {
    /// For whom.
    pub subject: Subject,
    /// Which backup.
    pub id: BackupId,
    /// The repository.
    pub storage: StorageTask,
    /// The entry in the catalogue that the object's report names. `None`: nothing of it is known to have been committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<ManifestRef>,
    /// The staging folder whose left-overs go too.
    pub staging: Option<StagingTask>,
}

/// A staging folder to be emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepTask {
    /// For whom.
    pub subject: Subject,
    /// The backup whose left-overs go.
    pub id: BackupId,
    /// The staging folder.
    pub staging: StagingTask,
}

/// A storage to be tried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeTask {
    /// For whom.
    pub subject: Subject,
    /// The repository.
    pub storage: StorageTask,
    /// The Backups of this storage that were over when the probe was made; sent back with the report.
    pub backups_over: String,
    /// What came of removing orphans the last time; sent back with the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
    /// What is to be done for imported Backups. Without it the Job has no right to do anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<ImportTask>,
}

/// What a probe does that needs a look at all Backups. It always looks up the imported ones that wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImportTask {
    /// Backups that have no object get one.
    pub adopt: bool,
    /// Orphans are removed; with the token that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<String>,
}
