//! The commit: entry list, read back, fence, and the one conditional create that makes a folder a backup.

use uuid::Uuid;

use super::{
    Failure,
    backup::Attempt,
    ground::Ground,
    look,
    report::{Findings, Taken, rfc3339},
};
use crate::{
    api::Reason,
    plan::{
        AttemptDir, Catalog, ClusterSeen, History, Kind, Source, Timestamp, Written, manifest::FORMAT,
        resolve::Assembled,
    },
    store::{self, catalog},
    task::reached_at,
};

/// What the catalogue entry says besides the entry list.
pub(super) struct Draft<'a> {
    pub ground: &'a Ground,
    pub dir: AttemptDir,
    pub base: Option<&'a Catalog>,
    pub exact_until: Timestamp,
    pub backup_ts: Timestamp,
    pub history: History,
    pub sources: Vec<Source>,
    pub written: Written,
}

impl Attempt<'_> {
    /// Writes the entry list.
    pub(super) async fn write_list(&self, dir: AttemptDir, backup: &Assembled) -> Result<Written, Failure> {
        self.watch.step("writing the entry list");
        let (repository, sources) = (&*self.ports.repository, backup.sources.len());
        let written =
            catalog::write_entries(repository, (self.task.id, dir), sources, || backup.entries(), self.watch.token());
        written.await.map_err(|e| self.repository_failure(&e))
    }

    /// Reads the entry list back, asks whether this run still counts, and commits.
    pub(super) async fn commit(
        &self,
        draft: Draft<'_>,
        hashed: u64,
        findings: &mut Findings,
    ) -> Result<Taken, Failure> {
        let Self { task, ports, lasting, watch, intent } = *self;
        let repository = &*ports.repository;
        let catalog = self.catalog(draft);
        watch.step("committing");
        let read_back = async { catalog::entries(repository, &catalog).await?.verify().await };
        watch.race(read_back).await?.map_err(|e| self.repository_failure(&e))?;
        watch.still_counts().await?;
        watch.race(std::future::ready(())).await?;
        let Some(intent) = intent else {
            return Err(Failure::new(Reason::Internal, "a backup is to be committed without an intent"));
        };
        // From here on nothing is given up halfway, also when the attempt must stop: whether we have committed must be
        // known, and the places outlast the token that ends everything else.
        let last = Self { ports: lasting, ..*self };
        findings.unsettled = true;
        let committing = async {
            match catalog::commit(&*lasting.repository, &catalog, intent, lasting.patience).await {
                Ok(()) => Ok(None),
                // An earlier attempt's worker was still alive and was faster.
                Err(conflict @ store::Failure::Conflict(_)) => {
                    findings.unsettled = false;
                    let other = look::entry(&last).await?.ok_or_else(|| self.repository_failure(&conflict))?;
                    look::whole(&last, other, findings).await.map(Some)
                }
                Err(failure) => Err(self.repository_failure(&failure)),
            }
        };
        let other = watch.finish(committing).await??;
        findings.unsettled = false;
        Ok(other.unwrap_or(Taken { catalog, level: task.verify, hashed }))
    }

    fn catalog(&self, draft: Draft<'_>) -> Catalog {
        let Self { task, watch, .. } = self;
        let Draft { ground, dir, base, exact_until, backup_ts, history, sources, written } = draft;
        let Written { entries, totals, sources: _ } = written;
        Catalog {
            format: FORMAT,
            id: task.id,
            repository: ground.repository,
            attempt: dir,
            nonce: Uuid::now_v7().to_string(),
            kind: if base.is_some() { Kind::Incremental } else { Kind::Full },
            base: base.map(|b| b.id),
            chain: base.map_or(0, |b| b.chain + 1),
            object: format!("{}/{}", task.subject.namespace, task.subject.name),
            cluster: ClusterSeen {
                identity: ground.facts.identity.clone(),
                matrixone: ground.facts.version.to_string(),
                commit: ground.facts.commit.clone(),
                address: Some(reached_at(&task.cluster.host, task.cluster.port, &task.subject.namespace)),
            },
            backup_ts,
            exact_until,
            started_at: rfc3339(watch.began()),
            completed_at: rfc3339(watch.now()),
            sources,
            entries,
            totals,
            history,
        }
    }
}
