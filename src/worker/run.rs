//! A worker's process: a Task from the environment, its files, its report, its last words and its exit code.

use std::{path::Path, sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    Clock, Failure, Files, Kubernetes, Reporter, Untold, Watch, adopt, backup,
    kubernetes::OfNamespace,
    probe, proof, purge,
    report::{self, Findings},
    restore, sequence,
};
use crate::{
    api::{ManifestRef, Outcome, Said},
    plan::BackupId,
    store::Patience,
    task::{BackupTask, ProbeTask, ProofTask, PurgeTask, RestoreTask, Subject, SweepTask, TASK_ENV, Task, mount},
};

/// How a worker's process ends. A hint for people: the verdict is the report and the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and reported.
    Done = 0,
    /// The Task in the environment cannot be read.
    Usage = 2,
    /// Failed; another attempt can help.
    Retry = 10,
    /// Failed for good.
    Final = 11,
    /// Told to stop.
    Interrupted = 12,
    /// Another run has taken over, or the object is gone.
    Superseded = 13,
    /// Done or not, nobody could be told.
    Untold = 14,
}

impl Exit {
    fn of(outcome: Outcome, retryable: bool) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Done,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Failed if retryable => Self::Retry,
            Outcome::Failed => Self::Final,
        }
    }
}

/// Longest time that a report is tried for: an API server that is away for a while is outlived.
const REPORT: Duration = Duration::from_mins(30);
/// The same for a worker that was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// Does what the environment says, until it is done or the token ends it.
pub async fn run(stop: CancellationToken) -> Exit {
    let parsed = std::env::var(TASK_ENV).map_err(|e| e.to_string());
    match parsed.and_then(|text| serde_json::from_str::<Task>(&text).map_err(|e| e.to_string())) {
        Ok(Task::Backup(task)) => run_backup(&task, stop).await,
        Ok(Task::Purge(task)) => run_purge(&task, stop).await,
        Ok(Task::Sweep(task)) => run_sweep(&task, stop).await,
        Ok(Task::Probe(task)) => run_probe(&task, stop).await,
        Ok(Task::Restore(task)) => run_restore(&task, stop).await,
        Ok(Task::Proof(task)) => run_proof(&task, stop).await,
        Err(error) => {
            tracing::error!(error, "failed to read the task from the environment variable {TASK_ENV}");
            Exit::Usage
        }
    }
}

async fn run_backup(task: &BackupTask, stop: CancellationToken) -> Exit {
    let Some(reporter) = reporter("Backup", &task.subject).await else { return Exit::Untold };
    let watch = Watch::new(reporter, wall(), &task.subject.run, (task.run_deadline, task.stall_deadline), stop);
    let files = Files::of_the_pod();
    let report = match files.ports(task, &watch).await {
        Ok(ports) => backup(task, &ports, &watch).await,
        Err(failure) => {
            // Also where the store is away: what a killed worker has left held harms the server all the time.
            if let Ok(server) = files.server(&task.cluster) {
                sequence::release_left(&server, watch.rest_of_the_look()).await;
            }
            report::backup(task, &Err(watch.ended(failure)), &Findings::default(), watch.began())
        }
    };
    finish(&watch, serde_json::to_value(&report), &report.said).await
}

async fn run_restore(task: &RestoreTask, stop: CancellationToken) -> Exit {
    let Some(reporter) = reporter("Restore", &task.subject).await else { return Exit::Untold };
    let watch = Watch::new(reporter, wall(), &task.subject.run, (task.run_deadline, task.stall_deadline), stop);
    let report = match Files::of_the_pod().restore_ports(task, &watch).await {
        Ok(ports) => restore::restore(task, &ports, &watch).await,
        Err(failure) => restore::refused(task, &watch.ended(failure), &watch),
    };
    finish(&watch, serde_json::to_value(&report), &report.said).await
}

async fn run_proof(task: &ProofTask, stop: CancellationToken) -> Exit {
    let Some(kubernetes) = kubernetes("Restore", &task.subject).await else { return Exit::Untold };
    let reporter = Arc::new(kubernetes.of_a_proof());
    let watch = Watch::new(reporter, wall(), &task.subject.run, (task.run_deadline, task.stall_deadline), stop);
    let proof = match Files::of_the_pod().proof_ports(task) {
        Ok(ports) => proof::prove(task, &ports, &watch).await,
        Err(failure) => proof::refused(task, &failure, &watch),
    };
    finish(&watch, serde_json::to_value(&proof), &proof.said).await
}

async fn run_purge(task: &PurgeTask, stop: CancellationToken) -> Exit {
    let Some(reporter) = reporter("Backup", &task.subject).await else { return Exit::Untold };
    let watch = Watch::new(reporter, wall(), &task.subject.run, (Watch::NEVER, Watch::NEVER), stop);
    let files = Files::of_the_pod();
    let purged = match files.places(&task.storage, task.staging.as_ref(), &watch).await {
        Ok(places) => {
            let places = places.patient(Patience::default(), watch.token());
            watch.race(purge::purge(task, &places, watch.now())).await.and_then(|done| done).map(|_| ())
        }
        Err(failure) => Err(failure),
    };
    removed(&watch, (&task.subject.run, task.id, task.known.as_ref()), purged).await
}

async fn run_sweep(task: &SweepTask, stop: CancellationToken) -> Exit {
    let Some(reporter) = reporter("Backup", &task.subject).await else { return Exit::Untold };
    let watch = Watch::new(reporter, wall(), &task.subject.run, (Watch::NEVER, Watch::NEVER), stop);
    let swept = match Files::of_the_pod().staging(&task.staging) {
        Ok(staging) => {
            let staging = staging.patient(Patience::default(), watch.token());
            watch.race(purge::sweep(task, &staging)).await.and_then(|done| done)
        }
        Err(failure) => Err(failure),
    };
    removed(&watch, (&task.subject.run, task.id, None), swept).await
}

async fn removed(
    watch: &Watch,
    (run, id, known): (&str, BackupId, Option<&ManifestRef>),
    result: Result<(), Failure>,
) -> Exit {
    match result.map_err(|failure| watch.ended(failure)) {
        // Nothing is reported: the report of the backup stays, and the end of the Job says enough.
        Ok(()) => last_words(&Said { outcome: Outcome::Succeeded, ..Said::default() }),
        Err(failure) => {
            tracing::error!(reason = %failure.reason, detail = failure.detail, "failed to remove");
            let report = report::removal(run, (id, known), &failure, watch.began());
            finish(watch, serde_json::to_value(&report), &report.said).await
        }
    }
}

async fn run_probe(task: &ProbeTask, stop: CancellationToken) -> Exit {
    let Some(reporter) = reporter("BackupStorage", &task.subject).await else { return Exit::Untold };
    let watch = Watch::new(reporter, wall(), &task.subject.run, (Watch::NEVER, Watch::NEVER), stop).without_progress();
    let files = Files::of_the_pod();
    let places = files.places(&task.storage, None, &watch).await;
    let report = match places
        .and_then(|places| Ok((places.patient(Patience::default(), watch.token()), files.questions(&task.storage)?)))
    {
        Ok((places, questions)) => {
            let probed = async {
                let report = probe::probe(task, &places, questions.as_ref(), &watch).await;
                match backups(task).await {
                    Some(backups) => adopt::import(task, report, &places, &backups, &watch).await,
                    None => report,
                }
            };
            match watch.race(probed).await {
                Ok(report) => report,
                Err(stopped) => probe::report(task, Err(stopped), watch.now()),
            }
        }
        Err(failure) => probe::report(task, Err(watch.ended(failure)), watch.now()),
    };
    match &report.said.reason {
        Some(reason) => tracing::error!(reason, message = report.said.message, "failed to probe"),
        None => tracing::info!("probed"),
    }
    finish(&watch, serde_json::to_value(&report), &report.said).await
}

/// The Backups of the task's namespace, if it has to do with them.
async fn backups(task: &ProbeTask) -> Option<OfNamespace> {
    task.imports.as_ref()?;
    Some(OfNamespace::new(client().await?, &task.subject.namespace))
}

async fn reporter(kind: &str, subject: &Subject) -> Option<Arc<dyn Reporter>> {
    let kubernetes = kubernetes(kind, subject).await?;
    Some(Arc::new(kubernetes))
}

async fn kubernetes(kind: &str, subject: &Subject) -> Option<Kubernetes> {
    Some(Kubernetes::new(client().await?, kind, subject.clone()))
}

async fn client() -> Option<kube::Client> {
    let found = kube::Client::try_default().await;
    found.inspect_err(|error| tracing::error!(%error, "failed to find the API server")).ok()
}

/// The time of day of this machine.
#[must_use]
pub fn wall() -> Clock {
    Arc::new(Timestamp::now)
}

/// Tells the report until it is taken, leaves the last words, and chooses the exit code.
async fn finish(watch: &Watch, report: serde_json::Result<serde_json::Value>, said: &Said) -> Exit {
    let told = match report {
        _ if watch.is_superseded() => Err(Untold::Superseded("another run has taken over".into())),
        Ok(report) => tell(watch, &report).await,
        Err(error) => Err(Untold::Refused(error.to_string())),
    };
    let exit = last_words(said);
    match told {
        Ok(()) => exit,
        Err(Untold::Superseded(why)) => {
            tracing::warn!(why, "this worker does not count any more");
            Exit::Superseded
        }
        Err(untold @ (Untold::Later(_) | Untold::Refused(_))) => {
            tracing::error!(%untold, "the report was not taken");
            Exit::Untold
        }
    }
}

async fn tell(watch: &Watch, report: &serde_json::Value) -> Result<(), Untold> {
    let pace = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(15))
        .without_max_times();
    let work = (|| watch.tell(Some(report)))
        .retry(pace)
        .when(|untold| matches!(untold, Untold::Later(_)))
        .notify(|untold, _| tracing::warn!(%untold, "the report is tried again"));
    let late = |limit: Duration| Untold::Later(format!("the API server did not take it for {} s", limit.as_secs()));
    tokio::select! {
        told = tokio::time::timeout(REPORT, work) => told.unwrap_or_else(|_| Err(late(REPORT))),
        () = async {
            // Not at a deadline of our own: there the report is what makes the next attempt possible.
            watch.hurry().cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        } => Err(late(LAST_WORDS)),
    }
}

/// A few words for whoever looks at the Pod; the kubelet cuts at 4096 bytes.
fn last_words(said: &Said) -> Exit {
    let mut short = said.clone();
    short.message = short.message.map(|m| m.chars().take(700).collect());
    let written = serde_json::to_vec(&short)
        .map_err(|e| e.to_string())
        .and_then(|text| std::fs::write(Path::new(mount::TERMINATION_LOG), text).map_err(|e| e.to_string()));
    if let Err(error) = written {
        tracing::debug!(error, "no termination log");
    }
    Exit::of(said.outcome, said.retryable)
}
