//! The part of a status that the operator writes, alike in every kind that runs Jobs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// How many attempts `attempts` keeps.
pub const ATTEMPTS_KEPT: usize = 10;

/// What the operator knows about the runs of an object.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The attempt under way, or the last one. Counts from 1; 0 before the first.
    pub attempt: i32,
    /// The first attempt since the start, or since the last `mo-backup.io/retry`. `retry.limit` counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_attempt: Option<i32>,
    /// The run whose report counts: `<uid>-<attempt>`. Reports of another run are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub run: Option<String>,
    /// The last ten attempts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub attempts: Vec<AttemptRecord>,
    /// Where the object stands in the queue of its MatrixOne cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// When the first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended, well or badly. Wait for this field, then look at `Complete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// The tokens of the annotations that were acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_requests: Option<HandledRequests>,
    /// The latest observations: `Ready`, `Reconciling`, `Stalled`; for one-shot kinds also `Complete`, `Failed`; for backups also `Verified`, for restores `DataInPlace`, `Booted`, `Proven`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One try.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttemptRecord {
    /// Number of the attempt.
    pub number: i32,
    /// Name of the Job.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// UID of the Job, once it was seen. A Job that is absent though this is set has been deleted by somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// SHA-256 of what the spec says about this attempt, where that may be changed while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub about: Option<String>,
    /// Name of the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Node of the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When the attempt was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Place in the queue of a MatrixOne cluster, over all namespaces.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Queue {
    /// How many are ahead. The next one to run has 1.
    pub position: i32,
    /// The object that runs now, as `namespace/name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub running: String,
}

/// Tokens of the annotations that were acted on.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HandledRequests {
    /// Token of `mo-backup.io/cancel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Token of `mo-backup.io/retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    /// Token of `mo-backup.io/sweep-orphans`, of a BackupStorage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_orphans: Option<String>,
}

/// The condition types our kinds may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The object is as its spec asks (kstatus).
    Ready,
    /// Work is under way (kstatus).
    Reconciling,
    /// Nothing will move without a person (kstatus).
    Stalled,
    /// Everything the spec asked for is done.
    Complete,
    /// It failed for good.
    Failed,
    /// The bytes were checked, as deep as `verify` asks.
    Verified,
    /// What was to be restored is in the target, whole.
    DataInPlace,
    /// A MatrixOne answers that was started on it.
    Booted,
    /// That MatrixOne is the restored one, gives no id twice, and the values of its tables were read.
    Proven,
}

impl ConditionType {
    /// The wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Verified => "Verified",
            Self::DataInPlace => "DataInPlace",
            Self::Booted => "Booted",
            Self::Proven => "Proven",
        }
    }
}

/// Sets one condition. `lastTransitionTime` moves only when the status changes, so that an unchanged world gives an
/// unchanged list.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: bool,
    (reason, message): (Reason, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let since = conditions
        .iter()
        .find(|c| c.type_ == type_.as_str() && c.status == status)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    conditions.retain(|c| c.type_ != type_.as_str());
    conditions.push(Condition {
        type_: type_.as_str().into(),
        status: status.into(),
        reason: reason.as_str().into(),
        message: message.chars().take(1024).collect(),
        observed_generation: generation,
        last_transition_time: since,
    });
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Rules of every status that has a run: a late report is refused, and attempts only count upwards.
///
/// The first one compares whole reports, so a report's schema has no `date-time`: in the API server's CEL two objects
/// that hold one are never equal, and no second attempt could begin after a report (seen on Kubernetes 1.36).
pub(super) fn rules() -> serde_json::Value {
    serde_json::json!([
        {
            "rule": "!has(self.report) || (oldSelf.hasValue() && has(oldSelf.value().report) && oldSelf.value().report == self.report) || (has(self.run) && self.report.run == self.run)",
            "optionalOldSelf": true,
            "message": "this report belongs to another run"
        },
        {"rule": "!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)", "message": "attempt never goes back"}
    ])
}

/// The same for a status with progress. A worker that was replaced sends its progress without a report, and would take
/// the report of its replacement away: both are applied by the same field manager.
pub(super) fn rules_with_progress() -> serde_json::Value {
    let progress = serde_json::json!({
        "rule": "!has(self.progress) || (has(self.run) && self.progress.run == self.run) || (oldSelf.hasValue() && has(oldSelf.value().progress) && oldSelf.value().progress.run == self.progress.run)",
        "optionalOldSelf": true,
        "message": "this progress belongs to another run"
    });
    let mut rules = rules();
    rules.as_array_mut().into_iter().for_each(|rules| rules.push(progress.clone()));
    rules
}
