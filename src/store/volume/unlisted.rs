//! What lies in a folder and is in no listing of it: who asks whether the folder is empty must know of it.

use std::{
    fs::{self, FileType},
    io,
    path::{Path, PathBuf},
};

use super::{
    UNFINISHED, is_absent,
    walk::{RESCUED, shows},
};

/// The first of it, in words. Empty folders are nothing; nor is the folder of unfinished files, which is our own, or the one
/// that file systems make for themselves.
pub(super) fn first(mount: &Path, base: &Path) -> io::Result<Option<String>> {
    if let Some(found) = instead_of(mount, base)? {
        return Ok(Some(found));
    }
    // Folders, and whether a listing goes into them.
    let mut folders = vec![(PathBuf::new(), true)];
    while let Some((folder, listed)) = folders.pop() {
        let entries = match fs::read_dir(base.join(&folder)) {
            Ok(entries) => entries,
            // Removed meanwhile, or never made.
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let own = name == RESCUED || (name == UNFINISHED && folder.as_os_str().is_empty());
            let shown = listed && name.to_str().is_some_and(|name| shows(name, kind));
            match kind.is_dir() {
                true if own => {}
                true => folders.push((folder.join(name), shown)),
                false if shown => {}
                false => return Ok(Some(in_words(&folder.join(name), kind))),
            }
        }
    }
    Ok(None)
}

/// What is there instead of the folder, or of one above it: nothing can be written below it.
fn instead_of(mount: &Path, base: &Path) -> io::Result<Option<String>> {
    for folder in base.ancestors().take_while(|folder| *folder != mount && folder.starts_with(mount)) {
        match fs::symlink_metadata(folder) {
            Ok(found) if !folder.is_dir() => {
                return Ok(Some(in_words(folder.strip_prefix(mount).unwrap_or(folder), found.file_type())));
            }
            Err(e) if !is_absent(&e) => return Err(e),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

fn in_words(path: &Path, kind: FileType) -> String {
    let what = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_file() {
        "a file that is in no listing"
    } else {
        "a socket, a pipe or a device"
    };
    format!("{} ({what})", path.display())
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        fs::File,
        os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    };

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::link(|base: &Path| symlink("/", base.join("logservice-data")).unwrap(), "logservice-data (a symbolic link)")]
    #[case::dangling(|base: &Path| symlink("/nowhere", base.join("a/link")).unwrap(), "a/link (a symbolic link)")]
    #[case::socket(|base: &Path| drop(UnixListener::bind(base.join("mo.sock")).unwrap()), "mo.sock (a socket,")]
    #[case::tilde(|base: &Path| drop(File::create(base.join("a/notes~")).unwrap()), "a/notes~ (a file")]
    #[case::name(|base: &Path| drop(File::create(base.join(OsStr::from_bytes(b"\xffname"))).unwrap()), "name (a file")]
    #[case::below(|base: &Path| {
        fs::create_dir(base.join("a/old~")).unwrap();
        File::create(base.join("a/old~/plain")).unwrap();
    }, "a/old~/plain (a file")]
    #[case::not_the_rescued(|base: &Path| drop(File::create(base.join("lost+found")).unwrap()), "lost+found (a file")]
    #[case::not_the_unfinished(|base: &Path| symlink("/", base.join(UNFINISHED)).unwrap(), "unfinished~ (a symbolic")]
    #[case::another_folder(|base: &Path| {
        fs::create_dir(base.join("a").join(UNFINISHED)).unwrap();
        File::create(base.join("a").join(UNFINISHED).join("1")).unwrap();
    }, "a/unfinished~/1 (a file")]
    fn what_no_listing_shows_is_named(#[case] put: fn(&Path), #[case] expected: &str) {
        let mount = tempfile::tempdir().unwrap();
        let base = mount.path().join("new/home");
        fs::create_dir_all(base.join("a/b")).unwrap();
        put(&base);
        let found = first(mount.path(), &base).unwrap().unwrap();
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn what_can_be_told_from_a_listing_and_what_is_nobodys_is_passed_over() {
        let mount = tempfile::tempdir().unwrap();
        let base = mount.path().join("new/home");
        assert_eq!(first(mount.path(), &base).unwrap(), None, "nothing is there");
        fs::create_dir_all(base.join("empty~/folder")).unwrap();
        for file in ["data/x", "lost+found/#12", "data/lost+found/old~", "unfinished~/1"] {
            let file = base.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            File::create(file).unwrap();
        }
        assert_eq!(first(mount.path(), &base).unwrap(), None);
    }

    #[rstest]
    fn what_is_there_instead_of_the_folder_is_named(#[values("new", "new/home")] at: &str) {
        let (mount, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (base, at_path) = (mount.path().join("new/home"), mount.path().join(at));
        fs::create_dir_all(at_path.parent().unwrap()).unwrap();
        symlink("/nowhere", &at_path).unwrap();
        assert_eq!(first(mount.path(), &base).unwrap().unwrap(), format!("{at} (a symbolic link)"));
        fs::remove_file(&at_path).unwrap();
        File::create(&at_path).unwrap();
        assert!(first(mount.path(), &base).unwrap().unwrap().starts_with(&format!("{at} (a file")));
        fs::remove_file(&at_path).unwrap();
        // A link to a folder serves as one.
        symlink(elsewhere.path(), &at_path).unwrap();
        assert_eq!(first(mount.path(), &base).unwrap(), None);
    }
}
