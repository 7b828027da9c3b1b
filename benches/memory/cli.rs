//! The memory of the command line: the program itself, while it lists very many backups and reads very many objects.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    bucket::BUCKET,
    process::{self, Beside, Memory, PATIENCE},
    worker::PREFIX,
};

/// How often the kernel is asked what the program holds: its peak only grows.
const LOOK: Duration = Duration::from_millis(20);

/// Lists as many backups. The program's peak, in bytes.
pub fn list(backups: usize, port: &str) -> anyhow::Result<u64> {
    let (peak, told, _) = run(&["list"], port)?;
    let listed = told.as_array().context("no list")?.len();
    anyhow::ensure!(listed == backups, "{listed} of {backups} backups are listed");
    Ok(peak)
}

/// Reads every object of the one backup. The program's peak, in bytes.
pub fn check(objects: usize, parallelism: u16, port: &str) -> anyhow::Result<u64> {
    let (peak, told, lines) = run(&["check", "--parallelism", &parallelism.to_string()], port)?;
    let read =
        told["check"]["hashed"].as_u64().and_then(|n| usize::try_from(n).ok()).with_context(|| told.to_string())?;
    anyhow::ensure!(read > objects, "{read} of {objects} objects were read");
    anyhow::ensure!(lines > 1, "progress was told in {lines} lines");
    Ok(peak)
}

/// Its peak, what it said in JSON, and how many lines of progress it wrote.
fn run(arguments: &[&str], port: &str) -> anyhow::Result<(u64, Value, usize)> {
    let began = Instant::now();
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mo-backup"));
    command.args(arguments).args(["--output", "json", "--backup_dir", "s3", "--backup_endpoint", &endpoint]);
    command.args(["--backup_bucket", BUCKET, "--backup_filepath", PREFIX, "--backup_is_minio"]);
    command.envs(process::image_environment()?).env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Beside(command.spawn()?);
    let mut out = program.0.stdout.take().context("no output")?;
    let told = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let errors = BufReader::new(program.0.stderr.take().context("no errors")?);
    let lines = thread::spawn(move || errors.lines().map_while(Result::ok).collect::<Vec<_>>());
    let mut peak = 0;
    let ended = loop {
        if let Ok(Memory { now: _, peak: seen }) = process::memory(program.0.id()) {
            peak = peak.max(seen);
        }
        if let Some(ended) = program.0.try_wait()? {
            break ended;
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{} is not done after {} s", arguments[0], PATIENCE.as_secs());
        thread::sleep(LOOK);
    };
    let joined = |_| anyhow::anyhow!("a reader has panicked");
    let (text, lines) = (told.join().map_err(joined)??, lines.join().map_err(joined)?);
    anyhow::ensure!(ended.success(), "{} ended with {ended}: {}", arguments[0], lines.join("\n"));
    println!("       mo-backup {}: peak {} ({} s)", arguments[0], process::mib(peak), began.elapsed().as_secs());
    Ok((peak, serde_json::from_str(&text)?, lines.len()))
}
