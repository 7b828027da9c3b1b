//! The decision about a BackupStorage. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};

use super::{Users, observe::Observed};
use crate::{
    api::{
        AccessMode, Adopt, AttemptRecord, BackupStorage, BackupStoragePhase, ConditionType, RETRY_ANNOTATION, Reason,
        RunStatus, SWEEP_ORPHANS_ANNOTATION, StorageReport, Warning,
    },
    controller::{
        course::{self, POLL, SOON, drop_others, make, note, order_stop, put_on_record},
        decision::{self, Decision, Draft, Kind as _, Requeue, Standing, ready},
        job::{JobPlan, probe_name},
        run::{Ending, GRACE, Limits, Open, Stage, Verdict, after, backoff, judge, open_record, until},
    },
    task::{InvalidSpec, ProbeTask, Task, duration},
};

/// Limits of a probe. It writes no progress, so that silence means nothing.
const LIMITS: Limits = Limits { start: Duration::from_mins(5), run: Duration::from_mins(5), stall: None };
/// The same where imported Backups are dealt with or orphans removed: the one asks for each of them, the other for each object.
const LONG: Limits = Limits { run: HOUR, ..LIMITS };
/// Characters of a token of mo-backup.io/sweep-orphans that count: it goes into the environment of a Pod, and an annotation
/// can be longer than that may be.
const TOKEN: usize = 64;
/// The longest wait between two probes of a storage that is not ready.
const HOUR: Duration = Duration::from_hours(1);

/// Between two probes that count again: a backup is often followed by another.
const APART: Duration = Duration::from_secs(30);
/// The same while a backup is under way: its end will be heard, and changes the counts once more.
const WHILE_BUSY: Duration = Duration::from_mins(10);
/// From the end of a Backup to the probe: a removed one ends first, and then its object goes.
const SETTLE: Duration = Duration::from_secs(5);
/// The interval of a spec that no probe can follow.
const DAY: Duration = Duration::from_hours(24);

type StorageDraft = Draft<BackupStoragePhase>;
type StorageDecision = Decision<BackupStoragePhase>;

/// What to do about this BackupStorage at this time.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> StorageDecision {
    let storage = &seen.storage;
    let written = storage.written();
    // The status is about the generation that was probed: it moves on only when a probe of the new one begins.
    let probed = written.run.observed_generation;
    let draft = Draft::new(written, probed, false, now);
    let released = ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::NamespaceTerminating);
    if released || storage.metadata.deletion_timestamp.is_some() {
        return draft.then(Requeue::OnChange);
    }
    match open_record(&draft.status.run).cloned() {
        Some(record) => under_way(seen, draft, &record),
        None => match due(storage, &seen.users) {
            Some(due) if due <= now => probe(seen, draft),
            Some(due) => draft.then(Requeue::After(until(due, now))),
            None => draft.then(Requeue::OnChange),
        },
    }
}

/// Whether there is nothing to look for: no probe is open, and none is due.
pub(super) fn at_rest(storage: &BackupStorage, users: &Users, now: Timestamp) -> bool {
    let open = storage.status.as_ref().is_some_and(|s| open_record(&s.run).is_some());
    storage.metadata.deletion_timestamp.is_some() || (!open && due(storage, users).is_none_or(|due| due > now))
}

/// When the next probe is to begin; `None` when only a change of the spec can help.
fn due(storage: &BackupStorage, users: &Users) -> Option<Timestamp> {
    let Some(status) = &storage.status else { return Some(Timestamp::MIN) };
    if status.run.observed_generation != storage.metadata.generation || asked(storage).is_some() {
        return Some(Timestamp::MIN);
    }
    match status.phase {
        None | Some(BackupStoragePhase::Pending | BackupStoragePhase::Probing) => Some(Timestamp::MIN),
        Some(BackupStoragePhase::Ready | BackupStoragePhase::ReadOnly) => {
            let last = status.run.attempts.last();
            let probed =
                last.and_then(|a| a.start_time.as_ref().or(a.end_time.as_ref())).map_or(Timestamp::MIN, |t| t.0);
            let every = duration("spec.probeEvery", &storage.spec.probe_every).unwrap_or(DAY);
            let report = status.report.as_ref();
            let counted = report.is_some_and(|r| r.backups_over == users.words());
            let hindered = report.is_some_and(|r| warning(r, Reason::AdoptionRefused).is_some());
            let routine = after(probed, every);
            let recount = if counted { routine } else { routine.min(recount(probed, users)) };
            let wanted = users.awaited > 0 || asked_to_sweep(storage).is_some();
            Some(match (hindered, wanted) {
                (true, _) => recount.min(after(probed, WHILE_BUSY)),
                (false, true) => recount.min(after(probed, APART)),
                (false, false) => recount,
            })
        }
        Some(BackupStoragePhase::Failed) => {
            // A spec that no probe can follow waits for a change of the spec.
            let last = status.run.attempts.last()?;
            let ended = last.end_time.as_ref()?.0;
            let permanent = last.reason.as_deref().and_then(Reason::parse).is_some_and(Reason::is_permanent);
            Some(after(ended, wait(&status.run, permanent)))
        }
    }
}

fn warning(report: &StorageReport, reason: Reason) -> Option<&Warning> {
    report.warnings.iter().find(|w| w.reason == reason.as_str())
}

/// When to count again after Backups have ended or gone.
fn recount(probed: Timestamp, users: &Users) -> Timestamp {
    let settled = users.last.map_or(Timestamp::MIN, |last| after(last, SETTLE));
    settled.max(after(probed, if users.busy { WHILE_BUSY } else { APART }))
}

/// Whether a probe only counts again: until it says otherwise, the storage is what it was.
pub(super) fn is_routine(draft: &StorageDraft) -> bool {
    let ready = ConditionType::Ready.as_str();
    draft.status.run.conditions.iter().any(|c| c.type_ == ready && c.status == "True")
}

/// Says how the probe stands.
pub(super) fn tell(mut draft: StorageDraft, standing: Standing, reason: Reason, message: &str) -> StorageDraft {
    if !is_routine(&draft) {
        return draft.say(BackupStoragePhase::Probing, standing, reason, message);
    }
    if standing == Standing::Stuck {
        draft.condition(ConditionType::Stalled, true, reason, message);
    }
    draft
}

/// A token of mo-backup.io/retry that was not acted on.
fn asked(storage: &BackupStorage) -> Option<&String> {
    let handled = storage.status.as_ref().and_then(|s| s.run.handled_requests.as_ref()?.retry.as_ref());
    decision::asked(&storage.metadata, RETRY_ANNOTATION, handled)
}

/// A token of mo-backup.io/sweep-orphans that was not acted on.
fn asked_to_sweep(storage: &BackupStorage) -> Option<String> {
    let handled = storage.status.as_ref().and_then(|s| s.run.handled_requests.as_ref()?.sweep_orphans.as_ref());
    let token = decision::asked(&storage.metadata, SWEEP_ORPHANS_ANNOTATION, None)?;
    Some(token.chars().take(TOKEN).collect()).filter(|token| handled != Some(token))
}

/// The limits of the probe. Those of whatever an open one can be doing: what it was made for may be done meanwhile.
fn limits(seen: &Observed) -> Limits {
    let adopts = match seen.storage.spec.adopt {
        Adopt::All => true,
        Adopt::None => false,
    };
    let long = adopts || seen.users.imported > 0 || asked_to_sweep(&seen.storage).is_some();
    if long { LONG } else { LIMITS }
}

/// Puts a probe on record and makes its Job. A storage that was ready stays so meanwhile, unless its spec has changed.
fn probe(seen: &Observed, mut draft: StorageDraft) -> StorageDecision {
    let storage = &seen.storage;
    let run = &mut draft.status.run;
    let fresh = run.observed_generation != storage.metadata.generation || asked(storage).is_some();
    // A new round, too: what failed before the last success says nothing about the next wait.
    let was_well = draft.status.phase != Some(BackupStoragePhase::Failed);
    run.observed_generation = storage.metadata.generation;
    if let Some(token) = asked(storage) {
        run.handled_requests.get_or_insert_default().retry = Some(token.clone());
    }
    let attempt = run.attempt + 1;
    let job = match job(seen, attempt) {
        Ok(job) => job,
        Err(invalid) => {
            return draft
                .say(BackupStoragePhase::Failed, Standing::Failed, invalid.reason(), &invalid.to_string())
                .then(Requeue::OnChange);
        }
    };
    if fresh || was_well || run.first_attempt.is_none() {
        run.first_attempt = Some(attempt);
    }
    let uid = storage.metadata.uid.as_deref().unwrap_or_default();
    put_on_record(&mut draft, uid, attempt, probe_name(storage.metadata.name.as_deref().unwrap_or_default(), attempt));
    // Of what went before, the last Job stays for its log.
    drop_others(&mut draft, &seen.workers, &[fence(storage, attempt), fence(storage, attempt - 1)]);
    let draft = if fresh {
        draft.say(BackupStoragePhase::Probing, Standing::Moving, Reason::Probing, "")
    } else {
        tell(draft, Standing::Moving, Reason::Probing, "")
    };
    make(draft, job)
}

fn fence(storage: &BackupStorage, attempt: i32) -> String {
    course::fence(storage.metadata.uid.as_deref().unwrap_or_default(), attempt)
}

fn job(seen: &Observed, attempt: i32) -> Result<Job, InvalidSpec> {
    let storage = &seen.storage;
    let number = u32::try_from(attempt).unwrap_or(0);
    let (users, awaited) = (seen.users.words(), seen.users.awaited > 0);
    let mut task = ProbeTask::for_attempt(storage, users, awaited, number)?;
    if let Some(token) = asked_to_sweep(storage) {
        task.imports.get_or_insert_default().sweep = Some(token);
    }
    let task = Task::Probe(Box::new(task));
    let limits = limits(seen);
    let plan = JobPlan {
        task: &task,
        options: &storage.spec.job,
        image: &seen.image,
        deadline: limits.start + limits.run + GRACE + GRACE,
        cluster: None,
        storage: Some(&storage.spec),
        staging: None,
        target: None,
        accounts: &[],
    };
    plan.render()
}

/// A probe is on record and not judged.
fn under_way(seen: &Observed, mut draft: StorageDraft, record: &AttemptRecord) -> StorageDecision {
    let fence = fence(&seen.storage, record.number);
    let report = seen.storage.status.as_ref().and_then(|s| s.report.as_ref()).filter(|r| r.said.run == fence);
    let (workers, limits) = (&seen.workers, limits(seen));
    let open = Open { record, run: &fence, heard: report.is_some(), heartbeat: None, workers, limits };
    let stage = open.stage(draft.now);
    note(&mut draft, &open);
    match stage {
        Stage::ToMake => match job(seen, record.number) {
            Ok(job) => {
                let refused = ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::JobRefused);
                make(if refused { draft } else { tell(draft, Standing::Moving, Reason::Probing, "") }, job)
            }
            Err(invalid) => failed(draft, invalid.reason(), &invalid.to_string()),
        },
        Stage::Taken { job } => {
            let message = format!("a Job {job} that is not ours has the name. {}", Reason::NameConflict.remedy());
            tell(draft, Standing::Stuck, Reason::NameConflict, &message).then(Requeue::After(POLL))
        }
        Stage::Starting { waiting, until: then } => {
            let wait = until(then, draft.now);
            let message = waiting.map_or_else(String::new, |w| format!("the Pod waits: {w}"));
            tell(draft, Standing::Moving, Reason::Probing, &message).then(Requeue::After(wait))
        }
        Stage::Running { until: then } => {
            let wait = until(then, draft.now);
            tell(draft, Standing::Moving, Reason::Probing, "").then(Requeue::After(wait))
        }
        Stage::Overdue { reason, message } => {
            order_stop(&mut draft, &open, reason, &message);
            tell(draft, Standing::Moving, reason, &message).then(Requeue::After(SOON))
        }
        Stage::Stopping => {
            tell(draft, Standing::Moving, Reason::Probing, "the probe is ending").then(Requeue::After(SOON))
        }
        Stage::Lost { pod, node } => {
            let message = format!("node {node} of Pod {pod} cannot be reached. {}", Reason::NodeLost.remedy());
            tell(draft, Standing::Stuck, Reason::NodeLost, &message).then(Requeue::After(POLL))
        }
        Stage::Over(ending) => judged(seen, draft, record, &ending, report),
    }
}

fn judged(
    seen: &Observed,
    mut draft: StorageDraft,
    record: &AttemptRecord,
    ending: &Ending,
    report: Option<&StorageReport>,
) -> StorageDecision {
    match judge(record, ending, report.map(|r| &r.said)) {
        Verdict::Done => {
            draft.close(Reason::StorageReady, None);
            if let Some(swept) = report.and_then(|r| r.swept.as_ref()) {
                draft.status.run.handled_requests.get_or_insert_default().sweep_orphans = Some(swept.token.clone());
            }
            draft.status.run.end_time = Some(Time(draft.now));
            let foreign = report.is_some_and(|r| warning(r, Reason::RepositoryForeign).is_some());
            let (phase, reason, message) = match (seen.storage.spec.access_mode, foreign) {
                (_, true) => {
                    (BackupStoragePhase::ReadOnly, Reason::RepositoryForeign, "Backups can only be read here.")
                }
                (AccessMode::ReadWrite, false) => {
                    (BackupStoragePhase::Ready, Reason::StorageReady, Reason::StorageReady.meaning())
                }
                (AccessMode::ReadOnly, false) => {
                    (BackupStoragePhase::ReadOnly, Reason::StorageReady, "Backups can be read from here.")
                }
            };
            let made = report.and_then(|r| r.adoption.as_ref()).map_or(0, |a| a.made);
            let made = if made > 0 { format!(" Made {made} Backups of what was found.") } else { String::new() };
            let warnings = report.iter().flat_map(|r| &r.warnings).map(|w| format!(" Note: {}", w.message));
            let message = format!("{message}{made}{}", warnings.collect::<String>());
            // Backups that have ended meanwhile are seen by the next look.
            draft.say(phase, Standing::Done, reason, &message).then(Requeue::After(APART))
        }
        Verdict::Again(reason, message) | Verdict::Never(reason, message) => {
            draft.close(reason, Some(&message));
            failed(draft, reason, &message)
        }
    }
}

fn failed(mut draft: StorageDraft, reason: Reason, message: &str) -> StorageDecision {
    draft.status.run.end_time = Some(Time(draft.now));
    let permanent = reason.is_permanent();
    let again = format!(". It is probed again within the hour, or at once when {RETRY_ANNOTATION} has a new token");
    let message = if permanent { message.trim_end_matches('.').to_owned() + &again } else { message.to_owned() };
    let draft = draft.say(BackupStoragePhase::Failed, Standing::Failed, reason, &message);
    let wait = wait(&draft.status.run, permanent);
    draft.then(Requeue::After(wait))
}

/// From a failed probe to the next one.
fn wait(run: &RunStatus, permanent: bool) -> Duration {
    let failed = u32::try_from(run.attempt - run.first_attempt.unwrap_or(1) + 1).unwrap_or(1);
    if permanent { HOUR } else { backoff(failed, HOUR) }
}

#[cfg(test)]
mod tests;
