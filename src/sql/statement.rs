//! Every statement we ever send.

use secrecy::SecretString;

/// Where a BACKUP writes to.
#[derive(Clone, Debug)]
pub enum BackupTarget {
    /// A folder in the file system of the CN that runs the statement.
    FileSystem {
        /// Absolute path.
        path: String,
    },
    /// A prefix of a bucket.
    S3(Box<S3Target>),
}

/// A prefix of a bucket, for the server to write to.
#[derive(Clone, Debug)]
pub struct S3Target {
    /// URL with scheme.
    pub endpoint: String,
    /// Never empty.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Key prefix of the backup.
    pub filepath: String,
    /// Keys; without them the server uses its own identity.
    pub keys: Option<(SecretString, SecretString)>,
    /// Role to assume.
    pub role_arn: Option<String>,
}

/// A statement. The text is made in [`Statement::text`] alone.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `select version()`: one row, one column.
    Version,
    /// `select git_version()`.
    GitVersion,
    /// Name of the session's account.
    CurrentAccount,
    /// What tells this cluster from others and survives restarts; one row, one column.
    Identity,
    /// The cluster's clock: JSON with `result: "<phys>-<logical>"`. Needs role moadmin.
    GetSnapshot,
    /// Forces a checkpoint; waits up to ten minutes. Needs role moadmin.
    Checkpoint,
    /// Holds garbage collection back to this moment (`<phys>-<logical>`), on servers without protection of their own.
    HoldMinTs(String),
    /// Ends [`Statement::HoldMinTs`].
    ReleaseMinTs,
    /// Names of the snapshots of the session's account.
    Snapshots,
    /// PITR policies: account id, name, level, length, unit.
    PitrPolicies,
    /// Running BACKUP statements of anybody: connection id, statement text.
    RunningBackups,
    /// Ends the statement of another session.
    KillQuery(u32),
    /// Takes a physical backup.
    Backup {
        /// Label: the attempt's run, so that a lost statement can be found.
        label: String,
        /// Where to.
        target: BackupTarget,
        /// Copies at the same time.
        parallelism: u16,
        /// Consistency point of the base (`<phys>-<logical>`) for an incremental one.
        since: Option<String>,
    },
}
