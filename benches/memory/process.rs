//! Processes beside this one, and what the kernel says about their memory.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// The longest wait for a process. One that needs longer hangs.
pub const PATIENCE: Duration = Duration::from_mins(15);
/// How often somebody who waits is told.
const TELL_EVERY: Duration = Duration::from_secs(20);

/// What a process holds and has held at most, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// `VmRSS`.
    pub now: u64,
    /// `VmHWM`.
    pub peak: u64,
}

/// Asks the kernel.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
        anyhow::Ok(kib * 1024)
    };
    Ok(Memory { now: bytes("VmRSS")?, peak: bytes("VmHWM")? })
}

/// Lets a process begin a new peak, at what it holds.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// For people.
pub fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

/// What the image sets for its program.
pub fn image_environment() -> anyhow::Result<Vec<(String, String)>> {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile"))?;
    let lines = file.lines().filter_map(|line| line.strip_prefix("ENV "));
    let pairs = lines.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Ends this process when the one that has started it has gone.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever sent.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// A process that does not outlive its handle.
pub struct Beside(pub Child);

impl Beside {
    /// This program in another role, and what it says.
    pub fn role(arguments: &[&str]) -> anyhow::Result<(Self, Receiver<String>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").args(arguments).envs(image_environment()?);
        command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let said = BufReader::new(child.stdout.take().context("no output")?);
        let (lines, heard) = channel();
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        Ok((Self(child), heard))
    }

    /// The next line that it says; what it holds is told meanwhile.
    pub fn line(&self, said: &Receiver<String>) -> anyhow::Result<String> {
        let began = Instant::now();
        loop {
            match said.recv_timeout(TELL_EVERY) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("it ended without a word"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let waited = began.elapsed();
            anyhow::ensure!(waited < PATIENCE, "it has not said anything for {} s", waited.as_secs());
            if let Ok(Memory { now, .. }) = memory(self.0.id()) {
                println!("       … {} s, it holds {}", waited.as_secs(), mib(now));
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
