//! Folders and files below a folder that others write to as well.
//!
//! Everything is opened, made, renamed and removed from the open handle of a folder, and a path below the handle is never
//! followed through a symbolic link: a program that writes to the folder cannot let a path lead to what only this
//! process may reach, not even by changing it in the same moment. Linux resolves a whole path that way with `openat2`
//! (since 5.6); where the kernel or a seccomp profile does not have it, each part is opened from the one before it.

mod removal;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use removal::Removal;

/// Folders are not followed, listed or removed any deeper: each level of a walk keeps one handle open. MatrixOne nests
/// less than ten.
pub(super) const DEPTH: usize = 64;

/// A handle to reach what lies in a folder: the right to pass is enough for it.
#[cfg(target_os = "linux")]
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// A handle to list or flush a folder.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Opening a pipe must not wait for its writer, and a terminal must not become ours.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder by a path that is trusted: links in it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, PASS | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a folder below, by a path relative to this one; the empty path is the folder itself.
    ///
    /// Fails with [`io::ErrorKind::InvalidInput`] where there is a link in the way, with
    /// [`io::ErrorKind::NotADirectory`] where there is something else, and with [`io::ErrorKind::NotFound`] where there
    /// is nothing.
    pub fn enter(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        reach(self.0.as_fd(), path.as_ref(), PASS).map(Self)
    }

    /// Opens a regular file below, for reading.
    ///
    /// Fails with [`io::ErrorKind::InvalidInput`] where there is a link, a pipe or a device, with
    /// [`io::ErrorKind::IsADirectory`] where there is a folder, and with [`io::ErrorKind::NotFound`] or
    /// [`io::ErrorKind::NotADirectory`] where there is nothing.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        // ENXIO: a socket, or a device without a driver.
        let opened = reach(self.0.as_fd(), path, READ).map_err(|e| match e.raw_os_error() {
            Some(code) if code == Errno::NXIO.raw_os_error() => invalid("it is not a regular file"),
            _ => e,
        })?;
        let file = File::from(opened);
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if found.is_file() { Ok(file) } else { Err(invalid("it is not a regular file")) }
    }

    /// Opens the folder of these parts below this one, and makes those that are missing. Returns a handle that can be
    /// flushed for this folder and for each on the way. `made` is called for each folder that was made.
    pub fn make(&self, parts: &[&str], mode: Mode, made: impl Fn(&Self) -> io::Result<()>) -> io::Result<Vec<Self>> {
        let mut last = Self(reach(self.0.as_fd(), Path::new(""), LIST)?);
        let mut chain = Vec::with_capacity(parts.len() + 1);
        for part in parts {
            let name = name(part)?;
            let next = match reach(last.0.as_fd(), name, LIST) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => last.make_one(name, mode, &made)?,
                opened => Self(opened?),
            };
            chain.push(std::mem::replace(&mut last, next));
        }
        chain.push(last);
        Ok(chain)
    }

    fn make_one(&self, name: &Path, mode: Mode, made: impl Fn(&Self) -> io::Result<()>) -> io::Result<Self> {
        let new = match rustix::fs::mkdirat(&self.0, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(e.into()),
        };
        let folder = Self(reach(self.0.as_fd(), name, LIST)?);
        if new {
            made(&folder)?;
        }
        Ok(folder)
    }

    /// Makes a file in this folder, for writing. There must be nothing under the name, not even a link.
    pub fn create(&self, file: &str, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name(file)?, flags, mode)?.into())
    }

    /// Moves a file of this folder to a name in another, replacing what is there.
    pub fn rename(&self, file: &str, to: &Self, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name(file)?, &to.0, name(new)?)?)
    }

    /// Gives a file of this folder a second name in another folder, unless there is something under that name.
    pub fn link(&self, file: &str, to: &Self, new: &str) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.0, name(file)?, &to.0, name(new)?, AtFlags::empty())?)
    }

    /// What is there under a name of this folder; of a link, the link itself.
    pub fn stat(&self, file: impl AsRef<OsStr>) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0, name(file.as_ref())?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// How long ago what has this name was changed; `None` if that lies in the future.
    pub fn age(&self, file: &str) -> io::Result<Option<Duration>> {
        let changed = u64::try_from(self.stat(file)?.st_mtime).map_err(io::Error::other)?;
        let now = UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
        Ok(now.checked_sub(Duration::from_secs(changed)))
    }

    /// What this folder is itself.
    pub fn status(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?)
    }

    /// Removes a name of this folder that is not a folder's.
    pub fn unlink(&self, file: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name(file.as_ref())?, AtFlags::empty())?)
    }

    /// Removes an empty folder of this folder.
    pub fn remove_empty(&self, folder: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name(folder.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Removes what has this name in this folder, with everything below it. A link is removed, and not what it leads to.
    /// Removes what it can, and then fails with the first thing that it could not remove.
    pub fn remove_all(&self, folder: &str) -> io::Result<()> {
        Ok(Removal::begin().any(self, name(folder)?.as_os_str(), DEPTH)?)
    }

    /// Writes the names in this folder to its disk. The handle must be one of [`Self::make`].
    pub fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// The names in this folder and what they are. What vanishes meanwhile is left out.
    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<(OsString, FileType)>> + '_> {
        let found = Dir::new(reach(self.0.as_fd(), Path::new(""), LIST)?)?;
        Ok(found.filter_map(move |entry| self.entry(entry).transpose()))
    }

    fn entry(&self, entry: rustix::io::Result<rustix::fs::DirEntry>) -> io::Result<Option<(OsString, FileType)>> {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            return Ok(None);
        }
        let kind = match entry.file_type() {
            // File systems need not say it in a listing.
            FileType::Unknown => match self.stat(name) {
                Ok(found) => FileType::from_raw_mode(found.st_mode),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            },
            known => known,
        };
        Ok(Some((name.to_owned(), kind)))
    }

    /// Its handle, for calls that change rights and owner.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One part of a path.
fn name<S: AsRef<OsStr> + ?Sized>(part: &S) -> io::Result<&Path> {
    let path = Path::new(part);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        // A slash at the end would let a link be followed.
        (Some(Component::Normal(only)), None) if only.len() == part.as_ref().len() => Ok(path),
        _ => Err(invalid("a path with such a part is not one of ours")),
    }
}

/// Opens what a path leads to below a folder.
fn reach(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let parts = || path.components();
    if parts().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(invalid("a path with such a part is not one of ours"));
    }
    if parts().count() > DEPTH {
        return Err(invalid("the folders are nested too deep"));
    }
    // Without a slash at its end.
    let path: std::path::PathBuf = parts().collect();
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match at_once(from, path, flags) {
        Err(Errno::LOOP) => Err(invalid("there is a symbolic link in the way")),
        Err(Errno::XDEV) => Err(invalid("the folder was moved to another place")),
        // EPERM: seccomp profiles from before the call was known.
        // ENOTDIR is said of a link at the end as well, and only the last step tells which it is.
        Err(Errno::NOSYS | Errno::PERM | Errno::NOTDIR) => step_by_step(from, path, flags),
        opened => Ok(opened?),
    }
}

#[cfg(target_os = "linux")]
fn at_once(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(from, path, flags, Mode::empty(), resolve)
}

#[cfg(not(target_os = "linux"))]
fn at_once(_: BorrowedFd<'_>, _: &Path, _: OFlags) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// The same, each part from the one before it.
fn step_by_step(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let open = |from: BorrowedFd<'_>, part: &Path, flags: OFlags| {
        rustix::fs::openat(from, part, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(|e| {
            let found = rustix::fs::statat(from, part, AtFlags::SYMLINK_NOFOLLOW);
            let is_link = found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
            if is_link { invalid("there is a symbolic link in the way") } else { e.into() }
        })
    };
    let mut parts = path.components().peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let from = reached.as_ref().map_or(from, OwnedFd::as_fd);
        reached = Some(open(from, Path::new(part.as_os_str()), if parts.peek().is_some() { PASS } else { flags })?);
    }
    reached.ok_or_else(|| invalid("the path is empty"))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
#[path = "below/tests.rs"]
mod tests;
