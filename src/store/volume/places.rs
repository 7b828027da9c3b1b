//! What is done with the files of a volume, from the handle of its mount on.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{super::Key, below::Folder, rights::Rights, unfinished::Unfinished};

/// An open volume.
#[derive(Debug)]
pub(super) struct Places {
    mount: Folder,
    /// The path of the folder that keys are relative to, below the mount.
    base: PathBuf,
    /// The rights of what is written.
    pub rights: Rights,
}

impl Places {
    pub(super) fn open(mount: &Path, base: &Path) -> io::Result<Self> {
        Self::below(Folder::open(mount)?, base)
    }

    fn below(mount: Folder, base: &Path) -> io::Result<Self> {
        let rights = Rights::of(&mount.status()?, rustix::process::geteuid().is_root());
        Ok(Self { mount, base: base.to_owned(), rights })
    }

    /// The folder of the keys, as it is now, and with the rights that its volume asks for.
    pub(super) fn pinned(&self) -> io::Result<Self> {
        Ok(Self { mount: self.enter("")?, base: PathBuf::new(), rights: self.rights })
    }

    /// Opens a folder, by its path below that of the keys.
    pub(super) fn enter(&self, folder: impl AsRef<Path>) -> io::Result<Folder> {
        self.mount.enter(self.base.join(folder))
    }

    /// The mount, and the names of the folders from there to that of the keys.
    pub(super) fn way(&self) -> (&Folder, impl Iterator<Item = &std::ffi::OsStr>) {
        (&self.mount, self.base.iter())
    }

    /// Opens a file for reading, by its path below the folder of the keys.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        self.mount.file(&self.base.join(path))
    }

    /// The folders from the mount to the one of these parts below that of the keys; those that are missing are made.
    pub(super) fn make(&self, parts: &[&str]) -> io::Result<Vec<Folder>> {
        let base = self.base.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let whole: Vec<_> = base.split('/').filter(|part| !part.is_empty()).chain(parts.iter().copied()).collect();
        self.mount.make(&whole, self.rights.folder(), |new| self.rights.settle_folder(new))
    }

    /// Bytes of a file.
    pub(super) fn size(&self, key: &Key) -> io::Result<Option<u64>> {
        let (folder, name) = folder_of(key)?;
        let found = match self.enter(folder).and_then(|folder| folder.stat(name)) {
            Err(e) if is_absent(&e) => return Ok(None),
            found => found?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => u64::try_from(found.st_size).map(Some).map_err(io::Error::other),
            FileType::Symlink => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "there is a symbolic link in the way"))
            }
            _ => Ok(None),
        }
    }

    /// Writes a small file at once.
    pub(super) fn write(&self, key: &Key, body: &[u8], replace: bool) -> io::Result<()> {
        let parts = parts(key)?;
        let (unfinished, mut file) = Unfinished::begin(self)?;
        let written = file.write_all(body).and_then(|()| file.sync_all());
        let published = written.and_then(|()| unfinished.publish(self, &parts, replace));
        if published.is_err() || !replace {
            unfinished.give_up();
        }
        published
    }

    /// Removes a file. Files of one folder that follow each other share its handle.
    pub(super) fn remove(&self, key: &Key, last: Option<Emptied>) -> io::Result<Emptied> {
        let (folder, name) = folder_of(key)?;
        let emptied = match last {
            Some(last) if last.path == folder => last,
            other => {
                if let Some(last) = other {
                    last.leave(self);
                }
                let handle = match self.enter(folder) {
                    Err(e) if is_absent(&e) => None,
                    entered => Some(entered?),
                };
                Emptied { path: folder.to_owned(), handle }
            }
        };
        match emptied.handle.as_ref().map(|folder| folder.unlink(name)) {
            Some(Err(e)) if !is_absent(&e) => Err(e),
            Some(_) | None => Ok(emptied),
        }
    }

    /// Removes a folder with everything in it, and those above it that become empty.
    pub(super) fn remove_folder(&self, prefix: &str) -> io::Result<()> {
        let Some((above, name)) = split(prefix) else { return Err(io::ErrorKind::InvalidInput.into()) };
        match self.enter(above) {
            Err(e) if is_absent(&e) => return Ok(()),
            entered => entered?.remove_all(name)?,
        }
        self.remove_empty(above);
        Ok(())
    }

    /// Makes a folder, and removes it again, and those above it that are empty.
    pub(super) fn try_folder(&self, prefix: &str) -> io::Result<()> {
        let parts: Vec<_> = prefix.split_terminator('/').collect();
        let made = self.make(&parts);
        self.remove_empty(prefix.trim_end_matches('/'));
        made.map(drop)
    }

    /// Removes a folder and those above it, below that of the keys, as long as they are empty.
    fn remove_empty(&self, folder: &str) {
        let mut left = folder;
        while let Some((above, name)) = split(left) {
            if self.enter(above).and_then(|above| above.remove_empty(name)).is_err() {
                break;
            }
            left = above;
        }
    }
}

/// A folder that files were removed from.
#[derive(Debug)]
pub(super) struct Emptied {
    path: String,
    /// `None` if there was no such folder.
    handle: Option<Folder>,
}

impl Emptied {
    /// Folders that became empty go; the first that did not stops it.
    pub(super) fn leave(self, places: &Places) {
        if self.handle.is_some() {
            places.remove_empty(&self.path);
        }
    }
}

/// The parts of a key, if it can be one of ours.
pub(super) fn parts(key: &Key) -> io::Result<Vec<&str>> {
    let parts: Vec<_> = key.as_str().split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.contains('~')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a key with such a part is not one of ours"));
    }
    Ok(parts)
}

/// The folder of a key, empty for that of all keys, and the name in it.
fn folder_of(key: &Key) -> io::Result<(&str, &str)> {
    parts(key)?;
    split(key.as_str()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// What is above the last part of a path, and that part.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    (!path.is_empty()).then(|| path.rsplit_once('/').unwrap_or(("", path)))
}

pub(super) fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
