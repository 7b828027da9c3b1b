//! A real node: kubelet, containerd, runc, a bridge of Pods, kube-proxy and `CoreDNS`, by `e2e/cluster/node.sh`.

use std::path::Path;

use tokio::process::Command;

use super::{image, programs};

/// Of the bridge, the API server and the node. Pods reach servers of this machine here.
pub const ADDRESS: &str = "10.211.88.1";

/// What must be there before the control plane: the bridge, and the images of the node.
pub async fn prepare(folder: &Path) -> anyhow::Result<()> {
    programs::path("kubelet")?;
    programs::path("kube-proxy")?;
    programs::path("coredns")?;
    let images = folder.join("images");
    std::fs::create_dir_all(&images)?;
    image::pause(&images.join("pause.tar")).await?;
    image::shipped(&images.join("mo-backup.tar")).await?;
    script(folder, &["net"]).await
}

/// Runs a part of `node.sh` for the cluster of this run folder, whose janitor ends the node.
pub async fn script(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("bash");
    command.arg(programs::script("node.sh")).args(args);
    command.env("BIN", programs::folder()).env("RUN", folder).env("ADDR", ADDRESS);
    // No image comes from anywhere else, and the user's proxy is no way to a server of this machine.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    programs::output(&mut command, "").await.map(drop)
}
