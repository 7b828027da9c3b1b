//! One attempt of a backup, from the first look to the commit.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Failure, Place, Watch, clean,
    ground::Ground,
    look,
    report::{self, Findings, Taken},
    sequence,
    soon::Asked,
};
use crate::{
    api::{BackupReport, Reason, TakenType},
    plan::{AttemptDir, Catalog, Intent, RepositoryId},
    sql::Server,
    store::{Keys, Objects, Patience, Prefix, Retrying, Volume, catalog},
    task::BackupTask,
};

/// What a backup works with. The places are bare: the backup itself repeats what may be repeated.
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
    /// How long a place is asked again while its trouble may pass.
    pub patience: Patience,
}

impl Ports {
    /// The same, with calls to the places that are repeated until the token is cancelled.
    fn patient(&self, stop: &CancellationToken) -> Self {
        let staging = self.staging.as_ref().map(|staging| staging.patient(self.patience, stop));
        Self { repository: patient(&self.repository, self.patience, stop), staging, ..self.clone() }
    }
}

/// A folder shared with MatrixOne, as the worker sees it.
#[derive(Clone, Debug)]
pub struct Staging {
    /// The folder as a place of objects.
    pub objects: Arc<dyn Objects>,
    /// The same folder in the file system.
    pub folder: Volume,
}

impl Staging {
    /// The same, with calls that are repeated while their trouble may pass, until the token is cancelled.
    #[must_use]
    pub fn patient(&self, patience: Patience, stop: &CancellationToken) -> Self {
        Self { objects: patient(&self.objects, patience, stop), folder: self.folder.clone() }
    }

    /// Whether the folder is this repository, under whatever path. What was staged is removed in the end: there it would be
    /// the backup.
    pub(super) async fn is_of(&self, repository: RepositoryId) -> Result<bool, Failure> {
        let marker = catalog::marker(&*self.objects).await;
        let marker = marker.map_err(|e| Failure::of_repository(Place::Staging, &e))?;
        Ok(marker.is_some_and(|marker| marker.repository == repository))
    }
}

/// A place whose calls are repeated while their trouble may pass, until the token is cancelled.
pub(super) fn patient(objects: &Arc<dyn Objects>, patience: Patience, stop: &CancellationToken) -> Arc<dyn Objects> {
    Arc::new(Retrying::new(objects.clone(), patience, stop.clone()))
}

/// Takes a backup, or says why not. Progress is told on the way; the report is the caller's to tell.
pub async fn backup(task: &BackupTask, ports: &Ports, watch: &Watch) -> BackupReport {
    let mut findings = Findings::default();
    let (patient, lasting) = (ports.patient(watch.token()), ports.patient(&CancellationToken::new()));
    let attempt = Attempt { task, ports: &patient, lasting: &lasting, watch, intent: None };
    // In one task on purpose: when the work hangs, the heartbeat stops too, and the operator notices.
    let result = tokio::select! {
        biased;
        // On the heap: what an attempt holds between its steps is too much for a stack.
        result = Box::pin(attempt.run(&mut findings)) => result,
        never = watch.beat() => match never {},
    };
    let result = result.map_err(|failure| watch.ended(failure));
    match &result {
        Ok(taken) => tracing::info!(objects = taken.catalog.totals.objects, "committed"),
        Err(failure) => tracing::error!(reason = %failure.reason, detail = failure.detail, "failed"),
    }
    report::backup(task, &result, &findings, watch.began())
}

/// What an attempt's steps share.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub task: &'a BackupTask,
    /// What it works with, until it must stop.
    pub ports: &'a Ports,
    /// The same for what is done to its end though the attempt must stop.
    pub lasting: &'a Ports,
    pub watch: &'a Watch,
    /// What it has said that it may need, once it has.
    pub intent: Option<&'a Intent>,
}

impl Attempt<'_> {
    async fn run(&self, findings: &mut Findings) -> Result<Taken, Failure> {
        let Self { ports, watch, .. } = self;
        let taken = self.tried(findings).await;
        // A server that has just not answered is not waited for again, and a replacement has a hold of its own.
        if let Err(failure) = &taken
            && failure.reason != Reason::ServerUnreachable
            && watch.still_counts().await.is_ok()
            && !watch.is_superseded()
        {
            let released = watch.finish(sequence::release_left(&*ports.server, watch.rest_of_the_look())).await;
            tracing::debug!(done = released.is_ok(), "looked for a hold of garbage collection");
        }
        taken
    }

    async fn tried(&self, findings: &mut Findings) -> Result<Taken, Failure> {
        let Self { task, watch, .. } = self;
        watch.step("looking");
        if task.storage.read_only {
            let detail = format!("BackupStorage {} is read-only", task.storage.name);
            return Err(Failure::new(Reason::StorageReadOnly, detail));
        }
        let looked = watch.soon(Asked::Store(self.place()), look::entry(self));
        let found = watch.race(looked).await??;
        let taken = match found {
            Some(catalog) => watch.race(look::whole(self, catalog, findings)).await??,
            None => self.make(findings).await?,
        };
        watch.step("clearing up");
        // A replacement may be at work below the same folder.
        if watch.still_counts().await.is_ok() {
            let swept = watch.finish(self.clear_up(&taken, findings)).await;
            tracing::debug!(whole = swept.is_ok(), "cleared up");
        }
        Ok(taken)
    }

    async fn clear_up(&self, taken: &Taken, findings: &mut Findings) {
        self.end_all().await;
        clean::staging(self, taken.catalog.repository, &[Prefix::backup(self.task.id)], findings).await;
        clean::other_attempts(self, taken.catalog.attempt).await;
    }

    async fn make(&self, findings: &mut Findings) -> Result<Taken, Failure> {
        let watch = self.watch;
        let ground = watch.race(self.prepare(findings)).await??;
        let ended = watch.race(self.end_earlier()).await??;
        let base = watch.race(self.base(&ground, findings)).await??;
        let intent = self.new_intent(base.as_ref());
        let base = self.begin(&intent, base, findings).await?;
        let held = Attempt { intent: Some(&intent), ..*self };
        let taken = held.take_or_fall_back(&ground, base.as_ref(), ended, findings).await;
        if taken.is_err() && !findings.unsettled {
            self.end(&intent).await;
        }
        taken
    }

    async fn take_or_fall_back(
        &self,
        ground: &Ground,
        base: Option<&Catalog>,
        ended: Option<Instant>,
        findings: &mut Findings,
    ) -> Result<Taken, Failure> {
        let Self { task, watch, .. } = self;
        watch.race(self.clear_earlier(ended)).await??;
        findings.kind = Some(if base.is_some() { TakenType::Incremental } else { TakenType::Full });
        let first = AttemptDir { attempt: task.subject.attempt, fallback: false };
        let taken = match (self.take(ground, first, base, findings).await, base) {
            (Err(trouble), Some(base)) => self.fall_back(ground, (first, base), trouble, findings).await,
            (taken, _) => taken,
        };
        match taken {
            Ok(taken) => Ok(taken),
            Err(trouble) => {
                let failure = watch.ended(trouble.into());
                // What a failed attempt has written helps nobody. What lies beside it can be of its replacement.
                if watch.still_counts().await.is_ok() && !watch.is_superseded() {
                    let own = [false, true].map(|fallback| Prefix::attempt(task.id, AttemptDir { fallback, ..first }));
                    let unsettled = findings.unsettled;
                    let clearing = async {
                        clean::staging(self, ground.repository, &own, findings).await;
                        // What may be committed stays.
                        if !unsettled {
                            clean::own(self, &own).await;
                        }
                    };
                    let cleared = watch.finish(clearing).await;
                    if cleared.is_err() && self.ports.staging.is_some() {
                        findings.warn(Reason::StagingNotEmptied, "there was no time to empty the staging folder");
                    }
                }
                Err(failure)
            }
        }
    }
}
