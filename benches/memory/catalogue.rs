//! The worker's memory while it takes stock of a repository with very many backups.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use mo_backup::{
    api::{BackupStorage, Outcome},
    plan::{BackupId, Catalog, Marker, Owner, manifest::FORMAT},
    store::{Bucket, Key, Objects as _},
    task::ProbeTask,
    worker::{Place, Places, Watch, probe},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::BUCKET,
    cli,
    process::{self, Beside, Memory},
    sample::{self, DIR},
    worker::{PREFIX, Silent, keys, place},
};

/// Backups that the bucket is filled with at the same time.
const AT_ONCE: usize = 32;

/// Takes stock in a process of its own, then lists the backups on the command line. Their peaks, in bytes.
pub fn measure(backups: usize) -> anyhow::Result<(u64, u64)> {
    println!("stock is taken of {backups} backups");
    let (store, said) = Beside::role(&["bucket"])?;
    let port = store.line(&said)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(fill(backups, port.parse()?))?;
    let began = Instant::now();
    let (worker, said) = Beside::role(&["catalogue", &backups.to_string(), &port])?;
    let peak: u64 = worker.line(&said)?.parse()?;
    println!("       peak {} ({} s)", process::mib(peak), began.elapsed().as_secs());
    Ok((peak, cli::list(backups, &port)?))
}

/// Backups as they lie in a bucket: the entry of each, and one object that it holds.
async fn fill(backups: usize, port: u16) -> anyhow::Result<()> {
    let bucket = Bucket::open(&place(PREFIX, port), Some(&keys()), None)?;
    let owner = Owner { namespace: "ns".into(), name: "bucket".into(), uid: "storage".into() };
    let repository = sample::blank().repository;
    let marker = Marker { format: FORMAT, repository, owner, created_at: "2026-11-21T00:00:00Z".into() };
    bucket.put(&Key::marker(), serde_json::to_vec(&marker)?.into()).await?;
    let write = |_| async {
        let mut catalog = sample::blank();
        catalog.sources = sample::sources([catalog.id, BackupId::fresh()], &[(1, 7), (900, 1 << 30)]);
        let sum = |f: fn((u64, u64)) -> u64| catalog.sources.iter().map(|s| f((s.objects, s.bytes))).sum::<u64>();
        (catalog.totals.objects, catalog.totals.bytes) = (sum(|s| s.0), sum(|s| s.1));
        (catalog.totals.copied_objects, catalog.totals.copied_bytes) = (1, 7);
        catalog.entries.lines = catalog.totals.objects;
        let Catalog { id, .. } = catalog;
        bucket.put(&Key::object(id, DIR, "mo_meta"), "version".into()).await?;
        bucket.put(&Key::catalog(id), serde_json::to_vec(&catalog)?.into()).await?;
        anyhow::Ok(())
    };
    stream::iter(0..backups).map(write).buffer_unordered(AT_ONCE).try_collect().await
}

/// What the measured process does.
pub fn work(backups: usize, port: u16) -> anyhow::Result<()> {
    mo_backup::telemetry::start();
    let storage: BackupStorage = serde_json::from_value(serde_json::json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "bucket", "namespace": "ns", "uid": "storage"},
        "spec": {"type": "S3", "accessMode": "ReadOnly", "s3": {"bucket": BUCKET, "region": "us-east-1"}}
    }))?;
    let task = ProbeTask::for_attempt(&storage, String::new(), false, 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        let repository = Arc::new(Bucket::open(&place(PREFIX, port), Some(&keys()), None)?);
        let places = Places { repository, kind: Place::Bucket, staging: None };
        let (clock, run, limit) = (Arc::new(Timestamp::now), &task.subject.run, Duration::from_hours(1));
        let watch = Watch::new(Arc::new(Silent), clock, run, (limit, limit), CancellationToken::new());
        anyhow::Ok(probe(&task, &places, None, &watch).await)
    })?;
    anyhow::ensure!(report.said.outcome == Outcome::Succeeded, "the probe failed: {report:?}");
    let seen = report.repository.as_ref().map(|r| (r.backups, r.orphans, r.unreadable));
    anyhow::ensure!(seen == Some((i64::try_from(backups)?, 0, 0)), "of {backups} backups it saw {report:?}");
    let Memory { now: _, peak } = process::memory(std::process::id())?;
    println!("{peak}");
    Ok(())
}
