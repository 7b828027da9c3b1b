//! The index of repositories, under the flag of `mo_br.meta`: where backups were made or found, and which are left out of
//! lists. It can be lost: what a backup is stands in its repository.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ending::Refusal, screen};
use crate::{plan::BackupId, task::Location};

/// Its name in a folder.
const NAME: &str = "mo-backup.meta";

/// What its first field says.
const KIND: &str = "mo-backup index";

/// Version of its format. A higher one is refused.
const FORMAT: u32 = 1;

/// Longest index, in bytes.
const MOST: usize = 1 << 20;

/// The index of repositories.
#[derive(Clone, Debug)]
pub struct Index {
    path: PathBuf,
    content: Content,
}

/// What stands in the file. No place in it has a key or another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    kind: String,
    format: u32,
    repositories: Vec<Location>,
    forgotten: BTreeSet<BackupId>,
}

impl Default for Content {
    fn default() -> Self {
        Self { kind: KIND.into(), format: FORMAT, repositories: Vec::new(), forgotten: BTreeSet::new() }
    }
}

impl Index {
    /// Reads the index at a path: a file, or a folder that holds or will hold it; without one, the working directory is
    /// that folder. One that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read, or is none that this program has written.
    pub fn open(meta_path: Option<&Path>) -> Result<Self, Refusal> {
        let path = path(meta_path)?;
        let content = read(&path)?;
        Ok(Self { path, content })
    }

    /// The same for a command line that may name its place: it needs no index then, so one that cannot be read is told, and
    /// taken for an empty one. It is left alone.
    ///
    /// # Errors
    /// When it cannot be read, and no place is named.
    pub fn open_beside(meta_path: Option<&Path>, names_a_place: bool) -> Result<Self, Refusal> {
        match Self::open(meta_path) {
            Err(refusal) if names_a_place => {
                screen::warn(&refusal.message);
                Ok(Self { path: path(meta_path)?, content: Content::default() })
            }
            opened => opened,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The repositories, in the order in which they became known.
    #[must_use]
    pub fn repositories(&self) -> &[Location] {
        &self.content.repositories
    }

    /// Where a place stands in the file, for people: whoever knows that it is gone removes it there.
    #[must_use]
    pub fn entry(&self, location: &Location) -> Option<String> {
        let at = self.repositories().iter().position(|known| known == location)?;
        Some(format!("entry {} of \"repositories\" in the index {}", at + 1, self.path.display()))
    }

    /// Whether a backup is left out of lists.
    #[must_use]
    pub fn is_forgotten(&self, id: BackupId) -> bool {
        self.content.forgotten.contains(&id)
    }

    /// Writes down a repository, unless it is known.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn remember(&mut self, location: &Location) -> Result<(), Refusal> {
        self.change(|content| {
            if !content.repositories.contains(location) {
                content.repositories.push(location.clone());
            }
        })
    }

    /// Leaves a backup out of lists.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn forget(&mut self, id: BackupId) -> Result<(), Refusal> {
        self.change(|content| {
            content.forgotten.insert(id);
        })
    }

    /// Changes what stands there now, which another command may have written since it was read. Only one does so at a time.
    fn change(&mut self, change: impl FnOnce(&mut Content)) -> Result<(), Refusal> {
        let failed = |e: io::Error| failed("write", &self.path, &e.to_string());
        // A link stays one.
        let path = match fs::canonicalize(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => self.path.clone(),
            found => found.map_err(failed)?,
        };
        // Beside it, since the file itself is replaced; it stays, as whoever waits for it has it open.
        let lock =
            OpenOptions::new().create(true).append(true).mode(0o600).open(beside(&path, "lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut content = read(&path)?;
        let before = content.clone();
        change(&mut content);
        if content != before {
            replace(&path, &content).map_err(failed)?;
        }
        self.content = content;
        Ok(())
    }
}

/// Where the index is.
fn path(meta_path: Option<&Path>) -> Result<PathBuf, Refusal> {
    match meta_path {
        Some(path) if path.as_os_str().is_empty() => Err(Refusal::usage("--meta-path is empty")),
        Some(path) if path.is_dir() => Ok(path.join(NAME)),
        Some(path) => Ok(path.to_owned()),
        None => Ok(PathBuf::from(NAME)),
    }
}

fn failed(verb: &str, path: &Path, why: &str) -> Refusal {
    let path = path.display();
    Refusal::usage(format!(
        "failed to {verb} the index {path}: {why}; it was left alone; name another with --meta-path"
    ))
}

fn read(path: &Path) -> Result<Content, Refusal> {
    #[derive(Deserialize)]
    struct Versioned {
        kind: String,
        format: u32,
    }
    let refused = |why: &str| failed("read", path, why);
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Content::default()),
        Err(e) => return Err(refused(&e.to_string())),
    }
    if bytes.len() > MOST {
        return Err(refused(&format!("it is longer than {MOST} bytes")));
    }
    match serde_json::from_slice::<Versioned>(&bytes) {
        Ok(Versioned { kind, .. }) if kind != KIND => Err(refused("it is a file of another program")),
        Ok(Versioned { format, .. }) if format > FORMAT => {
            Err(refused(&format!("it is of format {format}, which takes a newer mo-backup")))
        }
        Ok(Versioned { .. }) => serde_json::from_slice(&bytes).map_err(|e| refused(&e.to_string())),
        Err(_) => Err(refused("it is no index of mo-backup (a mo_br.meta is none either)")),
    }
}

/// Writes it whole or not at all. Who may read an older one may read this one; a fresh one is for its user alone.
fn replace(path: &Path, content: &Content) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    if text.len() > MOST {
        return Err(io::Error::other(format!("it would be longer than {MOST} bytes")));
    }
    let temporary = beside(path, &Uuid::new_v4().simple().to_string());
    let written = fill(&temporary, path, &text).and_then(|()| fs::rename(&temporary, path));
    if let Err(e) = written {
        // Whatever is left of it is of no use; that it cannot be removed adds nothing to why it was not written.
        let _: io::Result<()> = fs::remove_file(&temporary);
        return Err(e);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn fill(temporary: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(temporary)?;
    if let Ok(older) = fs::metadata(path) {
        file.set_permissions(Permissions::from_mode(older.permissions().mode() & 0o777))?;
    }
    file.write_all(text)?;
    file.sync_all()
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

#[cfg(test)]
mod tests;
