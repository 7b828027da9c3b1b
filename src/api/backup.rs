//! `Backup`: one recoverable state of a whole MatrixOne cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BackupReport, Cluster, JobOptions, Progress, RunStatus};

/// A recoverable copy of a whole MatrixOne cluster: the data as it was at one moment, taken once and kept in a repository.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mo-backup.io",
    version = "v1alpha1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    category = "mo-backup",
    shortname = "mobak",
    derive = "PartialEq",
    doc = "A recoverable copy of a whole MatrixOne cluster: the data as it was at one moment, taken once and kept in a repository.",
    selectable = ".spec.storage",
    selectable = ".spec.cluster.address.host",
    selectable = ".spec.cluster.matrixOneCluster.name",
    selectable = ".spec.type",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.size() <= 52").message("the name of a Backup may have at most 52 characters: names of Jobs are made from it"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.attempt) || oldSelf.status.attempt == 0 || (has(oldSelf.status.phase) && oldSelf.status.phase == 'Failed' && self.spec.storage == oldSelf.spec.storage) || (has(self.spec.imported) == has(oldSelf.spec.imported) && (!has(self.spec.imported) || self.spec.imported == oldSelf.spec.imported) && has(self.spec.cluster) == has(oldSelf.spec.cluster) && (!has(self.spec.cluster) || self.spec.cluster == oldSelf.spec.cluster) && self.spec.storage == oldSelf.spec.storage && self.spec.type == oldSelf.spec.type && self.spec.parallelism == oldSelf.spec.parallelism && self.spec.allowKeysInSql == oldSelf.spec.allowKeysInSql && self.spec.verify == oldSelf.spec.verify && self.spec.retry == oldSelf.spec.retry && self.spec.deadlines == oldSelf.spec.deadlines && has(self.spec.base) == has(oldSelf.spec.base) && (!has(self.spec.base) || self.spec.base == oldSelf.spec.base) && has(self.spec.method) == has(oldSelf.spec.method) && (!has(self.spec.method) || self.spec.method == oldSelf.spec.method) && has(self.spec.staging) == has(oldSelf.spec.staging) && (!has(self.spec.staging) || self.spec.staging == oldSelf.spec.staging))"
    ).message("spec is frozen while there is work or data; only suspend, hold, deletionPolicy and job may change, and after a failure all but storage").field_path(".spec").reason(Reason::FieldValueForbidden),
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".status.report.type"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Done","type":"string","jsonPath":".status.progress.text"}"#,
    printcolumn = r#"{"name":"Size","type":"string","jsonPath":".status.report.size"}"#,
    printcolumn = r#"{"name":"At","type":"string","jsonPath":".status.report.atTime"}"#,
    printcolumn = r#"{"name":"Took","type":"string","jsonPath":".status.report.duration"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Base","type":"string","priority":1,"jsonPath":".status.report.base"}"#,
    printcolumn = r#"{"name":"Storage","type":"string","priority":1,"jsonPath":".spec.storage"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cluster) != has(self.imported)").message("give exactly one of cluster and imported: what is to be backed up, or which backup of the repository this is"))]
#[x_kube(validation = Rule::new("has(self.imported) == has(oldSelf.imported) && (!has(self.imported) || (self.imported.id == oldSelf.imported.id && self.storage == oldSelf.storage))").message("an imported Backup stays what it is: imported and its storage cannot change; make another Backup"))]
#[x_kube(validation = Rule::new("!has(self.imported) || (!has(self.base) && !has(self.method) && !has(self.staging))").message("base, method and staging say how a backup is taken; an imported one is there already"))]
#[x_kube(validation = Rule::new("self.type != 'Full' || !has(self.base)").message("base goes with type Incremental or Auto; a full backup has none"))]
#[x_kube(validation = Rule::new("!has(self.method) || self.method != 'Staged' || has(self.staging)").message("method Staged needs staging.volume: the volume that MatrixOne and the worker share"))]
#[x_kube(validation = Rule::new("!has(self.staging) || !has(self.method) || self.method != 'Direct'").message("staging goes with method Staged; with Direct MatrixOne writes to the repository itself"))]
pub struct BackupSpec {
    /// The MatrixOne cluster to back up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// A backup that is in the repository already, instead of `cluster`. Nothing runs: the next probe of the BackupStorage looks it up, and the report is filled from its catalogue entry. `adopt: All` of a BackupStorage makes such Backups by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// Name of the BackupStorage, in this namespace, that the backup goes to.
    #[schemars(length(min = 1, max = 52))]
    pub storage: String,
    /// `Auto`: incremental where a usable base is in the repository, else full, and the report says why. `Full`: all objects. `Incremental`: fails where there is no usable base.
    #[serde(rename = "type", default)]
    pub type_: BackupType,
    /// Name of the Backup, in this namespace, that an incremental one is based on. Without it: the newest usable one of the repository. One that is named and damaged is a failure, also with type Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 52))]
    pub base: Option<String>,
    /// `Direct`: MatrixOne writes into the repository itself. `Staged`: MatrixOne writes to a shared volume and the worker copies from there. Without it: Staged when `staging` is given, else Direct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Where MatrixOne puts the files for the worker, with method Staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging: Option<Staging>,
    /// How many objects are copied at the same time, by MatrixOne and by the worker.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 511))]
    pub parallelism: i32,
    /// Allow keys of the object store in the BACKUP statement on servers before 4.2, whose logs can show them. Matters for method Direct with keys only.
    #[serde(default)]
    pub allow_keys_in_sql: bool,
    /// How much is read back from the repository and compared before the backup counts as complete. Only Full finds every byte that was changed after MatrixOne had written it. With method Staged the copy also compares every object for which MatrixOne lists a digest, on its way from the volume.
    #[serde(default)]
    pub verify: VerifyLevel,
    /// What happens to the data when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How often a failed attempt is repeated.
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
    /// Keep the data: while this is true, deleting the object waits and its data is not removed.
    #[serde(default)]
    pub hold: bool,
}

/// A backup that is in the repository already.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// Its id: the name of its file in the repository's `catalog/`, without `.json`.
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')").message("id must be a UUID in lower case, such as 01a1fb90-0000-7000-8000-000000000001"))]
    pub id: String,
}

fn four() -> i32 {
    4
}

/// What to take.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupType {
    /// Incremental where a base is usable, else full.
    #[default]
    Auto,
    /// All objects.
    Full,
    /// What changed since the base.
    Incremental,
}

/// Who writes into the repository.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// MatrixOne itself.
    Direct,
    /// The worker, from a volume shared with MatrixOne.
    Staged,
}

/// Where MatrixOne puts the files for the worker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Staging {
    /// A volume that MatrixOne's Pods and the worker share.
    pub volume: StagingVolume,
}

/// A volume that MatrixOne's Pods and the worker share.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagingVolume {
    /// Name of the PersistentVolumeClaim in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim: String,
    /// Folder inside the volume, without slashes at its ends. Empty: the volume's root.
    #[serde(default)]
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9!_.*()=@%-]+(/[A-Za-z0-9!_.*()=@%-]+)*)?$') && !self.split('/').exists(p, p == '.' || p == '..')").message("path may have letters, digits and !_.*()=@%- in parts divided by '/', no part '.' or '..', no '/' at its ends: MatrixOne cannot write to other paths"))]
    pub path: String,
    /// Where MatrixOne's own Pods have mounted the same volume.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^(/[A-Za-z0-9!_.*()=@%-]+)+$') && !self.split('/').exists(p, p == '.' || p == '..')").message("serverPath must be an absolute path of letters, digits and !_.*()=@%-, without '.' or '..' parts: MatrixOne cannot write to other paths"))]
    pub server_path: String,
}

/// How much is read back and compared.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerifyLevel {
    /// Every object is in its place with its size. An object damaged without a change of its size is not found; only those that MatrixOne lists without a digest are read, to get one.
    #[default]
    Manifest,
    /// Besides, one object of a hundred, at least ten, is read back and its digest compared.
    Sample,
    /// Besides, every object is read back and its digest compared, reused ones too.
    Full,
}

/// What happens to the data when the object is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The data stays in the repository.
    #[default]
    Retain,
    /// A Job removes the data from the repository, except what other backups refer to.
    Delete,
}

/// How often a failed attempt is repeated.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts after the first one. Errors that another attempt cannot cure are not repeated.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 20))]
    pub limit: i32,
}

fn two() -> i32 {
    2
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: two() }
    }
}

/// How long things may take, as Go durations such as `90s` or `1h30m`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadlines {
    /// From the Job's creation to the running container.
    #[serde(default = "ten_minutes")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1s')").message("must be a duration of at least 1s in h, m and s, such as 90s or 1h30m"))]
    pub start: String,
    /// From start to end of one attempt.
    #[serde(default = "one_day")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1s')").message("must be a duration of at least 1s in h, m and s, such as 90s or 1h30m"))]
    pub run: String,
    /// Without any progress.
    #[serde(default = "quarter_hour")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1s')").message("must be a duration of at least 1s in h, m and s, such as 90s or 1h30m"))]
    pub stall: String,
}

fn ten_minutes() -> String {
    "10m".into()
}

fn one_day() -> String {
    "24h".into()
}

fn quarter_hour() -> String {
    "15m".into()
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { start: ten_minutes(), run: one_day(), stall: quarter_hour() }
    }
}

/// What is known about a Backup.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = super::run_status::rules_with_progress()))]
pub struct BackupStatus {
    /// Where it stands, in one word; programs read `conditions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// What the operator knows.
    #[serde(flatten)]
    pub run: RunStatus,
    /// What the attempt's worker reported. Written by the worker alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<BackupReport>,
    /// How far the attempt is. Written by the worker alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Where a Backup stands, in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupPhase {
    /// Something it needs is missing; the conditions say what.
    Pending,
    /// Another backup of the same MatrixOne cluster runs.
    Queued,
    /// An attempt is under way.
    Running,
    /// It waits before the next attempt.
    Retrying,
    /// `suspend` holds it back.
    Suspended,
    /// The backup is in the repository, whole.
    Completed,
    /// It failed for good.
    Failed,
    /// The object is being deleted.
    Deleting,
}
