//! What the worker of a `Restore` has to say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Format, Said, Warning};

/// What one attempt has to say. Written by the worker alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreReport {
    /// How it ended.
    #[serde(flatten)]
    pub said: Said,
    /// Id of the backup that was chosen; of a backup made without us, the path of its last folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub backup: Option<String>,
    /// The time of the data in UTC, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub at_time: Option<String>,
    /// The server that was backed up. Start the new MatrixOne in this version; `docs/restore.md` lists the other versions that were tried. MatrixOne itself does not check it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_version: Option<String>,
    /// What tells its cluster from others: when it was set up, in milliseconds since 1970. The new MatrixOne has the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_identity: Option<String>,
    /// When the attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub start_time: Option<Time>,
    /// When everything was in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub complete_time: Option<Time>,
    /// From start to the end, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// Objects of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Bytes of their content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub size: Option<String>,
    /// Objects that this attempt wrote; the others were right already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_objects: Option<i64>,
    /// Objects of these that the store copied by itself, because both places lie in it and the target's keys may read
    /// the source; the others went through the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_by_store: Option<i64>,
    /// What is to be done, or was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlan>,
    /// The target was filled by this Restore before, perhaps from another Kubernetes cluster, and was not touched now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub already_restored: Option<AlreadyRestored>,
    /// What is good to know, though it did not stop the restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<Warning>,
}

/// What a restore does.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// SHA-256 over the digest of the backup's entry list, the target and the formats: the same plan has the same hash.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Where the objects go, below the target.
    pub data_path: String,
    /// How they are stored there.
    pub data_format: Format,
    /// Where the file with MatrixOne's ids goes, below the target.
    pub hk_data_path: String,
    /// How it is stored there.
    pub hk_data_format: Format,
}

/// An earlier restore into the same target.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AlreadyRestored {
    /// When it was complete, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub completed_at: String,
    /// UID of the Restore object of then.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// What a proof of the new MatrixOne has to say. Written by the worker alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProof {
    /// How it ended.
    #[serde(flatten)]
    pub said: Said,
    /// When MatrixOne answered for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub booted_time: Option<Time>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_version: Option<String>,
    /// When the proof ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub complete_time: Option<Time>,
    /// From its begin, the wait for MatrixOne included, to its end, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// Accounts whose tables were read. The warnings name those that were not, for want of a login.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 17), inner(length(max = 256)))]
    pub accounts: Vec<String>,
    /// Tables whose values were all read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<i64>,
    /// Their rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// Bytes of their values, in the text form in which MatrixOne sends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub size: Option<String>,
    /// Views and external tables of these accounts: they hold no values of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<i64>,
    /// What is good to know, though it did not stop the proof.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<Warning>,
}
