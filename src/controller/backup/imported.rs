//! The decision about an imported Backup. It never runs: a probe of its storage looks it up, and what that reports is all
//! there is to say. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decide::{BackupDecision, BackupDraft},
    observe::Observed,
};
use crate::{
    api::{Backup, BackupPhase, BackupReport, ConditionType, Imported, Outcome, RETRY_ANNOTATION, Reason},
    controller::{
        act::FINALIZER,
        decision::{Effect, Requeue, Standing, ready},
    },
};

/// What a person asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// To give it up.
    pub cancel: bool,
    /// To look it up once more.
    pub retry: bool,
}

/// What to do about an imported Backup that nobody deletes.
pub(super) fn decide(seen: &Observed, imported: &Imported, mut draft: BackupDraft, asked: Asked) -> BackupDecision {
    match draft.status.phase {
        Some(BackupPhase::Completed) if !asked.retry => return held(seen, draft.restamped()),
        Some(BackupPhase::Failed) if !asked.retry => return draft.restamped().then(Requeue::OnChange),
        None
        | Some(
            BackupPhase::Pending
            | BackupPhase::Queued
            | BackupPhase::Running
            | BackupPhase::Retrying
            | BackupPhase::Suspended
            | BackupPhase::Completed
            | BackupPhase::Failed
            | BackupPhase::Deleting,
        ) => {}
    }
    let uid = seen.backup.metadata.uid.as_deref().unwrap_or_default();
    if asked.retry || draft.status.run.run.is_none() {
        draft.status.run.run = Some(next_look(uid, draft.status.run.run.as_deref()));
    }
    if asked.cancel {
        return failed(draft, Reason::Cancelled, "");
    }
    match report(&seen.backup, draft.status.run.run.as_deref()) {
        Some(report) => judged(seen, imported, draft, report),
        None if seen.storage.is_none() => {
            let message = format!(
                "there is no BackupStorage {} in this namespace. {}",
                seen.backup.spec.storage,
                Reason::StorageNotFound.remedy()
            );
            draft.say(BackupPhase::Pending, Standing::Moving, Reason::StorageNotFound, &message).then(Requeue::OnChange)
        }
        None => draft.say(BackupPhase::Pending, Standing::Moving, Reason::Importing, "").then(Requeue::OnChange),
    }
}

/// Whether a probe is to look it up: it was accepted, and there is no report yet.
#[must_use]
pub fn is_awaited(backup: &Backup) -> bool {
    let Some(status) = backup.status.as_ref().filter(|_| backup.spec.imported.is_some()) else { return false };
    let importing = ready(&status.run).is_some_and(|(reason, _)| reason == Reason::Importing);
    importing && backup.metadata.deletion_timestamp.is_none() && report(backup, status.run.run.as_deref()).is_none()
}

/// The report of this look.
fn report<'a>(backup: &'a Backup, run: Option<&str>) -> Option<&'a BackupReport> {
    let report = backup.status.as_ref()?.report.as_ref()?;
    (Some(&*report.said.run) == run).then_some(report)
}

/// The fence of the next look: `<uid>-0`, then `<uid>-0.1` and so on. No attempt has the number 0.
fn next_look(uid: &str, before: Option<&str>) -> String {
    let first = format!("{uid}-0");
    let Some(before) = before.and_then(|run| run.strip_prefix(&first)) else { return first };
    let looks: u32 = before.strip_prefix('.').and_then(|n| n.parse().ok()).unwrap_or(0);
    format!("{first}.{}", looks.saturating_add(1))
}

fn judged(seen: &Observed, imported: &Imported, mut draft: BackupDraft, report: &BackupReport) -> BackupDecision {
    let reason = report.said.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Internal);
    let message = report.said.message.clone().unwrap_or_default();
    match report.said.outcome {
        Outcome::Succeeded if report.id.as_ref() == Some(&imported.id) && report.manifest.is_some() => {
            draft.status.run.end_time = Some(Time(draft.now));
            let told = "its objects were not looked at since it was imported; a Restore compares them all";
            draft.condition(ConditionType::Verified, false, Reason::NotVerifiedYet, told);
            held(seen, draft.say(BackupPhase::Completed, Standing::Done, Reason::Imported, ""))
        }
        Outcome::Succeeded => failed(draft, Reason::Internal, "the report is of another backup"),
        Outcome::Failed | Outcome::Interrupted => failed(draft, reason, &message),
    }
}

/// Its data may have to be removed when it is deleted.
fn held(seen: &Observed, draft: BackupDraft) -> BackupDecision {
    let held = seen.backup.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    if held { draft } else { draft.with(Effect::Hold) }.then(Requeue::OnChange)
}

fn failed(mut draft: BackupDraft, reason: Reason, message: &str) -> BackupDecision {
    draft.status.run.end_time.get_or_insert(Time(draft.now));
    let text = if message.is_empty() { reason.meaning() } else { message };
    let again =
        format!("{}. It is looked up again when {RETRY_ANNOTATION} has a new token", text.trim_end_matches('.'));
    draft.say(BackupPhase::Failed, Standing::Failed, reason, &again).then(Requeue::OnChange)
}

#[cfg(test)]
mod tests;
