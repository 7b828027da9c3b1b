//! What is promised about memory, each promise measured in a process of its own. Ends with an error when one is broken.
//!
//! `cargo bench --bench memory -- worker` measures one of them.

#[allow(dead_code, reason = "the tests of the operator ask it for more than a bench does")]
#[path = "../../tests/reconcile/api.rs"]
mod api;
mod bucket;
mod catalogue;
mod cli;
mod cluster;
mod history;
mod operator;
mod process;
mod restore;
#[path = "../../tests/fixtures/catalog.rs"]
mod sample;
mod tree;
mod worker;

use std::process::ExitCode;

/// Most bytes that a worker may hold.
const WORKER_MAX: u64 = 128 << 20;
/// Most bytes that the operator may hold.
const OPERATOR_MAX: u64 = 32 << 20;
/// Backups that the operator carries.
const BACKUPS: usize = 1000;
/// Objects of the small and of the large backup.
const OBJECTS: [usize; 2] = [10_000, 100_000];
/// Backups of the small and of the large repository.
const CATALOGUED: [usize; 2] = [1000, 10_000];
/// Two runs of the same backup differ by up to this many bytes: large objects meet by chance.
const NOISE: u64 = 16 << 20;

/// What a worker does, and its peak.
type Part = (&'static str, fn(&worker::Peaks) -> u64);
const PARTS: [Part; 4] = [
    ("backup", |peaks| peaks.backup),
    ("check by the command line", |peaks| peaks.check),
    ("restore by the store", |peaks| peaks.by_store),
    ("restore into frames", |peaks| peaks.framed),
];

/// Measures, and says whether it is kept.
type Promise = fn() -> anyhow::Result<bool>;

fn main() -> anyhow::Result<ExitCode> {
    // Several implementations of TLS are linked in, and one must be chosen. It fails when that has been done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let promises: [(&str, Promise); 3] = [("worker", workers), ("catalogue", catalogues), ("operator", the_operator)];
    if words.first() == Some(&"child") {
        process::end_with_parent();
    }
    match words[..] {
        ["child", "bucket"] => bucket::serve().map(|()| ExitCode::SUCCESS),
        ["child", "worker", objects, parallelism, folder, port] => {
            worker::work(objects.parse()?, parallelism.parse()?, folder.as_ref(), port.parse()?)
                .map(|()| ExitCode::SUCCESS)
        }
        ["child", "restore", objects, parallelism, format, port] => {
            restore::work(objects.parse()?, parallelism.parse()?, format, port.parse()?).map(|()| ExitCode::SUCCESS)
        }
        ["child", "catalogue", backups, port] => {
            catalogue::work(backups.parse()?, port.parse()?).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
            let mut kept = true;
            for (_, promise) in promises.iter().filter(|(name, _)| wanted(name)) {
                kept &= promise()?;
            }
            Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// A worker's memory has a limit, and the number of objects does not show in it.
fn workers() -> anyhow::Result<bool> {
    let mut peaks = Vec::new();
    for parallelism in [4, 64] {
        for objects in OBJECTS {
            peaks.push(worker::measure(objects, parallelism)?);
        }
    }
    let mut kept = true;
    for pair in peaks.chunks(2) {
        for (what, peak) in PARTS {
            let (few, many) = (peak(&pair[0]), peak(&pair[1]));
            kept &= judge(&format!("the largest worker, {what}"), few.max(many), WORKER_MAX);
            kept &= judge(&format!("the worker of ten times the objects, {what}"), many, few + NOISE);
        }
    }
    Ok(kept)
}

/// The number of backups does not show either where stock is taken of them.
fn catalogues() -> anyhow::Result<bool> {
    let [few, many] = [catalogue::measure(CATALOGUED[0])?, catalogue::measure(CATALOGUED[1])?];
    let mut kept = true;
    for (what, few, many) in [("catalogue", few.0, many.0), ("list of the command line", few.1, many.1)] {
        kept &= judge(&format!("the largest worker, {what}"), many.max(few), WORKER_MAX);
        kept &= judge(&format!("the worker of ten times the backups, {what}"), many, few + NOISE);
    }
    Ok(kept)
}

fn the_operator() -> anyhow::Result<bool> {
    // What it takes with next to nothing tells how much of it the Backups take.
    operator::measure(operator::OPEN)?;
    Ok(judge("the operator", operator::measure(BACKUPS)?, OPERATOR_MAX))
}

fn judge(what: &str, peak: u64, most: u64) -> bool {
    let kept = peak <= most;
    println!("{} {what}: {} of {}", if kept { "ok    " } else { "BROKEN" }, process::mib(peak), process::mib(most));
    kept
}
