//! What follows once everything is in place: the MatrixOne that people start on it is waited for, and proven. Pure.

use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use sha2::{Digest as _, Sha256};

use super::{
    decide::{
        BACKSTOP, Obstacle, RestoreDecision, RestoreDraft, at_rest, between, ended_badly, make_again, opened, progress,
        retry, uid,
    },
    observe::Observed,
};
use crate::{
    api::{AttemptRecord, ConditionType, Reason, RestorePhase, RestoreProof, RestoreReport, Said, Warning},
    controller::{
        address::{self, Unknown},
        course::{self, Hope, POLL, Phases, Step},
        decision::{Requeue, Standing},
        job::{JobPlan, proof_name},
        run::{Ending, GRACE, Limits, Stage, Verdict, judge},
    },
    plan::Digest,
    task::{InvalidSpec, ProofTask, Task, WAITING_FOR_BOOT, boot_deadline},
};

/// Until MatrixOne has answered.
const WAITS: Phases<RestorePhase> = Phases {
    pending: RestorePhase::WaitingForBoot,
    running: RestorePhase::WaitingForBoot,
    because: Reason::WaitingForBoot,
    retrying: RestorePhase::Retrying,
    failed: RestorePhase::Failed,
};

/// From then on.
const PROVES: Phases<RestorePhase> = Phases { running: RestorePhase::Proving, because: Reason::Proving, ..WAITS };

/// What was restored, once everything is in place: then attempts prove instead of copying.
pub(super) fn restored(seen: &Observed) -> Option<&RestoreReport> {
    let status = seen.restore.status.as_ref()?;
    let in_place = ConditionType::DataInPlace.as_str();
    status.run.conditions.iter().find(|c| c.type_ == in_place && c.status == "True")?;
    status.report.as_ref()
}

/// Whether this attempt proves: its Job's name says it.
pub(super) fn is_of(seen: &Observed, record: &AttemptRecord) -> bool {
    record.job == proof_name(name(seen), record.number)
}

fn name(seen: &Observed) -> &str {
    seen.restore.metadata.name.as_deref().unwrap_or_default()
}

/// The next attempt to prove what is in place; without a `target.cluster` there is nothing to prove.
pub(super) fn next(seen: &Observed, mut draft: RestoreDraft, report: &RestoreReport) -> RestoreDecision {
    if seen.restore.spec.target.cluster.is_none() {
        return match spoiled(&draft) {
            // What was found is so, whether or not anybody asks for a proof any more.
            Some((reason, message)) => course::failed(draft, RestorePhase::Failed, reason, &message),
            None => at_rest(seen, draft, report),
        };
    }
    draft.condition(ConditionType::Booted, false, Reason::WaitingForBoot, Reason::WaitingForBoot.meaning());
    draft.condition(ConditionType::Proven, false, Reason::NotProven, "nothing is proven yet");
    let attempt = draft.status.run.attempt + 1;
    let job = match job(seen, report, attempt) {
        Ok(job) => job,
        Err(Obstacle::Passing(reason, message)) => {
            let draft = draft.say(RestorePhase::WaitingForBoot, Standing::Moving, reason, &message);
            return draft.then(Requeue::After(POLL));
        }
        Err(Obstacle::Permanent(reason, message)) => {
            return course::failed(draft, RestorePhase::Failed, reason, &message);
        }
    };
    draft.status.run.end_time = None;
    course::begin(&mut draft, &seen.workers, uid(seen), attempt, proof_name(name(seen), attempt));
    if let Some(record) = draft.record() {
        record.about = Some(about(seen));
    }
    course::make(draft.say(RestorePhase::WaitingForBoot, Standing::Moving, Reason::Starting, ""), job)
}

/// What an attempt to prove is about: the spec may name another MatrixOne, or other logins, before it is over.
fn about(seen: &Observed) -> String {
    let spec = &seen.restore.spec;
    let text = serde_json::to_vec(&(&spec.target.cluster, &spec.proof)).unwrap_or_default();
    Digest(Sha256::digest(text).into()).to_string()
}

/// The verdict of an earlier proof that speaks against the place itself, and not against a server only.
fn spoiled(draft: &RestoreDraft) -> Option<(Reason, String)> {
    let proven = draft.status.run.conditions.iter().find(|c| c.type_ == ConditionType::Proven.as_str())?;
    let reason = Reason::parse(&proven.reason)?;
    let against = [Reason::IdsRestarted, Reason::ValuesUnreadable, Reason::ServerTooOld, Reason::VersionNotSuitable];
    let against = against.contains(&reason);
    (proven.status == "False" && against).then(|| (reason, proven.message.clone()))
}

fn job(seen: &Observed, report: &RestoreReport, attempt: i32) -> Result<Job, Obstacle> {
    let spec = &seen.restore.spec;
    let Some(cluster) = &spec.target.cluster else {
        return Err(InvalidSpec::NoIdentity("target.cluster").into());
    };
    let address = address::address(cluster, &seen.named).map_err(|unknown| match unknown {
        Unknown::Passing(reason, message) => Obstacle::Passing(reason, message),
        Unknown::Invalid(why) => Obstacle::Permanent(Reason::InvalidSpec, format!("spec.target.cluster: {why}")),
    })?;
    let number = u32::try_from(attempt).unwrap_or(0);
    let task = Task::Proof(Box::new(ProofTask::for_attempt(&seen.restore, &address, report, number)?));
    let limits = limits(seen)?;
    let plan = JobPlan {
        task: &task,
        options: &spec.job,
        image: &seen.image,
        deadline: limits.start + limits.run + GRACE + BACKSTOP,
        cluster: Some(cluster),
        storage: None,
        staging: None,
        target: None,
        accounts: spec.proof.as_ref().map_or(&[], |proof| &proof.credentials_secrets),
    };
    Ok(plan.render()?)
}

/// Those of the spec; the wait for MatrixOne comes on top of the run.
fn limits(seen: &Observed) -> Result<Limits, InvalidSpec> {
    let spec = &seen.restore.spec;
    let limits = Limits::of(&spec.deadlines)?;
    let boot = boot_deadline(&spec.proof.clone().unwrap_or_default())?;
    Ok(Limits { run: limits.run + boot, ..limits })
}

/// A proof is on record and not judged.
pub(super) fn under_way(
    seen: &Observed,
    mut draft: RestoreDraft,
    record: AttemptRecord,
    cancel: bool,
) -> RestoreDecision {
    let record = course::ordered(record, cancel);
    let fence = course::fence(uid(seen), record.number);
    let (progress, said) = (progress(seen, &fence), said(seen, &fence));
    let began = |step: &str| step != WAITING_FOR_BOOT && step != "starting";
    let booted = said.is_some_and(|p| p.booted_time.is_some()) || progress.is_some_and(|p| began(&p.step));
    if booted {
        draft.condition(ConditionType::Booted, true, Reason::Proving, "MatrixOne answers");
    }
    let open = opened(seen, &record, &fence, (progress.is_some() || said.is_some(), limits(seen)));
    let phases = if booted { PROVES } else { WAITS };
    if is_outdated(seen, &record) && record.reason.is_none() && !matches!(open.stage(draft.now), Stage::Over(_)) {
        let message = Reason::ProofOutdated.meaning();
        course::note(&mut draft, &open);
        return course::stop(draft, &open, phases.running, Reason::ProofOutdated, message);
    }
    match course::follow(draft, &open, phases) {
        Step::Decided(decision) => *decision,
        Step::Make(draft) => {
            let gone = || Obstacle::Permanent(Reason::Internal, "the report of what was restored is gone".into());
            let job = restored(seen).ok_or_else(gone).and_then(|report| job(seen, report, record.number));
            make_again(seen, *draft, WAITS, job)
        }
        Step::Over(over) => {
            let (draft, record, ending) = *over;
            judged(seen, draft, &record, &ending)
        }
    }
}

fn said<'a>(seen: &'a Observed, run: &str) -> Option<&'a RestoreProof> {
    seen.restore.status.as_ref()?.proof.as_ref().filter(|proof| proof.said.run == run)
}

/// The worker is over: what did it find?
fn judged(seen: &Observed, mut draft: RestoreDraft, record: &AttemptRecord, ending: &Ending) -> RestoreDecision {
    let proof = said(seen, &course::fence(uid(seen), record.number));
    let words: Option<&Said> = proof.map(|p| &p.said);
    let (hope, reason, message) = match (judge(record, ending, words), proof) {
        (Verdict::Done, Some(_)) if is_outdated(seen, record) => {
            return anew(seen, draft, Reason::ProofOutdated, Reason::ProofOutdated.meaning());
        }
        (Verdict::Done, Some(proof)) => return proven(seen, draft, proof),
        (Verdict::Done, None) => {
            (Hope::Another, Reason::Internal, "the worker reported success without a proof".to_owned())
        }
        (Verdict::Never(reason, message), _) => (Hope::None, reason, message),
        (Verdict::Again(reason, message), _) => (Hope::Another, reason, message),
    };
    draft.condition(ConditionType::Proven, false, reason, &message);
    if reason == Reason::NotTheRestored {
        draft.condition(ConditionType::Booted, false, reason, "the MatrixOne that answers is another one");
    }
    if is_outdated(seen, record) && reason != Reason::Cancelled {
        return anew(seen, draft, reason, &message);
    }
    ended_badly(seen, draft, hope, reason, &message)
}

/// Whether the spec asks for another proof than this one, or for none.
fn is_outdated(seen: &Observed, record: &AttemptRecord) -> bool {
    record.about.as_deref() != Some(&*about(seen))
}

/// The next proof has tries of its own: this one did not fail.
fn anew(seen: &Observed, mut draft: RestoreDraft, reason: Reason, message: &str) -> RestoreDecision {
    draft.close(reason, Some(message));
    between(seen, draft, true)
}

/// Where the MatrixOne is that was proven.
fn place(seen: &Observed) -> String {
    let cluster = seen.restore.spec.target.cluster.as_ref();
    let address = cluster.and_then(|c| c.address.as_ref()).map(|a| format!("{}:{}", a.host, a.port));
    let named = || cluster.and_then(|c| c.matrix_one_cluster.as_ref()).map(|c| format!("MatrixOneCluster {}", c.name));
    address.or_else(named).unwrap_or_default()
}

fn proven(seen: &Observed, mut draft: RestoreDraft, proof: &RestoreProof) -> RestoreDecision {
    retry(seen, &mut draft);
    draft.close(Reason::Completed, None);
    draft.status.run.end_time = Some(Time(draft.now));
    let read = format!(
        "{} tables with {} rows of {} were read",
        proof.tables.unwrap_or_default(),
        proof.rows.unwrap_or_default(),
        match &proof.accounts[..] {
            [one] => format!("account {one}"),
            many => format!("accounts {}", many.join(", ")),
        }
    );
    let message = format!(
        "MatrixOne {} at {} runs on the restored data, gives no id twice, and {read}",
        proof.server_version.as_deref().unwrap_or("of an unknown version"),
        place(seen),
    );
    let message = Warning::added(&message, &proof.warnings);
    draft.condition(ConditionType::Booted, true, Reason::Proven, "MatrixOne answered");
    draft.condition(ConditionType::Proven, true, Reason::Proven, &read);
    draft.say(RestorePhase::Completed, Standing::Done, Reason::Proven, &message).then(Requeue::OnChange)
}

#[cfg(test)]
mod tests;
