//! Listing a folder in ascending order of keys.

use std::{collections::BinaryHeap, io};

use jiff::Timestamp;
use rustix::fs::{FileType, Stat};

use super::{
    super::{Key, Level, Listed},
    Places,
    below::{self, Folder},
    places::is_absent,
};

/// Entries of a batch.
const BATCH: usize = 1000;

/// Names of one folder that are held at a time. A folder that has more is read again for each next part.
const NAMES: usize = 1 << 15;

/// A folder that file systems make in their root, for themselves. No key of ours has a `+`.
pub(super) const RESCUED: &str = "lost+found";

/// A walk over files in the order of their keys. A folder comes where its name with a `/` sorts, so that the keys below
/// it ascend too. Some names of one folder are held at a time, and of those above it.
pub(super) struct Walk {
    /// What is left of each folder on the way.
    left: Vec<Part>,
    key: String,
    /// See [`NAMES`].
    most: usize,
}

/// The names of one folder, the first so many by the order of keys.
pub(super) fn level(places: &Places, folder: &str, most: usize) -> io::Result<Level> {
    let mut level = Level::default();
    for Part { names, next, .. } in Walk::in_parts(places, folder, most.max(1))?.left {
        level.more = next.is_some();
        names.iter().rev().for_each(|found| level.put(&found.name));
    }
    Ok(level)
}

/// Names of a folder, last first.
struct Part {
    folder: Folder,
    names: Vec<Name>,
    /// The last of them, if there are more behind it.
    next: Option<String>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// A folder's name ends with `/`.
    name: String,
    is_folder: bool,
}

/// Whether a walk shows a file, or goes into a folder, of this name.
pub(super) fn shows(name: &str, kind: FileType) -> bool {
    !name.contains('~') && name != RESCUED && (kind.is_dir() || kind.is_file())
}

impl Walk {
    /// Begins below a prefix; it is empty or ends with `/`. A folder that does not exist has no files.
    pub(super) fn begin(places: &Places, prefix: &str) -> io::Result<Self> {
        Self::in_parts(places, prefix, NAMES)
    }

    fn in_parts(places: &Places, prefix: &str, most: usize) -> io::Result<Self> {
        let mut walk = Self { left: Vec::new(), key: prefix.to_owned(), most };
        match places.enter(prefix) {
            Err(e) if is_absent(&e) => {}
            entered => walk.read(entered?, None)?,
        }
        Ok(walk)
    }

    /// Goes into a folder of the one that was read last.
    fn enter(&mut self, name: &str) -> io::Result<()> {
        if self.left.len() > below::DEPTH {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the folders are nested too deep"));
        }
        let Some(part) = self.left.last() else { return Ok(()) };
        match part.folder.enter(name) {
            // Removed meanwhile.
            Err(e) if is_absent(&e) => Ok(()),
            entered => {
                self.key.push_str(name);
                self.read(entered?, None)
            }
        }
    }

    /// Reads the first names of the folder, or the first of those behind the given one.
    fn read(&mut self, folder: Folder, behind: Option<&str>) -> io::Result<()> {
        let (mut names, mut more) = (BinaryHeap::new(), false);
        let entries = match folder.entries() {
            Err(e) if is_absent(&e) => None,
            entries => Some(entries?),
        };
        for entry in entries.into_iter().flatten() {
            let (name, kind) = match entry {
                // The folder was removed meanwhile.
                Err(e) if is_absent(&e) => break,
                entry => entry?,
            };
            let Ok(mut name) = name.into_string() else { continue };
            if !shows(&name, kind) {
                continue;
            }
            if kind.is_dir() {
                name.push('/');
            }
            if behind.is_some_and(|behind| name.as_str() <= behind) {
                continue;
            }
            names.push(Name { name, is_folder: kind.is_dir() });
            if names.len() > self.most {
                names.pop();
                more = true;
            }
        }
        let mut names = names.into_sorted_vec();
        names.reverse();
        let next = names.first().filter(|_| more).map(|last| last.name.clone());
        self.left.push(Part { folder, names, next });
        Ok(())
    }

    fn leave(&mut self) {
        self.left.pop();
        let end = self.key.trim_end_matches('/').rfind('/').map_or(0, |at| at + 1);
        self.key.truncate(end);
    }

    /// The next files; none when there are no more.
    pub(super) fn batch(&mut self) -> io::Result<Vec<Listed>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(part) = self.left.last_mut() else { break };
            let Some(Name { name, is_folder }) = part.names.pop() else {
                match (part.next.take(), self.left.pop()) {
                    (Some(behind), Some(part)) => self.read(part.folder, Some(&behind))?,
                    (None, Some(part)) => {
                        self.left.push(part);
                        self.leave();
                    }
                    (_, None) => break,
                }
                continue;
            };
            if is_folder {
                self.enter(&name)?;
                continue;
            }
            match part.folder.stat(&name) {
                Ok(found) => batch.push(Listed {
                    key: Key::listed(&format!("{}{name}", self.key)),
                    size: u64::try_from(found.st_size).map_err(io::Error::other)?,
                    modified: modified(&found),
                }),
                // Removed meanwhile.
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(batch)
    }
}

fn modified(found: &Stat) -> Option<Timestamp> {
    Timestamp::new(found.st_mtime, i32::try_from(found.st_mtime_nsec).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rstest::rstest;

    use super::*;

    #[rstest]
    fn a_folder_read_in_parts_is_listed_once_and_in_order(#[values(1, 2, 3, 1000)] most: usize) {
        let base = tempfile::tempdir().unwrap();
        let mut keys = ["a", "b.x", "b/1", "b/2", "b/c/3", "b0", "c", "d/1", "d/2", "d/3", "e"].map(String::from);
        for key in &keys {
            let file = base.path().join("in").join(key);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, key).unwrap();
        }
        keys.sort();
        let places = Places::open(base.path(), Path::new("")).unwrap();
        let mut walk = Walk::in_parts(&places, "in/", most).unwrap();
        let mut found = Vec::new();
        loop {
            let batch = walk.batch().unwrap();
            if batch.is_empty() {
                break;
            }
            found.extend(batch.into_iter().map(|listed| listed.key.to_string()));
        }
        assert_eq!(found, keys.map(|key| format!("in/{key}")));
    }
}
