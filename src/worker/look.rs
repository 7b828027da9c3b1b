//! Looking before acting: what an earlier attempt has already committed.

use futures::TryStreamExt as _;

use super::{
    Failure,
    backup::Attempt,
    merged,
    report::{Findings, Taken},
    sequence,
};
use crate::{
    api::{Reason, VerifyLevel},
    plan::Catalog,
    sql::Version,
    store::{
        self, catalog,
        presence::{self, Presence},
    },
};

/// The committed backup, if there is one.
pub(super) async fn entry(attempt: &Attempt<'_>) -> Result<Option<Catalog>, Failure> {
    let found = catalog::read(&*attempt.ports.repository, attempt.task.id).await;
    found.map_err(|e| attempt.repository_failure(&e))
}

/// The committed backup, if it is whole. One that is not has been damaged since it was committed: it is never taken back,
/// because other backups may be based on it. The base's own entry is not asked for; a base may rightly go later.
pub(super) async fn whole(attempt: &Attempt<'_>, catalog: Catalog, findings: &mut Findings) -> Result<Taken, Failure> {
    let watch = attempt.watch;
    watch.step("checking the presence of every object");
    let Some(fault) = fault(attempt, &catalog).await.map_err(|e| attempt.repository_failure(&e))? else {
        warnings(attempt, &catalog, findings).await?;
        // What an earlier attempt has read back is not on record.
        return Ok(Taken { catalog, level: VerifyLevel::Manifest, hashed: 0 });
    };
    let Catalog { id, attempt: dir, .. } = catalog;
    let detail = format!(
        "attempt {dir} has committed backup {id}, and it is damaged since: {fault}. Delete this Backup and take another"
    );
    Err(Failure::new(Reason::RepositoryDamaged, detail))
}

/// What a committed backup lacks.
async fn fault(attempt: &Attempt<'_>, catalog: &Catalog) -> Result<Option<String>, store::Failure> {
    let repository = &*attempt.ports.repository;
    let look = async {
        let entries = presence::of_list(catalog::entries(repository, catalog).await?);
        let entries = entries.inspect_ok(|entry| attempt.watch.done(1, entry.size));
        presence::present(repository, &catalog.sources, entries).await
    };
    match look.await {
        Ok(Presence { first, .. }) => Ok(first.first().map(ToString::to_string)),
        Err(failure) if failure.is_damage() => Ok(Some(failure.to_string())),
        Err(failure) => Err(failure),
    }
}

/// What the attempt that committed had to say, as far as it can be found out again.
async fn warnings(attempt: &Attempt<'_>, catalog: &Catalog, findings: &mut Findings) -> Result<(), Failure> {
    if let Some(version) = Version::of_release(&catalog.cluster.matrixone) {
        if !version.protects_backups() {
            findings.warn(Reason::NoGcProtection, sequence::unprotected(version));
        }
        sequence::may_skip(version, findings);
    }
    let looked = merged::of_listed(&*attempt.ports.repository, catalog).await;
    // A worker of an earlier release did not look, or it could not be seen.
    if let Some(lost) = looked.map_err(|e| attempt.repository_failure(&e))?.lost(findings) {
        findings.warn(lost.reason, lost.why);
    }
    let marker = attempt.marker().await?;
    if marker.is_some() {
        attempt.claim(marker, findings).await?;
    }
    Ok(())
}
