//! The commit: entry list, read back, fence, and the one conditional create that makes a folder a backup.

use uuid::Uuid;

use super::{
    Failure,
    backup::Attempt,
    ground::Ground,
    look,
    report::{Taken, rfc3339},
};
use crate::{
    plan::{
        AttemptDir, Catalog, ClusterSeen, History, Kind, Source, Timestamp, Written, manifest::FORMAT,
        resolve::Assembled,
    },
    store::{self, catalog},
};

/// What the catalogue entry says besides the entry list.
pub(super) struct Draft<'a> {
    pub ground: &'a Ground,
    pub dir: AttemptDir,
    pub base: Option<&'a Catalog>,
    pub exact_until: Timestamp,
    pub backup_ts: Timestamp,
    pub history: History,
}

impl Attempt<'_> {
    /// Writes the entry list, reads it back, asks whether this run still counts, and commits.
    pub(super) async fn commit(&self, draft: Draft<'_>, backup: Assembled, hashed: u64) -> Result<Taken, Failure> {
        let Self { task, ports, watch } = self;
        watch.step("writing the entry list");
        let repository = &*ports.repository;
        let sources = backup.sources.len();
        let written = catalog::write_entries(repository, (task.id, draft.dir), sources, || backup.entries());
        let written = watch.race(written).await?.map_err(|e| self.repository_failure(&e))?;
        let catalog = self.catalog(draft, backup.sources.clone(), written);
        drop(backup);
        watch.step("committing");
        let read_back = async { catalog::entries(repository, &catalog).await?.verify().await };
        watch.race(read_back).await?.map_err(|e| self.repository_failure(&e))?;
        watch.still_counts().await?;
        // From here on nothing is given up halfway: whether we have committed must be known.
        match catalog::commit(repository, &catalog).await {
            Ok(()) => Ok(Taken { catalog, hashed }),
            // An earlier attempt's worker was still alive and was faster. There is one backup, and it is whole.
            Err(conflict @ store::Failure::Conflict(_)) => {
                look::committed(self).await?.ok_or_else(|| self.repository_failure(&conflict))
            }
            Err(failure) => Err(self.repository_failure(&failure)),
        }
    }

    fn catalog(&self, draft: Draft<'_>, sources: Vec<Source>, written: Written) -> Catalog {
        let Written { entries, totals, sources: _ } = written;
        let Self { task, watch, .. } = self;
        let Draft { ground, dir, base, exact_until, backup_ts, history } = draft;
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
