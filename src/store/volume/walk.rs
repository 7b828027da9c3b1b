//! Listing a folder in ascending order of keys.

use std::{fs, io, path::Path, path::PathBuf};

use super::super::{Key, Listed};

/// Entries of a batch.
const BATCH: usize = 1000;

/// A walk over files in the order of their keys. A folder comes where its name with a `/` sorts, so that the keys below
/// it ascend too. Names of one folder are held at a time, and of those above it.
pub(super) struct Walk {
    /// What is left of each folder on the way, last first.
    left: Vec<Vec<Name>>,
    path: PathBuf,
    key: String,
}

struct Name {
    /// A folder's name ends with `/`.
    name: String,
    is_folder: bool,
}

impl Walk {
    /// Begins below a prefix; it is empty or ends with `/`. A folder that does not exist has no files.
    pub(super) fn begin(base: &Path, prefix: &str) -> io::Result<Self> {
        let path = base.join(prefix.trim_end_matches('/'));
        for folder in path.ancestors().take_while(|f| f.starts_with(base) && *f != base) {
            if super::is_link(folder)? {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is a symbolic link in the way"));
            }
        }
        let mut walk = Self { left: Vec::new(), key: prefix.to_owned(), path };
        walk.enter()?;
        Ok(walk)
    }

    fn enter(&mut self) -> io::Result<()> {
        let mut names = Vec::new();
        match fs::read_dir(&self.path) {
            Ok(found) => {
                for entry in found {
                    let entry = entry?;
                    let kind = entry.file_type()?;
                    let Ok(mut name) = entry.file_name().into_string() else { continue };
                    if name.contains('~') || !(kind.is_dir() || kind.is_file()) {
                        continue;
                    }
                    if kind.is_dir() {
                        name.push('/');
                    }
                    names.push(Name { name, is_folder: kind.is_dir() });
                }
            }
            Err(e) if super::is_absent(&e) => {}
            Err(e) => return Err(e),
        }
        names.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        self.left.push(names);
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
            let Some(folder) = self.left.last_mut() else { break };
            let Some(Name { name, is_folder }) = folder.pop() else {
                self.leave();
                continue;
            };
            if is_folder {
                self.path.push(name.trim_end_matches('/'));
                self.key.push_str(&name);
                self.enter()?;
                continue;
            }
            match fs::symlink_metadata(self.path.join(&name)) {
                Ok(found) => batch.push(Listed { key: Key::listed(&format!("{}{name}", self.key)), size: found.len() }),
                // Removed meanwhile.
                Err(e) if super::is_absent(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(batch)
    }
}
