//! Looking before acting: what an earlier attempt has already committed.

use super::{Failure, backup::Attempt, report::Taken};
use crate::store::catalog;

/// The committed backup, if there is one. It was checked as deep as the spec asks before it was committed, by the attempt
/// that did; the spec has been frozen since.
pub(super) async fn committed(attempt: &Attempt<'_>) -> Result<Option<Taken>, Failure> {
    let found = catalog::read(&*attempt.ports.repository, attempt.task.id).await;
    let found = found.map_err(|e| attempt.repository_failure(&e))?;
    Ok(found.map(|catalog| Taken { catalog, hashed: 0 }))
}
