//! What only a real node shows: the shipped image, installed by Helm, under a kubelet with containerd, a Pod network,
//! Services and DNS. One test, because such a node takes long to set up and a machine can have only one.

mod chart;
mod pods;
mod world;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mo_backup::api::TakenType;
use serde_json::json;

use crate::harness::rig::Rig;
use crate::harness::s3::SECRET_KEY;
use crate::harness::trial::{Need, Test};
use crate::scene::files_below;
use crate::test;
use world::World;

pub fn tests() -> Vec<Test> {
    vec![test!(shipped_image_on_a_real_node).needs(Need::Kubelet).within(Duration::from_mins(40))]
}

async fn shipped_image_on_a_real_node(rig: &Rig) -> anyhow::Result<()> {
    let cluster = world::node().await?;
    chart::install(&cluster).await?;
    let world = World::make(rig, &cluster).await?;
    step("full and incremental", backups_complete(&world)).await?;
    step("the kubelet asks the operator", chart::probes_are_asked(&cluster)).await?;
    step("a worker runs out of memory", pods::out_of_memory(&world)).await?;
    step("a worker is evicted by the API", pods::evicted_by_the_api(&world)).await?;
    step("a worker is evicted by its kubelet", pods::evicted_by_its_kubelet(&world)).await?;
    step("the image is missing", pods::image_is_missing(&world)).await?;
    step("upgrade and uninstall", chart::upgrade_and_uninstall(&world)).await?;
    world.namespace.delete().await
}

/// Says what is tried and how long it took: the whole takes minutes.
async fn step(what: &str, trial: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let begin = std::time::Instant::now();
    trial.await.with_context(|| format!("while trying: {what}"))?;
    eprintln!("[node] {what}: {:.1} s", begin.elapsed().as_secs_f32());
    Ok(())
}

/// By names of Services, as Pods of the `restricted` profile, to a bucket that then holds what the reports say.
async fn backups_complete(world: &World<'_>) -> anyhow::Result<()> {
    let rows = "insert into node_test.t select result, 'row' from generate_series(1,2000) g";
    world.matrixone.execute(&["create database node_test", "create table node_test.t(id int, v varchar(20))"]).await?;
    world.matrixone.execute(&[rows]).await?;
    world.back_up("first", json!({"type": "Full", "verify": "Full"})).await?;
    let full = world.completed("first").await?.report.context("no report")?;
    world.matrixone.execute(&[rows]).await?;
    world.back_up("second", json!({})).await?;
    let second = world.completed("second").await?.report.context("no report")?;
    ensure!(second.type_ == Some(TakenType::Incremental), "the second backup: {:?}", second.type_reason);
    ensure!(second.base == full.id, "the base is {:?}", second.base);
    let keys: Vec<String> = world.bucket.list("prod/").await?.into_iter().map(|(key, _)| key).collect();
    for report in [&full, &second] {
        let manifest = &report.manifest.as_ref().context("no manifest")?.key;
        ensure!(keys.contains(&format!("prod/{manifest}")), "{manifest} is not in the bucket: {keys:?}");
    }
    let left = files_below(&world.staging)?;
    ensure!(left.is_empty(), "left in the staging folder: {left:?}");
    let logs = world.namespace.kubectl(&["logs", "job/first-1"]).await?;
    ensure!(logs.contains("committed") && !logs.contains(SECRET_KEY), "the worker said:\n{logs}");
    Ok(())
}
