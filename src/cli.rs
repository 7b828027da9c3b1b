//! The command line for people: what `mo_br` does, flag for flag, through the same rooms as the Jobs and without
//! Kubernetes.

mod backup;
mod check;
mod config;
mod delete;
mod ending;
mod flags;
mod index;
mod known;
mod list;
mod manual;
mod place;
mod progress;
mod restore;
mod screen;
mod secret;
mod table;
mod words;

use std::path::PathBuf;

use clap::{Args, Command, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

pub use ending::{Ending, Refusal};
pub use flags::with_underscores;
pub use screen::error as say_error;

/// What people tell it to do.
#[derive(Subcommand)]
pub enum People {
    /// Back up a MatrixOne cluster.
    Backup(Box<backup::BackupFlags>),
    /// List backups, or look at one.
    List(Box<list::ListFlags>),
    /// Read backups back and compare every object.
    Check(Box<check::CheckFlags>),
    /// Restore a backup to an empty place.
    Restore(Box<restore::RestoreFlags>),
    /// Delete a backup.
    Delete(Box<delete::DeleteFlags>),
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Index of repositories [default: mo-backup.meta]
    #[arg(long, value_name = "PATH")]
    pub meta_path: Option<PathBuf>,
    /// table or json
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Output::Table, hide_possible_values = true)]
    pub output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Carries it out. `program` is the whole command line, for its own documentation; the token ends the work.
pub async fn run(people: People, program: &mut Command, stop: CancellationToken) -> Ending {
    let done = match people {
        People::Backup(flags) => backup::run(&flags, stop).await,
        People::List(flags) => list::run(&flags, stop).await,
        People::Check(flags) => check::run(&flags, stop).await,
        People::Restore(flags) => restore::run(&flags, stop).await,
        People::Delete(flags) => delete::run(&flags, stop).await,
        People::Completions { shell } => manual::completions(shell, program),
        People::Man => manual::page(program),
    };
    done.unwrap_or_else(|refusal| {
        screen::error(&refusal.message);
        refusal.ending
    })
}
