//! `BackupStorage`: a repository, the place where backups live.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobOptions, RunStatus, S3Location, Said, StorageType, VolumeLocation, Warning};

/// A repository: a prefix of a bucket, or a folder of a volume, that holds backups.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mo-backup.io",
    version = "v1alpha1",
    kind = "BackupStorage",
    plural = "backupstorages",
    namespaced,
    status = "BackupStorageStatus",
    category = "mo-backup",
    shortname = "mostore",
    derive = "PartialEq",
    doc = "A repository: a prefix of a bucket, or a folder of a volume, that holds backups.",
    selectable = ".spec.type",
    validation = Rule::new("self.metadata.name.size() <= 52").message("the name of a BackupStorage may have at most 52 characters: names of Jobs are made from it"),
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Backups","type":"integer","jsonPath":".status.report.repository.backups"}"#,
    printcolumn = r#"{"name":"Size","type":"string","jsonPath":".status.report.repository.size"}"#,
    printcolumn = r#"{"name":"Newest","type":"string","jsonPath":".status.report.repository.newest"}"#,
    printcolumn = r#"{"name":"Probed","type":"date","jsonPath":".status.report.probedAt","description":"How long ago the repository was counted"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Oldest","type":"string","priority":1,"jsonPath":".status.report.repository.oldest"}"#,
    printcolumn = r#"{"name":"Orphans","type":"string","priority":1,"jsonPath":".status.report.repository.orphanSize","description":"Bytes of attempts that belong to no backup"}"#,
    printcolumn = r#"{"name":"Adopt","type":"string","priority":1,"jsonPath":".spec.adopt"}"#,
    printcolumn = r#"{"name":"Versioning","type":"string","priority":1,"jsonPath":".status.report.capabilities.versioning.state"}"#,
    printcolumn = r#"{"name":"Lock","type":"string","priority":1,"jsonPath":".status.report.capabilities.objectLock.state"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'S3') == has(self.s3)").message("s3 goes with type S3, and type S3 needs s3"))]
#[x_kube(validation = Rule::new("(self.type == 'Volume') == has(self.volume)").message("volume goes with type Volume, and type Volume needs volume"))]
#[x_kube(validation = Rule::new("self.type == oldSelf.type && (!has(self.s3) || !has(oldSelf.s3) || (self.s3.bucket == oldSelf.s3.bucket && self.s3.prefix == oldSelf.s3.prefix && has(self.s3.endpoint) == has(oldSelf.s3.endpoint) && (!has(self.s3.endpoint) || self.s3.endpoint == oldSelf.s3.endpoint))) && (!has(self.volume) || !has(oldSelf.volume) || (self.volume.claim == oldSelf.volume.claim && self.volume.path == oldSelf.volume.path))").message("the location of a repository cannot change: bucket, prefix, endpoint, claim and path are immutable; make another BackupStorage"))]
pub struct BackupStorageSpec {
    /// The kind of place.
    #[serde(rename = "type")]
    pub type_: StorageType,
    /// The bucket, with type S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Location>,
    /// The volume, with type Volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeLocation>,
    /// `ReadOnly`: nothing is ever written; backups cannot go here.
    #[serde(default)]
    pub access_mode: AccessMode,
    /// `All`: every backup that is found in the repository and has no Backup in this namespace gets one, `imported-<id>`, with `spec.imported`, by the next probe. One that is deleted while its data stays is found again by a later probe: to be rid of it, delete the data too (`deletionPolicy: Delete`), or set `None`. `None`: nothing is made, and what was made stays.
    #[serde(default)]
    pub adopt: Adopt,
    /// With method Direct to S3: whether MatrixOne is given the keys of the Secret in its BACKUP statement, or uses its own identity.
    #[serde(default)]
    pub server_credentials: ServerCredentials,
    /// How often it is tried out and counted again while nothing else asks for it; at least 5m. It is also counted again soon after a Backup in it has ended or was removed.
    #[serde(default = "one_day")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('5m')").message("must be a duration of at least 5m in h, m and s, such as 30m or 24h"))]
    pub probe_every: String,
    /// Options of the Pods that probe this storage.
    #[serde(default)]
    pub job: JobOptions,
}

fn one_day() -> String {
    "24h".into()
}

/// Whether a repository may be written to.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// Backups may be added and removed.
    #[default]
    ReadWrite,
    /// Nothing is ever written.
    ReadOnly,
}

/// Which backups of a repository get a Backup object without being asked for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adopt {
    /// None.
    #[default]
    None,
    /// All that have none.
    All,
}

/// Whose identity MatrixOne writes with.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerCredentials {
    /// The keys of the storage's Secret, sent in the BACKUP statement.
    #[default]
    FromSecret,
    /// MatrixOne's own: its environment or its instance's role.
    Ambient,
}

/// What is known about a BackupStorage.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = super::run_status::rules()))]
pub struct BackupStorageStatus {
    /// Where it stands, in one word; programs read `conditions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupStoragePhase>,
    /// What the operator knows.
    #[serde(flatten)]
    pub run: RunStatus,
    /// What the probe found. Written by the probe alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<StorageReport>,
}

/// Where a BackupStorage stands, in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupStoragePhase {
    /// Not probed yet.
    Pending,
    /// A probe is under way.
    Probing,
    /// Backups can go here.
    Ready,
    /// It can be read, not written.
    ReadOnly,
    /// The probe failed; the conditions say why.
    Failed,
}

/// What a probe found. Written by the probe alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageReport {
    /// How it ended.
    #[serde(flatten)]
    pub said: Said,
    /// When the probe looked. All that it found is as of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub probed_at: Option<Time>,
    /// What the store can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// What the repository is and holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySeen>,
    /// What became of imported Backups. Absent: there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// What came of the last `mo-backup.io/sweep-orphans`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
    /// The Backups of this BackupStorage that were over when the probe was made. When others are, it is probed again.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub backups_over: String,
    /// What is good to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<Warning>,
}

/// What came of removing orphans.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Swept {
    /// The token that asked for it.
    pub token: String,
    /// Folders of attempts that were removed.
    pub attempts: i64,
    /// Objects in them.
    pub objects: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Folders that were left alone, because an attempt may be at work there, or because they are not ours.
    pub left: i64,
    /// The same in words, with the reasons.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What a probe did for imported Backups.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Adoption {
    /// Backups that it made, because `adopt` says so. The next probe fills their reports.
    pub made: i64,
    /// Imported Backups whose report it filled.
    pub found: i64,
    /// Imported Backups that it refused: the repository does not have them, or they cannot be read. Their conditions say why.
    pub refused: i64,
}

/// What a store can do, tried or asked, not assumed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// A second create of the same key is refused. Without it only one writer may use the repository.
    pub conditional_create: bool,
    /// A body that was changed on its way is refused (asked for by `checksums`).
    pub checksums: bool,
    /// Whether the bucket keeps what is deleted.
    pub versioning: VersioningSeen,
    /// Whether the bucket locks its objects.
    pub object_lock: ObjectLockSeen,
}

/// Whether a bucket keeps what is deleted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersioningSeen {
    /// `Enabled`: deleting hides data and frees nothing, until a lifecycle rule of the bucket removes old versions. `Suspended`: so for what was written before. `Off`: what is deleted is gone. `Unknown`: the store did not say.
    pub state: VersioningState,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub why: Option<String>,
}

/// What a bucket says of its versioning.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersioningState {
    /// Every version is kept.
    Enabled,
    /// It was enabled once.
    Suspended,
    /// It was never enabled.
    Off,
    /// The store did not say.
    #[default]
    Unknown,
}

/// Whether a bucket locks its objects.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectLockSeen {
    /// `Enabled`: it can lock objects, and locks all new ones for `defaultRetention`. `Off`: it does not. `Unknown`: the store did not say.
    pub state: ObjectLockState,
    /// How long every new object is locked, such as `COMPLIANCE, 30 days`. Absent: not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub default_retention: Option<String>,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub why: Option<String>,
}

/// What a bucket says of its object lock.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectLockState {
    /// It locks objects.
    Enabled,
    /// It does not.
    Off,
    /// The store did not say.
    #[default]
    Unknown,
}

/// What a repository is and holds.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositorySeen {
    /// Id of the repository, from its marker.
    pub id: String,
    /// Who may write: `<namespace>/<name>` of the BackupStorage in the marker.
    pub owner: String,
    /// Committed backups.
    pub backups: i64,
    /// Bytes that these backups added.
    pub bytes: i64,
    /// The same, for people.
    pub size: String,
    /// The time of the newest backup's data, RFC 3339 UTC. `latest` of a Restore chooses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// The time of the oldest backup's data, RFC 3339 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Files of the catalogue that are damaged, too new, or of another repository. They do not count as backups; `warnings` name the first of them.
    pub unreadable: i64,
    /// Folders of attempts that no committed backup refers to. A backup under way has one, too, and so have those that `unreadable` hides.
    pub orphans: i64,
    /// Bytes of these folders.
    pub orphan_bytes: i64,
    /// The same, for people.
    pub orphan_size: String,
}
