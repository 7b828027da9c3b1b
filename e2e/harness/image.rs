//! Container images without a builder and without a registry: one layer made by `tar`, and the JSON around it.
//!
//! The image under test is the shipped one: its files are those that `make image-root` lays out, here and in the
//! Dockerfile alike, and its environment, user and entrypoint are read from the Dockerfile.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::programs;

/// As the chart calls it when only the repository is given.
pub const REPOSITORY: &str = "localhost/mo-backup";

/// Whether `make node-test` has laid out the image's files.
pub fn is_given() -> bool {
    std::env::var_os("IMAGE_ROOT").is_some()
}

/// Name and tag of the shipped image.
pub fn name() -> String {
    format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// The shipped image as a tar for containerd.
pub async fn shipped(to: &Path) -> anyhow::Result<()> {
    let root = std::env::var_os("IMAGE_ROOT").context("no IMAGE_ROOT: run `make node-test`")?;
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let config = configuration(&std::fs::read_to_string(dockerfile)?)?;
    write(to, &name(), &PathBuf::from(root), config).await
}

/// What keeps the namespaces of a Pod: a program that sleeps.
pub async fn pause(to: &Path) -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    // It becomes the root of the container, which another user must be able to enter.
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755))?;
    std::fs::copy("/bin/busybox", root.path().join("busybox")).context("busybox-static is not installed")?;
    let config = json!({"Entrypoint": ["/busybox", "sleep", "2147483647"], "User": "65535"});
    write(to, "localhost/pause:1", root.path(), config).await
}

/// The last stage of the Dockerfile as an image configuration. What this does not know must not be ignored silently.
fn configuration(dockerfile: &str) -> anyhow::Result<Value> {
    let lines = dockerfile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut config = json!({});
    let (mut stage, mut copied) = ("", false);
    for (word, rest) in lines.filter_map(|line| line.split_once(' ')) {
        match (word, stage) {
            ("FROM", _) => stage = rest,
            ("COPY", "scratch") => {
                ensure!(
                    rest == "--from=build /image /",
                    "the image has other files than `make image-root` made: {rest}"
                );
                copied = true;
            }
            ("ENV", "scratch") => config["Env"] = json!(rest.split(' ').collect::<Vec<_>>()),
            ("USER", "scratch") => config["User"] = json!(rest),
            ("ENTRYPOINT", "scratch") => config["Entrypoint"] = serde_json::from_str(rest)?,
            (_, "scratch") => bail!("the Dockerfile's last stage has an instruction unknown here: {word} {rest}"),
            _ => {}
        }
    }
    ensure!(stage == "scratch" && copied, "the Dockerfile's last stage is not made of `make image-root` alone");
    Ok(config)
}

/// An OCI layout with one image of one layer, as a tar.
async fn write(to: &Path, name: &str, root: &Path, config: Value) -> anyhow::Result<()> {
    let layout = tempfile::tempdir()?;
    let blobs = layout.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let layer = layout.path().join("layer");
    tar(&layer, root).await?;
    let layer_bytes = std::fs::read(&layer)?;
    std::fs::remove_file(&layer)?;
    let blob = |bytes: &[u8], kind: &str| -> anyhow::Result<Value> {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(blobs.join(&digest), bytes)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let layer = blob(&layer_bytes, "layer.v1.tar")?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = blob(config.to_string().as_bytes(), "config.v1+json")?;
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer]});
    let mut manifest = blob(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    manifest["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(layout.path().join("index.json"), index.to_string())?;
    std::fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar(to, layout.path()).await
}

/// A folder's content, owned by root.
async fn tar(to: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("tar");
    command.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--file"]);
    command.arg(to).arg("--directory").arg(folder).arg(".");
    programs::output(&mut command, "").await.map(drop)
}
