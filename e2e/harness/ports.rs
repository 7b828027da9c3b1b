//! Free ports for servers that must be told their ports before they start.

use std::fs::File;
use std::net::TcpListener;

use anyhow::{Context, bail};

/// Ports below the range that the kernel hands out by itself, so that no outgoing connection sits on one.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 120;
const SIZE: u16 = 100;

/// A block of free neighbouring loopback ports, reserved against other test processes for as long as it lives.
#[derive(Debug)]
pub struct Ports {
    pub first: u16,
    _lock: File,
}

pub fn reserve() -> anyhow::Result<Ports> {
    let folder = std::env::temp_dir().join("mo-backup-ports");
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for block in 0..BLOCKS {
        let first = FIRST + block * SIZE;
        let lock = File::create(folder.join(first.to_string()))?;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if lock.try_lock().is_ok() && (first..first + SIZE).all(free) {
            return Ok(Ports { first, _lock: lock });
        }
    }
    bail!("no block of {SIZE} free loopback ports from {FIRST} on: end other test runs first")
}
