//! Choosing what an incremental backup stands on.

use super::{Failure, backup::Attempt, ground::Ground, preflight, report::Findings};
use crate::{
    api::{BackupType, Reason},
    plan::{
        Catalog,
        base::{self, Wanted},
    },
    store::catalog,
};

impl Attempt<'_> {
    /// The base, when the backup is to be incremental. Why there is none is on record in the findings.
    pub(super) async fn base(&self, ground: &Ground, findings: &mut Findings) -> Result<Option<Catalog>, Failure> {
        let task = self.task;
        match task.kind {
            BackupType::Full => return Ok(None),
            BackupType::Auto | BackupType::Incremental => {}
        }
        self.watch.step("choosing a base");
        let catalog::All { mut catalogs, unreadable } =
            catalog::all(&*self.ports.repository).await.map_err(|e| self.repository_failure(&e))?;
        for failure in &unreadable {
            tracing::warn!(%failure, "no base");
        }
        // A commit of ours that was taken back can have been a base before; nothing stands on itself.
        catalogs.retain(|c| c.sources.iter().all(|s| s.backup != task.id));
        let mut session = self.ports.server.connect().await?;
        let now = preflight::clock(&mut *session).await?;
        let wanted = Wanted {
            identity: &ground.facts.identity,
            repository: ground.repository,
            now,
            named: task.base,
            own: task.id,
        };
        let choice = base::choose(&catalogs, &wanted);
        if let Some(id) = choice.base {
            return Ok(catalogs.into_iter().find(|c| c.id == id));
        }
        let why = match (choice.reason(task.base), task.base) {
            (Some((id, why)), _) => format!("the newest candidate {id} cannot be the base: {why}"),
            (None, Some(named)) => {
                let detail = format!("the backup {named}, named as base, is not in the repository");
                return Err(Failure::new(Reason::BaseNotFound, detail));
            }
            (None, None) => "the repository holds no backup yet".to_owned(),
        };
        if task.kind == BackupType::Incremental {
            return Err(Failure::new(Reason::BaseNotUsable, why));
        }
        tracing::info!(why, "taking a full backup");
        findings.kind_reason = Some(why);
        Ok(None)
    }
}
