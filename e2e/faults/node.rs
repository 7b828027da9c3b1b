//! A node is lost with a worker that lives on: no other one runs beside it before a person has said that it is off, and
//! if that was not true, still nothing is committed twice.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::cluster::Options;
use crate::harness::fault::{Fault, Kind};
use crate::harness::node::Node;
use crate::harness::rig::{Bare, Rig};
use crate::simulator::Version;
use crate::stand::Stand;

const LIMIT: Duration = Duration::from_secs(120);

/// Two workers are about to commit when their node is lost. One Pod is given up by a person although its worker is
/// alive, and it wakes up when its replacement is done; for the other the node comes back.
pub(super) async fn lost_node_never_makes_two(rig: &Rig) -> anyhow::Result<()> {
    let options = Options { nodes: 2, quick_node_loss: true, ..Options::default() };
    let bare = Bare::boot(options).await?;
    let (lost, spare) = (bare.cluster.node(0), bare.cluster.node(1));
    bare.cluster.kubectl(&["cordon", spare.name()]).await?;
    let given_up = Stand::of(rig, &bare, "given-up", Version::V4_2_0).await?;
    let healed = Stand::of(rig, &bare, "healed", Version::V4_2_0).await?;
    let (pod_1, pod_2) = tokio::try_join!(frozen_at_its_commit(&given_up), frozen_at_its_commit(&healed))?;
    bare.cluster.kubectl(&["uncordon", spare.name()]).await?;
    lost.lose();
    tokio::try_join!(shown_as_lost(&given_up, &pod_1, lost), shown_as_lost(&healed, &pod_2, lost))?;

    give_up(&given_up, &pod_1).await?;
    let status = given_up.completes("b").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    let manifest = |status: mo_backup::api::BackupStatus| status.report.and_then(|report| report.manifest);
    ensure!(!lost.processes(&given_up.namespace.name, &pod_1).is_empty(), "the lost worker must still be alive");
    ensure!(lost.signal(&given_up.namespace.name, &pod_1, Signal::CONT), "it cannot be woken");
    let gone = || async { Ok(lost.processes(&given_up.namespace.name, &pod_1).is_empty().then_some(())) };
    given_up.namespace.until("the end of the worker that came too late", LIMIT, gone).await?;
    let after = given_up.completes("b").await?;
    ensure!(manifest(after) == manifest(status), "the worker that came too late has changed the backup");

    lost.heal();
    let status = healed.completes("b").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    given_up.leave().await?;
    healed.leave().await
}

/// The first thing that our message advises.
pub(super) async fn deleted_node_frees_the_attempt(rig: &Rig) -> anyhow::Result<()> {
    freed_by(rig, "node-gone", &["delete", "node", "node1", "--wait=false"]).await
}

/// The other one.
pub(super) async fn node_out_of_service_frees_the_attempt(rig: &Rig) -> anyhow::Result<()> {
    freed_by(rig, "node-off", &["taint", "node", "node1", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"])
        .await
}

/// A worker is about to commit when its node is lost. To delete its Pod frees nothing; the cure does, and the Backup goes
/// on by itself on the other node.
async fn freed_by(rig: &Rig, purpose: &str, cure: &[&str]) -> anyhow::Result<()> {
    let options = Options { nodes: 2, quick_node_loss: true, ..Options::default() };
    let bare = Bare::boot(options).await?;
    let (lost, spare) = (bare.cluster.node(0), bare.cluster.node(1));
    bare.cluster.kubectl(&["cordon", spare.name()]).await?;
    let stand = Stand::of(rig, &bare, purpose, Version::V4_2_0).await?;
    let pod = frozen_at_its_commit(&stand).await?;
    bare.cluster.kubectl(&["uncordon", spare.name()]).await?;
    lost.lose();
    shown_as_lost(&stand, &pod, lost).await?;

    stand.namespace.kubectl(&["delete", "pod", &pod, "--force", "--grace-period=0", "--wait=false"]).await?;
    let kept: Pod = stand.namespace.api().get(&pod).await.context("deletion by force was enough")?;
    ensure!(kept.metadata.finalizers.is_some_and(|f| f.iter().any(|f| f.contains("job-tracking"))), "nothing keeps it");
    ensure!(stand.status("b").await?.run.attempts.len() == 1, "deletion by force has freed the attempt");

    bare.cluster.kubectl(cure).await?;
    let status = stand.completes("b").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    let node = status.run.attempts.last().and_then(|attempt| attempt.node.clone());
    ensure!(node.as_deref() == Some(spare.name()), "the second attempt ran on {node:?}");
    ensure!(!lost.processes(&stand.namespace.name, &pod).is_empty(), "the lost worker must still be alive");
    ensure!(lost.signal(&stand.namespace.name, &pod, Signal::CONT), "it cannot be woken");
    let gone = || async { Ok(lost.processes(&stand.namespace.name, &pod).is_empty().then_some(())) };
    stand.namespace.until("the end of the worker that came too late", LIMIT, gone).await?;
    let after = stand.completes("b").await?;
    ensure!(after.report == status.report, "the worker that came too late has changed the backup");
    stand.leave().await
}

/// What the garbage collector of Pods does on a node that a person has declared to be off, for one of its Pods.
async fn give_up(stand: &Stand<'_>, pod: &str) -> anyhow::Result<()> {
    let failed = r#"{"status": {"phase": "Failed"}}"#;
    stand.namespace.kubectl(&["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", failed]).await?;
    stand.namespace.kubectl(&["delete", "pod", pod, "--force", "--grace-period=0", "--wait=false"]).await.map(drop)
}

/// A backup whose worker is frozen when its commit is on its way. Gives its Pod.
async fn frozen_at_its_commit(stand: &Stand<'_>) -> anyhow::Result<String> {
    let node = stand.namespace.cluster.node(0);
    let freeze = node.striker(&stand.namespace.name, Signal::STOP);
    let frozen = Arc::new(Notify::new());
    let tell = frozen.clone();
    let commit = |seen: &crate::harness::fault::Seen| seen.kind == Kind::Write && seen.text.contains("/catalog/");
    stand.s3.faults.arm(commit, Fault::Drop, move |_| {
        freeze();
        tell.notify_one();
    });
    stand.back_up("b", json!({})).await?;
    tokio::time::timeout(LIMIT, frozen.notified()).await.context("no commit was sent")?;
    stand.pod("b").await
}

/// Waits until the operator says that the node is lost, and what to do.
async fn shown_as_lost(stand: &Stand<'_>, pod: &str, lost: &Node) -> anyhow::Result<()> {
    let pods = stand.namespace.api::<Pod>();
    let deleted = || async { Ok(pods.get(pod).await?.metadata.deletion_timestamp) };
    stand.namespace.until("the eviction of the worker", LIMIT, deleted).await?;
    // Its minute of grace is not what is tried here.
    stand.namespace.kubectl(&["delete", "pod", pod, "--grace-period=1", "--wait=false"]).await?;
    let reason = |status: &mo_backup::api::BackupStatus| {
        let ready = status.run.conditions.iter().find(|condition| condition.type_ == "Ready").cloned();
        ready.filter(|ready| ready.reason == "NodeLost")
    };
    let status = stand.sees("b", "that its node is lost", |status| reason(status).is_some()).await?;
    let message = reason(&status).context("no reason")?.message;
    ensure!(
        message.contains(lost.name()) && message.contains("out-of-service=nodeshutdown:NoExecute"),
        "it does not say what to do: {message}"
    );
    ensure!(status.run.attempts.len() == 1, "a second worker was started beside one that may be alive");
    Ok(())
}
