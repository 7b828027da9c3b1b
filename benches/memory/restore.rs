//! The worker's memory while it brings a backup back: from a bucket to another prefix of it. Raw, the server copies by
//! itself; framed, every byte goes through the worker twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use mo_backup::{
    api::{Format, Outcome, Placement},
    store::{Bucket, Patience},
    task::{Choice, Location, RestoreTask, TargetTask, WhoseTask},
    worker::{Reporter, RestorePorts, Untold, Watch, restore},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::BUCKET,
    process::{self, Beside, Memory},
    worker::{PREFIX, keys, place, storage, subject},
};

/// How often it says how far it is.
const PACE: Duration = Duration::from_secs(1);

/// Restores in a process of its own, in this format. Its peak, in bytes.
pub fn measure(objects: usize, parallelism: u16, format: &str, port: &str) -> anyhow::Result<u64> {
    let began = Instant::now();
    let (objects, parallelism) = (objects.to_string(), parallelism.to_string());
    let (worker, said) = Beside::role(&["restore", &objects, &parallelism, format, port])?;
    let peak: u64 = worker.line(&said)?.parse()?;
    let told = worker.line(&said)?;
    println!("       restored {format}: peak {} ({} s, {told})", process::mib(peak), began.elapsed().as_secs());
    Ok(peak)
}

/// What the measured process does.
pub fn work(objects: usize, parallelism: u16, format: &str, port: u16) -> anyhow::Result<()> {
    mo_backup::telemetry::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let is_raw = format == "raw";
    let to = format!("restored-{format}");
    let task = task(parallelism, &to, if is_raw { Format::Raw } else { Format::Framed });
    let told = Arc::new(Told::default());
    let report = runtime.block_on(async {
        let open = |prefix: &str| Bucket::open(&place(prefix, port), Some(&keys()), None);
        let (source, target) = (Arc::new(open(PREFIX)?), Arc::new(open(&to)?));
        let ports = RestorePorts { source, target, patience: Patience::default() };
        let limits = (task.run_deadline, task.stall_deadline);
        let (run, stop) = (&task.subject.run, CancellationToken::new());
        let watch = Watch::new(told.clone(), Arc::new(Timestamp::now), run, limits, stop).with_pace(PACE);
        anyhow::Ok(restore(&task, &ports, &watch).await)
    })?;
    anyhow::ensure!(report.said.outcome == Outcome::Succeeded, "the restore failed: {report:?}");
    let (written, by_store) = (report.written_objects.unwrap_or_default(), report.copied_by_store.unwrap_or_default());
    anyhow::ensure!(usize::try_from(written)? > objects, "{written} objects of {objects} were written");
    anyhow::ensure!(by_store == if is_raw { written } else { 0 }, "the store has copied {by_store} of {written}");
    let progress = told.0.load(Ordering::Relaxed);
    anyhow::ensure!(progress > 2, "progress was told {progress} times");
    let Memory { now: _, peak } = process::memory(std::process::id())?;
    println!("{peak}\nprogress told {progress} times");
    Ok(())
}

fn task(parallelism: u16, prefix: &str, format: Format) -> RestoreTask {
    let s3 = serde_json::json!({"bucket": BUCKET, "prefix": prefix, "region": "us-east-1"});
    let placement = |path: &str| Placement { path: path.into(), format };
    RestoreTask {
        subject: subject(),
        storage: storage(),
        choice: Choice::Latest,
        whose: WhoseTask::default(),
        target: TargetTask {
            location: Location::S3(Box::new(serde_json::from_value(s3).unwrap())),
            data: placement("c1/data"),
            hk_data: placement("c1/hk_data"),
        },
        plan_only: false,
        approved_plan: None,
        parallelism,
        run_deadline: Duration::from_hours(2),
        stall_deadline: Duration::from_mins(15),
    }
}

/// Counts how often progress was told.
#[derive(Default)]
struct Told(AtomicU64);

#[async_trait]
impl Reporter for Told {
    async fn send(&self, _: &serde_json::Value) -> Result<(), Untold> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
