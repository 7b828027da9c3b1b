//! What an attempt says before it relies on anything, and how it ends earlier attempts of the same backup.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{
    Failure,
    backup::Attempt,
    clean,
    report::{Findings, rfc3339},
};
use crate::{
    api::Reason,
    plan::{Catalog, Intent, manifest::FORMAT},
    store::{self, catalog::intents},
};

impl Attempt<'_> {
    /// What this attempt may come to need, on this base.
    pub(super) fn new_intent(&self, base: Option<&Catalog>) -> Intent {
        let Self { task, watch, .. } = self;
        Intent {
            format: FORMAT,
            id: task.id,
            attempt: task.subject.attempt,
            object: format!("{}/{}", task.subject.namespace, task.subject.name),
            nonce: Uuid::now_v7().to_string(),
            base: base.map(|b| b.id),
            holds: Intent::folders(task.id, task.subject.attempt, base),
            started: rfc3339(watch.now()),
            lasts: Intent::lasting(task.run_deadline),
        }
    }

    /// Writes the intent, and looks whether the base is still there. A base that was deleted before is done without,
    /// where a full backup may be taken.
    pub(super) async fn begin(
        &self,
        intent: &Intent,
        base: Option<Catalog>,
        findings: &mut Findings,
    ) -> Result<Option<Catalog>, Failure> {
        self.watch.step("writing the intent");
        let ports = self.ports;
        let begun = self.watch.race(intents::begin(&*ports.repository, intent, base.as_ref(), ports.patience)).await;
        let failure = match begun {
            Ok(Ok(true)) => return Ok(base),
            Ok(Ok(false)) => {
                let gone = base.map(|base| base.id.to_string()).unwrap_or_default();
                if self.may_do_without() {
                    findings.kind_reason = Some(format!("the base {gone} was deleted meanwhile"));
                    return Ok(None);
                }
                // It is not chosen again.
                let detail = format!("the base {gone} was deleted meanwhile");
                Failure { retryable: true, ..Failure::new(Reason::BaseNotUsable, detail) }
            }
            Ok(Err(failure)) => self.repository_failure(&failure),
            Err(stopped) => stopped,
        };
        self.end(intent).await;
        Err(failure)
    }

    /// Removes the intent of this attempt, which is over. One that stays counts until its time is over.
    pub(super) async fn end(&self, intent: &Intent) {
        match self.watch.finish(intents::end(&*self.lasting.repository, intent)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "removing the intent"),
            Err(error) => tracing::warn!(%error, "no time to remove the intent"),
        }
    }

    /// Removes the intents of all attempts of this backup: it is committed, and none of them can commit any more.
    pub(super) async fn end_all(&self) {
        let ended = intents::end_all(&*self.lasting.repository, self.task.id, None).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "removing the intents of this backup");
        }
    }

    /// Ends earlier attempts of this backup, whose workers are over or do not count any more. Says when, if there were any.
    pub(super) async fn end_earlier(&self) -> Result<Option<Instant>, Failure> {
        let (task, repository) = (self.task, &*self.ports.repository);
        let ended = intents::end_all(repository, task.id, Some(task.subject.attempt)).await;
        let ended = ended.map_err(|e: store::Failure| self.repository_failure(&e))?;
        Ok(ended.then(Instant::now))
    }

    /// Removes what earlier attempts have left, once none of them can commit any more. If one has committed after all,
    /// that is found by this one's commit.
    pub(super) async fn clear_earlier(&self, ended: Option<Instant>) -> Result<(), Failure> {
        if self.task.subject.attempt <= 1 {
            return Ok(());
        }
        self.watch.step("removing what earlier attempts left");
        if let Some(ended) = ended {
            let settled = ended + intents::SETTLE;
            while Instant::now() < settled {
                self.watch.alive();
                sleep_until(settled.min(Instant::now() + Duration::from_secs(5))).await;
            }
        }
        if super::look::entry(self).await?.is_none() {
            clean::earlier_attempts(self).await;
        }
        Ok(())
    }
}
