//! Why one try of an attempt did not become a backup.

use super::Failure;
use crate::api::Reason;

/// Why one try of an attempt did not become a backup.
pub(super) enum Trouble {
    /// The base cannot carry it; a full backup can still be taken.
    Base(String),
    /// The attempt is over.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Base(why) => Self::new(Reason::BaseNotUsable, why),
            Trouble::Failed(failure) => failure,
        }
    }
}
