//! The decision about a Backup. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::{
    attempt, delete,
    imported::{self, Asked},
    observe::{Base, Observed},
    plan::{self, Needs, finished},
};
use crate::{
    api::{
        AccessMode, Address, BackupPhase, BackupStoragePhase, CANCEL_ANNOTATION, ConditionType, RETRY_ANNOTATION,
        Reason,
    },
    controller::{
        act::FINALIZER,
        address::{self, Unknown},
        course::{self, POLL, SOON, failed, request},
        decision::{Decision, Draft, Effect, Kind as _, Requeue, Standing, ready},
        job::attempt_name,
        queue::{Ticket, Turn, turn},
        run::open_record,
    },
    plan::BackupId,
};

/// When to look at the queue though nobody has left it: the end of the Backup before is heard, this is for what a broken
/// watch has missed.
const IN_QUEUE: Duration = Duration::from_mins(2);

pub(super) type BackupDraft = Draft<BackupPhase>;
pub(super) type BackupDecision = Decision<BackupPhase>;

/// What to do about this Backup at this time.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> BackupDecision {
    let mut decision = choose(seen, now);
    match decision.status.phase {
        Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting) => {}
        None
        | Some(
            BackupPhase::Pending
            | BackupPhase::Queued
            | BackupPhase::Running
            | BackupPhase::Retrying
            | BackupPhase::Suspended,
        ) => decision.status.run.end_time = None,
    }
    decision
}

fn choose(seen: &Observed, now: Timestamp) -> BackupDecision {
    let backup = &seen.backup;
    let mut draft = Draft::new(backup.written(), backup.metadata.generation, true, now);
    let held = backup.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    if ready(&draft.status.run).is_some_and(|(reason, _)| reason == Reason::NamespaceTerminating) {
        let draft = draft.restamped();
        return if held { draft.with(Effect::Release) } else { draft }.then(Requeue::OnChange);
    }
    let cancel = request(&backup.metadata, CANCEL_ANNOTATION, |h| &mut h.cancel, &mut draft);
    if backup.metadata.deletion_timestamp.is_some() {
        return if held { delete::delete(seen, draft) } else { draft.then(Requeue::OnChange) };
    }
    let open = open_record(&draft.status.run).cloned();
    let retry = open.is_none() && retry(seen, &mut draft);
    if let Some(imported) = &backup.spec.imported {
        return imported::decide(seen, imported, draft, Asked { cancel, retry });
    }
    if finished(backup) && !(retry && draft.status.phase == Some(BackupPhase::Failed)) {
        return draft.restamped().then(Requeue::OnChange);
    }
    match open {
        Some(record) => attempt::under_way(seen, draft, record, cancel),
        None if cancel => failed(draft, BackupPhase::Failed, Reason::Cancelled, ""),
        None => between(seen, draft, retry),
    }
}

/// Whether a person asks for another round. While a worker is at it there is nothing to retry yet: this is asked only
/// once its attempt is judged.
pub(super) fn retry(seen: &Observed, draft: &mut BackupDraft) -> bool {
    request(&seen.backup.metadata, RETRY_ANNOTATION, |h| &mut h.retry, draft)
}

/// No attempt is open: may the next one begin?
pub(super) fn between(seen: &Observed, mut draft: BackupDraft, retry: bool) -> BackupDecision {
    course::new_round(&mut draft, retry);
    if seen.backup.spec.suspend {
        return draft.say(BackupPhase::Suspended, Standing::Held, Reason::Suspended, "").then(Requeue::OnChange);
    }
    if let Some(wait) = course::waiting(&draft, BackupPhase::Retrying) {
        return wait;
    }
    let needs = match ready_to_start(seen) {
        Ok(needs) => needs,
        Err(Obstacle::Passing { reason, message, look }) => {
            return draft.say(BackupPhase::Pending, Standing::Moving, reason, &message).then(look);
        }
        Err(Obstacle::Permanent { reason, message }) => return failed(draft, BackupPhase::Failed, reason, &message),
    };
    let attempt = draft.status.run.attempt + 1;
    let job = match plan::backup_job(seen, &needs, attempt) {
        Ok(job) => job,
        Err(invalid) => return failed(draft, BackupPhase::Failed, invalid.reason(), &invalid.to_string()),
    };
    let Some(own) = Ticket::of(&seen.backup) else { return draft.then(Requeue::After(SOON)) };
    match turn(&own, &seen.others) {
        Turn::Behind(queue) => {
            let message = format!(
                "{} ahead in the queue of {}",
                queue.position,
                crate::controller::queue::cluster_key(&seen.backup)
            );
            draft.status.run.queue = Some(queue);
            draft.say(BackupPhase::Queued, Standing::Moving, Reason::Queued, &message).then(Requeue::After(IN_QUEUE))
        }
        Turn::Ours => start(seen, draft, attempt, job),
    }
}

/// What keeps an attempt from beginning.
pub(super) enum Obstacle {
    /// It goes away without a change of this object.
    Passing { reason: Reason, message: String, look: Requeue },
    /// It does not.
    Permanent { reason: Reason, message: String },
}

fn ready_to_start(seen: &Observed) -> Result<Needs, Obstacle> {
    let wanted = &seen.backup.spec.storage;
    let passing = |reason: Reason, message: String| Obstacle::Passing { reason, message, look: Requeue::OnChange };
    let Some(storage) = &seen.storage else {
        let message =
            format!("there is no BackupStorage {wanted} in this namespace. {}", Reason::StorageNotFound.remedy());
        return Err(passing(Reason::StorageNotFound, message));
    };
    if storage.spec.access_mode == AccessMode::ReadOnly {
        let message = format!("BackupStorage {wanted} is read-only. {}", Reason::StorageReadOnly.remedy());
        return Err(Obstacle::Permanent { reason: Reason::StorageReadOnly, message });
    }
    let generation = storage.metadata.generation;
    let condition =
        storage.status.iter().flat_map(|s| &s.run.conditions).find(|c| c.type_ == ConditionType::Ready.as_str());
    let is_ready = condition.is_some_and(|c| c.status == "True" && c.observed_generation == generation);
    let is_read = storage.status.as_ref().is_some_and(|s| s.phase == Some(BackupStoragePhase::ReadOnly));
    if !is_ready || is_read || storage.metadata.deletion_timestamp.is_some() {
        let why = condition.map_or("it was not probed yet".into(), |c| format!("{}: {}", c.reason, c.message));
        return Err(passing(Reason::StorageNotReady, format!("BackupStorage {wanted} is not ready. {why}")));
    }
    needs(seen)
}

/// What the Task of an attempt needs must be there.
pub(super) fn needs(seen: &Observed) -> Result<Needs, Obstacle> {
    Ok(Needs { base: base(seen)?, address: address(seen)? })
}

fn address(seen: &Observed) -> Result<Address, Obstacle> {
    let Some(cluster) = &seen.backup.spec.cluster else {
        let message = "an imported Backup never runs".into();
        return Err(Obstacle::Permanent { reason: Reason::InvalidSpec, message });
    };
    address::address(cluster, &seen.named).map_err(|unknown| match unknown {
        Unknown::Passing(reason, message) => Obstacle::Passing { reason, message, look: Requeue::After(POLL) },
        Unknown::Invalid(why) => {
            Obstacle::Permanent { reason: Reason::InvalidSpec, message: format!("spec.cluster: {why}") }
        }
    })
}

fn base(seen: &Observed) -> Result<Option<BackupId>, Obstacle> {
    let unusable = |message: String| Err(Obstacle::Permanent { reason: Reason::BaseNotUsable, message });
    let wait =
        |message: String| Err(Obstacle::Passing { reason: Reason::BaseNotFound, message, look: Requeue::After(POLL) });
    let base = match &seen.base {
        Base::NotNamed => return Ok(None),
        Base::Missing(name) => {
            return wait(format!("there is no Backup {name} in this namespace. It starts once there is"));
        }
        Base::Found(base) => base,
    };
    let name = base.metadata.name.as_deref().unwrap_or_default();
    if base.spec.storage != seen.backup.spec.storage {
        return unusable(format!("Backup {name} lies in another BackupStorage; a base must be in the same repository"));
    }
    match plan::status(base).phase {
        Some(BackupPhase::Completed) => {
            let id = plan::status(base).report.and_then(|r| r.id).and_then(|id| id.parse().ok());
            match id {
                Some(id) => Ok(Some(id)),
                None => unusable(format!("Backup {name} has no id in its report")),
            }
        }
        Some(BackupPhase::Failed) => unusable(format!("Backup {name} failed; name another base")),
        Some(BackupPhase::Deleting) => unusable(format!("Backup {name} is being deleted; name another base")),
        None
        | Some(
            BackupPhase::Pending
            | BackupPhase::Queued
            | BackupPhase::Running
            | BackupPhase::Retrying
            | BackupPhase::Suspended,
        ) => wait(format!("Backup {name} is not complete yet. It starts once it is")),
    }
}

/// Puts the attempt on record, then makes its Job.
fn start(seen: &Observed, mut draft: BackupDraft, attempt: i32, job: Job) -> BackupDecision {
    let name = seen.backup.metadata.name.as_deref().unwrap_or_default();
    let uid = seen.backup.metadata.uid.as_deref().unwrap_or_default();
    course::begin(&mut draft, &seen.workers, uid, attempt, attempt_name(name, attempt));
    draft.condition(ConditionType::Verified, false, Reason::NotVerifiedYet, Reason::NotVerifiedYet.meaning());
    let draft = draft.say(BackupPhase::Running, Standing::Moving, Reason::Starting, "");
    make(seen, draft, job)
}

pub(super) fn make(seen: &Observed, draft: BackupDraft, job: Job) -> BackupDecision {
    let held = seen.backup.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let draft = if held { draft } else { draft.with(Effect::Hold) };
    course::make(draft, job)
}

#[cfg(test)]
mod tests;
