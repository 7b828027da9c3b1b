use std::os::unix::fs::symlink;

use rstest::rstest;

use super::*;
use crate::cli::{ending::Ending, place};

fn folder(path: &str) -> Location {
    place::folder("--path", Path::new(path)).unwrap()
}

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    (folder, path)
}

#[test]
fn what_was_written_down_is_read_back() {
    let (folder_, path) = temporary();
    let mut index = Index::open(Some(folder_.path())).unwrap();
    assert_eq!((index.path(), index.repositories()), (&*path, &[][..]));
    let id = BackupId::fresh();
    index.remember(&folder("/backups/a")).unwrap();
    index.remember(&folder("/backups/b")).unwrap();
    index.remember(&folder("/backups/a")).unwrap();
    index.forget(id).unwrap();
    let again = Index::open(Some(&path)).unwrap();
    assert_eq!(again.repositories(), [folder("/backups/a"), folder("/backups/b")]);
    let entry = format!("entry 2 of \"repositories\" in the index {}", path.display());
    assert_eq!((again.entry(&folder("/backups/b")), again.entry(&folder("/backups/c"))), (Some(entry), None));
    assert!(again.is_forgotten(id) && !again.is_forgotten(BackupId::fresh()));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\n  \"kind\": \"mo-backup index\",\n  \"format\": 1,\n"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(folder_.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["mo-backup.meta", "mo-backup.meta.lock"], "nothing else is left");
}

#[test]
fn links_and_rights_stay() {
    let (folder_, path) = temporary();
    let real = folder_.path().join("real");
    Index::open(Some(&real)).unwrap().remember(&folder("/a")).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &path).unwrap();
    Index::open(Some(&path)).unwrap().remember(&folder("/b")).unwrap();
    assert!(path.is_symlink());
    assert_eq!(Index::open(Some(&real)).unwrap().repositories().len(), 2);
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[rstest]
#[case("ID,Path\n1,2\n", "mo_br.meta")]
#[case("", "mo_br.meta")]
#[case("{\"kind\": \"another\", \"format\": 1}", "another program")]
#[case("{\"kind\": \"mo-backup index\", \"format\": 2, \"more\": []}", "newer mo-backup")]
#[case("{\"kind\": \"mo-backup index\", \"format\": 1}", "repositories")]
#[case(&" ".repeat(MOST + 1), "longer than")]
fn what_is_no_index_is_left_alone(#[case] content: &str, #[case] why: &str) {
    let (_folder, path) = temporary();
    fs::write(&path, content).unwrap();
    let refusal = Index::open(Some(&path)).unwrap_err();
    assert_eq!(refusal.ending, Ending::Usage);
    for part in [why, "--meta-path", "left alone", path.to_str().unwrap()] {
        assert!(refusal.message.contains(part), "{part} in {}", refusal.message);
    }
    // One that came in between is not overwritten either.
    let mut index = Index { path: path.clone(), content: Content::default() };
    assert!(index.remember(&folder("/a")).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let mut index = Index::open(Some(Path::new("/nonexistent/folder/index"))).unwrap();
    let refusal = index.remember(&folder("/a")).unwrap_err();
    assert!(refusal.message.contains("/nonexistent/folder/index") && refusal.ending == Ending::Usage, "{refusal}");
    assert!(Index::open(Some(Path::new(""))).is_err());
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let (_folder, path) = temporary();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                // Opened before the others have written.
                let mut index = Index::open(Some(path)).unwrap();
                for n in 0..5 {
                    index.remember(&folder(&format!("/backups/{writer}-{n}"))).unwrap();
                    index.forget(BackupId::fresh()).unwrap();
                }
            });
        }
    });
    let index = Index::open(Some(&path)).unwrap();
    assert_eq!((index.repositories().len(), index.content.forgotten.len()), (20, 20));
}

#[test]
fn an_index_never_grows_beyond_what_is_read() {
    let (_folder, path) = temporary();
    let forgotten = (0..30_000).map(|_| BackupId::fresh()).collect();
    let refused = replace(&path, &Content { forgotten, ..Content::default() }).unwrap_err();
    assert!(refused.to_string().contains("longer") && !path.exists());
}

/// Who names the place needs no index: a nightly backup is taken, whatever has become of the file.
#[test]
fn a_broken_index_stops_nobody_who_names_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    fs::write(&path, "rubbish").unwrap();
    assert!(Index::open_beside(Some(&path), false).is_err());
    let mut index = Index::open_beside(Some(&path), true).unwrap();
    assert_eq!(index.repositories(), []);
    assert!(index.remember(&place::folder("--path", folder.path()).unwrap()).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "rubbish", "it is left alone");
    assert!(Index::open_beside(Some(Path::new("")), true).is_err());
}
