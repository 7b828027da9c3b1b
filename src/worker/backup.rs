//! One attempt of a backup, from the first look to the commit.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    Failure, Watch, clean, look,
    report::{self, Findings, Taken},
    soon::Asked,
    trouble::Trouble,
};
use crate::{
    api::{BackupReport, Reason, TakenType},
    plan::AttemptDir,
    sql::Server,
    store::{Keys, Objects},
    task::BackupTask,
};

/// What a backup works with.
#[derive(Clone)]
pub struct Ports {
    /// The repository.
    pub repository: Arc<dyn Objects>,
    /// The folder shared with MatrixOne, for method Staged.
    pub staging: Option<Staging>,
    /// MatrixOne.
    pub server: Arc<dyn Server>,
    /// Keys of the store, for a BACKUP that writes there itself.
    pub keys: Option<Keys>,
}

/// A folder shared with MatrixOne, as the worker sees it.
#[derive(Clone, Debug)]
pub struct Staging {
    /// The folder as a place of objects.
    pub objects: Arc<dyn Objects>,
    /// The same folder in the file system.
    pub folder: PathBuf,
}

/// Takes a backup, or says why not. Progress is told on the way; the report is the caller's to tell.
pub async fn backup(task: &BackupTask, ports: &Ports, watch: &Watch) -> BackupReport {
    let mut findings = Findings::default();
    let attempt = Attempt { task, ports, watch };
    // In one task on purpose: when the work hangs, the heartbeat stops too, and the operator notices.
    let result = tokio::select! {
        biased;
        result = attempt.run(&mut findings) => result,
        never = watch.beat() => match never {},
    };
    match &result {
        Ok(taken) => tracing::info!(objects = taken.catalog.totals.objects, "committed"),
        Err(failure) => tracing::error!(reason = %failure.reason, detail = failure.detail, "failed"),
    }
    report::backup(task, &result, &findings, watch.began())
}

/// How long a worker that must stop clears up.
const LITTLE_TIME: Duration = Duration::from_secs(4);

/// What an attempt's steps share.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub task: &'a BackupTask,
    pub ports: &'a Ports,
    pub watch: &'a Watch,
}

impl Attempt<'_> {
    async fn run(&self, findings: &mut Findings) -> Result<Taken, Failure> {
        let Self { task, watch, ports: _ } = self;
        watch.step("looking");
        if task.storage.read_only {
            let detail = format!("BackupStorage {} is read-only", task.storage.name);
            return Err(Failure::new(Reason::StorageReadOnly, detail));
        }
        let looked = watch.soon(Asked::Store(self.place()), look::committed(self));
        let taken = match watch.race(looked).await?? {
            Some(committed) => committed,
            None => self.make(findings).await?,
        };
        watch.step("clearing up");
        if watch.race(clean::staging(self, findings)).await.is_ok() {
            let swept = watch.race(clean::other_attempts(self, taken.catalog.attempt)).await;
            tracing::debug!(whole = swept.is_ok(), "cleared up");
        }
        Ok(taken)
    }

    async fn make(&self, findings: &mut Findings) -> Result<Taken, Failure> {
        let Self { task, watch, ports: _ } = self;
        let ground = watch.race(self.prepare(findings)).await??;
        let base = watch.race(self.base(&ground, findings)).await??;
        findings.kind = Some(if base.is_some() { TakenType::Incremental } else { TakenType::Full });
        let first = AttemptDir { attempt: task.subject.attempt, fallback: false };
        let taken = match self.take(&ground, first, base.as_ref(), findings).await {
            Err(Trouble::Base(why)) => self.fall_back(&ground, first, &why, findings).await,
            other => other,
        };
        match taken {
            Ok(taken) => Ok(taken),
            Err(trouble) => {
                // What a failed attempt has staged helps nobody. One that must stop has little time for it.
                if !watch.is_superseded() {
                    let limit = if watch.token().is_cancelled() { LITTLE_TIME } else { task.stall_deadline };
                    let cleared = timeout(limit, clean::staging(self, findings)).await;
                    tracing::debug!(cleared = cleared.is_ok(), "the attempt failed");
                }
                Err(trouble.into())
            }
        }
    }
}
