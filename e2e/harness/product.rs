//! The product as users get it: the chart, installed by Helm.

use std::path::Path;
use std::time::Duration;

use super::cluster::Cluster;
use super::ports::{self, Ports};
use super::wait::until;

/// The namespace of the operator.
pub const NAMESPACE: &str = "mo-backup";

/// What of the chart is there besides the operator.
const GROUND: [&str; 3] = ["templates/crds.yaml", "templates/worker-role.yaml", "templates/admission-policies.yaml"];

/// Everything of the chart but the operator, for tests that run operators of their own.
pub async fn ground(cluster: &Cluster) -> anyhow::Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mo-backup");
    let mut args = vec!["template", "mo-backup", chart.to_str().unwrap_or_default(), "--namespace", NAMESPACE];
    for part in GROUND {
        args.extend(["--show-only", part]);
    }
    let objects = cluster.helm(&args).await?;
    cluster.apply(&objects).await?;
    let crds = ["crd/backups.mo-backup.io", "crd/backupstorages.mo-backup.io"];
    let wait = [&["wait", "--for=condition=Established", "--timeout=5s"][..], &crds[..]].concat();
    // Right after the apply there are no conditions yet, which kubectl takes for an error.
    until("the CRDs", Duration::from_secs(90), || async { cluster.kubectl(&wait).await.map(Some) }).await.map(drop)
}

/// The installed operator.
pub struct Product {
    // Kept for the lifetime of the operator: its port is a port of this machine.
    ports: Ports,
}

impl Product {
    /// `helm install`, and waits until the operator is available.
    pub async fn install(cluster: &Cluster) -> anyhow::Result<Product> {
        let ports = ports::reserve()?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mo-backup");
        let port = format!("port={}", ports.first);
        let image = ["image.repository=localhost/mo-backup", "image.tag=dev", "image.pullPolicy=Never"];
        let mut args = vec!["install", "mo-backup", chart.to_str().unwrap_or_default(), "--create-namespace"];
        args.extend(["--namespace", NAMESPACE, "--set", &port, "--set", "logFilter=info\\,mo_backup=debug"]);
        for value in image {
            args.extend(["--set", value]);
        }
        cluster.helm(&args).await?;
        until("the operator", Duration::from_secs(180), || async {
            let query = ["-n", NAMESPACE, "rollout", "status", "deployment/mo-backup-operator", "--timeout=1s"];
            Ok(cluster.kubectl(&query).await.ok())
        })
        .await?;
        Ok(Product { ports })
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client.get(format!("http://127.0.0.1:{}/metrics", self.ports.first)).send().await?.text().await?)
    }
}
