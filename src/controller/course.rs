//! The course of an object's attempts, alike in every kind that runs them: what is on record, what is seen of it, and what
//! follows. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};

use super::{
    decision::{Decision, Draft, Effect, Requeue, Standing, asked, ready},
    job::Account,
    run::{Ending, Open, Stage, after, backoff, until},
    seen::Workers,
};
use crate::{
    api::{ATTEMPTS_KEPT, AttemptRecord, ConditionType, HandledRequests, Reason},
    task::{PROVER_MANAGER, WORKER_MANAGER, run_name},
};

/// When to look again at what changes without a watch telling us.
pub const POLL: Duration = Duration::from_secs(30);
/// When to look again at what is about to change.
pub const SOON: Duration = Duration::from_secs(5);
/// The longest wait between two attempts.
pub const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// What a kind calls the stations of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Phases<P> {
    /// Something keeps it from going on.
    pub pending: P,
    /// A worker is at it.
    pub running: P,
    /// Why it stands there, while the worker runs.
    pub because: Reason,
    /// It waits before the next attempt.
    pub retrying: P,
    /// It failed for good.
    pub failed: P,
}

/// What an attempt that is not judged yet leads to.
pub enum Step<P> {
    /// Nothing more is to be decided.
    Decided(Box<Decision<P>>),
    /// Its Job is to be made.
    Make(Box<Draft<P>>),
    /// Its worker is over, or was never there. With the record as it is now.
    Over(Box<(Draft<P>, AttemptRecord, Ending)>),
}

/// The record of an attempt that a person may have cancelled.
#[must_use]
pub fn ordered(mut record: AttemptRecord, cancel: bool) -> AttemptRecord {
    if cancel && record.reason.is_none() {
        record.reason = Some(Reason::Cancelled.as_str().into());
        record.message = Some(Reason::Cancelled.meaning().into());
    }
    record
}

/// Follows an attempt that is on record and not judged.
#[must_use]
pub fn follow<P: Copy>(mut draft: Draft<P>, open: &Open<'_>, phases: Phases<P>) -> Step<P> {
    let decided = |decision| Step::Decided(Box::new(decision));
    let over = |draft, record, ending| Step::Over(Box::new((draft, record, ending)));
    let mut record = open.record.clone();
    let ordered = record.reason.as_deref().and_then(Reason::parse);
    note(&mut draft, open);
    draft.status.run.queue = None;
    match open.stage(draft.now) {
        Stage::ToMake | Stage::Taken { .. } if ordered.is_some() => over(draft, record, Ending::Vanished),
        // On record first: whoever has an older view, and would still make the Job, is refused from then on. Should it have
        // been made already, the next look sees it, and stops it.
        Stage::ToMake | Stage::Taken { .. } if unmade_for_too_long(open, draft.now) => {
            let why = ready(&draft.status.run).filter(|(reason, _)| *reason != Reason::Starting);
            let (reason, message) = why.unwrap_or((Reason::StartDeadlineExceeded, "its Job could not be made in time"));
            record.reason = Some(reason.as_str().into());
            record.message = Some(message.into());
            if let Some(on_record) = draft.record() {
                *on_record = record;
            }
            decided(draft.then(Requeue::After(SOON)))
        }
        Stage::ToMake => Step::Make(Box::new(draft)),
        Stage::Taken { job } => {
            let message = format!("a Job {job} that is not ours has the name. {}", Reason::NameConflict.remedy());
            decided(
                draft.say(phases.pending, Standing::Stuck, Reason::NameConflict, &message).then(Requeue::After(POLL)),
            )
        }
        Stage::Starting { waiting, until: then } => {
            let wait = until(then, draft.now);
            let message = waiting.map_or_else(String::new, |w| format!("the Pod waits: {w}"));
            decided(draft.say(phases.running, Standing::Moving, Reason::Starting, &message).then(Requeue::After(wait)))
        }
        Stage::Running { until: then } => {
            let wait = until(then, draft.now);
            decided(draft.say(phases.running, Standing::Moving, phases.because, "").then(Requeue::After(wait)))
        }
        Stage::Overdue { reason, message } => decided(stop(draft, open, phases.running, reason, &message)),
        Stage::Stopping => {
            let reason = ordered.unwrap_or(Reason::JobVanished);
            let message = "the worker is ending";
            decided(draft.say(phases.running, Standing::Moving, reason, message).then(Requeue::After(SOON)))
        }
        Stage::Lost { pod, node } => decided(lost(draft, phases.running, &pod, &node)),
        Stage::Over(ending) => over(draft, record, ending),
    }
}

/// Writes down what is seen of an attempt.
pub fn note<P: Copy>(draft: &mut Draft<P>, open: &Open<'_>) {
    let Some(on_record) = draft.record() else { return };
    *on_record = open.record.clone();
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
fn unmade_for_too_long(open: &Open<'_>, now: Timestamp) -> bool {
    open.record.start_time.as_ref().is_some_and(|begun| now >= after(begun.0, open.limits.start))
}

/// Puts the order to stop on record, and stops the worker.
#[must_use]
pub fn stop<P: Copy>(mut draft: Draft<P>, open: &Open<'_>, phase: P, reason: Reason, message: &str) -> Decision<P> {
    order_stop(&mut draft, open, reason, message);
    draft.say(phase, Standing::Moving, reason, message).then(Requeue::After(SOON))
}

/// Puts the order to stop on record, and deletes the Job.
pub fn order_stop<P: Copy>(draft: &mut Draft<P>, open: &Open<'_>, reason: Reason, message: &str) {
    if let Some(record) = draft.record()
        && record.reason.is_none()
    {
        record.reason = Some(reason.as_str().into());
        record.message = Some(message.into());
    }
    let jobs = open.workers.jobs.iter().filter(|j| j.run == open.run && !j.deleting);
    draft.effects.extend(jobs.map(|j| Effect::DeleteJob { name: j.name.clone(), uid: j.uid.clone() }));
}

/// The node of a worker cannot be reached.
#[must_use]
pub fn lost<P: Copy>(draft: Draft<P>, phase: P, pod: &str, node: &str) -> Decision<P> {
    let message = format!(
        "node {node} of Pod {pod} cannot be reached, and the worker may still be alive there. {}",
        Reason::NodeLost.remedy()
    );
    draft.say(phase, Standing::Stuck, Reason::NodeLost, &message).then(Requeue::After(POLL))
}

/// What Kubernetes said of a Job that it refused stays until the Job is made.
#[must_use]
pub fn unless_refused<P: Copy>(draft: Draft<P>, phase: P, reason: Reason) -> Draft<P> {
    let refused = ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::JobRefused);
    if refused { draft } else { draft.say(phase, Standing::Moving, reason, "") }
}

/// Whether another attempt can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hope {
    /// It cannot.
    None,
    /// It can.
    Another,
}

/// What comes after a failed attempt: another round, as a person asks; the next attempt, as long as there is hope and
/// tries are left; or the end.
pub enum Sequel {
    /// A person asks for another round.
    Asked,
    /// Another attempt.
    Another,
    /// It failed for good, for this reason.
    End(String),
}

/// Ends the record of an attempt that failed.
pub fn ended_badly<P: Copy>(
    draft: &mut Draft<P>,
    asked: bool,
    (hope, limit): (Hope, i32),
    reason: Reason,
    message: &str,
) -> Sequel {
    draft.close(reason, Some(message));
    if asked {
        return Sequel::Asked;
    }
    let run = &draft.status.run;
    let tried = run.attempt - run.first_attempt.unwrap_or(1) + 1;
    match hope {
        Hope::None => Sequel::End(message.into()),
        Hope::Another if tried > limit => Sequel::End(format!("{tried} attempts failed, the last with: {message}")),
        Hope::Another => Sequel::Another,
    }
}

/// Whether an annotation carries a token that was not acted on; it counts as acted on from here.
pub fn request<P: Copy>(
    object: &ObjectMeta,
    annotation: &str,
    slot: fn(&mut HandledRequests) -> &mut Option<String>,
    draft: &mut Draft<P>,
) -> bool {
    let mut handled = draft.status.run.handled_requests.clone().unwrap_or_default();
    let slot = slot(&mut handled);
    let Some(token) = asked(object, annotation, slot.as_ref()) else { return false };
    *slot = Some(token.clone());
    draft.status.run.handled_requests = Some(handled);
    true
}

/// Begins another round, when a person asks for one.
pub fn new_round<P: Copy>(draft: &mut Draft<P>, retry: bool) {
    let run = &mut draft.status.run;
    run.queue = None;
    if retry && run.attempt > 0 {
        run.first_attempt = Some(run.attempt + 1);
        run.end_time = None;
    }
}

/// The wait for the next attempt, while it is not due.
#[must_use]
pub fn waiting<P: Copy>(draft: &Draft<P>, phase: P) -> Option<Decision<P>> {
    let due = due(draft)?;
    let wait = until(due, draft.now);
    if wait.is_zero() {
        return None;
    }
    let last = draft.status.run.attempts.last();
    let why = last.map(|r| {
        format!(
            "attempt {} failed: {}: {}",
            r.number,
            r.reason.as_deref().unwrap_or_default(),
            r.message.as_deref().unwrap_or_default()
        )
    });
    // No remaining time in the text: it would change with every look.
    let message = format!("{}; the next one begins at {due}", why.unwrap_or_default());
    let draft = draft.clone();
    Some(draft.say(phase, Standing::Moving, Reason::Retrying, &message).then(Requeue::After(wait)))
}

/// When the wait after the last failed attempt of this round ends.
fn due<P: Copy>(draft: &Draft<P>) -> Option<Timestamp> {
    let run = &draft.status.run;
    let failed = u32::try_from(run.attempt - run.first_attempt.unwrap_or(1) + 1).ok().filter(|n| *n > 0)?;
    let ended = run.attempts.last()?.end_time.as_ref()?.0;
    Some(after(ended, backoff(failed, LONGEST_WAIT)))
}

/// Puts an attempt on record, and drops Jobs of attempts that are no longer on record.
pub fn begin<P: Copy>(draft: &mut Draft<P>, workers: &Workers, uid: &str, attempt: i32, job: String) {
    put_on_record(draft, uid, attempt, job);
    let kept: Vec<String> = draft.status.run.attempts.iter().map(|a| fence(uid, a.number)).collect();
    drop_others(draft, workers, &kept);
}

/// Puts an attempt on record.
pub fn put_on_record<P: Copy>(draft: &mut Draft<P>, uid: &str, attempt: i32, job: String) {
    let run = &mut draft.status.run;
    run.start_time.get_or_insert(Time(draft.now));
    run.first_attempt.get_or_insert(attempt);
    run.attempt = attempt;
    run.run = Some(fence(uid, attempt));
    run.attempts.push(AttemptRecord {
        number: attempt,
        job,
        start_time: Some(Time(draft.now)),
        ..AttemptRecord::default()
    });
    let forgotten = run.attempts.len().saturating_sub(ATTEMPTS_KEPT);
    run.attempts.drain(..forgotten);
}

/// Deletes the Jobs that have ended, but for those of these runs.
pub fn drop_others<P: Copy>(draft: &mut Draft<P>, workers: &Workers, kept: &[String]) {
    let old = workers.jobs.iter().filter(|j| j.end.is_some() && !j.deleting && !kept.contains(&j.run));
    draft.effects.extend(old.map(|j| Effect::DeleteJob { name: j.name.clone(), uid: j.uid.clone() }));
}

/// The fence of an attempt of this object.
#[must_use]
pub fn fence(uid: &str, attempt: i32) -> String {
    run_name(uid, u32::try_from(attempt).unwrap_or(0))
}

/// Makes the Job of the attempt on record.
#[must_use]
pub fn make<P: Copy>(draft: Draft<P>, job: Job) -> Decision<P> {
    draft.with(Effect::Grant(Account::of_job(&job))).with(Effect::CreateJob(Box::new(job))).then(Requeue::After(POLL))
}

/// It failed for good. What a person must do after mending the cause is said too.
#[must_use]
pub fn failed<P: Copy>(mut draft: Draft<P>, phase: P, reason: Reason, message: &str) -> Decision<P> {
    let again = "Once that is mended, set the annotation mo-backup.io/retry to a new token";
    let told = format!("{}. {again}", message.trim_end_matches('.'));
    let message = if draft.status.run.attempt > 0 && !message.is_empty() { &told } else { message };
    draft.status.run.end_time.get_or_insert(Time(draft.now));
    draft.status.run.queue = None;
    draft.say(phase, Standing::Failed, reason, message).then(Requeue::OnChange)
}

/// Whether it was cancelled for good.
#[must_use]
pub fn cancelled(conditions: &[Condition]) -> bool {
    let failed = |c: &&Condition| c.type_ == ConditionType::Failed.as_str() && c.status == "True";
    conditions.iter().filter(failed).any(|c| c.reason == Reason::Cancelled.as_str())
}

/// When the worker of an object last wrote, by the API server's clock: that of its node can be wrong by more than a
/// stall.
#[must_use]
pub fn written(object: &ObjectMeta) -> Option<Timestamp> {
    let entries = object.managed_fields.iter().flatten();
    let own = entries.filter(|e| e.manager.as_deref().is_some_and(|m| [WORKER_MANAGER, PROVER_MANAGER].contains(&m)));
    own.filter_map(|e| e.time.as_ref()).map(|t| t.0).max()
}
