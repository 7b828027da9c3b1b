//! Where the programs of the rig are: built once from pinned sources by `e2e/cluster/build.sh`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

pub fn folder() -> PathBuf {
    let env = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = env("MO_BACKUP_CACHE")
        .or_else(|| env("XDG_CACHE_HOME").map(|cache| cache.join("mo-backup")))
        .or_else(|| env("HOME").map(|home| home.join(".cache/mo-backup")))
        .unwrap_or_else(|| std::env::temp_dir().join("mo-backup-cache"));
    cache.join("bin")
}

/// The path of a program, or what to do to get it.
pub fn path(name: &str) -> anyhow::Result<PathBuf> {
    let path = folder().join(name);
    if path.exists() {
        return Ok(path);
    }
    bail!("{} is missing: run `make tools` (builds it from pinned sources, once)", path.display())
}

/// A script of `e2e/cluster`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster").join(name)
}

/// The binary under test. Cargo builds it before an integration test; an example has to look beside itself.
pub fn mo_backup() -> anyhow::Result<PathBuf> {
    if let Some(path) = option_env!("CARGO_BIN_EXE_mo-backup") {
        return Ok(PathBuf::from(path));
    }
    let here = std::env::current_exe()?;
    let target = here.ancestors().find(|folder| folder.join("mo-backup").is_file());
    Ok(target.context("mo-backup is not built: run `cargo build --bin mo-backup`")?.join("mo-backup"))
}

/// Runs a command to its end and returns what it printed; the error carries everything it said.
pub async fn output(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let name = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let feed = async move {
        // A program that ends without reading its input is judged by its exit code, not by the broken pipe.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    bail!("{name} failed ({}):\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))
}
