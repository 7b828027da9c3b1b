//! The place that a backup is restored to.

use super::{Files, Places};
use crate::{
    store::{Key, Patience},
    task::{RestoreTask, StorageTask},
    worker::{Failure, Place, RestorePorts, Watch, backup, soon::Asked},
};

impl Files {
    /// What a restore works with. Both places have answered once.
    pub async fn restore_ports(&self, task: &RestoreTask, watch: &Watch) -> Result<RestorePorts, Failure> {
        let Places { repository, kind: _, staging: _ } = self.places(&task.storage, None, watch).await?;
        let kind = Place::of_target(&task.target.location);
        // The target is opened as a repository is; only its files lie elsewhere.
        let files = Self {
            store: self.target_store.clone(),
            store_ca: self.target_store_ca.clone(),
            repository: self.target.clone(),
            ..self.clone()
        };
        let target = StorageTask { location: task.target.location.clone(), ..task.storage.clone() };
        let target = files.repository(&target, kind)?;
        let asking = backup::patient(&target, Patience::soon(), watch.token());
        let asked = async { asking.stat(&Key::restored()).await.map_err(|e| Failure::of_store(kind, &e)) };
        watch.soon(Asked::Store(kind), asked).await?;
        Ok(RestorePorts { source: repository, target, patience: Patience::default() })
    }
}
