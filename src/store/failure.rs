//! What can go wrong with a repository: its files, its owner, its bytes.

use std::path::PathBuf;

use super::{Error, Problem};
use crate::plan::{self, BackupId};

/// Work on a repository that failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] Error),
    /// A list or digest is not what it must be.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// A file of the repository is damaged.
    #[error("failed to read {key}: {detail}; restore it from a copy of the repository, or delete its backup")]
    Damaged {
        /// Key of the file.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// A file was written by a later version of this program.
    #[error("failed to read {key}: it has format {format}; use a newer mo-backup")]
    TooNew {
        /// Key of the file.
        key: String,
        /// Its format.
        format: u32,
    },
    /// The repository belongs to another storage.
    #[error(
        "failed to use the repository: it belongs to BackupStorage {namespace}/{name} (UID {uid}); \
         use another prefix, or accessMode ReadOnly"
    )]
    OtherOwner {
        /// Namespace of the owner.
        namespace: String,
        /// Name of the owner.
        name: String,
        /// UID of the owner.
        uid: String,
    },
    /// Another process has committed this backup.
    #[error("failed to commit backup {0}: another process has committed it")]
    Conflict(BackupId),
    /// Another process works on the same attempt.
    #[error("failed to begin backup {0}: another process works on the same attempt")]
    AttemptTaken(BackupId),
    /// The attempt was ended by another process.
    #[error(
        "failed to commit backup {0}: its intent is gone, because the backup was deleted, a later attempt has begun, or the \
         time of this one was over; take the backup again"
    )]
    IntentGone(BackupId),
    /// The repository never stood still while it was read.
    #[error("failed to find what backups need: the repository changed each time that it was read; try again")]
    Unsettled,
    /// Nothing can be removed while it is not known what another backup needs.
    #[error("failed to remove backup {id}: what it shares with others is not known, because {cause}")]
    Blocked {
        /// The backup to be removed.
        id: BackupId,
        /// What is in the way.
        #[source]
        cause: Box<Failure>,
    },
    /// Objects that were deleted are still there.
    #[error("failed to remove {left} objects, first {first}; the store keeps them, see its retention rules")]
    Left {
        /// How many.
        left: u64,
        /// The first key.
        first: String,
    },
    /// Content differs from what it must be.
    #[error("failed to verify {what}: {detail}; the copy or its original is damaged, take another backup")]
    Differs {
        /// Key or file.
        what: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// A local file cannot be read.
    #[error("failed to read {}: {cause}", file.display())]
    Local {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The caller has given up.
    #[error("failed to finish: the work was cancelled")]
    Cancelled,
}

impl Failure {
    /// Whether a file of the repository is not as it was written, or gone.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Plan(_) | Self::Damaged { .. } | Self::Differs { .. } => true,
            Self::Store(_)
            | Self::TooNew { .. }
            | Self::OtherOwner { .. }
            | Self::Conflict(_)
            | Self::AttemptTaken(_)
            | Self::IntentGone(_)
            | Self::Unsettled
            | Self::Blocked { .. }
            | Self::Left { .. }
            | Self::Local { .. }
            | Self::Cancelled => false,
        }
    }

    /// Key of the file that cannot be read, if it is that.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Damaged { key, detail: _ } | Self::TooNew { key, format: _ } => Some(key),
            Self::Store(_)
            | Self::Plan(_)
            | Self::OtherOwner { .. }
            | Self::Conflict(_)
            | Self::AttemptTaken(_)
            | Self::IntentGone(_)
            | Self::Unsettled
            | Self::Blocked { .. }
            | Self::Left { .. }
            | Self::Differs { .. }
            | Self::Local { .. }
            | Self::Cancelled => None,
        }
    }

    /// The store's trouble, if it is one.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Store(e) => Some(e.problem),
            Self::Blocked { id: _, cause } => cause.problem(),
            Self::Plan(_)
            | Self::Damaged { .. }
            | Self::TooNew { .. }
            | Self::OtherOwner { .. }
            | Self::Conflict(_)
            | Self::AttemptTaken(_)
            | Self::IntentGone(_)
            | Self::Unsettled
            | Self::Left { .. }
            | Self::Differs { .. }
            | Self::Local { .. }
            | Self::Cancelled => None,
        }
    }
}
