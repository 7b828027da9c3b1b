//! A shell in which command lines of `mo_br` are typed: they run as MatrixOne's own user, as people do it.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::harness::matrixone::{MatrixOne, USER};
use crate::harness::programs;
use crate::harness::run_folder::RunFolder;

/// A command line of a document, and how it must end.
pub struct Row<'a> {
    pub seed: &'static str,
    pub section: &'a str,
    pub command: &'a str,
    pub code: i32,
}

pub struct Shell {
    folder: RunFolder,
    /// What of a host stands in a command line, and what it is here.
    host: Vec<(String, String)>,
}

impl Shell {
    pub fn open(matrixone: &MatrixOne) -> anyhow::Result<Shell> {
        let folder = RunFolder::create("cli")?;
        let home = folder.path().join("home");
        std::fs::create_dir_all(&home)?;
        std::os::unix::fs::chown(&home, Some(USER), Some(USER))?;
        let text = |path: PathBuf| path.display().to_string();
        let host = vec![
            ("./mo_br".to_owned(), text(programs::mo_backup()?)),
            ("/Users/admin/soft/matrixone".to_owned(), text(matrixone.folder())),
            ("/Users/admin/soft".to_owned(), text(home)),
            ("--port 6001".to_owned(), format!("--port {}", matrixone.port())),
        ];
        Ok(Shell { folder, host })
    }

    /// From now on, what stands in a document means this.
    pub fn means(&mut self, theirs: &str, ours: &str) {
        self.host.push((theirs.to_owned(), ours.to_owned()));
    }

    /// The id that a backup says it has. From now on, that of the document means it.
    pub fn takes_id(&mut self, said: &str, theirs: &str) -> anyhow::Result<String> {
        let (_, after) = said.split_once("Backup ID\n    ").with_context(|| format!("no id in\n{said}"))?;
        let id = after.lines().next().unwrap_or_default().trim().to_owned();
        ensure!(id.parse::<mo_backup::plan::BackupId>().is_ok(), "{id:?} is no id");
        self.means(theirs, &id);
        Ok(id)
    }

    /// A path as the command lines see it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("home").join(path)
    }

    /// Types a command line, and returns all that is said. The end must be the expected one.
    pub async fn run(&self, row: &Row<'_>) -> anyhow::Result<String> {
        let line = self.host.iter().fold(row.command.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours));
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
        command
            .args(["bash", "-c", &line])
            .current_dir(self.path(""))
            .env("HOME", self.path(""))
            .env("TMPDIR", self.path(""));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        let done = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await?;
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        let Row { seed, section, command: _, code } = row;
        ensure!(
            done.status.code() == Some(*code),
            "{seed}, {section}: {line}\nended with {} instead of {code}:\n{said}",
            done.status
        );
        eprintln!("[cli] {seed}, {section}: {line}");
        Ok(said)
    }
}
