//! A folder for one part of the rig, its processes, and the promise that both are gone afterwards.
//!
//! Each folder has a janitor: a child process that waits on a pipe from this one. Dropping the folder closes the pipe;
//! so does the kernel when this process is killed. Either way the janitor stops every process recorded in the folder,
//! by pid and start time, and removes the folder.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::Context;
use rustix::process::{Pid, Signal};

use super::programs;

#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    pipe: Option<ChildStdin>,
    janitor: Child,
}

impl RunFolder {
    pub fn create(purpose: &str) -> anyhow::Result<RunFolder> {
        let folder = tempfile::Builder::new().prefix(&format!("mo-backup-{purpose}-")).tempdir()?;
        let path = folder.keep();
        // Containers and MatrixOne are other users: they must be able to pass through.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        for part in ["log", "pid"] {
            std::fs::create_dir_all(path.join(part))?;
        }
        let keep = std::env::var_os("E2E_KEEP").is_some();
        let mut janitor = Command::new("bash")
            .args(["-c", "trap '' INT TERM HUP; cat > /dev/null; exec bash \"$0\""])
            .arg(programs::script("down.sh"))
            .env("RUN", &path)
            .env("PURGE", if keep { "0" } else { "1" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("failed to start bash")?;
        let pipe = janitor.stdin.take();
        Ok(RunFolder { path, pipe, janitor })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a program in its own process group, records it, and sends what it says to `log/<name>.log`.
    pub fn start(&self, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        let log = self.log(name);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {name} ({command:?})"))?;
        let identity =
            Identity::of(child.id()).with_context(|| format!("{name} ended at once, see {}", log.display()))?;
        identity.record(&self.path.join("pid").join(name))?;
        Ok(Process { identity, child: Mutex::new(child), log })
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.janitor.wait();
        if std::env::var_os("E2E_KEEP").is_some() {
            eprintln!("kept {}", self.path.display());
        }
    }
}

/// Pid and start time: together they name one process for good, so that no stranger is ever signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pid: u32,
    started: u64,
}

impl Identity {
    /// None for a process that is gone, or dead and not yet reaped.
    pub fn of(pid: u32) -> Option<Identity> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        (fields.first()? != &"Z").then_some(())?;
        Some(Identity { pid, started: fields.get(19)?.parse().ok()? })
    }

    pub fn record(self, file: &Path) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(file)?;
        writeln!(file, "{} {}", self.pid, self.started)?;
        Ok(())
    }

    pub fn read(file: &Path) -> Option<Identity> {
        let text = std::fs::read_to_string(file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Identity { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub fn alive(self) -> bool {
        Identity::of(self.pid) == Some(self)
    }

    fn rustix_pid(self) -> Option<Pid> {
        self.alive().then(|| i32::try_from(self.pid).ok().and_then(Pid::from_raw)).flatten()
    }

    /// Signals the process alone. False when it is already gone.
    pub fn signal(self, signal: Signal) -> bool {
        self.rustix_pid().is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
    }

    /// Signals the process and all it has started.
    pub fn signal_group(self, signal: Signal) -> bool {
        self.rustix_pid().is_some_and(|pid| rustix::process::kill_process_group(pid, signal).is_ok())
    }
}

/// A program started by a [`RunFolder`]. Dropping it leaves it running until the folder goes.
#[derive(Debug)]
pub struct Process {
    pub identity: Identity,
    pub log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    pub fn alive(&self) -> bool {
        matches!(self.child.lock().expect("child").try_wait(), Ok(None))
    }

    pub fn kill(&self) {
        self.identity.signal_group(Signal::KILL);
        let _ = self.child.lock().expect("child").wait();
    }

    /// SIGTERM, then SIGKILL after the grace. True when it ended by itself.
    pub async fn stop(&self, grace: std::time::Duration) -> bool {
        self.identity.signal(Signal::TERM);
        let end = tokio::time::Instant::now() + grace;
        while self.alive() {
            if tokio::time::Instant::now() > end {
                self.kill();
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        true
    }

    /// The last lines it said.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Everything it has written.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }
}

pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
