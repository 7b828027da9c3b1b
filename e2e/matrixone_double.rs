//! The `MatrixOne` double as a process: prints its port and runs until its standard input ends.

#[allow(dead_code, reason = "the double offers more than any one target uses")]
mod simulator;

use std::{io::Read as _, path::PathBuf, time::Duration};

use clap::Parser;

use simulator::{Contents, Options, Role, Simulator, User, Version};

/// Answers as a recorded `MatrixOne` does.
#[derive(Parser)]
struct Arguments {
    /// `v1.2.4` or `v4.2.0`.
    #[arg(long, default_value = "v4.2.0", value_parser = version)]
    version: Version,
    /// Port on 127.0.0.1; 0 for any.
    #[arg(long, default_value_t = 6001)]
    port: u16,
    /// Write eight synthetic objects instead of the recorded sample.
    #[arg(long)]
    small: bool,
    /// How long a BACKUP takes, in seconds.
    #[arg(long, default_value_t = 0)]
    backup_seconds: u64,
    /// Put before the paths of BACKUP … FILESYSTEM.
    #[arg(long)]
    files_root: Option<PathBuf>,
    /// One more user with role moadmin; its password is 111 as the recorded ones' is.
    #[arg(long)]
    user: Option<String>,
}

fn version(text: &str) -> Result<Version, String> {
    let versions = [Version::V1_2_4, Version::V4_2_0];
    versions.into_iter().find(|version| version.file() == text).ok_or_else(|| "use v1.2.4 or v4.2.0".into())
}

fn main() -> std::io::Result<()> {
    let Arguments { version, port, small, backup_seconds, files_root, user } = Arguments::parse();
    let mut users = User::recorded();
    users.extend(user.map(|name| User::sys(&name, "111", Role::MoAdmin)));
    let options = Options {
        port,
        users,
        contents: if small { Contents::Small } else { Contents::Recorded },
        files_root,
        backup_duration: Duration::from_secs(backup_seconds),
        ..Options::default()
    };
    let simulator = Simulator::start(version, options)?;
    println!("{} listens on 127.0.0.1:{}", version.greeting(), simulator.port);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for statement in simulator.unknown() {
        eprintln!("no recorded answer: {statement}");
    }
    Ok(())
}
