//! What an attempt has to say in the end, in the words of the status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{AlreadyRestored, Format, Outcome, RestorePlan, RestoreReport, Said},
    plan::{Framing, Placed, Restored},
    store::transfer::Carried,
    task::RestoreTask,
    worker::{
        Failure, Watch,
        report::{self, Findings},
        watch::signed,
    },
};

/// What an attempt has found out so far; a failed one reports it too.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What the target says, or is to say.
    pub restored: Option<Restored>,
    /// What is good to know.
    pub findings: Findings,
}

/// How an attempt ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The plan is known; nothing was written.
    Planned,
    /// Everything was in place before.
    Already,
    /// Everything is in place, and this attempt wrote so much of it.
    InPlace(Carried),
}

/// The report of an attempt that could not open its places.
pub fn refused(task: &RestoreTask, failure: &Failure, watch: &Watch) -> RestoreReport {
    report(task, &Err(failure.clone()), &Known::default(), watch)
}

/// The report of an attempt.
pub(super) fn report(
    task: &RestoreTask,
    result: &Result<Done, Failure>,
    known: &Known,
    watch: &Watch,
) -> RestoreReport {
    let run = &task.subject.run;
    let said = match result {
        Ok(_) => Said { run: run.clone(), outcome: Outcome::Succeeded, ..Said::default() },
        Err(failure) => failure.said(run),
    };
    let common = RestoreReport {
        said,
        start_time: Some(Time(watch.began())),
        warnings: known.findings.warnings.clone(),
        ..known.restored.as_ref().map(of_restored).unwrap_or_default()
    };
    let completed = known.restored.as_ref().and_then(|r| r.completed_at.clone());
    let at = completed.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    match result {
        Err(_) | Ok(Done::Planned) => common,
        Ok(Done::Already) => RestoreReport {
            complete_time: at.map(Time),
            written_objects: Some(0),
            already_restored: known
                .restored
                .as_ref()
                .map(|r| AlreadyRestored { completed_at: completed.unwrap_or_default(), uid: r.uid.clone() }),
            ..common
        },
        Ok(Done::InPlace(Carried { written, by_store })) => RestoreReport {
            complete_time: at.map(Time),
            duration: Some(report::duration(watch.elapsed())),
            written_objects: Some(signed(*written)),
            copied_by_store: Some(signed(*by_store)),
            ..common
        },
    }
}

fn of_restored(restored: &Restored) -> RestoreReport {
    let Restored { backup, plan, hash, server_version, server_identity, at, objects, bytes, .. } = restored;
    // Before they are counted there are none.
    let counted = *objects > 0;
    RestoreReport {
        backup: Some(backup.clone()),
        at_time: report::at_time(*at),
        server_version: server_version.clone(),
        server_identity: server_identity.clone(),
        objects: counted.then(|| signed(*objects)),
        bytes: counted.then(|| signed(*bytes)),
        size: counted.then(|| report::size(*bytes)),
        plan: Some(RestorePlan {
            hash: hash.to_string(),
            data_path: plan.data.path.clone(),
            data_format: format(&plan.data),
            hk_data_path: plan.hk_data.path.clone(),
            hk_data_format: format(&plan.hk_data),
        }),
        ..RestoreReport::default()
    }
}

fn format(placed: &Placed) -> Format {
    match placed.framing {
        Framing::Raw => Format::Raw,
        Framing::Crc2048 => Format::Framed,
    }
}
