//! What lies in a folder and is in no listing of it: who asks whether the folder is empty must know of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{
    Places,
    below::DEPTH,
    places::is_absent,
    unfinished,
    walk::{RESCUED, shows},
};

/// The first of it, in words. Empty folders are nothing; nor is the folder of unfinished files, which is our own, or the one
/// that file systems make for themselves.
pub(super) fn first(places: &Places) -> io::Result<Option<String>> {
    if let Some(found) = instead_of(places)? {
        return Ok(Some(found));
    }
    let most = DEPTH.saturating_sub(places.way().1.count());
    // Folders, and whether a listing goes into them.
    let mut folders = vec![(PathBuf::new(), true)];
    while let Some((path, listed)) = folders.pop() {
        if path.components().count() > most {
            return Ok(Some(format!("{path:?} (the folders are nested too deep)")));
        }
        let folder = match places.enter(&path) {
            // Removed meanwhile, or never made.
            Err(e) if is_absent(&e) => continue,
            entered => entered?,
        };
        for entry in folder.entries()? {
            let (name, kind) = entry?;
            let own = name == RESCUED || (name == unfinished::FOLDER && path.as_os_str().is_empty());
            let shown = listed && name.to_str().is_some_and(|name| shows(name, kind));
            match kind.is_dir() {
                true if own => {}
                true => folders.push((path.join(name), shown)),
                false if shown => {}
                false => return Ok(Some(in_words(&path.join(name), kind))),
            }
        }
    }
    Ok(None)
}

/// What is there instead of the folder of the keys, or of one above it: nothing can be written below it.
fn instead_of(places: &Places) -> io::Result<Option<String>> {
    let (mount, way) = places.way();
    let mut folder = mount.enter("")?;
    let mut path = PathBuf::new();
    for name in way {
        path.push(name);
        let kind = match folder.stat(name) {
            Err(e) if is_absent(&e) => return Ok(None),
            found => FileType::from_raw_mode(found?.st_mode),
        };
        if !kind.is_dir() {
            return Ok(Some(in_words(&path, kind)));
        }
        folder = match folder.enter(name) {
            Err(e) if is_absent(&e) => return Ok(None),
            entered => entered?,
        };
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
        fs::{self, File},
        os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    };

    use rstest::rstest;

    use super::*;

    fn looked(mount: &Path) -> io::Result<Option<String>> {
        first(&Places::open(mount, Path::new("new/home")).unwrap())
    }

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
    #[case::not_the_unfinished(|base: &Path| symlink("/", base.join(unfinished::FOLDER)).unwrap(), "unfinished~ (a symbolic")]
    #[case::another_folder(|base: &Path| {
        fs::create_dir(base.join("a").join(unfinished::FOLDER)).unwrap();
        File::create(base.join("a").join(unfinished::FOLDER).join("1")).unwrap();
    }, "a/unfinished~/1 (a file")]
    fn what_no_listing_shows_is_named(#[case] put: fn(&Path), #[case] expected: &str) {
        let mount = tempfile::tempdir().unwrap();
        let base = mount.path().join("new/home");
        fs::create_dir_all(base.join("a/b")).unwrap();
        put(&base);
        let found = looked(mount.path()).unwrap().unwrap();
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn what_can_be_told_from_a_listing_and_what_is_nobodys_is_passed_over() {
        let mount = tempfile::tempdir().unwrap();
        let base = mount.path().join("new/home");
        assert_eq!(looked(mount.path()).unwrap(), None, "nothing is there");
        fs::create_dir_all(base.join("empty~/folder")).unwrap();
        for file in ["data/x", "lost+found/#12", "data/lost+found/old~", "unfinished~/1"] {
            let file = base.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            File::create(file).unwrap();
        }
        assert_eq!(looked(mount.path()).unwrap(), None);
    }

    #[rstest]
    fn what_is_there_instead_of_the_folder_is_named(#[values("new", "new/home")] at: &str) {
        let (mount, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at_path = mount.path().join(at);
        fs::create_dir_all(at_path.parent().unwrap()).unwrap();
        symlink("/nowhere", &at_path).unwrap();
        assert_eq!(looked(mount.path()).unwrap().unwrap(), format!("{at} (a symbolic link)"));
        fs::remove_file(&at_path).unwrap();
        File::create(&at_path).unwrap();
        assert!(looked(mount.path()).unwrap().unwrap().starts_with(&format!("{at} (a file")));
        fs::remove_file(&at_path).unwrap();
        // Nothing is written through a link, also where it leads to a folder.
        symlink(elsewhere.path(), &at_path).unwrap();
        assert_eq!(looked(mount.path()).unwrap().unwrap(), format!("{at} (a symbolic link)"));
    }
}
