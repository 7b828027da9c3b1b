//! What happens when a Backup is deleted: the worker is stopped, the data kept or purged, the object let go. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    decide::{BackupDecision, BackupDraft, make, retry},
    observe::{Keeper, Observed},
    plan::{self, fence, open},
};
use crate::{
    api::{AttemptRecord, BackupPhase, DeletionPolicy, Reason},
    controller::{
        course::{LONGEST_WAIT, POLL, SOON, begin, lost, note, stop, unless_refused},
        decision::{Effect, Requeue, Standing, ready},
        job::{Errand, errand, purge_name, sweep_name},
        run::{Ending, Stage, Verdict, after, backoff, judge, open_record, until},
    },
    task::SweepTask,
};

/// After so many purges in a row without success the next ones come once an hour.
const QUICK_PURGES: u32 = 5;
const HOUR: Duration = Duration::from_hours(1);
/// Other Backups that are named of many.
const NAMED: usize = 5;

/// A deleted Backup that we still hold.
pub fn delete(seen: &Observed, mut draft: BackupDraft) -> BackupDecision {
    draft.status.run.queue = None;
    match open_record(&draft.status.run).cloned() {
        Some(record) => match errand(&seen.backup, &record) {
            Errand::Backup => stopping(seen, draft, &record),
            Errand::Purge => purging(seen, draft, &record),
            Errand::Sweep => sweeping(seen, draft, &record),
        },
        None => settled(seen, draft),
    }
}

fn uid(seen: &Observed) -> &str {
    seen.backup.metadata.uid.as_deref().unwrap_or_default()
}

fn kept(seen: &Observed) -> bool {
    seen.backup.spec.hold || seen.backup.spec.deletion_policy == DeletionPolicy::Retain || !seen.kept_by.is_empty()
}

/// Which other Backups keep the data, and how to go on.
fn kept_by(seen: &Observed) -> String {
    let name = |keeper: &Keeper| {
        let why = if keeper.holds { "hold: true" } else { "deletionPolicy: Retain" };
        format!("Backup {} ({why})", keeper.name)
    };
    let named: Vec<_> = seen.kept_by.iter().take(NAMED).map(name).collect();
    let more = seen.kept_by.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "the data stays, because another Backup of the same id keeps it: {}{more}. To remove the data, delete that one or \
         change it. To let only this object go, set deletionPolicy: Retain here",
        named.join(", ")
    )
}

/// The worker of the backup is stopped first: nothing may write where data is removed.
fn stopping(seen: &Observed, mut draft: BackupDraft, record: &AttemptRecord) -> BackupDecision {
    let fence = fence(&seen.backup, record.number);
    let open = open(seen, record, &fence);
    note(&mut draft, &open);
    match open.stage(draft.now) {
        Stage::Starting { .. } | Stage::Running { .. } | Stage::Overdue { .. } => {
            stop(draft, &open, BackupPhase::Deleting, Reason::Releasing, Reason::Releasing.meaning())
        }
        Stage::Stopping => {
            draft.say(BackupPhase::Deleting, Standing::Moving, Reason::Releasing, "").then(Requeue::After(SOON))
        }
        Stage::Lost { pod, node } => lost(draft, BackupPhase::Deleting, &pod, &node),
        Stage::ToMake | Stage::Taken { .. } => {
            draft.close(Reason::Releasing, None);
            settled(seen, draft)
        }
        Stage::Over(ending) => {
            let said = plan::said(&seen.backup, &fence);
            match judge(record, &ending, said) {
                Verdict::Done => draft.close(Reason::Completed, None),
                Verdict::Again(reason, message) | Verdict::Never(reason, message) => {
                    draft.close(reason, Some(&message));
                }
            }
            settled(seen, draft)
        }
    }
}

/// No attempt is open, or not any more.
fn settled(seen: &Observed, mut draft: BackupDraft) -> BackupDecision {
    let retry = retry(seen, &mut draft);
    if let Some(pod) = seen.workers.pods.iter().find(|p| p.alive) {
        let message = format!("Pod {} of an earlier run is still there", pod.name);
        return draft
            .say(BackupPhase::Deleting, Standing::Moving, Reason::Releasing, &message)
            .then(Requeue::After(SOON));
    }
    if seen.terminating {
        return draft
            .say(BackupPhase::Deleting, Standing::Held, Reason::NamespaceTerminating, "")
            .with(Effect::Release)
            .then(Requeue::OnChange);
    }
    if seen.backup.spec.hold {
        return draft.say(BackupPhase::Deleting, Standing::Held, Reason::Held, "").then(Requeue::OnChange);
    }
    let ran = draft.status.run.attempt > 0 || seen.backup.spec.imported.is_some();
    let last = draft.status.run.attempts.last().map(|r| (errand(&seen.backup, r), r.clone()));
    let purged = last.as_ref().is_some_and(|(errand, r)| *errand == Errand::Purge && is(r, Reason::Completed));
    match (seen.backup.spec.deletion_policy, last) {
        (DeletionPolicy::Delete, _) if ran && !purged && !seen.kept_by.is_empty() => {
            draft.say(BackupPhase::Deleting, Standing::Held, Reason::Held, &kept_by(seen)).then(Requeue::After(POLL))
        }
        (DeletionPolicy::Delete, _) if ran && !purged => purge(seen, draft, retry),
        (DeletionPolicy::Retain, _) if plan::left_staged(&seen.backup, &draft.status.run.attempts) => {
            sweep(seen, draft)
        }
        (DeletionPolicy::Retain, Some((Errand::Sweep, r))) if !is(&r, Reason::Completed) => {
            let why = r.message.as_deref().or(r.reason.as_deref()).unwrap_or_default();
            release_unswept(seen, draft, why)
        }
        (DeletionPolicy::Delete | DeletionPolicy::Retain, _) => release(draft),
    }
}

fn release(draft: BackupDraft) -> BackupDecision {
    draft
        .say(BackupPhase::Deleting, Standing::Moving, Reason::Releasing, "nothing is left to do")
        .with(Effect::Release)
        .then(Requeue::OnChange)
}

/// Lets go of an object whose staging folder could not be emptied: that is no reason to hold it, but to say so.
fn release_unswept(seen: &Observed, draft: BackupDraft, why: &str) -> BackupDecision {
    let folder = SweepTask::for_attempt(&seen.backup, 0).map(|t| format!("{} of {}", t.staging.server_path, t.id));
    let folder = folder.unwrap_or_else(|_| "the staging folder".into());
    let message = format!("files may be left in {folder}: {why}. {}", Reason::StagingNotEmptied.remedy());
    draft
        .say(BackupPhase::Deleting, Standing::Stuck, Reason::StagingNotEmptied, &message)
        .with(Effect::Release)
        .then(Requeue::OnChange)
}

/// Begins the one attempt to empty the staging folder.
fn sweep(seen: &Observed, mut draft: BackupDraft) -> BackupDecision {
    let attempt = draft.status.run.attempt + 1;
    match plan::sweep_job(seen, attempt) {
        Ok(job) => {
            let name = seen.backup.metadata.name.as_deref().unwrap_or_default();
            begin(&mut draft, &seen.workers, uid(seen), attempt, sweep_name(name, attempt));
            make(seen, draft.say(BackupPhase::Deleting, Standing::Moving, Reason::EmptyingStaging, ""), job)
        }
        Err(invalid) => release_unswept(seen, draft, &invalid.to_string()),
    }
}

/// The attempt to empty the staging folder is on record and not judged. Nothing that is in its way holds the object.
fn sweeping(seen: &Observed, mut draft: BackupDraft, record: &AttemptRecord) -> BackupDecision {
    let fence = fence(&seen.backup, record.number);
    let open = open(seen, record, &fence);
    note(&mut draft, &open);
    let (phase, reason) = (BackupPhase::Deleting, Reason::EmptyingStaging);
    let (why, message) = match open.stage(draft.now) {
        Stage::ToMake => match ready(&draft.status.run) {
            Some((Reason::JobRefused, words)) => (Reason::JobRefused, words.to_owned()),
            Some(_) | None => match plan::sweep_job(seen, record.number) {
                Ok(job) => return make(seen, draft.say(phase, Standing::Moving, reason, ""), job),
                Err(invalid) => (invalid.reason(), invalid.to_string()),
            },
        },
        Stage::Taken { job } => (Reason::NameConflict, format!("a Job {job} that is not ours has the name")),
        Stage::Starting { until: then, .. } | Stage::Running { until: then } => {
            let wait = until(then, draft.now);
            return draft.say(phase, Standing::Moving, reason, "").then(Requeue::After(wait));
        }
        Stage::Overdue { reason, message } => return stop(draft, &open, phase, reason, &message),
        Stage::Stopping => return draft.say(phase, Standing::Moving, reason, "").then(Requeue::After(SOON)),
        Stage::Lost { pod, node } => return lost(draft, phase, &pod, &node),
        Stage::Over(ending) => {
            close_purge(seen, &mut draft, record, &ending, &fence);
            return settled(seen, draft);
        }
    };
    draft.close(why, Some(&message));
    settled(seen, draft)
}

fn is(record: &AttemptRecord, reason: Reason) -> bool {
    record.reason.as_deref() == Some(reason.as_str())
}

/// Begins an attempt to remove the data, once it is due.
fn purge(seen: &Observed, mut draft: BackupDraft, retry: bool) -> BackupDecision {
    let failures =
        draft.status.run.attempts.iter().rev().take_while(|r| errand(&seen.backup, r) == Errand::Purge).count();
    if let Some(due) = due(&draft, u32::try_from(failures).unwrap_or(u32::MAX))
        && draft.now < due
        && !retry
    {
        return purge_failed(draft, due);
    }
    let attempt = draft.status.run.attempt + 1;
    let job = match plan::purge_job(seen, attempt) {
        Ok(job) => job,
        Err(invalid) => {
            let why = match &seen.storage {
                None => format!("there is no BackupStorage {} in this namespace", seen.backup.spec.storage),
                Some(_) => invalid.to_string(),
            };
            let message = format!("{why}. {}", Reason::PurgeFailed.remedy());
            return draft
                .say(BackupPhase::Deleting, Standing::Stuck, Reason::PurgeFailed, &message)
                .then(Requeue::OnChange);
        }
    };
    let name = seen.backup.metadata.name.as_deref().unwrap_or_default();
    begin(&mut draft, &seen.workers, uid(seen), attempt, purge_name(name, attempt));
    make(seen, draft.say(BackupPhase::Deleting, Standing::Moving, Reason::Purging, ""), job)
}

/// When the next attempt to purge may begin, after so many that failed.
fn due(draft: &BackupDraft, failures: u32) -> Option<Timestamp> {
    let last = draft.status.run.attempts.last().filter(|_| failures > 0)?;
    let permanent = last.reason.as_deref().and_then(Reason::parse).is_some_and(Reason::is_permanent);
    let wait = if permanent || failures > QUICK_PURGES { HOUR } else { backoff(failures, LONGEST_WAIT) };
    Some(after(last.end_time.as_ref()?.0, wait))
}

fn purge_failed(draft: BackupDraft, due: Timestamp) -> BackupDecision {
    let last = draft.status.run.attempts.last();
    let message = last.map_or_else(String::new, |r| {
        format!("{}: {}", r.reason.as_deref().unwrap_or_default(), r.message.as_deref().unwrap_or_default())
    });
    let message = format!("{message}. {}", Reason::PurgeFailed.remedy());
    let wait = until(due, draft.now);
    draft.say(BackupPhase::Deleting, Standing::Stuck, Reason::PurgeFailed, &message).then(Requeue::After(wait))
}

/// An attempt to purge is on record and not judged.
fn purging(seen: &Observed, mut draft: BackupDraft, record: &AttemptRecord) -> BackupDecision {
    let fence = fence(&seen.backup, record.number);
    let open = open(seen, record, &fence);
    note(&mut draft, &open);
    let phase = BackupPhase::Deleting;
    match open.stage(draft.now) {
        Stage::ToMake | Stage::Taken { .. } if kept(seen) => {
            draft.close(Reason::Interrupted, Some("the data is to be kept"));
            settled(seen, draft)
        }
        Stage::Starting { .. } | Stage::Running { .. } if kept(seen) => {
            stop(draft, &open, phase, Reason::Interrupted, "the data is to be kept")
        }
        Stage::ToMake => match plan::purge_job(seen, record.number) {
            Ok(job) => make(seen, unless_refused(draft, phase, Reason::Purging), job),
            Err(invalid) => {
                draft.close(Reason::PurgeFailed, Some(&invalid.to_string()));
                settled(seen, draft)
            }
        },
        Stage::Taken { job } => {
            let message = format!("a Job {job} that is not ours has the name. {}", Reason::NameConflict.remedy());
            draft.say(phase, Standing::Stuck, Reason::NameConflict, &message).then(Requeue::After(POLL))
        }
        Stage::Starting { until: then, .. } | Stage::Running { until: then } => {
            let wait = until(then, draft.now);
            draft.say(phase, Standing::Moving, Reason::Purging, "").then(Requeue::After(wait))
        }
        Stage::Overdue { reason, message } => stop(draft, &open, phase, reason, &message),
        Stage::Stopping => {
            draft.say(phase, Standing::Moving, Reason::Purging, "the worker is ending").then(Requeue::After(SOON))
        }
        Stage::Lost { pod, node } => lost(draft, phase, &pod, &node),
        Stage::Over(ending) => {
            close_purge(seen, &mut draft, record, &ending, &fence);
            settled(seen, draft)
        }
    }
}

/// A purge reports like any worker; exit code 0 alone is enough, since it removes nothing that is left in doubt.
fn close_purge(seen: &Observed, draft: &mut BackupDraft, record: &AttemptRecord, ending: &Ending, fence: &str) {
    let said = plan::said(&seen.backup, fence);
    match (judge(record, ending, said), ending) {
        (Verdict::Done, _) | (Verdict::Again(Reason::WorkerFailed, _), Ending::Complete) => {
            draft.close(Reason::Completed, None);
        }
        (Verdict::Again(reason, message) | Verdict::Never(reason, message), _) => draft.close(reason, Some(&message)),
    }
}
