//! How a command ends: an exit code, and when it did not go well, one line that says what to change.

use crate::{
    api::{Outcome, Reason, Said},
    worker::{Failure, Place},
};

/// How a command ends, by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done.
    Done = 0,
    /// The command line is wrong, or a file that it names. Nothing was touched.
    Usage = 2,
    /// There is no such backup.
    NotFound = 3,
    /// A backup is not what it must be.
    Damaged = 4,
    /// It failed, and another try may go well.
    Again = 10,
    /// It failed, and will fail again until something is changed.
    Final = 11,
    /// It was told to stop.
    Interrupted = 12,
}

/// Why a command did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The exit code.
    pub ending: Ending,
    /// What failed, on what, and which flag to change, in one line.
    pub message: String,
}

/// The beginnings of flags, by what they are about.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The repository: "" where there is only one place, else `backup-`.
    pub repository: &'static str,
}

impl Refusal {
    /// A command line that is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { ending: Ending::Usage, message: message.into() }
    }

    /// A backup that nobody knows.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { ending: Ending::NotFound, message: message.into() }
    }

    /// What came of a work that failed, with the flag that may mend it.
    #[must_use]
    pub fn of(failure: &Failure, names: Names) -> Self {
        let ending = match failure.outcome {
            Outcome::Interrupted => Ending::Interrupted,
            Outcome::Failed | Outcome::Succeeded => ending(failure.reason, failure.retryable),
        };
        // There is no worker that a person knows.
        let interrupted = failure.reason == Reason::Interrupted;
        let detail = if interrupted { "it was told to stop" } else { failure.detail.trim_end_matches('.') };
        let of = |place: Place| detail.ends_with(place.said());
        let prefix = if of(Place::TargetVolume) { "restore-" } else { names.repository };
        let path = if of(Place::Staging) { "staging".into() } else { format!("{prefix}path") };
        let message = match hint(failure.reason, prefix, &path).as_str() {
            "" => one_line(detail),
            hint => one_line(&format!("{detail}. {hint}")),
        };
        Self { ending, message }
    }

    /// The same, of a report.
    #[must_use]
    pub fn of_said(said: &Said, names: Names) -> Self {
        let reason = said.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Internal);
        let message = said.message.clone().unwrap_or_default();
        // The remedy is for whoever writes objects of Kubernetes; here it is a flag.
        let detail = message.strip_suffix(reason.remedy()).unwrap_or(&message).trim_end().to_owned();
        let failure = Failure { reason, detail, retryable: said.retryable, outcome: said.outcome };
        Self::of(&failure, names)
    }
}

fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim_end().to_owned()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of all reasons these have an exit code of their own")]
fn ending(reason: Reason, retryable: bool) -> Ending {
    match reason {
        Reason::BackupNotFound | Reason::BaseNotFound => Ending::NotFound,
        Reason::RepositoryDamaged
        | Reason::ObjectMissing
        | Reason::ObjectCorrupted
        | Reason::BackupIncomplete
        | Reason::BackupForeign => Ending::Damaged,
        Reason::InvalidSpec => Ending::Usage,
        _ if retryable => Ending::Again,
        _ => Ending::Final,
    }
}

/// What to change, in the words of the command line.
#[expect(clippy::wildcard_enum_match_arm, reason = "what no flag can mend has no flag")]
fn hint(reason: Reason, p: &str, path: &str) -> String {
    if let Some(hint) = hint_of_place(reason, p, path) {
        return hint;
    }
    match reason {
        Reason::ServerUnreachable => "Check --host and --port, and that MatrixOne runs".into(),
        Reason::NotMatrixOne => "Correct --host and --port".into(),
        Reason::LoginFailed => "Correct --user and the password (--password-file, MO_BACKUP_PASSWORD)".into(),
        Reason::NotSysAccount => "Give a --user of account sys, such as dump".into(),
        Reason::ServerTlsUnavailable => "Switch TLS on in MatrixOne, or leave --tls required out".into(),
        Reason::ServerTlsUntrusted => "Give the authority of MatrixOne's certificate with --tls-ca-file".into(),
        Reason::BaseNotFound | Reason::BaseNotUsable => {
            "Name another --base-id, or let it be found with --backup-type auto".into()
        }
        Reason::MethodNotSupported => "Give a folder that MatrixOne shares with this machine with --staging".into(),
        Reason::KeysInSql => "Give --staging, or let them be sent with --allow-keys-in-sql".into(),
        Reason::StagingNotShared => {
            "--staging must be a folder that MatrixOne sees too, under the same path or under --staging-server-path"
                .into()
        }
        Reason::StagingNotEmptied => "Run this as the user that MatrixOne runs as, or remove the folder by hand".into(),
        Reason::TargetNotEmpty => "Empty it, or name a fresh place with --restore-path or --restore-filepath".into(),
        Reason::BackupNotFound => "See what there is with mo-backup list".into(),
        Reason::ClusterAmbiguous => {
            "Say which one with --identity or --address beside --latest, or give the ID of the backup".into()
        }
        Reason::BackupRunning => "Wait until it has ended".into(),
        Reason::InvalidSpec
        | Reason::Interrupted
        | Reason::StorageError
        | Reason::StatementFailed
        | Reason::ServerNotSupported
        | Reason::ObjectMissing
        | Reason::ObjectCorrupted
        | Reason::BackupIncomplete
        | Reason::CommitConflict
        | Reason::Stalled
        | Reason::RunDeadlineExceeded
        | Reason::PurgeFailed
        | Reason::BackupForeign => String::new(),
        other => other.remedy().to_owned(),
    }
}

/// What to change of a place, whose flags begin so, and whose folder is named so.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are about no place")]
fn hint_of_place(reason: Reason, p: &str, path: &str) -> Option<String> {
    Some(match reason {
        Reason::StorageUnreachable => format!("Check --{p}endpoint (or --{path}), and that the store runs"),
        Reason::StorageTlsUntrusted => format!("Give the authority of the store's certificate with --{p}ca-file"),
        Reason::BucketNotFound => format!("Create the bucket, or correct --{p}bucket"),
        Reason::StorageCredentialsRejected => {
            format!("Correct --{p}access-key-id and --{p}secret-access-key, or the rights of these keys")
        }
        Reason::StorageCredentialsMissing => {
            format!(
                "Give --{p}access-key-id and --{p}secret-access-key-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        }
        Reason::RegionMismatch => format!("Correct --{p}region"),
        Reason::VolumeNotUsable if path == "path" => {
            "--path must be a folder that MatrixOne sees under the same path, and this user must have the rights to it and \
             to what lies there: run both as the same user"
                .into()
        }
        Reason::VolumeNotUsable => {
            format!("--{path} must be a folder, and this user must have the rights to it and to what lies there")
        }
        Reason::RepositoryForeign => {
            format!("It can be listed, checked and restored from; to write, name another --{p}path or --{p}filepath")
        }
        Reason::InvalidSpec if path == "staging" => "Name another folder with --staging".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
