//! Listing a folder in ascending order of keys.

use std::{
    collections::BinaryHeap,
    fs::{self, FileType},
    io,
    path::{Path, PathBuf},
};

use super::super::{Key, Level, Listed};

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
    path: PathBuf,
    key: String,
    /// See [`NAMES`].
    most: usize,
}

/// The names of one folder, the first so many by the order of keys.
pub(super) fn level(base: &Path, folder: &str, most: usize) -> io::Result<Level> {
    let mut level = Level::default();
    for Part { names, next } in Walk::in_parts(base, folder, most.max(1))?.left {
        level.more = next.is_some();
        names.iter().rev().for_each(|found| level.put(&found.name));
    }
    Ok(level)
}

/// Names of a folder, last first.
struct Part {
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
    pub(super) fn begin(base: &Path, prefix: &str) -> io::Result<Self> {
        Self::in_parts(base, prefix, NAMES)
    }

    fn in_parts(base: &Path, prefix: &str, most: usize) -> io::Result<Self> {
        let path = super::without_links(base, prefix.split_terminator('/'))?;
        let mut walk = Self { left: Vec::new(), key: prefix.to_owned(), path, most };
        walk.enter(None)?;
        Ok(walk)
    }

    /// Reads the first names of the folder, or the first of those behind the given one.
    fn enter(&mut self, behind: Option<&str>) -> io::Result<()> {
        let (mut names, mut more) = (BinaryHeap::new(), false);
        match fs::read_dir(&self.path) {
            Ok(found) => {
                for entry in found {
                    let entry = entry?;
                    let kind = entry.file_type()?;
                    let Ok(mut name) = entry.file_name().into_string() else { continue };
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
            }
            Err(e) if super::is_absent(&e) => {}
            Err(e) => return Err(e),
        }
        let mut names = names.into_sorted_vec();
        names.reverse();
        let next = names.first().filter(|_| more).map(|last| last.name.clone());
        self.left.push(Part { names, next });
        Ok(())
    }

    fn leave(&mut self) {
        self.left.pop();
        self.path.pop();
        let end = self.key.trim_end_matches('/').rfind('/').map_or(0, |at| at + 1);
        self.key.truncate(end);
    }

    /// The next files; none when there are no more.
    pub(super) fn batch(&mut self) -> io::Result<Vec<Listed>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(part) = self.left.last_mut() else { break };
            let Some(Name { name, is_folder }) = part.names.pop() else {
                match part.next.take() {
                    Some(behind) => {
                        self.left.pop();
                        self.enter(Some(&behind))?;
                    }
                    None => self.leave(),
                }
                continue;
            };
            if is_folder {
                self.path.push(name.trim_end_matches('/'));
                self.key.push_str(&name);
                self.enter(None)?;
                continue;
            }
            match fs::symlink_metadata(self.path.join(&name)) {
                Ok(found) => batch.push(Listed {
                    key: Key::listed(&format!("{}{name}", self.key)),
                    size: found.len(),
                    modified: found.modified().ok().and_then(|written| written.try_into().ok()),
                }),
                // Removed meanwhile.
                Err(e) if super::is_absent(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
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
        let mut walk = Walk::in_parts(base.path(), "in/", most).unwrap();
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
