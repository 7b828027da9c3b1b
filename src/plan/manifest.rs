//! The files that make a folder a backup: the catalogue entry and the entry list.

use serde::{Deserialize, Serialize};

use super::{AttemptDir, BackupId, Digest, RepositoryId, Timestamp};

/// Version of the formats below. A reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// `mo-backup.json`: says that a prefix is a repository, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Marker {
    /// [`FORMAT`].
    pub format: u32,
    /// Id of the repository.
    pub repository: RepositoryId,
    /// Who may write.
    pub owner: Owner,
    /// When it was made, RFC 3339 UTC.
    pub created_at: String,
}

/// The BackupStorage that may write to a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// Its namespace; empty for the command line.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// All objects were copied.
    Full,
    /// Only what changed since the base.
    Incremental,
}

/// How the bytes below `tae/` and `hakeeper/` of one attempt are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// As they are.
    #[serde(rename = "raw")]
    Raw,
    /// Blocks of 2048 bytes: CRC32C (little endian) and up to 2044 bytes of content.
    #[serde(rename = "crc2048")]
    Crc2048,
}

/// `catalog/<backup-id>.json`: the commit point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalog {
    /// [`FORMAT`].
    pub format: u32,
    /// Id of the backup.
    pub id: BackupId,
    /// Repository it was written for.
    pub repository: RepositoryId,
    /// Folder of the attempt that was committed.
    pub attempt: AttemptDir,
    /// Unique to the process that committed, so that a lost reply is settled by reading back.
    pub nonce: String,
    /// What was taken.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The backup that an incremental one is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BackupId>,
    /// How many incrementals lie between this backup and a full one; 0 for a full one.
    pub chain: u32,
    /// The Kubernetes object it was made for, `<namespace>/<name>`.
    pub object: String,
    /// The server.
    pub cluster: ClusterSeen,
    /// Consistency point; the TIMESTAMP of a next incremental.
    pub backup_ts: Timestamp,
    /// History read from this backup is exact up to here.
    pub exact_until: Timestamp,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// RFC 3339 UTC.
    pub completed_at: String,
    /// The attempts that hold the bytes. The first is the backup's own.
    pub sources: Vec<Source>,
    /// The entry list.
    pub entries: EntriesRef,
    /// Sums over the entry list.
    pub totals: Totals,
    /// Snapshots and policies in force when it was taken.
    pub history: History,
}

/// The server of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSeen {
    /// What tells this MatrixOne cluster from others.
    pub identity: String,
    /// Version, such as `v4.2.0`.
    pub matrixone: String,
    /// Commit the server was built from, as it says itself.
    pub commit: String,
    /// Where it was reached, `host:port`. It tells a clone, which has the same identity, from its original. Backups of
    /// earlier versions of this program do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// An attempt that holds bytes of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Backup of the attempt.
    pub backup: BackupId,
    /// Folder of the attempt.
    pub attempt: AttemptDir,
    /// How its bytes are stored.
    pub framing: Framing,
    /// Objects of *this* backup that lie there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where the entry list is and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntriesRef {
    /// Size of the stored (compressed) file.
    pub bytes: u64,
    /// SHA-256 of the stored file.
    pub sha256: Digest,
    /// Number of lines.
    pub lines: u64,
    /// SHA-256 of the lines, the same whatever compressed them.
    pub lines_sha256: Digest,
}

/// Sums over the entry list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totals {
    /// All objects.
    pub objects: u64,
    /// All bytes.
    pub bytes: u64,
    /// Objects in the backup's own folder.
    pub copied_objects: u64,
    /// Their bytes.
    pub copied_bytes: u64,
}

/// What of MatrixOne's history the backup carries. Absent: the server could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Names of the snapshots of account `sys`, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Vec<String>>,
    /// PITR policies as `<account id>/<name>/<level>/<length><unit>`, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitr: Option<Vec<String>>,
}

/// One line of the entry list: one object of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path below the attempt's folder, such as `tae/<name>`.
    pub path: String,
    /// Bytes of the content, without frames.
    pub size: u64,
    /// SHA-256 of the content, without frames.
    pub sha256: Digest,
    /// Which of the catalogue's `sources` holds the bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
