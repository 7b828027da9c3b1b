//! What a decision about a Restore may look at.

use super::{boot, decide::finished};
use crate::{
    api::{Backup, BackupStorage, RETRY_ANNOTATION, Restore},
    controller::{
        Context, Error,
        decision::asked,
        job::WorkerImage,
        look,
        run::open_record,
        seen::{Named, Workers},
    },
};
use k8s_openapi::api::core::v1::ConfigMap;

/// The world, as far as it concerns a Restore.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object.
    pub restore: Restore,
    /// The Backup it names, if it names one and that exists.
    pub backup: Option<Backup>,
    /// The BackupStorage of the repository.
    pub storage: Option<BackupStorage>,
    /// Its ConfigMap.
    pub boot: Boot,
    /// The MatrixOneCluster that `target.cluster` names.
    pub named: Named,
    /// Its Jobs and Pods.
    pub workers: Workers,
    /// What its Jobs run.
    pub image: WorkerImage,
}

/// The ConfigMap with the boot contract.
#[derive(Clone, Debug, PartialEq)]
pub enum Boot {
    /// There is none.
    Missing,
    /// Ours, for this Restore, with these files.
    Ours(std::collections::BTreeMap<String, String>),
    /// One of the name that is not ours.
    Strange,
}

/// Looks at the API server itself. A Restore at rest costs nothing.
pub async fn observe(ctx: &Context, cached: &Restore) -> Result<Option<Observed>, Error> {
    let nothing = |restore: Restore| Observed {
        restore,
        backup: None,
        storage: None,
        boot: Boot::Missing,
        named: Named::NotLookedAt,
        workers: Workers::default(),
        image: ctx.image.clone(),
    };
    let handled = cached.status.as_ref().and_then(|s| s.run.handled_requests.as_ref()?.retry.as_ref());
    let retry = asked(&cached.metadata, RETRY_ANNOTATION, handled).is_some();
    if cached.metadata.deletion_timestamp.is_some() || (finished(cached) && !retry) {
        return Ok(Some(nothing(cached.clone())));
    }
    let (Some(namespace), Some(name)) = (&cached.metadata.namespace, &cached.metadata.name) else { return Ok(None) };
    let Some(restore) = look::get::<Restore>(&ctx.client, namespace, name).await? else { return Ok(None) };
    let source = &restore.spec.source;
    let backup = match &source.backup {
        Some(backup) => look::get::<Backup>(&ctx.client, namespace, &backup.name).await?,
        None => None,
    };
    let storage = backup.as_ref().map(|b| &b.spec.storage).or(source.repository.as_ref().map(|r| &r.storage));
    let storage = match storage {
        Some(storage) => look::get::<BackupStorage>(&ctx.client, namespace, storage).await?,
        None => None,
    };
    let found = look::get::<ConfigMap>(&ctx.client, namespace, &boot::name(name)).await?;
    let boot = match found {
        None => Boot::Missing,
        Some(map) if boot::is_of(&map, name) => Boot::Ours(map.data.unwrap_or_default()),
        Some(_) => Boot::Strange,
    };
    let open = restore.status.as_ref().and_then(|s| open_record(&s.run)).map(|r| r.job.clone());
    let workers = look::workers(&ctx.client, &restore, open.as_deref()).await?;
    let cluster = restore.spec.target.cluster.as_ref();
    let named = match cluster.and_then(|c| c.matrix_one_cluster.as_ref()) {
        Some(named) => look::matrix_one_cluster(&ctx.client, namespace, &named.name).await?,
        None => Named::NotLookedAt,
    };
    Ok(Some(Observed { backup, storage, boot, named, workers, ..nothing(restore) }))
}
