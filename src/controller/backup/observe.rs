//! What a decision about a Backup may look at.

use crate::{
    api::{Backup, BackupStorage, DeletionPolicy, RETRY_ANNOTATION},
    controller::{
        Context, Error,
        decision::asked,
        job::WorkerImage,
        look,
        queue::Ticket,
        run::open_record,
        seen::{Named, Workers},
    },
    plan::BackupId,
    task::backup_id,
};

use super::{finished, plan};

/// The world, as far as it concerns a Backup.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object.
    pub backup: Backup,
    /// The BackupStorage it names.
    pub storage: Option<BackupStorage>,
    /// The Backup it is to be based on.
    pub base: Base,
    /// The MatrixOneCluster it names.
    pub named: Named,
    /// Backups of the same MatrixOne cluster. Looked at only when an attempt may begin.
    pub others: Vec<Ticket>,
    /// Its Jobs and Pods.
    pub workers: Workers,
    /// Its namespace is being deleted. Looked at only before something is removed: no Job can be made there any more, and
    /// the Secrets are gone.
    pub terminating: bool,
    /// Other Backups of the namespace with the same id whose data is to stay. Looked at only before data is removed.
    pub kept_by: Vec<Keeper>,
    /// What its Jobs run.
    pub image: WorkerImage,
}

/// A Backup whose data is to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Its name.
    pub name: String,
    /// Whether `hold` says so; otherwise it is the deletion policy.
    pub holds: bool,
}

impl Keeper {
    /// The Backup as a keeper of the backup with this id, if it is one and not this object itself.
    #[must_use]
    pub fn of(backup: &Backup, id: BackupId, itself: Option<&str>) -> Option<Self> {
        let other = backup.metadata.uid.as_deref() != itself;
        let keeps = backup.spec.hold || backup.spec.deletion_policy == DeletionPolicy::Retain;
        let same = backup_id(backup).ok() == Some(id);
        let name = backup.metadata.name.clone().unwrap_or_default();
        (other && keeps && same).then_some(Self { name, holds: backup.spec.hold })
    }
}

/// The base that a spec names.
#[derive(Clone, Debug)]
pub enum Base {
    /// None is named.
    NotNamed,
    /// There is no such Backup.
    Missing(String),
    /// This one.
    Found(Box<Backup>),
}

/// Looks at the API server itself, not at a cache: a cache can be behind what this operator, or the one before it, has
/// done. A Backup at rest costs nothing.
pub async fn observe(ctx: &Context, cached: &Backup) -> Result<Option<Observed>, Error> {
    let at_rest = |b: &Backup| finished(b) && b.metadata.deletion_timestamp.is_none();
    let nothing = |backup: Backup| Observed {
        backup,
        storage: None,
        base: Base::NotNamed,
        named: Named::NotLookedAt,
        others: Vec::new(),
        workers: Workers::default(),
        terminating: false,
        kept_by: Vec::new(),
        image: ctx.image.clone(),
    };
    if at_rest(cached) && !asked_to_retry(cached) {
        return Ok(Some(nothing(cached.clone())));
    }
    let (Some(namespace), Some(name)) = (&cached.metadata.namespace, &cached.metadata.name) else { return Ok(None) };
    let Some(backup) = look::get::<Backup>(&ctx.client, namespace, name).await? else { return Ok(None) };
    let storage = look::get::<BackupStorage>(&ctx.client, namespace, &backup.spec.storage).await?;
    if backup.spec.imported.is_some() && backup.metadata.deletion_timestamp.is_none() {
        // It never runs, and a repository can have thousands.
        return Ok(Some(Observed { storage, ..nothing(backup) }));
    }
    let base = match &backup.spec.base {
        None => Base::NotNamed,
        Some(base) => match look::get::<Backup>(&ctx.client, namespace, base).await? {
            Some(found) => Base::Found(Box::new(found)),
            None => Base::Missing(base.clone()),
        },
    };
    let run = plan::status(&backup).run;
    let open = open_record(&run);
    let others = if open.is_none() && backup.metadata.deletion_timestamp.is_none() {
        look::tickets(ctx, &backup).await?
    } else {
        Vec::new()
    };
    let workers = look::workers(&ctx.client, &backup, open.map(|r| &*r.job)).await?;
    // While its Job is at work nothing else can begin.
    let at_work = open.is_some_and(|r| workers.jobs.iter().any(|j| j.name == r.job && j.end.is_none()));
    let named = match backup.spec.cluster.as_ref().and_then(|c| c.matrix_one_cluster.as_ref()) {
        Some(named) if !at_work && backup.metadata.deletion_timestamp.is_none() => {
            look::matrix_one_cluster(&ctx.client, namespace, &named.name).await?
        }
        Some(_) | None => Named::NotLookedAt,
    };
    let cleans = backup.spec.deletion_policy == DeletionPolicy::Delete || backup.spec.staging.is_some();
    let terminating =
        backup.metadata.deletion_timestamp.is_some() && cleans && look::is_terminating(&ctx.client, namespace).await?;
    let kept_by = keepers(ctx, &backup, namespace).await?;
    Ok(Some(Observed { storage, base, named, others, workers, terminating, kept_by, ..nothing(backup) }))
}

/// Who keeps the data of a Backup that is being deleted and would remove it. Only this namespace is looked at: a
/// repository belongs to one BackupStorage, and nobody elsewhere may decide what its owner removes.
async fn keepers(ctx: &Context, backup: &Backup, namespace: &str) -> Result<Vec<Keeper>, Error> {
    let removes = backup.metadata.deletion_timestamp.is_some()
        && backup.spec.deletion_policy == DeletionPolicy::Delete
        && !backup.spec.hold;
    let Some(id) = backup_id(backup).ok().filter(|_| removes) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let uid = backup.metadata.uid.as_deref();
    look::backups_of_namespace(&ctx.client, namespace, |other| found.extend(Keeper::of(other, id, uid))).await?;
    Ok(found)
}

/// Whether mo-backup.io/retry carries a token that was not acted on.
pub(super) fn asked_to_retry(backup: &Backup) -> bool {
    let handled = backup.status.as_ref().and_then(|s| s.run.handled_requests.as_ref()?.retry.as_ref());
    asked(&backup.metadata, RETRY_ANNOTATION, handled).is_some()
}
