//! `Restore`: a backup brought back into an empty place, from which a new MatrixOne boots.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Cluster, CredentialsSecret, Deadlines, JobOptions, Progress, RestoreProof, RestoreReport, Retry, RunStatus,
    S3Location, StorageType,
};

/// A backup brought back into an empty place, from which a new MatrixOne boots. Nothing is ever restored in place, and no MatrixOne is stopped, started or changed: ConfigMap `<name>-boot` says how to start the new one.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mo-backup.io",
    version = "v1alpha1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    category = "mo-backup",
    shortname = "morst",
    derive = "PartialEq",
    doc = "A backup brought back into an empty place, from which a new MatrixOne boots. Nothing is ever restored in place, and no MatrixOne is stopped, started or changed: ConfigMap `<name>-boot` says how to start the new one.",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.size() <= 52").message("the name of a Restore may have at most 52 characters: names of Jobs are made from it"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.attempt) || oldSelf.status.attempt == 0 || (self.spec.source == oldSelf.spec.source && self.spec.target.type == oldSelf.spec.target.type && has(self.spec.target.s3) == has(oldSelf.spec.target.s3) && (!has(self.spec.target.s3) || self.spec.target.s3 == oldSelf.spec.target.s3) && has(self.spec.target.volume) == has(oldSelf.spec.target.volume) && (!has(self.spec.target.volume) || self.spec.target.volume == oldSelf.spec.target.volume) && has(self.spec.target.data) == has(oldSelf.spec.target.data) && (!has(self.spec.target.data) || self.spec.target.data == oldSelf.spec.target.data) && has(self.spec.target.hkData) == has(oldSelf.spec.target.hkData) && (!has(self.spec.target.hkData) || self.spec.target.hkData == oldSelf.spec.target.hkData))"
    ).message("source and target are frozen once a Restore has begun; make another Restore").field_path(".spec").reason(Reason::FieldValueForbidden),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase != 'Completed' || (has(self.spec.target.cluster) == has(oldSelf.spec.target.cluster) && (!has(self.spec.target.cluster) || self.spec.target.cluster == oldSelf.spec.target.cluster) && has(self.spec.proof) == has(oldSelf.spec.proof) && (!has(self.spec.proof) || self.spec.proof == oldSelf.spec.proof))"
    ).message("target.cluster and proof are frozen once a Restore is complete; make another Restore").field_path(".spec").reason(Reason::FieldValueForbidden),
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Done","type":"string","jsonPath":".status.progress.text"}"#,
    printcolumn = r#"{"name":"Size","type":"string","jsonPath":".status.report.size"}"#,
    printcolumn = r#"{"name":"At","type":"string","jsonPath":".status.report.atTime"}"#,
    printcolumn = r#"{"name":"Took","type":"string","jsonPath":".status.report.duration"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Backup","type":"string","priority":1,"jsonPath":".status.report.backup"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.approvedPlan) || self.mode == 'Execute'").message("approvedPlan goes with mode Execute"))]
#[x_kube(validation = Rule::new("!has(self.proof) || has(self.target.cluster)").message("proof goes with target.cluster: it says how the MatrixOne there is proven"))]
pub struct RestoreSpec {
    /// Which backup.
    pub source: RestoreSource,
    /// Where to.
    pub target: RestoreTarget,
    /// `Execute`: restore. `Plan`: choose the backup, look at the target, and say in the report what would be done, with a hash; nothing is written to the target.
    #[serde(default)]
    pub mode: RestoreMode,
    /// The hash of a plan. With it, the restore runs only if its plan still has this hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{64}$')").message("approvedPlan must be the 64 hex digits of status.report.plan.hash"))]
    pub approved_plan: Option<String>,
    /// How the new MatrixOne is proven, with `target.cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// How many objects are copied at the same time.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 64))]
    pub parallelism: i32,
    /// How often a failed attempt is repeated. The next attempt goes on where the last one was.
    #[serde(default)]
    pub retry: Retry,
    /// How long things may take.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Options of the Job's Pod.
    #[serde(default)]
    pub job: JobOptions,
    /// Start no further attempt while this is true. An attempt under way goes on.
    #[serde(default)]
    pub suspend: bool,
}

fn sixteen() -> i32 {
    16
}

/// How the new MatrixOne is proven.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// How long the Restore waits for MatrixOne to answer at `target.cluster`, once everything is in place.
    #[serde(default = "one_day")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1s')").message("must be a duration of at least 1s in h, m and s, such as 90s or 1h30m"))]
    pub boot_deadline: String,
    /// Secrets with the name and the password of a user of further accounts, such as `acme#admin`: the tables of an account can be read by its own users only. The user that `target.cluster` names reads those of account sys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub credentials_secrets: Vec<CredentialsSecret>,
}

impl Default for Proof {
    fn default() -> Self {
        Self { boot_deadline: one_day(), credentials_secrets: Vec::new() }
    }
}

fn one_day() -> String {
    "24h".into()
}

/// Whether anything is done.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreMode {
    /// Restore.
    #[default]
    Execute,
    /// Only say what would be done.
    Plan,
}

/// Which backup.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Backup') == has(self.backup)").message("backup goes with type Backup, and type Backup needs backup"))]
#[x_kube(validation = Rule::new("(self.type == 'Repository') == has(self.repository)").message("repository goes with type Repository, and type Repository needs repository"))]
pub struct RestoreSource {
    /// `Backup`: a Backup of this namespace. `Repository`: what lies in a BackupStorage; no Backup object is needed.
    #[serde(rename = "type")]
    pub type_: RestoreSourceType,
    /// The Backup, with type Backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRef>,
    /// The choice from a repository, with type Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySource>,
}

/// How the backup is named.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreSourceType {
    /// By a Backup of this namespace.
    Backup,
    /// By what lies in a BackupStorage.
    Repository,
}

/// A Backup of this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// Name of the Backup. The Restore waits until it is complete.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
}

/// A choice from a repository.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.id), has(self.latest), has(self.before), has(self.paths)].filter(x, x).size() == 1").message("give exactly one of id, latest, before and paths"))]
#[x_kube(validation = Rule::new("!(has(self.identity) || has(self.address)) || has(self.latest) || has(self.before)").message("identity and address go with latest and before"))]
pub struct RepositorySource {
    /// Name of the BackupStorage in this namespace.
    #[schemars(length(min = 1, max = 52))]
    pub storage: String,
    /// Id of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')").message("id must be the id of a backup, such as status.report.id of a Backup"))]
    pub id: Option<String>,
    /// The newest backup, by the time of its data. Where the repository holds backups of more than one MatrixOne, give `identity` or `address` too: the Restore fails with `ClusterAmbiguous` otherwise, and its message names the newest backup of each. A backup whose data is of a later time than now does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self").message("latest can only be true"))]
    pub latest: Option<bool>,
    /// The newest backup whose data is not younger than this time, such as `2026-11-21T08:00:00Z`. `identity` and `address` go with it as with `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 35))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$')").message("before must be a time such as 2026-11-21T08:00:00Z"))]
    pub before: Option<String>,
    /// With `latest` and `before`: only backups of the MatrixOne with this identity count. It is in `status.report.server.identity` of a Backup. A MatrixOne that was restored from a backup has the identity of the one that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub identity: Option<String>,
    /// With `latest` and `before`: only backups count that were taken from the MatrixOne at this address, `host:port`. It is `cluster.address` of the Backup; a host without a dot has the namespace of the Backup added, such as `mo.databases:6001`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub address: Option<String>,
    /// Folders, relative to the BackupStorage, of a backup that `mo_br` or a plain BACKUP statement made: a full backup alone, or a full one and its incremental ones, oldest first. The last one is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 500)))]
    #[x_kube(validation = Rule::new("self.all(path, path.matches('^[A-Za-z0-9!_.*()=@%:-]+(/[A-Za-z0-9!_.*()=@%:-]+)*$') && !path.split('/').exists(p, p == '.' || p == '..'))").message("each path may have letters, digits and !_.*()=@%:- in parts divided by '/', no part '.' or '..', no '/' at its ends"))]
    pub paths: Option<Vec<String>>,
}

/// Where to. The place must be empty, or carry this Restore's own marker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'S3') == has(self.s3)").message("s3 goes with type S3, and type S3 needs s3"))]
#[x_kube(validation = Rule::new("(self.type == 'Volume') == has(self.volume)").message("volume goes with type Volume, and type Volume needs volume"))]
#[x_kube(validation = Rule::new("!has(self.data) || !has(self.hkData) || !(self.hkData.path == self.data.path || self.hkData.path.startsWith(self.data.path + '/') || self.data.path.startsWith(self.hkData.path + '/'))").message("data.path and hkData.path must lie beside each other, not one in the other"))]
#[x_kube(validation = Rule::new("self.type != 'S3' || ((!has(self.data) || self.data.format == 'Raw') && (!has(self.hkData) || self.hkData.format == 'Raw'))").message("MatrixOne reads raw objects from S3; format Framed goes with type Volume"))]
pub struct RestoreTarget {
    /// The kind of place.
    #[serde(rename = "type")]
    pub type_: StorageType,
    /// A fresh prefix of a bucket, with type S3. It serves a MatrixOne of any topology.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Location>,
    /// A folder of a claim that no MatrixOne uses, with type Volume. It serves a standalone MatrixOne: one Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<TargetVolume>,
    /// The objects: what becomes MatrixOne's file service SHARED. Default: `data`, Raw, on S3; `mo-data/shared`, Framed, on a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Placement>,
    /// The file with the ids that MatrixOne goes on from. Default: `hk_data`, Raw, on S3; `mo-data/local/hk_data`, Framed, on a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hk_data: Option<Placement>,
    /// The MatrixOne that people start on the target. With it the Restore is not complete when everything is in place: it waits for that MatrixOne, and proves that it is the restored one, that it went on from the ids of `hk_data`, and that the values of every table can be read. It may be given, or corrected, until the Restore is complete; a proof that is under way then begins anew. The user needs the right to create a database: one is made and dropped again, because its id shows whether `hk_data` was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// A folder of a PersistentVolumeClaim.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetVolume {
    /// Name of the PersistentVolumeClaim in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim: String,
    /// Folder inside the volume, without slashes at its ends: the working directory of the new MatrixOne. Empty: the volume's root.
    #[serde(default)]
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9!_.*()=@%-]+(/[A-Za-z0-9!_.*()=@%-]+)*)?$') && !self.split('/').exists(p, p == '.' || p == '..')").message("path may have letters, digits and !_.*()=@%- in parts divided by '/', no part '.' or '..', no '/' at its ends"))]
    pub path: String,
}

/// Where something goes below the target, and how it is stored there.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Path below the target, without slashes at its ends.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9!_.*()=@%-]+(/[A-Za-z0-9!_.*()=@%-]+)*$') && !self.split('/').exists(p, p == '.' || p == '..')").message("path may have letters, digits and !_.*()=@%- in parts divided by '/', no part '.' or '..', no '/' at its ends"))]
    pub path: String,
    /// How it is stored. The wrong one keeps MatrixOne from starting.
    pub format: Format,
}

/// How MatrixOne stores the bytes of its files.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// As they are: file services S3, MINIO and, from 4.2 on, DISK-V2.
    Raw,
    /// In blocks with checksums: file service DISK, in every version.
    Framed,
}

/// Rules of the status: what a proof says is fenced like a report.
fn rules() -> serde_json::Value {
    let mut rules = super::run_status::rules_with_progress();
    let proof = serde_json::json!({
        "rule": "!has(self.proof) || (oldSelf.hasValue() && has(oldSelf.value().proof) && oldSelf.value().proof == self.proof) || (has(self.run) && self.proof.run == self.run)",
        "optionalOldSelf": true,
        "message": "this proof belongs to another run"
    });
    rules.as_array_mut().into_iter().for_each(|rules| rules.push(proof.clone()));
    rules
}

/// What is known about a Restore.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct RestoreStatus {
    /// Where it stands, in one word; programs read `conditions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// What the operator knows.
    #[serde(flatten)]
    pub run: RunStatus,
    /// What the attempt's worker reported. Written by the worker alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<RestoreReport>,
    /// What the proof of the new MatrixOne found. Written by the worker alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<RestoreProof>,
    /// How far the attempt is. Written by the worker alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Where a Restore stands, in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestorePhase {
    /// Something it needs is missing; the conditions say what.
    Pending,
    /// An attempt is under way.
    Copying,
    /// It waits before the next attempt.
    Retrying,
    /// `suspend` holds it back.
    Suspended,
    /// The plan is in the report, and nothing was written.
    Planned,
    /// Everything is in place, and MatrixOne can boot from it.
    InPlace,
    /// Everything is in place, and it waits for MatrixOne to answer at `target.cluster`.
    WaitingForBoot,
    /// MatrixOne answers, and its tables are read.
    Proving,
    /// MatrixOne runs on the restored data, and every table was read.
    Completed,
    /// It failed for good.
    Failed,
}
