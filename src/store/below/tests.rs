use std::{
    fs,
    io::Read as _,
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
};

use rstest::rstest;

use super::*;

type Way = fn(BorrowedFd<'_>, &Path, OFlags) -> io::Result<OwnedFd>;

fn whole(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    reach(from, path, flags)
}

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
#[case::pipe("a/pipe", Err(io::ErrorKind::InvalidInput))]
#[case::socket("a/socket", Err(io::ErrorKind::InvalidInput))]
fn nothing_leads_elsewhere(#[case] path: &str, #[case] expected: Result<&str, io::ErrorKind>) {
    let (folder, _outside) = place();
    let read = Folder::open(folder.path()).unwrap().file(Path::new(path)).map(|mut file| {
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        content
    });
    assert_eq!(read.map_err(|e| e.kind()), expected.map(str::to_owned));
}

/// The two ways to open a path answer the same, for files and for folders.
#[rstest]
#[case::file("a/b/file", READ, None)]
#[case::link("a/link", READ, Some(io::ErrorKind::InvalidInput))]
#[case::link_to_a_folder("a/out", PASS, Some(io::ErrorKind::InvalidInput))]
#[case::link_to_list("a/out", LIST, Some(io::ErrorKind::InvalidInput))]
#[case::link_in_the_way("a/out/key", READ, Some(io::ErrorKind::InvalidInput))]
#[case::folder("a/b", PASS, None)]
#[case::list("a/b", LIST, None)]
#[case::file_as_a_folder("a/b/file", PASS, Some(io::ErrorKind::NotADirectory))]
#[case::nothing("a/none/x", LIST, Some(io::ErrorKind::NotFound))]
#[case::file_in_the_way("a/b/file/x", READ, Some(io::ErrorKind::NotADirectory))]
fn without_openat2_the_same_is_opened(
    #[case] path: &str,
    #[case] flags: OFlags,
    #[case] expected: Option<io::ErrorKind>,
    #[values(whole, step_by_step)] way: Way,
) {
    let (folder, _outside) = place();
    let from = Folder::open(folder.path()).unwrap();
    let opened = way(from.0.as_fd(), Path::new(path), flags);
    assert_eq!(opened.err().map(|e| e.kind()), expected);
}

fn place() -> (tempfile::TempDir, tempfile::TempDir) {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/file"), "content").unwrap();
    fs::write(outside.path().join("key"), "canary").unwrap();
    symlink(outside.path(), folder.path().join("a/out")).unwrap();
    symlink(outside.path().join("key"), folder.path().join("a/link")).unwrap();
    symlink("b", folder.path().join("a/near")).unwrap();
    rustix::fs::mkfifoat(CWD, folder.path().join("a/pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    drop(UnixListener::bind(folder.path().join("a/socket")).unwrap());
    (folder, outside)
}

#[rstest]
#[case::slash_at_the_end("out/")]
#[case::several("a/b")]
#[case::up("..")]
#[case::here(".")]
#[case::nothing("")]
fn a_name_is_one_part(#[case] bad: &str) {
    let (folder, outside) = place();
    let folder = Folder::open(&folder.path().join("a")).unwrap();
    for outcome in [folder.stat(bad).map(drop), folder.unlink(bad), folder.remove_empty(bad), folder.remove_all(bad)] {
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(folder.create(bad, Mode::RUSR).is_err() && folder.rename(bad, &folder, "b").is_err());
    assert!(outside.path().join("key").exists());
}

#[test]
fn a_removal_goes_on_behind_what_it_cannot_remove_and_names_it() {
    let (folder, outside) = place();
    let mut deep = PathBuf::from("tree");
    (0..DEPTH).for_each(|_| deep.push("d"));
    fs::create_dir_all(folder.path().join(&deep)).unwrap();
    fs::create_dir_all(folder.path().join("tree/z")).unwrap();
    fs::write(folder.path().join("tree/z/file"), "").unwrap();
    symlink(outside.path(), folder.path().join("tree/out")).unwrap();
    let refused = Folder::open(folder.path()).unwrap().remove_all("tree").unwrap_err().to_string();
    assert!(refused.contains("tree/d/d/") && refused.contains("nested too deep"), "{refused}");
    assert!(!folder.path().join("tree/z").exists() && fs::symlink_metadata(folder.path().join("tree/out")).is_err());
    assert!(outside.path().join("key").exists());
    fs::remove_dir(folder.path().join(&deep)).unwrap();
    Folder::open(folder.path()).unwrap().remove_all("tree").unwrap();
    assert!(!folder.path().join("tree").exists());
}

#[test]
fn a_link_is_removed_and_not_what_it_leads_to() {
    let (folder, outside) = place();
    Folder::open(&folder.path().join("a")).unwrap().remove_all("out").unwrap();
    assert!(outside.path().join("key").exists() && !folder.path().join("a/out").exists());
}

/// What others choose as a name is not obeyed by a terminal.
#[test]
fn a_name_in_an_error_is_escaped() {
    let error: io::Error = removal::Stuck::new(OsStr::new("\u{1b}]0;x\u{202e}"), invalid("why")).into();
    let said = error.to_string();
    assert!(!said.contains(['\u{1b}', '\u{202e}']) && said.contains("u{1b}"), "{said}");
}
