//! What a Backup's attempts are made of: limits, Jobs, and what its status says of them. Pure.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use super::Observed;
use crate::{
    api::{Address, AttemptRecord, Backup, BackupPhase, BackupStatus, BackupStorage, Cluster, Method, Reason, Said},
    controller::{
        course::{self, cancelled, written},
        job::{Errand, JobPlan, errand},
        run::{GRACE, Limits, Open},
    },
    plan::BackupId,
    task::{BackupTask, InvalidSpec, PurgeTask, SweepTask, Task, method},
};

/// What a Task needs besides its Backup and its storage.
pub struct Needs {
    /// Where MatrixOne is.
    pub address: Address,
    /// What the backup is to be based on.
    pub base: Option<BackupId>,
}

/// Added to the last of a worker's deadlines before Kubernetes itself stops it.
const BACKSTOP: Duration = Duration::from_mins(5);

/// The status, or an empty one.
pub fn status(backup: &Backup) -> BackupStatus {
    backup.status.clone().unwrap_or_default()
}

/// Whether it has come to rest for good: only a new token of mo-backup.io/retry starts it again. A Backup that failed
/// before any attempt is looked at again when what it failed for has changed.
#[must_use]
pub fn finished(backup: &Backup) -> bool {
    let Some(status) = &backup.status else { return false };
    match status.phase {
        Some(BackupPhase::Completed) => true,
        Some(BackupPhase::Failed) => {
            status.run.attempt > 0 || backup.spec.imported.is_some() || cancelled(&status.run.conditions)
        }
        None
        | Some(
            BackupPhase::Pending
            | BackupPhase::Queued
            | BackupPhase::Running
            | BackupPhase::Retrying
            | BackupPhase::Suspended
            | BackupPhase::Deleting,
        ) => false,
    }
}

/// The deadlines of the spec.
pub fn limits(backup: &Backup) -> Result<Limits, InvalidSpec> {
    Limits::of(&backup.spec.deadlines)
}

/// The deadlines of an attempt under way. Its spec was valid when it began and has been frozen since.
pub fn limits_on_record(backup: &Backup) -> Limits {
    limits(backup).unwrap_or(Limits::DEFAULT)
}

/// What is seen of the attempt on record.
pub fn open<'a>(seen: &'a Observed, record: &'a AttemptRecord, run: &'a str) -> Open<'a> {
    let status = seen.backup.status.as_ref();
    let progress = status.and_then(|s| s.progress.as_ref()).filter(|p| p.run == run);
    let reported = status.and_then(|s| s.report.as_ref()).is_some_and(|r| r.said.run == run);
    let mut limits = limits_on_record(&seen.backup);
    match errand(&seen.backup, record) {
        Errand::Backup => {}
        Errand::Purge | Errand::Sweep => limits.stall = None,
    }
    Open {
        record,
        run,
        heard: reported || progress.is_some(),
        heartbeat: progress.and_then(|p| written(&seen.backup.metadata).or(p.heartbeat.as_ref().map(|t| t.0))),
        workers: &seen.workers,
        limits,
    }
}

/// The report of this run.
pub fn said<'a>(backup: &'a Backup, run: &str) -> Option<&'a Said> {
    backup.status.as_ref()?.report.as_ref().map(|r| &r.said).filter(|s| s.run == run)
}

/// Whether the last worker of the backup may have left files in the staging folder: it ended without a word, or says so.
pub fn left_staged(backup: &Backup, attempts: &[AttemptRecord]) -> bool {
    let Some(last) = attempts.last() else { return false };
    let staged = backup.spec.staging.is_some() && method(&backup.spec) == Method::Staged;
    let worked = last.job_uid.is_some() && errand(backup, last) == Errand::Backup;
    let run = fence(backup, last.number);
    let report = backup.status.as_ref().and_then(|s| s.report.as_ref()).filter(|r| r.said.run == run);
    let clean =
        report.is_some_and(|report| !report.warnings.iter().any(|w| w.reason == Reason::StagingNotEmptied.as_str()));
    staged && worked && !clean
}

/// The fence of an attempt of this object.
pub fn fence(backup: &Backup, attempt: i32) -> String {
    course::fence(backup.metadata.uid.as_deref().unwrap_or_default(), attempt)
}

/// The Job of an attempt.
pub fn backup_job(seen: &Observed, needs: &Needs, attempt: i32) -> Result<Job, InvalidSpec> {
    let Some(storage) = &seen.storage else { return Err(InvalidSpec::NoIdentity("storage")) };
    let limits = limits(&seen.backup)?;
    let number = u32::try_from(attempt).unwrap_or(0);
    let Needs { address, base } = needs;
    let task = Task::Backup(Box::new(BackupTask::for_attempt(&seen.backup, address, storage, *base, number)?));
    render(seen, Some(storage), &task, limits, seen.backup.spec.cluster.as_ref())
}

/// The Job of an attempt to purge.
pub fn purge_job(seen: &Observed, attempt: i32) -> Result<Job, InvalidSpec> {
    let Some(storage) = &seen.storage else { return Err(InvalidSpec::NoIdentity("storage")) };
    let number = u32::try_from(attempt).unwrap_or(0);
    let task = Task::Purge(Box::new(PurgeTask::for_attempt(&seen.backup, storage, number)?));
    render(seen, Some(storage), &task, limits_on_record(&seen.backup), None)
}

/// The Job of an attempt to empty the staging folder. It needs no storage.
pub fn sweep_job(seen: &Observed, attempt: i32) -> Result<Job, InvalidSpec> {
    let number = u32::try_from(attempt).unwrap_or(0);
    let task = Task::Sweep(Box::new(SweepTask::for_attempt(&seen.backup, number)?));
    render(seen, None, &task, limits_on_record(&seen.backup), None)
}

fn render(
    seen: &Observed,
    storage: Option<&BackupStorage>,
    task: &Task,
    limits: Limits,
    cluster: Option<&Cluster>,
) -> Result<Job, InvalidSpec> {
    let spec = &seen.backup.spec;
    let plan = JobPlan {
        task,
        options: &spec.job,
        image: &seen.image,
        deadline: limits.start + limits.run + GRACE + BACKSTOP,
        cluster,
        storage: storage.map(|s| &s.spec),
        staging: spec.staging.as_ref().map(|s| &s.volume),
        target: None,
        accounts: &[],
    };
    plan.render()
}
