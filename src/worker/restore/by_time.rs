//! The choice of a backup by the time of its data, and what there is to say about it.

use jiff::Timestamp;

use crate::{
    api::{Reason, Warning},
    plan::{
        BackupId, Catalog, RepositoryId,
        newest::{self, Asked, Newest, Whose},
    },
    store::{self, Objects, catalog},
    worker::{
        Failure, Place,
        inventory::plain,
        report::{Findings, at_time},
    },
};

/// Names that are told of many.
const NAMED: usize = 5;
/// The longest text that is told of what the repository says about a server.
const SAID: usize = 64;

/// The backup with the newest data of those that can be read, or why there is none. What is passed over is a finding.
pub(super) async fn newest(
    source: &dyn Objects,
    asked: &Asked<'_>,
    left_out: &(dyn Fn(BackupId) -> bool + Sync),
    findings: &mut Findings,
) -> Result<Result<Catalog, Failure>, store::Failure> {
    let catalog::All { catalogs, unreadable } = catalog::all(source).await?;
    let found = newest::newest(catalogs.iter().filter(|c| !left_out(c.id)), asked);
    let first = found.of_each.first();
    let instead = first.map(|c| format!(" (the newest of the others is {})", shown(c))).unwrap_or_default();
    if !unreadable.is_empty() {
        let names: Vec<_> = unreadable.iter().take(NAMED).map(ToString::to_string).collect();
        let detail = format!("passed over, {} in all{instead}: {}", unreadable.len(), names.join("; "));
        findings.warn(Reason::RepositoryDamaged, detail);
    }
    if let Some(first) = found.elsewhere.first() {
        let detail =
            format!("passed over {} of another repository{instead}, first {}", found.elsewhere.len(), first.id);
        findings.warn(Reason::BackupForeign, detail);
    }
    if !found.in_future.is_empty() {
        let detail =
            format!("passed over {}{instead}: {}", in_future(&found.in_future), Reason::BackupInFuture.remedy());
        findings.warn(Reason::BackupInFuture, detail);
    }
    Ok(match &found.of_each[..] {
        [only] => Ok((*only).clone()),
        [] => Err(none(&found, unreadable.len())),
        [..] => Err(ambiguous(&found.of_each)),
    })
}

/// The id of the backup with the newest data, as a restore chooses it at this time, and what it is good to know about that
/// choice. Backups that are left out do not count; nor do those of another repository, if it is known which one this is.
///
/// # Errors
/// When there is none, when there are backups of more than one MatrixOne, or when the store does not answer.
pub async fn latest(
    source: &dyn Objects,
    kind: Place,
    (repository, whose, now): (Option<RepositoryId>, Whose<'_>, Timestamp),
    left_out: &(dyn Fn(BackupId) -> bool + Sync),
) -> Result<(BackupId, Vec<Warning>), Failure> {
    let mut findings = Findings::default();
    let asked = Asked { repository, before: None, whose, now: now.as_nanosecond() };
    let found = newest(source, &asked, left_out, &mut findings).await;
    let found = found.map_err(|e| Failure::of_repository(kind, &e))?;
    Ok((found?.id, findings.warnings))
}

fn shown(catalog: &Catalog) -> String {
    format!("{} with data of {} UTC", catalog.id, at_time(catalog.backup_ts.physical).unwrap_or_default())
}

/// Which MatrixOne it is, and its newest backup. Whoever writes to the bucket chooses these texts.
fn newest_of(catalog: &Catalog) -> String {
    let cluster = &catalog.cluster;
    let address = cluster.address.as_ref().map_or_else(|| "unknown".to_owned(), |address| plain(address, SAID));
    format!(
        "identity {}, address {address}: newest backup {}, taken for {}",
        plain(&cluster.identity, SAID),
        shown(catalog),
        plain(&catalog.object, SAID)
    )
}

fn several(newest: &[&Catalog]) -> String {
    let mut all: Vec<_> = newest.iter().take(NAMED).map(|catalog| newest_of(catalog)).collect();
    all.extend(newest.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("and {more} more")));
    all.join("; ")
}

/// The backups from later than now, the last one named.
fn in_future(catalogs: &[&Catalog]) -> String {
    let last = catalogs.last().map(|catalog| shown(catalog)).unwrap_or_default();
    format!("{} with data of a later time than now, last {last}", catalogs.len())
}

fn ambiguous(newest: &[&Catalog]) -> Failure {
    let detail =
        format!("the repository holds backups of {} MatrixOne that are asked for: {}", newest.len(), several(newest));
    Failure::new(Reason::ClusterAmbiguous, detail)
}

fn none(found: &Newest<'_>, unreadable: usize) -> Failure {
    let nearest = match (found.oldest, &found.of_others[..], &found.in_future[..]) {
        (Some(oldest), _, _) => format!("no backup is that old; the oldest is {}", shown(oldest)),
        (None, others @ [_, ..], _) => {
            format!("there is no backup of the MatrixOne that is asked for; there are: {}", several(others))
        }
        (None, [], future @ [_, ..]) => format!("there is no backup but {}", in_future(future)),
        (None, [], []) if unreadable == 0 => "there is no backup".into(),
        (None, [], []) => format!("there is no backup that can be read, and {unreadable} that cannot"),
    };
    Failure::new(Reason::BackupNotFound, nearest)
}
