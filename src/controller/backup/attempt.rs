//! The decision about an attempt that is on record and not judged. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decide::{BackupDecision, BackupDraft, Obstacle, between, make, needs, retry},
    observe::Observed,
    plan::{self, Needs, fence, open},
};
use crate::{
    api::{AttemptRecord, BackupPhase, BackupReport, ConditionType, Reason, Warning},
    controller::{
        course::{self, Hope, POLL, Phases, Sequel, Step, failed},
        decision::{Requeue, Standing},
        run::{Ending, Verdict, judge},
    },
};

/// What a Backup calls the stations of an attempt.
const PHASES: Phases<BackupPhase> = Phases {
    pending: BackupPhase::Pending,
    running: BackupPhase::Running,
    because: Reason::Running,
    retrying: BackupPhase::Retrying,
    failed: BackupPhase::Failed,
};

/// An attempt is on record and not judged.
pub(super) fn under_way(seen: &Observed, draft: BackupDraft, record: AttemptRecord, cancel: bool) -> BackupDecision {
    let record = course::ordered(record, cancel);
    let fence = fence(&seen.backup, record.number);
    match course::follow(draft, &open(seen, &record, &fence), PHASES) {
        Step::Decided(decision) => *decision,
        Step::Make(draft) => make_again(seen, *draft, &record),
        Step::Over(over) => {
            let (draft, record, ending) = *over;
            judged(seen, draft, &record, &ending)
        }
    }
}

/// The attempt is on record and its Job was never made: a crash came between, or Kubernetes refused it.
fn make_again(seen: &Observed, draft: BackupDraft, record: &AttemptRecord) -> BackupDecision {
    let job = still_ready(seen).and_then(|needs| {
        plan::backup_job(seen, &needs, record.number)
            .map_err(|e| Obstacle::Permanent { reason: e.reason(), message: e.to_string() })
    });
    match job {
        Ok(job) => make(seen, course::unless_refused(draft, BackupPhase::Running, Reason::Starting), job),
        Err(Obstacle::Passing { reason, message, look: _ }) => {
            draft.say(BackupPhase::Pending, Standing::Moving, reason, &message).then(Requeue::After(POLL))
        }
        Err(Obstacle::Permanent { reason, message }) => ended_badly(seen, draft, Hope::None, reason, &message),
    }
}

/// Of an attempt that has begun, only what its Task needs must still be there.
fn still_ready(seen: &Observed) -> Result<Needs, Obstacle> {
    if seen.storage.is_none() {
        let message = format!("there is no BackupStorage {} in this namespace any more", seen.backup.spec.storage);
        return Err(Obstacle::Passing { reason: Reason::StorageNotFound, message, look: Requeue::OnChange });
    }
    needs(seen)
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

/// An attempt failed.
fn ended_badly(seen: &Observed, mut draft: BackupDraft, hope: Hope, reason: Reason, message: &str) -> BackupDecision {
    let asked = retry(seen, &mut draft);
    match course::ended_badly(&mut draft, asked, (hope, seen.backup.spec.retry.limit), reason, message) {
        Sequel::Asked => between(seen, draft, true),
        Sequel::Another => between(seen, draft, false),
        Sequel::End(message) => failed(draft, BackupPhase::Failed, reason, &message),
    }
}

/// Says what was checked, and what no check can show.
fn verified(draft: &mut BackupDraft, report: Option<&BackupReport>) {
    let Some(report) = report else { return };
    let Some(checked) = &report.verified else {
        draft.condition(ConditionType::Verified, false, Reason::NotVerifiedYet, "the worker reported no check");
        return;
    };
    let message = format!("{} objects in place, {} read back and compared", checked.present, checked.hashed);
    let message = Warning::added(&message, &report.warnings);
    let limited = report.warnings.iter().any(|w| w.reason == Reason::ServerMaySkipObjects.as_str());
    let reason = if limited { Reason::ServerMaySkipObjects } else { Reason::Verified };
    draft.condition(ConditionType::Verified, true, reason, &message);
}
