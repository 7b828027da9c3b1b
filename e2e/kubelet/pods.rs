//! What becomes of workers in the hands of a kubelet.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use mo_backup::api::{AttemptRecord, BackupStatus};
use serde_json::json;

use super::world::World;
use crate::harness::{image, kubelet};
use crate::scene::condition;

/// A worker gets by with this until it copies several objects of some size at once.
const TOO_LITTLE: &str = "16Mi";
/// Of about 80 bytes each, which do not compress.
const MANY: &str = "insert into many.t select result, md5(result), md5(result + 1) from generate_series(1, 500000) g";

/// The kernel kills it; the status says so; with more memory the next attempt completes.
pub async fn out_of_memory(world: &World<'_>) -> anyhow::Result<()> {
    let memory = |size: &str| json!({"resources": {"requests": {"memory": size}, "limits": {"memory": size}}});
    let table = "create table many.t(id int, a varchar(40), b varchar(40))";
    world.matrixone.execute(&["create database many", table, MANY]).await?;
    world.back_up("starved", json!({"type": "Full", "job": memory(TOO_LITTLE)})).await?;
    let first = first_attempt(world, "starved").await?;
    let message = first.message.unwrap_or_default();
    ensure!(first.reason.as_deref() == Some("WorkerFailed"), "it ended for {:?}: {message}", first.reason);
    ensure!(message.contains("OOMKilled, exit code 137"), "it does not say that memory was the reason: {message}");
    let more = json!({"spec": {"job": memory("256Mi")}}).to_string();
    world.namespace.kubectl(&["patch", "backup", "starved", "--type=merge", "-p", &more]).await?;
    let status = world.completed("starved").await?;
    ensure!(status.run.attempt >= 2, "it took {} attempts", status.run.attempt);
    world.matrixone.execute(&["drop database many"]).await
}

/// As `kubectl drain` does it: the worker is told to stop, says so, and another attempt follows.
pub async fn evicted_by_the_api(world: &World<'_>) -> anyhow::Result<()> {
    let pod = world.held("drained").await?;
    world.namespace.api::<Pod>().evict(&pod, &EvictParams::default()).await?;
    let first = first_attempt(world, "drained").await?;
    ensure!(first.reason.as_deref() == Some("Interrupted"), "it ended for {first:?}");
    let status = world.completed("drained").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    Ok(())
}

/// Its scratch volume is fuller than it may be.
pub async fn evicted_by_its_kubelet(world: &World<'_>) -> anyhow::Result<()> {
    let pod = world.held("greedy").await?;
    let uid = world.namespace.api::<Pod>().get(&pod).await?.metadata.uid.context("no uid")?;
    let pods = world.namespace.cluster.folder().path().join("kubelet/pods");
    fill(&pods.join(uid).join("volumes/kubernetes.io~empty-dir/tmp/filled"), 1100 << 20)?;
    let first = first_attempt(world, "greedy").await?;
    let message = first.message.unwrap_or_default();
    let told = message.contains("Evicted") && message.contains("\"tmp\"");
    ensure!(told, "it does not say why the Pod was ended: {:?}: {message}", first.reason);
    let status = world.completed("greedy").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    Ok(())
}

fn fill(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(file).with_context(|| format!("failed to create {}", file.display()))?;
    std::io::copy(&mut std::io::repeat(1).take(bytes), &mut file)?;
    Ok(file.flush()?)
}

/// The node has lost the image: the status says what the Pod waits for, and the attempt goes on when the image is back.
pub async fn image_is_missing(world: &World<'_>) -> anyhow::Result<()> {
    let folder = world.namespace.cluster.folder().path();
    kubelet::script(folder, &["forget", &image::name()]).await?;
    world.back_up("imageless", json!({"type": "Full"})).await?;
    let why = |status: &BackupStatus| condition(Some(&status.run.conditions), "Ready");
    let status = world
        .sees("imageless", "that its image cannot be pulled", |status| {
            let (_, reason, message) = why(status);
            reason == "Starting" && (message.contains("ErrImagePull") || message.contains("ImagePullBackOff"))
        })
        .await?;
    ensure!(why(&status).2.contains(&image::name()), "it does not name the image: {}", why(&status).2);
    let tar = folder.join("images/mo-backup.tar");
    kubelet::script(folder, &["load", &tar.display().to_string()]).await?;
    let status = world.completed("imageless").await?;
    ensure!(status.run.attempt == 1, "it took {} attempts", status.run.attempt);
    Ok(())
}

/// The record of the first attempt, once it has been judged.
async fn first_attempt(world: &World<'_>, name: &str) -> anyhow::Result<AttemptRecord> {
    let over = |status: &BackupStatus| status.run.attempts.first().is_some_and(|first| first.end_time.is_some());
    let status = world.sees(name, "the end of its first attempt", over).await?;
    status.run.attempts.into_iter().next().context("no attempt")
}
