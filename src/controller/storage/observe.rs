//! What a decision about a BackupStorage may look at.

use super::{Users, decide::at_rest};
use crate::{
    api::BackupStorage,
    controller::{Context, Error, job::WorkerImage, look, run::open_record, seen::Workers},
};

/// The world, as far as it concerns a BackupStorage.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object.
    pub storage: BackupStorage,
    /// The Backups that name it.
    pub users: Users,
    /// Jobs and Pods of its probes.
    pub workers: Workers,
    /// What its Jobs run.
    pub image: WorkerImage,
}

/// Looks at the API server itself, not at a cache. A BackupStorage at rest costs one list of its Backups, when one of
/// them has ended.
pub async fn observe(ctx: &Context, cached: &BackupStorage) -> Result<Option<Observed>, Error> {
    let now = (ctx.now)();
    let (Some(namespace), Some(name)) = (&cached.metadata.namespace, &cached.metadata.name) else { return Ok(None) };
    let mut users = Users::default();
    if cached.metadata.deletion_timestamp.is_none() {
        look::backups_of_storage(&ctx.client, namespace, name, |backup| users.add(backup)).await?;
    }
    if at_rest(cached, &users, now) {
        let workers = Workers::default();
        return Ok(Some(Observed { storage: cached.clone(), users, workers, image: ctx.image.clone() }));
    }
    let Some(storage) = look::get::<BackupStorage>(&ctx.client, namespace, name).await? else { return Ok(None) };
    let run = storage.status.clone().unwrap_or_default().run;
    let workers = look::workers(&ctx.client, &storage, open_record(&run).map(|r| &*r.job)).await?;
    Ok(Some(Observed { storage, users, workers, image: ctx.image.clone() }))
}
