//! Choosing what an incremental backup stands on.

use super::{Failure, backup::Attempt, ground::Ground, preflight, report::Findings, trouble::Trouble};
use crate::{
    api::{BackupType, Reason},
    plan::{
        Catalog,
        base::{self, Wanted},
    },
    store::{self, Key, catalog},
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
        // In repositories of earlier releases a backup that is based on this one can be there; nothing stands on itself.
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
        if let Some(base) = choice.base.and_then(|id| catalogs.into_iter().find(|c| c.id == id)) {
            return match self.read_list(&base).await {
                Ok(()) => Ok(Some(base)),
                Err(Trouble::Damaged(why)) if self.may_do_without() => {
                    findings.damaged_base(why);
                    Ok(None)
                }
                Err(trouble) => Err(trouble.into()),
            };
        }
        let why = match (choice.reason(task.base), task.base) {
            (Some((id, why)), _) => format!("the newest candidate {id} cannot be the base: {why}"),
            (None, Some(named)) => {
                if let Some(damaged) = unreadable.iter().find(|f| f.key() == Some(Key::catalog(named).as_str())) {
                    return Err(Failure::new(Reason::BaseNotUsable, damaged.to_string()));
                }
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
    /// Whether a full backup may be taken where something of the base is damaged or lost. Who asked for this base, or for
    /// an incremental backup, is told instead.
    pub(super) fn may_do_without(&self) -> bool {
        self.task.kind == BackupType::Auto && self.task.base.is_none()
    }

    /// Reads the entry list of a base to its end, before a server works for hours for something that cannot stand on it.
    async fn read_list(&self, base: &Catalog) -> Result<(), Trouble> {
        let failed = |e| self.list_trouble(base, &e);
        let mut entries = catalog::entries(&*self.ports.repository, base).await.map_err(failed)?;
        while let Some(entry) = entries.next().await.map_err(failed)? {
            self.watch.done(1, entry.size);
        }
        Ok(())
    }

    /// What it means that the entry list of the base cannot be read.
    pub(super) fn list_trouble(&self, base: &Catalog, error: &store::Failure) -> Trouble {
        if error.is_damage() {
            let list = Key::entries(base.id, base.attempt);
            return Trouble::Damaged(format!("{list} is damaged or lost: {error}"));
        }
        self.repository_failure(error).into()
    }

    /// Whether the base was deleted since it was chosen: then it is not damaged, and not chosen again.
    pub(super) async fn is_gone(&self, base: &Catalog) -> Result<bool, Failure> {
        let found = catalog::read(&*self.ports.repository, base.id).await;
        found.map(|found| found.is_none()).map_err(|e| self.repository_failure(&e))
    }
}
