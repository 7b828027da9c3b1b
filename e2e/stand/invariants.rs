//! What must be true of every Backup that has come to rest, whatever was done to it on the way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use mo_backup::api::{Backup, BackupPhase, BackupStatus};
use mo_backup::plan::{AttemptDir, BackupId, Catalog, Digest, Framing};
use mo_backup::store::{Bucket, Key, Keys, Objects, Place, Prefix, catalog, framing};
use mo_backup::task::backup_id;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use super::{PASSWORD, Stand};
use crate::harness::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};

/// A whole backup or none; one Job for each attempt; nothing left behind that is not on record.
pub async fn whole_or_none(stand: &Stand<'_>, backup: &Backup) -> anyhow::Result<()> {
    let name = backup.name_any();
    let status = backup.status.clone().unwrap_or_default();
    one_job_for_each_attempt(stand, &name, &status).await?;
    let repository = repository(stand.store, &stand.namespace.name)?;
    let id = backup_id(backup)?;
    let catalog::All { catalogs: mut committed, unreadable } = catalog::all(&repository).await?;
    ensure!(unreadable.is_empty(), "the catalogue has {unreadable:?}");
    committed.retain(|entry| entry.id == id);
    match (status.phase, committed.as_slice()) {
        (Some(BackupPhase::Completed), [entry]) => {
            reported(stand, &status, entry).await?;
            whole(&repository, entry).await.with_context(|| format!("Backup {name} is Completed and not whole"))?;
            let left = files(&stand.staging.join(Prefix::backup(id).as_str()));
            ensure!(left.is_empty(), "Backup {name} is Completed, and {left:?} is left in the staging folder");
        }
        (Some(BackupPhase::Failed), []) => {}
        (phase, entries) => anyhow::bail!("Backup {name} is {phase:?} with {} manifests", entries.len()),
    }
    let folders = folders(&repository, id).await?;
    let mut known: BTreeSet<AttemptDir> = committed.iter().map(|entry| entry.attempt).collect();
    for attempt in &status.run.attempts {
        let attempt = u32::try_from(attempt.number)?;
        known.extend([false, true].map(|fallback| AttemptDir { attempt, fallback }));
    }
    ensure!(folders.is_subset(&known), "Backup {name}: {folders:?} lie under data/, on record are {known:?}");
    Ok(())
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    found.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn one_job_for_each_attempt(stand: &Stand<'_>, name: &str, status: &BackupStatus) -> anyhow::Result<()> {
    let jobs = stand.namespace.api::<Job>();
    let labels = format!("mo-backup.io/name={name},mo-backup.io/kind=Backup");
    let jobs = jobs.list(&ListParams::default().labels(&labels)).await?;
    let found: Vec<String> = jobs.iter().map(ResourceExt::name_any).collect();
    let recorded: Vec<&str> = status.run.attempts.iter().map(|attempt| attempt.job.as_str()).collect();
    let numbers: BTreeSet<i32> = status.run.attempts.iter().map(|attempt| attempt.number).collect();
    ensure!(numbers.len() == recorded.len(), "Backup {name}: an attempt is recorded twice: {recorded:?}");
    for job in &found {
        ensure!(recorded.contains(&job.as_str()), "Backup {name}: Job {job} is not on record: {recorded:?}");
    }
    let names: BTreeSet<&String> = found.iter().collect();
    ensure!(names.len() == found.len(), "Backup {name} has {found:?}");
    Ok(())
}

/// The report names the manifest that is there.
async fn reported(stand: &Stand<'_>, status: &BackupStatus, entry: &Catalog) -> anyhow::Result<()> {
    let report = status.report.as_ref().context("Completed without a report")?;
    let manifest = report.manifest.as_ref().context("Completed without a manifest")?;
    let key = Key::catalog(entry.id);
    let digest = Digest(Sha256::digest(stand.bucket.get(&format!("prod/{key}")).await?).into());
    ensure!(manifest.key == key.as_str(), "the report names {}", manifest.key);
    ensure!(manifest.sha256 == digest.to_string(), "the report names a manifest of {}, not {digest}", manifest.sha256);
    Ok(())
}

/// Every object that the manifest names is in its place, with its size and its content.
pub async fn whole(repository: &Bucket, entry: &Catalog) -> anyhow::Result<()> {
    let mut count = 0;
    let mut objects = catalog::entries(repository, entry).await?;
    while let Some(object) = objects.next().await? {
        let source = entry.sources.get(usize::try_from(object.from)?).context("an object without a source")?;
        let key = Key::object(source.backup, source.attempt, &object.path);
        let framed = framing::of_path(source.framing, &object.path);
        let (size, sha256) = digest(repository, &key, framed).await?;
        ensure!((size, sha256) == (object.size, object.sha256), "{key} is not what the manifest says");
        count += 1;
    }
    ensure!(count == entry.totals.objects && count > 0, "{count} objects, the totals say {}", entry.totals.objects);
    Ok(())
}

/// Size and digest of what an object says, without its frames.
async fn digest(repository: &Bucket, key: &Key, framed: Framing) -> anyhow::Result<(u64, Digest)> {
    let stored: Vec<_> = repository.read(key, None).await?.try_collect().await?;
    let stored = stored.concat();
    let content = match framed {
        Framing::Raw => stored,
        Framing::Crc2048 => framing::deframed(&stored)?,
    };
    Ok((content.len() as u64, Digest(Sha256::digest(&content).into())))
}

/// The folders of attempts in which something lies.
async fn folders(repository: &Bucket, id: BackupId) -> anyhow::Result<BTreeSet<AttemptDir>> {
    let prefix = Prefix::backup(id);
    let mut found = BTreeSet::new();
    let mut listed = repository.list(&prefix);
    while let Some(object) = listed.try_next().await? {
        let folder = object.key.below(&prefix).and_then(|below| below.split('/').next()).unwrap_or_default();
        found.insert(folder.parse::<AttemptDir>().with_context(|| format!("{} under data/", object.key))?);
    }
    Ok(found)
}

/// The repository below `prod` of a bucket, as the product itself opens it, past every proxy.
pub fn repository(store: &S3, bucket: &str) -> anyhow::Result<Bucket> {
    let place = Place {
        bucket: bucket.into(),
        prefix: "prod".into(),
        endpoint: Some(store.endpoint()),
        region: REGION.into(),
        path_style: true,
        ..Place::default()
    };
    let (id, secret) = (SecretString::from(ACCESS_KEY), SecretString::from(SECRET_KEY));
    Ok(Bucket::open(&place, Some(&Keys { id, secret, session_token: None }), None)?)
}

/// No secret in any object but Secrets, in no log of a Pod or of the operator, in no file of the repository's records.
pub async fn no_secret(stand: &Stand<'_>) -> anyhow::Result<()> {
    let kinds = "backups,backupstorages,jobs,pods,events,configmaps";
    let objects = stand.namespace.kubectl(&["get", kinds, "-o", "yaml", "--show-managed-fields"]).await?;
    let cluster = stand.namespace.cluster;
    let said: String = cluster.nodes().iter().map(|node| node.tails(&stand.namespace.name, usize::MAX)).collect();
    ensure!(said.contains("step"), "the logs of the workers were not found");
    let mut records = String::new();
    for (key, _) in stand.bucket.list("prod/").await? {
        if !key.contains("/data/") {
            records.push_str(&String::from_utf8_lossy(&stand.bucket.get(&key).await?));
        }
    }
    let operator = stand.operator.whole_log();
    for (place, text) in
        [("an object", objects), ("a worker's log", said), ("the operator's log", operator), ("a record", records)]
    {
        for secret in [SECRET_KEY, PASSWORD] {
            ensure!(!text.contains(secret), "a secret stands in {place} of {}", stand.namespace.name);
        }
    }
    Ok(())
}
