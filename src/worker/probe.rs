//! Trying out a storage: what the store can do, whose repository it is, and what it holds.

use std::{future::ready, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use super::{
    Failure, Place, Places, Watch, ground,
    inventory::{self, Inventory},
    soon::Asked,
};
use crate::{
    api::{
        Capabilities, ObjectLockSeen, ObjectLockState, Outcome, Reason, RepositorySeen, Said, StorageReport,
        VersioningSeen, VersioningState, Warning,
    },
    store::{Key, ObjectLock, Objects, Prefix, Problem, Questions, Versioning, catalog},
    task::{Location, ProbeTask},
};

/// Objects of probes older than this belong to nobody.
const ABANDONED: Duration = Duration::from_hours(24);

/// What a probe found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    capabilities: Option<Capabilities>,
    repository: Option<RepositorySeen>,
    warnings: Vec<Warning>,
}

/// Tries out the storage of the task. Nothing is written to one that is read-only, or that belongs to somebody else.
pub async fn probe(task: &ProbeTask, places: &Places, questions: Option<&Questions>, watch: &Watch) -> StorageReport {
    // Before the look: whatever changes during it is newer.
    let looked = watch.now();
    report(task, find(task, places, questions, watch).await, looked)
}

async fn find(
    task: &ProbeTask,
    places: &Places,
    questions: Option<&Questions>,
    watch: &Watch,
) -> Result<Found, Failure> {
    let repository = &*places.repository;
    let marker = async { catalog::marker(repository).await.map_err(|e| Failure::of_repository(places.kind, &e)) };
    let marker = watch.soon(Asked::Store(places.kind), marker).await?;
    let mut found = Found::default();
    let foreign = marker.as_ref().and_then(|marker| catalog::own(marker, &task.storage.uid).err());
    if task.storage.read_only || foreign.is_some() {
        let told = foreign.filter(|_| !task.storage.read_only).map(|foreign| Warning {
            reason: Reason::RepositoryForeign.as_str().into(),
            message: format!("{foreign}. {}", Reason::RepositoryForeign.remedy()),
        });
        let Inventory { seen, warnings } = inventory::take(places, marker.as_ref()).await?;
        let warnings = told.into_iter().chain(warnings).collect();
        return Ok(Found { repository: Some(seen), warnings, capabilities: None });
    }
    if marker.is_some() {
        tidy(places).await?;
    }
    let mut capabilities = try_out(task, places).await?;
    (capabilities.versioning, capabilities.object_lock) = ask(places, questions).await;
    found.warnings.extend(what_deleting_means(&capabilities));
    if !capabilities.conditional_create {
        let message = "the store overwrites where it should refuse; let one operator only write here";
        let reason = Reason::ConditionalCreateMissing.as_str().into();
        found.warnings.push(Warning { reason, message: message.into() });
    }
    let wanted = ground::new_marker(ground::owner(&task.storage), watch.now());
    // Somebody else may have come meanwhile, and not every store refuses a second create.
    let claim = async { catalog::claim(repository, catalog::marker(repository).await?, &wanted).await };
    let marker = claim.await.map_err(|e| Failure::of_repository(places.kind, &e))?;
    let Inventory { seen, warnings } = inventory::take(places, Some(&marker)).await?;
    found.repository = Some(seen);
    found.warnings.extend(warnings);
    found.capabilities = Some(capabilities);
    Ok(found)
}

/// Removes what earlier probes could not remove: it would only grow. The repository is known to be ours. What has no name
/// of a probe's is somebody else's, and what is young may belong to a probe that is still at work.
async fn tidy(places: &Places) -> Result<(), Failure> {
    let failed = |e| Failure::of_store(places.kind, &e);
    let now = millis(Uuid::now_v7());
    let abandoned = |key: &Key| {
        let written = key.probe_nonce().map(millis);
        written.is_some_and(|written| written.saturating_add(ABANDONED.as_millis()) < now)
    };
    let found = places.repository.list(&Prefix::probe()).map_ok(|found| found.key);
    let old: Vec<_> = found.try_filter(|key| ready(abandoned(key))).try_collect().await.map_err(failed)?;
    if old.is_empty() {
        return Ok(());
    }
    places.repository.delete(old).await.map_err(failed)
}

/// The time in a UUID of version 7, in ms since 1970; of any other it is a number too large to be in the past.
fn millis(nonce: Uuid) -> u128 {
    match nonce.get_version_num() {
        7 => nonce.as_u128() >> 80,
        _ => u128::MAX,
    }
}

/// Write, read back, list, create twice, delete, list again.
async fn try_out(task: &ProbeTask, places: &Places) -> Result<Capabilities, Failure> {
    let repository = &*places.repository;
    let failed = |e| Failure::of_store(places.kind, &e);
    let nonce = Uuid::now_v7().to_string();
    let key = Key::probe(&nonce);
    let body = Bytes::from(format!("mo-backup {nonce}"));
    repository.put(&key, body.clone()).await.map_err(failed)?;
    let read = repository.read(&key, None).await.map_err(failed)?;
    let read = read.try_collect::<Vec<_>>().await.map_err(failed)?.concat();
    let wrong = |what: &str| Err(Failure::new(Reason::StorageError, format!("the store {what}")));
    if read != body {
        return wrong("returned another content than was written");
    }
    if !listed(repository, &key).await.map_err(failed)? {
        return wrong("does not list an object that was just written");
    }
    let conditional_create = match repository.create(&key, body).await {
        Ok(()) => false,
        Err(e) if e.problem == Problem::Taken => true,
        Err(e) if e.problem == Problem::Unsupported => false,
        Err(e) => return Err(failed(e)),
    };
    repository.delete(vec![key.clone()]).await.map_err(failed)?;
    if listed(repository, &key).await.map_err(failed)? {
        return wrong("still lists an object that was deleted");
    }
    let checksums = match &task.storage.location {
        Location::S3(s3) => s3.checksums,
        Location::Volume(_) => false,
    };
    Ok(Capabilities { conditional_create, checksums, ..Capabilities::default() })
}

/// What the bucket says about itself. One that does not say it, or not to us, serves as well.
async fn ask(places: &Places, questions: Option<&Questions>) -> (VersioningSeen, ObjectLockSeen) {
    let mut versioning = VersioningSeen::default();
    let mut object_lock = ObjectLockSeen::default();
    match (places.kind, questions) {
        (Place::Volume | Place::Staging | Place::TargetVolume, _) => {
            versioning.state = VersioningState::Off;
            object_lock.state = ObjectLockState::Off;
        }
        (Place::Bucket | Place::TargetBucket, None) => {}
        (Place::Bucket | Place::TargetBucket, Some(questions)) => {
            match questions.versioning().await {
                Ok(Versioning::Enabled) => versioning.state = VersioningState::Enabled,
                Ok(Versioning::Suspended) => versioning.state = VersioningState::Suspended,
                Ok(Versioning::Off) => versioning.state = VersioningState::Off,
                Err(e) => versioning.why = Some(e.to_string()),
            }
            match questions.object_lock().await {
                Ok(ObjectLock::Enabled(retention)) => {
                    object_lock.state = ObjectLockState::Enabled;
                    object_lock.default_retention = retention.map(|r| format!("{}, {}", r.mode, r.period));
                }
                Ok(ObjectLock::Off) => object_lock.state = ObjectLockState::Off,
                Err(e) => object_lock.why = Some(e.to_string()),
            }
        }
    }
    (versioning, object_lock)
}

/// What a person should know before deleting backups here.
fn what_deleting_means(capabilities: &Capabilities) -> Vec<Warning> {
    let Capabilities { versioning, object_lock, conditional_create: _, checksums: _ } = capabilities;
    let warning = |reason: Reason, message: String| Warning { reason: reason.as_str().into(), message };
    let kept = match versioning.state {
        VersioningState::Enabled => {
            Some("deleting a backup hides its data and frees nothing: the bucket keeps versions")
        }
        VersioningState::Suspended => {
            Some("the bucket still keeps versions of what was written before they were suspended")
        }
        VersioningState::Off | VersioningState::Unknown => None,
    };
    let kept = kept.map(|text| {
        let remedy = Reason::DeletionOnlyHides.remedy();
        warning(Reason::DeletionOnlyHides, format!("{text}. {remedy}"))
    });
    let locked = object_lock.default_retention.as_ref().map(|retention| {
        let text =
            format!("every object is locked from when it is written ({retention}), and its space not free before");
        warning(Reason::ObjectsLocked, text)
    });
    kept.into_iter().chain(locked).collect()
}

async fn listed(repository: &dyn Objects, key: &Key) -> Result<bool, crate::store::Error> {
    let mut found = repository.list(&Prefix::probe());
    while let Some(object) = found.try_next().await? {
        if object.key == *key {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The report of a probe.
pub(super) fn report(task: &ProbeTask, probed: Result<Found, Failure>, now: Timestamp) -> StorageReport {
    let run = &task.subject.run;
    let (said, found) = match probed {
        Ok(found) => (Said { run: run.clone(), outcome: Outcome::Succeeded, ..Said::default() }, found),
        Err(failure) => (failure.said(run), Found::default()),
    };
    let Found { capabilities, repository, warnings } = found;
    let backups_over = task.backups_over.clone();
    StorageReport {
        said,
        probed_at: Some(Time(now)),
        capabilities,
        repository,
        adoption: None,
        swept: task.swept.clone(),
        backups_over,
        warnings,
    }
}
