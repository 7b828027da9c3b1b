//! Who may read what is written to a volume, and whose it is.

use std::{io, os::fd::BorrowedFd};

use rustix::fs::{Gid, Mode, Stat, Uid};

use super::below::Folder;

/// The rights and the owner of what is written below a folder, as that folder asks for them.
///
/// A backup is the whole database, so only its owner may read it. A volume with an `fsGroup` is shared with its group:
/// there the kubelet gives the root folder to the group, with the set-group-ID bit and the right to write
/// (`SetVolumeOwnership` of Kubernetes), and a folder that administrators share in a group looks the same. What root
/// writes into a folder of another user belongs to that user, who could neither read nor remove it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    shared: bool,
    owner: Option<(Uid, Gid)>,
}

impl Rights {
    /// What a folder asks of a process, which is root or not.
    pub(super) fn of(folder: &Stat, root: bool) -> Self {
        let mode = Mode::from_raw_mode(folder.st_mode);
        let other = root && folder.st_uid != 0;
        Self {
            shared: mode.contains(Mode::SGID | Mode::WGRP | Mode::XGRP),
            owner: other.then(|| (Uid::from_raw(folder.st_uid), Gid::from_raw(folder.st_gid))),
        }
    }

    /// The rights of a new file.
    pub(super) fn file(self) -> Mode {
        let own = Mode::RUSR | Mode::WUSR;
        if self.shared { own | Mode::RGRP | Mode::WGRP } else { own }
    }

    /// The rights of a new folder.
    pub(super) fn folder(self) -> Mode {
        if self.shared { Mode::RWXU | Mode::RWXG | Mode::SGID } else { Mode::RWXU }
    }

    /// Gives what was made with these rights to its owner. The rights themselves are said again where the process's
    /// umask may have taken some of them.
    pub(super) fn settle(self, new: BorrowedFd<'_>, mode: Mode) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            rustix::fs::fchown(new, Some(user), Some(group))?;
        }
        if self.shared {
            rustix::fs::fchmod(new, mode)?;
        }
        Ok(())
    }

    /// The same for a folder that was made.
    pub(super) fn settle_folder(self, new: &Folder) -> io::Result<()> {
        self.settle(new.handle(), self.folder())
    }
}
