//! The decision about an attempt that is on record and not judged. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decide::{BackupDecision, BackupDraft, Obstacle, base, between, failed, make, retry},
    observe::Observed,
    plan::{self, POLL, SOON, fence, open},
};
use crate::{
    api::{AttemptRecord, BackupPhase, BackupReport, ConditionType, Reason},
    controller::{
        decision::{Effect, Requeue, Standing, ready},
        run::{Ending, Stage, Verdict, after, judge, until},
    },
    plan::BackupId,
};

/// An attempt is on record and not judged.
pub(super) fn under_way(
    seen: &Observed,
    mut draft: BackupDraft,
    mut record: AttemptRecord,
    cancel: bool,
) -> BackupDecision {
    if cancel && record.reason.is_none() {
        record.reason = Some(Reason::Cancelled.as_str().into());
        record.message = Some(Reason::Cancelled.meaning().into());
    }
    let fence = fence(&seen.backup, record.number);
    let stage = open(seen, &record, &fence).stage(draft.now);
    note(seen, &mut draft, &record, &fence);
    draft.status.run.queue = None;
    let ordered = record.reason.as_deref().and_then(Reason::parse);
    match stage {
        Stage::ToMake if ordered.is_some() => judged(seen, draft, &record, &Ending::Vanished),
        Stage::ToMake | Stage::Taken { .. } if unmade_for_too_long(seen, &draft, &record) => {
            let (reason, message) = ready(&draft.status.run).unwrap_or((Reason::StartDeadlineExceeded, ""));
            record.reason = Some(reason.as_str().into());
            record.message = Some(message.into());
            judged(seen, draft, &record, &Ending::Vanished)
        }
        Stage::ToMake => make_again(seen, draft, &record),
        Stage::Taken { job } => {
            let message = format!("a Job {job} that is not ours has the name. {}", Reason::NameConflict.remedy());
            draft.say(BackupPhase::Pending, Standing::Stuck, Reason::NameConflict, &message).then(Requeue::After(POLL))
        }
        Stage::Starting { waiting, until: then } => {
            let wait = until(then, draft.now);
            let message = waiting.map_or_else(String::new, |w| format!("the Pod waits: {w}"));
            draft.say(BackupPhase::Running, Standing::Moving, Reason::Starting, &message).then(Requeue::After(wait))
        }
        Stage::Running { until: then } => {
            let wait = until(then, draft.now);
            draft.say(BackupPhase::Running, Standing::Moving, Reason::Running, "").then(Requeue::After(wait))
        }
        Stage::Overdue { reason, message } => stop(seen, draft, &fence, BackupPhase::Running, reason, &message),
        Stage::Stopping => {
            let reason = ordered.unwrap_or(Reason::JobVanished);
            draft.say(BackupPhase::Running, Standing::Moving, reason, "the worker is ending").then(Requeue::After(SOON))
        }
        Stage::Lost { pod, node } => lost(draft, BackupPhase::Running, &pod, &node),
        Stage::Over(ending) => judged(seen, draft, &record, &ending),
    }
}

/// Writes down what is seen of an attempt.
pub(super) fn note(seen: &Observed, draft: &mut BackupDraft, record: &AttemptRecord, fence: &str) {
    let open = open(seen, record, fence);
    let Some(on_record) = draft.record() else { return };
    *on_record = record.clone();
    if let Some(job) = open.job() {
        on_record.job_uid = Some(job.uid.clone());
    }
    if let Some(pod) = open.pod() {
        on_record.pod = Some(pod.name.clone());
        on_record.node.clone_from(&pod.node);
    }
}

/// Whether the Job of the attempt could not be made within `deadlines.start`. An attempt that waited longer would keep
/// the turn of its MatrixOne cluster from every other Backup.
fn unmade_for_too_long(seen: &Observed, draft: &BackupDraft, record: &AttemptRecord) -> bool {
    let limit = plan::limits_on_record(&seen.backup).start;
    record.start_time.as_ref().is_some_and(|begun| draft.now >= after(begun.0, limit))
}

/// The attempt is on record and its Job was never made: a crash came between, or Kubernetes refused it.
fn make_again(seen: &Observed, draft: BackupDraft, record: &AttemptRecord) -> BackupDecision {
    let job = ready_base(seen).and_then(|base| {
        plan::backup_job(seen, base, record.number)
            .map_err(|e| Obstacle::Permanent { reason: e.reason(), message: e.to_string() })
    });
    match job {
        Ok(job) => {
            let refused = ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::JobRefused);
            // What Kubernetes said stays until the Job is made.
            let draft =
                if refused { draft } else { draft.say(BackupPhase::Running, Standing::Moving, Reason::Starting, "") };
            make(seen, draft, job)
        }
        Err(Obstacle::Passing { reason, message, look: _ }) => {
            draft.say(BackupPhase::Pending, Standing::Moving, reason, &message).then(Requeue::After(POLL))
        }
        Err(Obstacle::Permanent { reason, message }) => ended_badly(seen, draft, Hope::None, reason, &message),
    }
}

/// The base of an attempt that has begun: only what its Task needs must still be there.
fn ready_base(seen: &Observed) -> Result<Option<BackupId>, Obstacle> {
    if seen.storage.is_none() {
        let message = format!("there is no BackupStorage {} in this namespace any more", seen.backup.spec.storage);
        return Err(Obstacle::Passing { reason: Reason::StorageNotFound, message, look: Requeue::OnChange });
    }
    base(seen)
}

/// Puts the order to stop on record, and stops the worker.
pub(super) fn stop(
    seen: &Observed,
    mut draft: BackupDraft,
    fence: &str,
    phase: BackupPhase,
    reason: Reason,
    message: &str,
) -> BackupDecision {
    if let Some(record) = draft.record()
        && record.reason.is_none()
    {
        record.reason = Some(reason.as_str().into());
        record.message = Some(message.into());
    }
    let jobs = seen.workers.jobs.iter().filter(|j| j.run == fence && !j.deleting);
    draft.effects.extend(jobs.map(|j| Effect::DeleteJob { name: j.name.clone(), uid: j.uid.clone() }));
    draft.say(phase, Standing::Moving, reason, message).then(Requeue::After(SOON))
}

pub(super) fn lost(draft: BackupDraft, phase: BackupPhase, pod: &str, node: &str) -> BackupDecision {
    let message = format!(
        "node {node} of Pod {pod} cannot be reached, and the worker may still be alive there. {}",
        Reason::NodeLost.remedy()
    );
    draft.say(phase, Standing::Stuck, Reason::NodeLost, &message).then(Requeue::After(POLL))
}

/// The worker is over: what came of it?
fn judged(seen: &Observed, mut draft: BackupDraft, record: &AttemptRecord, ending: &Ending) -> BackupDecision {
    let said = plan::said(&seen.backup, &fence(&seen.backup, record.number));
    let report = seen.backup.status.as_ref().and_then(|s| s.report.as_ref());
    let proven = report.is_some_and(|r| r.id.is_some() && r.manifest.is_some());
    match judge(record, ending, said) {
        Verdict::Done if !proven => {
            let message = "the worker reported success without naming a manifest";
            ended_badly(seen, draft, Hope::Another, Reason::Internal, message)
        }
        Verdict::Done => {
            retry(seen, &mut draft);
            draft.close(Reason::Completed, None);
            draft.status.run.end_time = Some(Time(draft.now));
            verified(&mut draft, report);
            draft.say(BackupPhase::Completed, Standing::Done, Reason::Completed, "").then(Requeue::OnChange)
        }
        Verdict::Never(reason, message) => ended_badly(seen, draft, Hope::None, reason, &message),
        Verdict::Again(reason, message) => ended_badly(seen, draft, Hope::Another, reason, &message),
    }
}

/// Whether another attempt can help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hope {
    None,
    Another,
}

/// Ends the record of an attempt that failed, and goes on as a person asks, or as long as there is hope and tries are left.
fn ended_badly(seen: &Observed, mut draft: BackupDraft, hope: Hope, reason: Reason, message: &str) -> BackupDecision {
    draft.close(reason, Some(message));
    if retry(seen, &mut draft) {
        return between(seen, draft, true);
    }
    if hope == Hope::None {
        return failed(draft, reason, message);
    }
    let run = &draft.status.run;
    let tried = run.attempt - run.first_attempt.unwrap_or(1) + 1;
    if tried > seen.backup.spec.retry.limit {
        let message = format!("{tried} attempts failed, the last with: {message}");
        return failed(draft, reason, &message);
    }
    between(seen, draft, false)
}

/// Says what was checked, and what no check can show.
fn verified(draft: &mut BackupDraft, report: Option<&BackupReport>) {
    let Some(report) = report else { return };
    let Some(checked) = &report.verified else {
        draft.condition(ConditionType::Verified, false, Reason::NotVerifiedYet, "the worker reported no check");
        return;
    };
    let mut message = format!("{} objects in place, {} read back and compared", checked.present, checked.hashed);
    for warning in &report.warnings {
        message.push_str(". ");
        message.push_str(&warning.message);
    }
    let limited = report.warnings.iter().any(|w| w.reason == Reason::ServerMaySkipObjects.as_str());
    let reason = if limited { Reason::ServerMaySkipObjects } else { Reason::Verified };
    draft.condition(ConditionType::Verified, true, reason, &message);
}
