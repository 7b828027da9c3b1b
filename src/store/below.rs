//! Opening files of a folder that others write to as well.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};

/// Opens a regular file by its path below a folder, for reading. Every part of the path is opened from the one before
/// it and never through a link: whoever writes to the folder cannot let it lead to what only this process may read, not
/// even by changing it in the same moment.
///
/// Fails with [`io::ErrorKind::InvalidInput`] where there is a link, a pipe or a device, with
/// [`io::ErrorKind::IsADirectory`] where there is a folder, and with [`io::ErrorKind::NotFound`] or
/// [`io::ErrorKind::NotADirectory`] where there is nothing.
pub(super) fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let mut reached: OwnedFd = File::open(folder)?.into();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(invalid("a path with such a part is none of ours"));
        };
        // Opening a pipe must not wait for its writer.
        let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | kind;
        reached = openat(&reached, name, flags, Mode::empty()).map_err(|e| {
            let found = statat(&reached, name, AtFlags::SYMLINK_NOFOLLOW);
            let is_link = found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
            if is_link { invalid("there is a symbolic link in the way") } else { e.into() }
        })?;
    }
    let file = File::from(reached);
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if found.is_file() { Ok(file) } else { Err(invalid("it is no regular file")) }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::file("a/b/file", Ok("content"))]
    #[case::link("a/link", Err(io::ErrorKind::InvalidInput))]
    #[case::link_in_the_way("a/out/key", Err(io::ErrorKind::InvalidInput))]
    #[case::link_to_a_neighbour("a/near/file", Err(io::ErrorKind::InvalidInput))]
    #[case::folder("a/b", Err(io::ErrorKind::IsADirectory))]
    #[case::the_folder_itself("", Err(io::ErrorKind::IsADirectory))]
    #[case::upwards("a/../a/b/file", Err(io::ErrorKind::InvalidInput))]
    #[case::absolute("/etc/passwd", Err(io::ErrorKind::InvalidInput))]
    #[case::nothing("a/none", Err(io::ErrorKind::NotFound))]
    #[case::file_in_the_way("a/b/file/x", Err(io::ErrorKind::NotADirectory))]
    fn nothing_leads_elsewhere(#[case] path: &str, #[case] expected: Result<&str, io::ErrorKind>) {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "content").unwrap();
        fs::write(outside.path().join("key"), "canary").unwrap();
        symlink(outside.path(), folder.path().join("a/out")).unwrap();
        symlink(outside.path().join("key"), folder.path().join("a/link")).unwrap();
        symlink("b", folder.path().join("a/near")).unwrap();
        let read = open(folder.path(), Path::new(path)).map(|mut file| {
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            content
        });
        assert_eq!(read.map_err(|e| e.kind()), expected.map(str::to_owned));
    }
}
