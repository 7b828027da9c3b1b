//! Files that are being written: under a temporary name in a folder that is never listed.

use std::{fs::File, io, os::fd::AsFd as _, time::Duration};

use uuid::Uuid;

use super::{Places, below::Folder, is_absent};

/// Folder of files that are being written.
pub(super) const FOLDER: &str = "unfinished~";

/// Unfinished files older than this belong to nobody.
pub(super) const ABANDONED: Duration = Duration::from_hours(48);

/// Everything that begins in a folder can be removed in the same moment by another process, as it became empty.
const TRIES: usize = 5;

/// A file that is not visible yet.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: Folder,
    name: String,
}

impl Unfinished {
    /// Makes an empty file.
    pub(super) fn begin(places: &Places) -> io::Result<(Self, File)> {
        let rights = places.rights;
        let name = Uuid::new_v4().simple().to_string();
        again(|| {
            let folder = match places.enter(FOLDER) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    places.make(&[FOLDER])?.pop().ok_or(io::ErrorKind::NotFound)?
                }
                entered => entered?,
            };
            let file = folder.create(&name, rights.file())?;
            let this = Self { folder, name: name.clone() };
            if let Err(e) = rights.settle(file.as_fd(), rights.file()) {
                this.give_up();
                return Err(e);
            }
            Ok((this, file))
        })
    }

    /// Makes the flushed file visible under a name, durably.
    pub(super) fn publish(&self, places: &Places, parts: &[&str], replace: bool) -> io::Result<()> {
        let Some((name, folders)) = parts.split_last() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let chain = again(|| {
            let chain = places.make(folders)?;
            let folder = chain.last().ok_or(io::ErrorKind::NotFound)?;
            if replace {
                self.folder.rename(&self.name, folder, name)?;
            } else {
                self.folder.link(&self.name, folder, name).map_err(without_links)?;
            }
            Ok(chain)
        })?;
        flush(&chain)
    }

    /// Removes the file. How its writing ended says more than whether this works: it may not be there any more, and one
    /// that stays is removed in two days.
    pub(super) fn give_up(&self) {
        if let Err(error) = self.remove() {
            tracing::debug!(%error, "removing an unfinished file");
        }
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.folder.unlink(&self.name)
    }
}

fn without_links(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        // EPERM, EOPNOTSUPP.
        Some(1 | 95) => io::Error::new(io::ErrorKind::Unsupported, "the file system has no hard links"),
        _ => e,
    }
}

/// Writes a name to the disk, and those of the folders on the way, which may be new as well.
pub(super) fn flush(chain: &[Folder]) -> io::Result<()> {
    chain.iter().rev().try_for_each(Folder::flush)
}

/// Removes what writers have left behind that ended long ago.
pub(super) fn clean(places: &Places) -> io::Result<()> {
    let Ok(folder) = places.enter(FOLDER) else { return Ok(()) };
    for entry in folder.entries()? {
        let (name, _) = entry?;
        let Some(name) = name.to_str() else { continue };
        if folder.age(name)?.is_some_and(|age| age > ABANDONED) {
            folder.unlink(name)?;
        }
    }
    Ok(())
}

/// Removes all files that are being written, and their folder. Other things there stay, and the folder with them.
pub(super) fn clear(places: &Places) -> io::Result<()> {
    let folder = match places.enter(FOLDER) {
        Err(e) if is_absent(&e) => return Ok(()),
        entered => entered?,
    };
    for entry in folder.entries()? {
        let (name, kind) = entry?;
        let ours = name.to_str().is_some_and(|name| Uuid::try_parse(name).is_ok());
        if ours && kind.is_file() {
            match folder.unlink(&name) {
                Err(e) if !is_absent(&e) => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
    }
    match places.enter("")?.remove_empty(FOLDER) {
        Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty && !is_absent(&e) => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn again<T>(call: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut outcome = call();
    for _ in 1..TRIES {
        match &outcome {
            Err(e) if e.kind() == io::ErrorKind::NotFound => outcome = call(),
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}
