//! What the worker of a `Backup` has to say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one attempt ended with.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The manifest is committed.
    Succeeded,
    /// The attempt failed.
    #[default]
    Failed,
    /// The attempt was ended from outside before it was done.
    Interrupted,
}

/// What a backup turned out to be.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakenType {
    /// All objects were copied.
    Full,
    /// Only what changed since the base was copied.
    Incremental,
}

/// How an attempt ended, in its worker's words. Every report begins with it, whatever the kind.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// The run this report belongs to.
    #[schemars(length(max = 64))]
    pub run: String,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Why it failed: one of the documented reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The same in words, with what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub message: Option<String>,
    /// Whether another attempt can help.
    pub retryable: bool,
}

/// What one attempt has to say. Written by the worker alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupReport {
    /// How it ended.
    #[serde(flatten)]
    pub said: Said,
    /// Id of the backup in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// What was taken.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<TakenType>,
    /// Why a full backup was taken where `Auto` looked for a base, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub type_reason: Option<String>,
    /// Id of the backup that an incremental one is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub base: Option<String>,
    /// Consistency point in MatrixOne's own notation, `<nanoseconds>-<logical>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub backup_ts: Option<String>,
    /// Up to here history (snapshots, point in time) read from this backup is exact; same notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub exact_until: Option<String>,
    /// The consistency point in UTC, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub at_time: Option<String>,
    /// When the attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub start_time: Option<Time>,
    /// When the manifest was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub complete_time: Option<Time>,
    /// From start to commit, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// Objects of the backup, reused ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Bytes of these objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub size: Option<String>,
    /// Bytes that this backup added to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_bytes: Option<i64>,
    /// Bytes that lie under earlier backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_bytes: Option<i64>,
    /// Where the attempt's objects lie, relative to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// How they came there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<super::Method>,
    /// The server that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSeen>,
    /// The committed manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestRef>,
    /// What was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What is good to know, though it did not stop the backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<Warning>,
}

/// A server as the worker met it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerSeen {
    /// Version, for example `v4.2.0`.
    pub version: String,
    /// What tells this MatrixOne cluster from others; it survives restarts.
    pub identity: String,
}

/// The committed manifest.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestRef {
    /// Key of the catalogue entry, relative to the repository.
    pub key: String,
    /// SHA-256 of the catalogue entry.
    pub sha256: String,
    /// Id of the repository that the backup was written to: a removal touches no other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub repository: Option<String>,
}

/// What was read back and compared.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How deep.
    pub level: super::VerifyLevel,
    /// Objects whose presence and size were checked.
    pub present: i64,
    /// Objects whose content was read back and hashed.
    pub hashed: i64,
}

/// Something that did not stop the backup.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Warning {
    /// One of the documented reasons.
    pub reason: String,
    /// The same in words.
    pub message: String,
}

impl Warning {
    /// What is said, and what warnings add to it, as one line.
    #[must_use]
    pub fn added(message: &str, warnings: &[Self]) -> String {
        warnings.iter().fold(message.to_owned(), |text, warning| {
            format!("{}. {}", text.trim_end_matches('.'), warning.message.trim_end_matches('.'))
        })
    }
}

/// How far the attempt is. Written at most every ten seconds.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The run this belongs to.
    #[schemars(length(max = 64))]
    pub run: String,
    /// When it was written. The operator takes a silence longer than `deadlines.stall` for a worker that hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Time>,
    /// One line for people, such as `42%`.
    #[schemars(length(max = 64))]
    pub text: String,
    /// What is being done.
    #[schemars(length(max = 64))]
    pub step: String,
    /// Objects done.
    pub objects: i64,
    /// Objects to do, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_objects: Option<i64>,
    /// Bytes done.
    pub bytes: i64,
    /// Bytes to do, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    /// Bytes each second, over the last interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// Seconds left at this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
}
