//! Why one try of an attempt did not become a backup.

use super::Failure;
use crate::api::Reason;

/// Why one try of an attempt did not become a backup.
pub(super) enum Trouble {
    /// The server's history is not that of the base; a full backup can still be taken.
    Base(String),
    /// Something of the base is damaged or lost; a full backup can still be taken, where nobody asked for this base.
    Damaged(String),
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
            Trouble::Base(why) | Trouble::Damaged(why) => Self::new(Reason::BaseNotUsable, why),
            Trouble::Failed(failure) => failure,
        }
    }
}
