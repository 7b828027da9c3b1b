//! The `mo-backup` program: reads the command line, wires the rooms together, decides nothing.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm))]

use std::io::{self, Write as _};

use clap::{Parser, Subcommand};
use mo_backup::api;

/// Backup operator for MatrixOne.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the custom resource definitions as YAML.
    Crds,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crds => print_crds(),
    }
}

/// Prints one YAML document for each kind.
fn print_crds() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for (at, crd) in api::crds().iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b"---\n" })?;
        out.write_all(api::crd_yaml(crd)?.as_bytes())?;
    }
    Ok(())
}
