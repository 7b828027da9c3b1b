//! Why an attempt ends without a backup.

use crate::{
    api::{Outcome, Reason, Said},
    sql, store,
    task::Location,
};

/// Why an attempt ends without a backup, as the report says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// One of the documented reasons.
    pub reason: Reason,
    /// What happened, in words; never a secret.
    pub detail: String,
    /// Whether another attempt can help.
    pub retryable: bool,
    /// Whether the attempt failed or was ended from outside.
    pub outcome: Outcome,
}

/// A place of objects, as a person knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The bucket of the repository.
    Bucket,
    /// The volume that is the repository.
    Volume,
    /// The volume shared with MatrixOne.
    Staging,
    /// The bucket that a backup is restored to.
    TargetBucket,
    /// The volume that a backup is restored to.
    TargetVolume,
}

impl Place {
    /// The place of a repository.
    #[must_use]
    pub fn of(location: &Location) -> Self {
        match location {
            Location::S3(_) => Self::Bucket,
            Location::Volume(_) => Self::Volume,
        }
    }

    /// The place that a backup is restored to.
    #[must_use]
    pub fn of_target(location: &Location) -> Self {
        match location {
            Location::S3(_) => Self::TargetBucket,
            Location::Volume(_) => Self::TargetVolume,
        }
    }

    /// The words that end the detail of a failure in this place. A report has no other sign of the place.
    #[must_use]
    pub const fn said(self) -> &'static str {
        match self {
            Self::Bucket | Self::Volume => "(in the repository)",
            Self::Staging => "(in the staging folder)",
            Self::TargetBucket | Self::TargetVolume => "(in the target)",
        }
    }
}

impl Failure {
    /// A failure that is as final as its reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retryable: !reason.is_permanent(), outcome: Outcome::Failed }
    }

    /// An end from outside.
    pub fn interrupted(reason: Reason, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Interrupted, retryable: true, ..Self::new(reason, detail) }
    }

    /// What happened and what to do, for a status.
    #[must_use]
    pub fn message(&self) -> String {
        let text = format!("{}. {}", self.detail.trim_end_matches('.'), self.reason.remedy());
        text.chars().take(2000).collect()
    }

    /// The same, as the beginning of a report of this run.
    #[must_use]
    pub fn said(&self, run: &str) -> Said {
        Said {
            run: run.into(),
            outcome: self.outcome,
            reason: Some(self.reason.as_str().into()),
            message: Some(self.message()),
            retryable: self.retryable,
        }
    }

    /// A store's trouble in the words of this place.
    #[must_use]
    pub fn of_store(place: Place, error: &store::Error) -> Self {
        use store::Problem;
        if error.problem == Problem::Cancelled {
            return Self::interrupted(Reason::Interrupted, error.to_string());
        }
        let reason = match (place, error.problem) {
            (_, Problem::Missing) => Reason::ObjectMissing,
            (_, Problem::Taken) => Reason::CommitConflict,
            (_, Problem::Corrupted) => Reason::ObjectCorrupted,
            (_, Problem::Full) => Reason::StorageFull,
            (
                Place::Volume | Place::Staging | Place::TargetVolume,
                Problem::NoBucket | Problem::Denied | Problem::NoCredentials,
            ) => Reason::VolumeNotUsable,
            (Place::Bucket | Place::TargetBucket, Problem::NoBucket) => Reason::BucketNotFound,
            (Place::Bucket | Place::TargetBucket, Problem::Denied) => Reason::StorageCredentialsRejected,
            (Place::Bucket | Place::TargetBucket, Problem::NoCredentials) => Reason::StorageCredentialsMissing,
            (_, Problem::Region) => Reason::RegionMismatch,
            (_, Problem::Clock) => Reason::ClockSkewed,
            (_, Problem::Throttled) => Reason::StorageThrottled,
            (_, Problem::Unreachable) => Reason::StorageUnreachable,
            (_, Problem::Tls) => Reason::StorageTlsUntrusted,
            (_, Problem::Setting) => Reason::StorageSettingRefused,
            (_, Problem::Locked | Problem::Unsupported | Problem::Cancelled | Problem::Other) => Reason::StorageError,
        };
        Self::new(reason, format!("{error} {}", place.said()))
    }
}

impl Failure {
    /// A repository's trouble in the words of this place.
    #[must_use]
    pub fn of_repository(place: Place, failure: &store::Failure) -> Self {
        use store::Failure as F;
        let reason = match failure {
            F::Store(error) => return Self::of_store(place, error),
            F::Blocked { id: _, cause } => {
                let cause = Self::of_repository(place, cause);
                return Self { detail: failure.to_string(), ..cause };
            }
            F::Plan(_) | F::Damaged { .. } => Reason::RepositoryDamaged,
            F::Differs { .. } => Reason::ObjectCorrupted,
            F::TooNew { .. } => Reason::RepositoryTooNew,
            F::OtherOwner { .. } => Reason::RepositoryForeign,
            F::Conflict(_) | F::AttemptTaken(_) | F::IntentGone(_) => Reason::CommitConflict,
            F::Left { .. } | F::Unsettled => Reason::PurgeFailed,
            F::Local { .. } => Reason::Internal,
            F::Cancelled => return Self::interrupted(Reason::Interrupted, failure.to_string()),
        };
        Self::new(reason, failure.to_string())
    }
}

impl From<sql::Error> for Failure {
    fn from(error: sql::Error) -> Self {
        use sql::Problem;
        let reason = match error.problem {
            Problem::Unreachable => Reason::ServerUnreachable,
            Problem::NotMatrixOne => Reason::NotMatrixOne,
            Problem::Login => Reason::LoginFailed,
            Problem::TlsUnavailable => Reason::ServerTlsUnavailable,
            Problem::TlsUntrusted => Reason::ServerTlsUntrusted,
            Problem::Lost => Reason::StatementUnknown,
            Problem::Privilege => Reason::RoleTooWeak,
            Problem::Unsupported => Reason::ServerNotSupported,
            Problem::Cancelled | Problem::Refused | Problem::Reply => Reason::StatementFailed,
        };
        let code = if error.code == 0 { String::new() } else { format!(" (error {})", error.code) };
        Self::new(reason, format!("{error}{code}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Place::Bucket, store::Problem::NoBucket, Reason::BucketNotFound, false)]
    #[case(Place::Staging, store::Problem::NoBucket, Reason::VolumeNotUsable, false)]
    #[case(Place::Bucket, store::Problem::Denied, Reason::StorageCredentialsRejected, false)]
    #[case(Place::Volume, store::Problem::Denied, Reason::VolumeNotUsable, false)]
    #[case(Place::Bucket, store::Problem::Unreachable, Reason::StorageUnreachable, true)]
    fn a_store_problem_has_a_reason(
        #[case] place: Place,
        #[case] problem: store::Problem,
        #[case] reason: Reason,
        #[case] retryable: bool,
    ) {
        let error = store::Error { problem, verb: "list", what: "data/".into(), detail: "no".into(), temporary: false };
        let failure = Failure::of_store(place, &error);
        assert_eq!((failure.reason, failure.retryable), (reason, retryable));
        assert!(failure.message().contains(reason.remedy()), "{}", failure.message());
    }

    #[test]
    fn the_servers_words_and_code_are_kept() {
        let detail = "no space left on device".to_owned();
        let error = sql::Error { problem: sql::Problem::Refused, verb: "take the backup".into(), code: 1105, detail };
        let failure = Failure::from(error);
        assert_eq!(failure.reason, Reason::StatementFailed);
        assert_eq!(failure.detail, "failed to take the backup: no space left on device (error 1105)");
    }
}
