//! Removing a folder with everything below it, by handles.

use std::{ffi::OsStr, io, path::PathBuf};

use rustix::{fs::FileType, io::Errno};

use super::Folder;

/// How often in all a folder is read again that others have put something into meanwhile.
const AGAIN: usize = 50;

/// What could not be removed.
pub(super) struct Stuck {
    path: PathBuf,
    why: io::Error,
}

impl Stuck {
    pub(super) fn new(name: &OsStr, why: io::Error) -> Self {
        Self { path: name.into(), why }
    }

    fn below(self, folder: &OsStr) -> Self {
        Self { path: PathBuf::from(folder).join(self.path), why: self.why }
    }
}

impl From<Stuck> for io::Error {
    /// The names are the choice of others: what a terminal obeys is escaped.
    fn from(Stuck { path, why }: Stuck) -> Self {
        Self::new(why.kind(), format!("{path:?}: {why}"))
    }
}

/// One removal.
pub(super) struct Removal {
    again: usize,
}

impl Removal {
    pub(super) fn begin() -> Self {
        Self { again: AGAIN }
    }

    /// Removes what has this name. At most so many folders below one another are entered.
    pub(super) fn any(&mut self, parent: &Folder, name: &OsStr, depth: usize) -> Result<(), Stuck> {
        match parent.unlink(name) {
            Ok(()) => Ok(()),
            // Linux says that it is a folder; POSIX says EPERM, which can be a missing right as well.
            Err(e) if e.kind() == io::ErrorKind::IsADirectory || is(&e, Errno::PERM) => {
                self.folder(parent, name, depth)
            }
            Err(e) => absent_is_gone(e).map_err(|e| Stuck::new(name, e)),
        }
    }

    /// Removes a folder. If there is something else by now, that goes.
    fn folder(&mut self, parent: &Folder, name: &OsStr, depth: usize) -> Result<(), Stuck> {
        let stuck = |e| Stuck::new(name, e);
        if depth == 0 {
            return Err(stuck(super::invalid("the folders are nested too deep")));
        }
        let folder = match parent.enter(name) {
            Ok(folder) => folder,
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory) => {
                return parent.unlink(name).or_else(absent_is_gone).map_err(stuck);
            }
            Err(e) => return absent_is_gone(e).map_err(stuck),
        };
        loop {
            self.content(&folder, depth).map_err(|e| e.below(name))?;
            match parent.remove_empty(name).or_else(absent_is_gone) {
                Err(e) if self.again > 0 && (is(&e, Errno::NOTEMPTY) || is(&e, Errno::EXIST)) => self.again -= 1,
                outcome => return outcome.map_err(stuck),
            }
        }
    }

    /// Removes what is in a folder, as far as it can; the first that stays is the error.
    fn content(&mut self, folder: &Folder, depth: usize) -> Result<(), Stuck> {
        let here = |e| Stuck::new(OsStr::new(""), e);
        let mut outcome = Ok(());
        for entry in folder.entries().map_err(here)? {
            let (name, kind) = entry.map_err(here)?;
            let removed = match kind {
                FileType::Directory => self.folder(folder, &name, depth - 1),
                _ => self.any(folder, &name, depth - 1),
            };
            outcome = outcome.and(removed);
        }
        outcome
    }
}

fn absent_is_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn is(error: &io::Error, code: Errno) -> bool {
    error.raw_os_error() == Some(code.raw_os_error())
}
