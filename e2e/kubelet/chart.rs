//! The chart from install to uninstall, with the image it ships.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::world::{RESTRICTED, World};
use crate::harness::cluster::Cluster;
use crate::harness::image::REPOSITORY;
use crate::harness::product::NAMESPACE;
use crate::harness::wait::until;
use crate::scene::PATIENCE;

const DEPLOYMENT: &str = "deployment/mo-backup-operator";

/// `helm install` with nothing but the image's repository, into a namespace of the `restricted` profile.
pub async fn install(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    cluster.kubectl(&["label", "namespace", NAMESPACE, RESTRICTED]).await?;
    helm(cluster, "install", &[]).await
}

/// Runs Helm with the chart of this source, and waits until the operator answers its readiness probe.
async fn helm(cluster: &Cluster, verb: &str, values: &[&str]) -> anyhow::Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mo-backup");
    let repository = format!("image.repository={REPOSITORY}");
    let mut args = vec![verb, "mo-backup", chart.to_str().context("not a path for Helm")?, "--namespace", NAMESPACE];
    for value in [&[&*repository], values].concat() {
        args.extend(["--set", value]);
    }
    cluster.helm(&args).await?;
    let query = ["-n", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=5s"];
    let rolled = until("the operator", PATIENCE, || async { cluster.kubectl(&query).await.map(Some) }).await;
    match rolled {
        Ok(_) => Ok(()),
        Err(error) => Err(error.context(cluster.account(NAMESPACE).await)),
    }
}

/// The kubelet counts its questions; none of the two probes has ever failed for long enough to restart the operator.
pub async fn probes_are_asked(cluster: &Cluster) -> anyhow::Result<()> {
    let asked = || async {
        let counts = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node1/proxy/metrics/probes"]).await?;
        let healthy = |kind: &str| {
            let mut lines = counts.lines().filter(|line| line.starts_with("prober_probe_total{"));
            let labels = ["container=\"operator\"".to_string(), format!("probe_type=\"{kind}\"")];
            lines.any(|line| labels.iter().all(|l| line.contains(l)) && line.contains("result=\"successful\""))
        };
        Ok((healthy("Liveness") && healthy("Readiness")).then_some(()))
    };
    until("successful probes of both kinds", PATIENCE, asked).await?;
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = cluster.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", restarts]).await?;
    ensure!(restarts == "0", "restarts of the operator: {restarts:?}");
    Ok(())
}

/// An upgrade goes on with the Backups there are; an uninstall keeps them; a new install takes them over.
pub async fn upgrade_and_uninstall(world: &World<'_>) -> anyhow::Result<()> {
    let cluster = world.namespace.cluster;
    let before = backups(world).await?;
    helm(cluster, "upgrade", &["logFilter=debug", "leaderElection.enabled=true"]).await?;
    world.back_up("upgraded", json!({})).await?;
    world.completed("upgraded").await?;
    let after = backups(world).await?;
    ensure!(before.iter().all(|backup| after.contains(backup)), "an upgrade changed {before:?} into {after:?}");

    cluster.helm(&["uninstall", "mo-backup", "--namespace", NAMESPACE, "--wait"]).await?;
    let left = cluster.kubectl(&["-n", NAMESPACE, "get", "deployments,roles,serviceaccounts", "-o", "name"]).await?;
    ensure!(!left.contains("mo-backup"), "an uninstall left {left}");
    let kept = cluster.kubectl(&["get", "crds", "-o", "name"]).await?;
    ensure!(kept.contains("backups.mo-backup.io") && kept.contains("backupstorages.mo-backup.io"), "kept: {kept}");
    ensure!(backups(world).await? == after, "an uninstall changed the Backups");

    helm(cluster, "install", &[]).await?;
    world.back_up("again", json!({})).await?;
    world.completed("again").await.map(drop)
}

/// Name, uid and phase of each.
async fn backups(world: &World<'_>) -> anyhow::Result<Vec<String>> {
    let line = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.phase}{\"\\n\"}{end}";
    let lines = world.namespace.kubectl(&["get", "backups", "-o", line]).await?;
    Ok(lines.lines().map(ToOwned::to_owned).collect())
}
