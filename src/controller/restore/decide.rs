//! The decision about a Restore. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};

use super::{Boot, boot, observe::Observed, proof};
use crate::{
    api::{
        AttemptRecord, BackupPhase, CANCEL_ANNOTATION, ConditionType, Progress, RETRY_ANNOTATION, Reason, Restore,
        RestoreMode, RestorePhase, RestoreReport, Said, Warning,
    },
    controller::{
        course::{self, Hope, POLL, Phases, SOON, Sequel, Step, failed, request},
        decision::{Decision, Draft, Effect, Kind as _, Requeue, Standing, ready},
        job::{JobPlan, restore_name},
        run::{Ending, GRACE, Limits, Open, Verdict, judge, open_record},
    },
    plan::{BackupId, versions},
    task::{InvalidSpec, RestoreTask, TargetTask, Task},
};

pub(super) type RestoreDraft = Draft<RestorePhase>;
pub(super) type RestoreDecision = Decision<RestorePhase>;

const PHASES: Phases<RestorePhase> = Phases {
    pending: RestorePhase::Pending,
    running: RestorePhase::Copying,
    because: Reason::Running,
    retrying: RestorePhase::Retrying,
    failed: RestorePhase::Failed,
};

/// Added to the last of a worker's deadlines before Kubernetes itself stops it.
pub(super) const BACKSTOP: Duration = Duration::from_mins(5);

/// Whether it has come to rest for good: only a change of the spec or a new token of mo-backup.io/retry moves it again.
pub(super) fn finished(restore: &Restore) -> bool {
    let Some(status) = &restore.status else { return false };
    match status.phase {
        Some(RestorePhase::InPlace) => restore.spec.target.cluster.is_none(),
        Some(RestorePhase::Completed) => true,
        Some(RestorePhase::Planned) => restore.spec.mode == RestoreMode::Plan,
        Some(RestorePhase::Failed) => status.run.attempt > 0 || course::cancelled(&status.run.conditions),
        None
        | Some(
            RestorePhase::Pending
            | RestorePhase::Copying
            | RestorePhase::Retrying
            | RestorePhase::Suspended
            | RestorePhase::WaitingForBoot
            | RestorePhase::Proving,
        ) => false,
    }
}

/// What to do about this Restore at this time.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> RestoreDecision {
    let restore = &seen.restore;
    let mut draft = Draft::new(restore.written(), restore.metadata.generation, true, now);
    let left = ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::NamespaceTerminating);
    if left || restore.metadata.deletion_timestamp.is_some() {
        return draft.restamped().then(Requeue::OnChange);
    }
    let cancel = request(&restore.metadata, CANCEL_ANNOTATION, |h| &mut h.cancel, &mut draft);
    let open = open_record(&draft.status.run).cloned();
    let retry = open.is_none() && retry(seen, &mut draft);
    if finished(restore) && !(retry && draft.status.phase == Some(RestorePhase::Failed)) {
        return draft.restamped().then(Requeue::OnChange);
    }
    match open {
        Some(record) if proof::is_of(seen, &record) => proof::under_way(seen, draft, record, cancel),
        Some(record) => under_way(seen, draft, record, cancel),
        None if cancel => failed(draft, RestorePhase::Failed, Reason::Cancelled, ""),
        None => between(seen, draft, retry),
    }
}

pub(super) fn retry(seen: &Observed, draft: &mut RestoreDraft) -> bool {
    request(&seen.restore.metadata, RETRY_ANNOTATION, |h| &mut h.retry, draft)
}

/// No attempt is open: may the next one begin?
pub(super) fn between(seen: &Observed, mut draft: RestoreDraft, retry: bool) -> RestoreDecision {
    // What was planned is carried out in a round of its own, and so is the proof of what is in place.
    let rested = matches!(draft.status.phase, Some(RestorePhase::Planned | RestorePhase::InPlace));
    course::new_round(&mut draft, retry || rested);
    if seen.restore.spec.suspend {
        return draft.say(RestorePhase::Suspended, Standing::Held, Reason::Suspended, "").then(Requeue::OnChange);
    }
    if let Some(wait) = course::waiting(&draft, RestorePhase::Retrying) {
        return wait;
    }
    if let Some(restored) = proof::restored(seen) {
        return proof::next(seen, draft, restored);
    }
    let attempt = draft.status.run.attempt + 1;
    let job = source(seen).and_then(|backup| job(seen, backup, attempt).map_err(Obstacle::from));
    let job = match job {
        Ok(job) => job,
        Err(Obstacle::Passing(reason, message)) => {
            return draft.say(RestorePhase::Pending, Standing::Moving, reason, &message).then(Requeue::After(POLL));
        }
        Err(Obstacle::Permanent(reason, message)) => return failed(draft, RestorePhase::Failed, reason, &message),
    };
    draft.status.run.end_time = None;
    let name = seen.restore.metadata.name.as_deref().unwrap_or_default();
    course::begin(&mut draft, &seen.workers, uid(seen), attempt, restore_name(name, attempt));
    draft.condition(ConditionType::DataInPlace, false, Reason::Starting, "nothing is in place yet");
    course::make(draft.say(RestorePhase::Copying, Standing::Moving, Reason::Starting, ""), job)
}

/// What keeps an attempt from beginning.
pub(super) enum Obstacle {
    /// It goes away without a change of this object.
    Passing(Reason, String),
    /// It does not.
    Permanent(Reason, String),
}

impl From<InvalidSpec> for Obstacle {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Permanent(invalid.reason(), invalid.to_string())
    }
}

/// The id of the Backup that is named, if one is. Its storage must be there; that it is ready is no condition: it is only
/// read, and the worst day is no day to wait for a probe.
fn source(seen: &Observed) -> Result<Option<BackupId>, Obstacle> {
    let source = &seen.restore.spec.source;
    let id = match (&source.backup, &seen.backup) {
        (None, _) => None,
        (Some(named), None) => {
            let message = format!("there is no Backup {} in this namespace. It starts once there is", named.name);
            return Err(Obstacle::Passing(Reason::BackupNotReady, message));
        }
        (Some(named), Some(backup)) => {
            let status = backup.status.as_ref();
            match status.and_then(|s| s.phase) {
                Some(BackupPhase::Completed) => {}
                Some(BackupPhase::Failed) => {
                    let message = format!("Backup {} failed; name another one", named.name);
                    return Err(Obstacle::Permanent(Reason::BackupNotReady, message));
                }
                _ => {
                    let message = format!("Backup {} is not complete. It starts once it is", named.name);
                    return Err(Obstacle::Passing(Reason::BackupNotReady, message));
                }
            }
            let id = status.and_then(|s| s.report.as_ref()?.id.as_ref()?.parse().ok());
            let missing = || format!("Backup {} has no id in its report", named.name);
            Some(id.ok_or_else(|| Obstacle::Permanent(Reason::BackupNotReady, missing()))?)
        }
    };
    if seen.storage.is_none() {
        let named = seen.backup.as_ref().map(|b| &b.spec.storage).or(source.repository.as_ref().map(|r| &r.storage));
        let named = named.map_or("", |name| name);
        let message =
            format!("there is no BackupStorage {named} in this namespace. {}", Reason::StorageNotFound.remedy());
        return Err(Obstacle::Passing(Reason::StorageNotFound, message));
    }
    Ok(id)
}

pub(super) fn uid(seen: &Observed) -> &str {
    seen.restore.metadata.uid.as_deref().unwrap_or_default()
}

fn job(seen: &Observed, backup: Option<BackupId>, attempt: i32) -> Result<Job, InvalidSpec> {
    let Some(storage) = &seen.storage else { return Err(InvalidSpec::NoIdentity("storage")) };
    let number = u32::try_from(attempt).unwrap_or(0);
    let task = Task::Restore(Box::new(RestoreTask::for_attempt(&seen.restore, storage, backup, number)?));
    let limits = Limits::of(&seen.restore.spec.deadlines)?;
    let plan = JobPlan {
        task: &task,
        options: &seen.restore.spec.job,
        image: &seen.image,
        deadline: limits.start + limits.run + GRACE + BACKSTOP,
        cluster: None,
        storage: Some(&storage.spec),
        staging: None,
        target: Some(&seen.restore.spec.target),
        accounts: &[],
    };
    plan.render()
}

/// An attempt is on record and not judged.
fn under_way(seen: &Observed, draft: RestoreDraft, record: AttemptRecord, cancel: bool) -> RestoreDecision {
    let record = course::ordered(record, cancel);
    let fence = course::fence(uid(seen), record.number);
    let heard = progress(seen, &fence).is_some() || report(seen, &fence).is_some();
    let limits = Limits::of(&seen.restore.spec.deadlines);
    let open = opened(seen, &record, &fence, (heard, limits));
    match course::follow(draft, &open, PHASES) {
        Step::Decided(decision) => *decision,
        Step::Make(draft) => {
            let job = source(seen).and_then(|backup| job(seen, backup, record.number).map_err(Obstacle::from));
            make_again(seen, *draft, PHASES, job)
        }
        Step::Over(over) => {
            let (draft, record, ending) = *over;
            judged(seen, draft, &record, &ending)
        }
    }
}

fn report<'a>(seen: &'a Observed, run: &str) -> Option<&'a RestoreReport> {
    seen.restore.status.as_ref()?.report.as_ref().filter(|r| r.said.run == run)
}

/// What the worker of this run has last said of its progress.
pub(super) fn progress<'a>(seen: &'a Observed, run: &str) -> Option<&'a Progress> {
    seen.restore.status.as_ref()?.progress.as_ref().filter(|p| p.run == run)
}

/// What is to be known of an open attempt, given whether its worker was heard and its limits.
pub(super) fn opened<'a>(
    seen: &'a Observed,
    record: &'a AttemptRecord,
    run: &'a str,
    (heard, limits): (bool, Result<Limits, InvalidSpec>),
) -> Open<'a> {
    let told = |p: &Progress| course::written(&seen.restore.metadata).or(p.heartbeat.as_ref().map(|t| t.0));
    let heartbeat = progress(seen, run).and_then(told);
    Open { record, run, heard, heartbeat, workers: &seen.workers, limits: limits.unwrap_or(Limits::DEFAULT) }
}

/// The attempt is on record and its Job was never made: a crash came between, or Kubernetes refused it.
pub(super) fn make_again(
    seen: &Observed,
    draft: RestoreDraft,
    phases: Phases<RestorePhase>,
    job: Result<Job, Obstacle>,
) -> RestoreDecision {
    match job {
        Ok(job) => course::make(course::unless_refused(draft, phases.running, Reason::Starting), job),
        Err(Obstacle::Passing(reason, message)) => {
            draft.say(phases.pending, Standing::Moving, reason, &message).then(Requeue::After(POLL))
        }
        Err(Obstacle::Permanent(reason, message)) => ended_badly(seen, draft, Hope::None, reason, &message),
    }
}

/// The worker is over: what came of it?
fn judged(seen: &Observed, draft: RestoreDraft, record: &AttemptRecord, ending: &Ending) -> RestoreDecision {
    let report = report(seen, &course::fence(uid(seen), record.number));
    let said: Option<&Said> = report.map(|r| &r.said);
    match (judge(record, ending, said), report) {
        (Verdict::Done, Some(report)) => done(seen, draft, report),
        (Verdict::Done, None) => {
            ended_badly(seen, draft, Hope::Another, Reason::Internal, "the worker reported success without a report")
        }
        (Verdict::Never(reason, message), _) => ended_badly(seen, draft, Hope::None, reason, &message),
        (Verdict::Again(reason, message), _) => ended_badly(seen, draft, Hope::Another, reason, &message),
    }
}

pub(super) fn ended_badly(
    seen: &Observed,
    mut draft: RestoreDraft,
    hope: Hope,
    reason: Reason,
    message: &str,
) -> RestoreDecision {
    let asked = retry(seen, &mut draft);
    match course::ended_badly(&mut draft, asked, (hope, seen.restore.spec.retry.limit), reason, message) {
        Sequel::Asked => between(seen, draft, true),
        Sequel::Another => between(seen, draft, false),
        Sequel::End(message) => failed(draft, RestorePhase::Failed, reason, &message),
    }
}

/// The worker has done its part. Only with the ConfigMap is it all that was asked for.
fn done(seen: &Observed, mut draft: RestoreDraft, report: &RestoreReport) -> RestoreDecision {
    let Some(plan) = &report.plan else {
        let message = "the worker reported success without a plan";
        return ended_badly(seen, draft, Hope::Another, Reason::Internal, message);
    };
    if report.complete_time.is_none() && report.already_restored.is_none() {
        retry(seen, &mut draft);
        draft.close(Reason::Planned, None);
        draft.status.run.end_time = Some(Time(draft.now));
        let message = format!("{} Its hash is {}", Reason::Planned.meaning(), plan.hash);
        return draft.say(RestorePhase::Planned, Standing::Done, Reason::Planned, &message).then(Requeue::OnChange);
    }
    let files = match TargetTask::of(&seen.restore.spec.target) {
        Ok(target) => boot::files(&target, plan, report.server_version.as_deref().unwrap_or_default()),
        Err(invalid) => return ended_badly(seen, draft, Hope::None, invalid.reason(), &invalid.to_string()),
    };
    match &seen.boot {
        Boot::Ours(there) if *there == files => in_place(seen, draft, report),
        Boot::Missing | Boot::Ours(_) => write_boot(seen, draft, files),
        Boot::Strange => {
            let name = boot::name(seen.restore.metadata.name.as_deref().unwrap_or_default());
            let message = format!(
                "everything is restored, but a ConfigMap {name} that is not ours has the name of the one with the boot \
                 files. {}",
                Reason::NameConflict.remedy()
            );
            draft.say(RestorePhase::Copying, Standing::Stuck, Reason::NameConflict, &message).then(Requeue::After(POLL))
        }
    }
}

fn write_boot(seen: &Observed, draft: RestoreDraft, files: BTreeMap<String, String>) -> RestoreDecision {
    let name = seen.restore.metadata.name.as_deref().unwrap_or_default();
    let map = boot::config_map(seen.restore.metadata.namespace.as_deref().unwrap_or_default(), name, files);
    draft
        .say(RestorePhase::Copying, Standing::Moving, Reason::Running, "writing the ConfigMap with the boot files")
        .with(Effect::WriteBoot(Box::new(map)))
        .then(Requeue::After(SOON))
}

fn in_place(seen: &Observed, mut draft: RestoreDraft, report: &RestoreReport) -> RestoreDecision {
    retry(seen, &mut draft);
    draft.close(Reason::Completed, None);
    let (reason, checked) = match &report.already_restored {
        Some(_) => (Reason::AlreadyRestored, "as the target's own marker says; no object was read now".to_owned()),
        None => {
            let objects = report.objects.unwrap_or_default();
            (Reason::NotBooted, format!("{objects} objects, each compared with the manifest"))
        }
    };
    draft.condition(ConditionType::DataInPlace, true, reason, &checked);
    if seen.restore.spec.target.cluster.is_some() {
        // The proof has tries of its own.
        course::new_round(&mut draft, true);
        return proof::next(seen, draft, report);
    }
    at_rest(seen, draft, report)
}

/// Everything is in place, and no more was asked for.
pub(super) fn at_rest(seen: &Observed, mut draft: RestoreDraft, report: &RestoreReport) -> RestoreDecision {
    let name = boot::name(seen.restore.metadata.name.as_deref().unwrap_or_default());
    let start = versions::fit(report.server_version.as_deref().unwrap_or_default());
    let (reason, message) = match &report.already_restored {
        Some(earlier) => (
            Reason::AlreadyRestored,
            format!(
                "this target was filled by Restore {} at {}, and nothing was touched now; ConfigMap {name} says how to \
                 start MatrixOne on it",
                earlier.uid, earlier.completed_at
            ),
        ),
        None => {
            (Reason::NotBooted, format!("every object is in place. Start MatrixOne {start} ConfigMap {name} says how"))
        }
    };
    draft.status.run.end_time = Some(Time(draft.now));
    let message = Warning::added(&message, &report.warnings);
    draft.say(RestorePhase::InPlace, Standing::Done, reason, &message).then(Requeue::OnChange)
}

#[cfg(test)]
pub(super) mod tests;
