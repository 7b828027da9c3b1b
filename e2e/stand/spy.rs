//! Reads arguments and environment of every process of the product, as anybody on its machine could, and looks for secrets.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;

use crate::harness::s3::SECRET_KEY;

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Found {
    leaks: BTreeSet<String>,
    workers: usize,
}

pub struct Spy {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<Found>>,
    thread: Option<JoinHandle<()>>,
}

impl Spy {
    pub fn begin() -> Spy {
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (stopped, into) = (stop.clone(), found.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look(&into);
                std::thread::sleep(PAUSE);
            }
        });
        Spy { stop, found, thread: Some(thread) }
    }

    /// What it saw must hold no secret; seeing no worker at all proves nothing.
    pub fn judge(mut self) -> anyhow::Result<()> {
        self.end();
        let found = self.found.lock().expect("found");
        ensure!(found.workers > 0, "no worker was seen");
        ensure!(found.leaks.is_empty(), "secrets stand in {:?}", found.leaks);
        Ok(())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.end();
    }
}

fn look(found: &Mutex<Found>) {
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let argv = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let argv = String::from_utf8_lossy(&argv);
        // A worker is what was exec'ed last: setpriv and unshare before it have its words, too.
        if !argv.contains("mo-backup\0worker") && !argv.contains("mo-backup\0operator") {
            continue;
        }
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let mut found = found.lock().expect("found");
        found.workers += usize::from(argv.contains("mo-backup\0worker"));
        for (place, text) in [("arguments", &argv), ("environment", &environment)] {
            if [SECRET_KEY, super::PASSWORD].iter().any(|secret| text.contains(secret)) {
                found.leaks.insert(format!("{place} of {}", argv.replace('\0', " ")));
            }
        }
    }
}
