//! The operator's memory: the program as it is shipped, in a process of its own, against an API server in this one.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    cluster::Cluster,
    history,
    process::{self, Beside, Memory},
};

/// Backups of the same MatrixOne that still want to run: each look for its turn lists all the others.
pub const OPEN: usize = 10;
/// The longest wait for the operator to do one thing.
const PATIENCE: Duration = Duration::from_mins(3);
/// It has come to rest when it has not looked at anything for so long. While a worker is on its way it looks every 30 s.
const QUIET: Duration = Duration::from_secs(5);

/// It warns of watches that fail, which is what the bench does to them.
const LOG: &str = "warn,mo_backup::controller::operator=error";

/// Runs it with this many Backups: it fills its caches, looks at each of them, starts one, and twice lists all once more
/// while what it knew is still in its caches. Its peak, in bytes.
pub fn measure(backups: usize) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        println!("an operator with {backups} Backups, of which {OPEN} want to run");
        let cluster = Cluster::new(history::api(backups - OPEN, OPEN)?);
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_of(cluster.serve().await?))?;
        let listen = free_address().await?;
        let built = env!("CARGO_BIN_EXE_mo-backup").into();
        let mut command = Command::new(std::env::var_os("MO_BACKUP_BIN").unwrap_or(built));
        command.args(["operator", "--worker-image", "mo-backup:bench", "--listen", &listen]);
        command.envs(process::image_environment()?);
        command.env("KUBECONFIG", &kubeconfig).env("RUST_LOG", LOG).stdin(Stdio::null());
        let operator = Beside(command.spawn().context("failed to start the operator")?);
        let told = Told { listen };
        wait_for("it has not made a Job", async || cluster.started()).await?;
        told.wait_until_it_rests(backups).await?;
        let mut peak = step("filled its caches and looked at all", &operator)?;
        let watched = cluster.watched().clone();
        for _ in 0..2 {
            let looked_at = told.reconciled().await?;
            cluster.expire();
            wait_for("it does not watch again", async || cluster.watched().is_superset(&watched)).await?;
            told.wait_until_it_rests(looked_at + 1).await?;
            peak = peak.max(step("listed all once more", &operator)?);
        }
        Ok(peak)
    })
}

/// Tells what it holds after a step, and the peak of the step.
fn step(what: &str, operator: &Beside) -> anyhow::Result<u64> {
    let Memory { now, peak } = process::memory(operator.0.id())?;
    process::forget_peak(operator.0.id())?;
    println!("       it has {what}: peak {}, then {}", process::mib(peak), process::mib(now));
    Ok(peak)
}

fn kubeconfig_of(port: u16) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    })
    .to_string()
}

async fn free_address() -> anyhow::Result<String> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string())
}

async fn wait_for(why: &str, mut is_so: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so().await {
        anyhow::ensure!(began.elapsed() < PATIENCE, "{why} within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// What the operator tells about itself.
struct Told {
    listen: String,
}

impl Told {
    /// Waits until it has looked at Backups this many times, and then at none for a while.
    async fn wait_until_it_rests(&self, wanted: usize) -> anyhow::Result<()> {
        let mut last = (0, Instant::now());
        wait_for("it does not come to rest", async || {
            let count = self.reconciled().await.unwrap_or(0);
            if count != last.0 {
                last = (count, Instant::now());
            }
            count >= wanted && last.1.elapsed() >= QUIET
        })
        .await
    }

    async fn reconciled(&self) -> anyhow::Result<usize> {
        let text = reqwest::get(format!("http://{}/metrics", self.listen)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix("mo_backup_reconciles_total{kind=\"Backup\"} "));
        Ok(line.context("nothing was reconciled yet")?.parse()?)
    }
}
