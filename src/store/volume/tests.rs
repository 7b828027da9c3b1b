use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rstest::rstest;

use super::{unfinished::ABANDONED, *};

const UNFINISHED: &str = unfinished::FOLDER;

fn volume() -> (tempfile::TempDir, Volume) {
    let mount = tempfile::tempdir().unwrap();
    let volume = Volume::open(mount.path(), "backups/mo").unwrap();
    (mount, volume)
}

fn key(text: &str) -> Key {
    Key::listed(text)
}

async fn keys(volume: &Volume, prefix: &Prefix) -> Vec<String> {
    volume.list(prefix).map_ok(|l| l.key.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn files_appear_whole_and_nothing_else_stays() {
    let (mount, volume) = volume();
    volume.put(&key("a/b"), Bytes::from_static(b"1")).await.unwrap();
    volume.create(&key("a/c"), Bytes::from_static(b"22")).await.unwrap();
    let mut writer = volume.writer(&key("a/d"), 3).await.unwrap();
    writer.write(Bytes::from_static(b"333")).await.unwrap();
    assert_eq!(keys(&volume, &Prefix::all()).await, ["a/b", "a/c"]);
    writer.close().await.unwrap();
    assert_eq!(keys(&volume, &Prefix::all()).await, ["a/b", "a/c", "a/d"]);
    volume.delete(vec![key("a/b"), key("a/c"), key("a/d"), key("a/none")]).await.unwrap();
    let left: Vec<_> = fs::read_dir(mount.path().join("backups/mo")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [UNFINISHED]);
    assert_eq!(fs::read_dir(mount.path().join("backups/mo").join(UNFINISHED)).unwrap().count(), 0);
}

#[tokio::test]
async fn a_listing_says_when_a_file_was_written() {
    let (mount, volume) = volume();
    volume.put(&key("a"), Bytes::from_static(b"1")).await.unwrap();
    let then = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let file = fs::File::options().write(true).open(mount.path().join("backups/mo/a")).unwrap();
    file.set_modified(then.into()).unwrap();
    let listed: Vec<_> = volume.list(&Prefix::all()).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|found| found.modified).collect::<Vec<_>>(), [Some(then)]);
}

#[tokio::test]
async fn a_short_or_aborted_file_never_appears() {
    let (mount, volume) = volume();
    let mut writer = volume.writer(&key("a"), 3).await.unwrap();
    writer.write(Bytes::from_static(b"22")).await.unwrap();
    assert_eq!(writer.close().await.unwrap_err().problem, Problem::Corrupted);
    volume.writer(&key("a"), 3).await.unwrap().abort().await;
    assert_eq!(volume.stat(&key("a")).await.unwrap(), None);
    assert_eq!(fs::read_dir(mount.path().join("backups/mo").join(UNFINISHED)).unwrap().count(), 0);
}

#[tokio::test]
async fn abandoned_files_go_after_two_days() {
    let (mount, volume) = volume();
    let folder = mount.path().join("backups/mo").join(UNFINISHED);
    fs::create_dir_all(&folder).unwrap();
    let old = File::create(folder.join("old")).unwrap();
    old.set_modified(std::time::SystemTime::now() - ABANDONED - Duration::from_mins(1)).unwrap();
    File::create(folder.join("young")).unwrap();
    volume.writer(&key("a"), 0).await.unwrap().close().await.unwrap();
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["young"]);
}

#[tokio::test]
async fn keys_ascend_over_folders() {
    let (_mount, volume) = volume();
    let mut expected: Vec<_> = ["1/x", "1-full/x", "1.a", "10/x", "1/a/b", "1/a.b", "2"].map(str::to_owned).into();
    for name in &expected {
        volume.put(&key(name), Bytes::new()).await.unwrap();
    }
    expected.sort();
    assert_eq!(keys(&volume, &Prefix::all()).await, expected);
}

#[tokio::test]
async fn many_files_come_in_batches() {
    let (mount, volume) = volume();
    let folder = mount.path().join("backups/mo/data/x");
    fs::create_dir_all(&folder).unwrap();
    for n in 0..2500 {
        File::create(folder.join(format!("{n:05}"))).unwrap();
    }
    let found = keys(&volume, &Prefix::data()).await;
    assert_eq!((found.len(), found.is_sorted(), found[2499].as_str()), (2500, true, "data/x/02499"));
}

#[tokio::test]
async fn links_are_not_followed() {
    let (mount, volume) = volume();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"canary").unwrap();
    let base = mount.path().join("backups/mo");
    fs::create_dir_all(base.join("data")).unwrap();
    symlink(outside.path(), base.join("data/out")).unwrap();
    symlink(outside.path().join("secret"), base.join("secret")).unwrap();
    assert!(volume.read(&key("secret"), None).await.is_err());
    assert!(volume.read(&key("data/out/secret"), None).await.is_err());
    assert!(volume.put(&key("data/out/new"), Bytes::new()).await.is_err());
    assert!(volume.delete(vec![key("data/out/secret")]).await.is_err());
    assert!(keys(&volume, &Prefix::all()).await.is_empty());
    assert!(outside.path().join("secret").exists() && !outside.path().join("new").exists());
}

#[tokio::test]
async fn keys_cannot_leave_the_volume() {
    let (_mount, volume) = volume();
    for bad in ["../x", "a/../../x", "/x", "a//b", "unfinished~/x"] {
        assert!(volume.put(&key(bad), Bytes::new()).await.is_err(), "{bad}");
    }
    assert!(Volume::open(Path::new("/mnt"), "../etc").is_err());
}

#[tokio::test]
async fn a_volume_that_is_not_mounted_is_no_empty_one() {
    let volume = Volume::open(Path::new("/nonexistent/mount"), "").unwrap();
    assert_eq!(volume.stat(&key("a")).await.unwrap_err().problem, Problem::NoBucket);
    assert_eq!(volume.list(&Prefix::all()).try_next().await.unwrap_err().problem, Problem::NoBucket);
    assert_eq!(volume.put(&key("a"), Bytes::new()).await.unwrap_err().problem, Problem::NoBucket);
}

/// `/proc` cannot be flushed.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_flush_is_told_as_what_it_is() {
    let proc = below::Folder::open(Path::new("/proc")).unwrap().make(&[], rustix::fs::Mode::RWXU, |_| Ok(())).unwrap();
    let failed = unfinished::flush(&proc).unwrap_err();
    assert_ne!(Error::from_io("write", "a", &failed).problem, Problem::Missing, "{failed:?}");
}

/// A link to another folder at each level of `backups/mo/data/x/file`, the folder of the keys included.
#[rstest]
#[tokio::test]
async fn a_link_at_any_level_leads_nowhere(#[values(0, 1, 2, 3, 4)] level: usize) {
    let (mount, volume) = volume();
    let outside = tempfile::tempdir().unwrap();
    let parts = ["backups", "mo", "data", "x", "file"];
    let there = outside.path().join(parts[level + 1..].join("/"));
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    fs::write(if level == 4 { outside.path().join("file") } else { there.clone() }, b"canary").unwrap();
    let link = mount.path().join(parts[..=level].join("/"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(if level == 4 { outside.path().join("file") } else { outside.path().into() }, &link).unwrap();
    let before = everything(outside.path());
    assert!(volume.stat(&key("data/x/file")).await.is_err());
    assert!(volume.read(&key("data/x/file"), None).await.is_err());
    assert!(volume.create(&key("data/x/file"), Bytes::new()).await.is_err());
    assert!(volume.file(Path::new("data/x/file")).is_err());
    let listed: Result<Vec<_>, _> = volume.list(&Prefix::data()).try_collect().await;
    assert!(listed.is_err() || listed.unwrap().is_empty());
    assert!(volume.unlisted().await.unwrap().unwrap().contains("symbolic link"));
    if level < 4 {
        // A file replaces a link, and a link is deleted, without touching what it leads to.
        assert!(volume.put(&key("data/x/file"), Bytes::new()).await.is_err());
        assert!(volume.delete(vec![key("data/x/file")]).await.is_err());
    }
    let whole = Prefix::data();
    assert!(volume.remove_folder(&whole).await.is_ok() == (level > 1), "{level}");
    assert_eq!(volume.pinned().await.is_err(), level < 2);
    assert_eq!(everything(outside.path()), before);
}

fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), vec![]));
            found.extend(everything(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Another program exchanges the folder of a key for a link, and back, all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_lets_nothing_be_written_or_removed_elsewhere() {
    let (mount, volume) = volume();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), b"canary").unwrap();
    volume.put(&key("data/file"), Bytes::from_static(b"1")).await.unwrap();
    let before = everything(outside.path());
    let (folder, aside) = (mount.path().join("backups/mo/data"), mount.path().join("aside"));
    let stop = Arc::new(AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let (stop, outside) = (stop.clone(), outside.path().to_owned());
        move || {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) || swaps < 200 {
                let _: io::Result<()> = fs::create_dir_all(&folder);
                let _: io::Result<()> = fs::remove_dir_all(&aside);
                if fs::rename(&folder, &aside).is_ok() && symlink(&outside, &folder).is_ok() {
                    swaps += 1;
                    std::thread::yield_now();
                    let _: io::Result<()> = fs::remove_file(&folder);
                }
                let _: io::Result<()> = fs::rename(&aside, &folder);
            }
            swaps
        }
    });
    let mut done = 0;
    for name in ["file", "other"].into_iter().cycle().take(400) {
        let file = key(&format!("data/{name}"));
        done += usize::from(volume.put(&file, Bytes::from_static(b"2")).await.is_ok());
        done += usize::from(volume.delete(vec![file]).await.is_ok());
        let _: io::Result<()> = volume.remove_folder(&Prefix::data()).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(attacker.join().unwrap() >= 200 && done > 0);
    assert_eq!(everything(outside.path()), before);
}

#[tokio::test]
async fn a_pinned_folder_stays_the_one_it_was() {
    let (mount, volume) = volume();
    assert!(volume.pinned().await.unwrap().is_none());
    volume.put(&key("data/1"), Bytes::new()).await.unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("data")).unwrap();
    fs::write(outside.path().join("data/1"), b"canary").unwrap();
    let pinned = volume.pinned().await.unwrap().unwrap();
    fs::rename(mount.path().join("backups/mo"), mount.path().join("old")).unwrap();
    symlink(outside.path(), mount.path().join("backups/mo")).unwrap();
    pinned.remove_folder(&Prefix::data()).await.unwrap();
    assert!(!mount.path().join("old/data").exists() && outside.path().join("data/1").exists());
    assert!(volume.remove_folder(&Prefix::data()).await.is_err());
    assert!(outside.path().join("data/1").exists());
}

#[tokio::test]
async fn a_file_with_a_second_name_is_not_read() {
    let (mount, volume) = volume();
    fs::write(mount.path().join("secret"), b"canary").unwrap();
    volume.put(&key("a"), Bytes::new()).await.unwrap();
    assert!(volume.file(Path::new("a")).is_ok());
    fs::hard_link(mount.path().join("secret"), mount.path().join("backups/mo/b")).unwrap();
    assert_eq!(volume.file(Path::new("b")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_removed_folder_takes_with_it_what_no_listing_shows() {
    let (mount, volume) = volume();
    let base = mount.path().join("backups/mo");
    fs::create_dir_all(base.join("data/x/empty/~tmp")).unwrap();
    fs::write(base.join("data/x/old~"), b"1").unwrap();
    symlink("/", base.join("data/x/link")).unwrap();
    fs::write(base.join("other"), b"1").unwrap();
    volume.remove_folder(&Prefix::data()).await.unwrap();
    volume.remove_folder(&Prefix::data()).await.unwrap();
    volume.try_folder(&Prefix::data()).await.unwrap();
    assert_eq!(fs::read_dir(&base).unwrap().count(), 1);
}

#[tokio::test]
async fn a_tree_without_an_end_is_refused() {
    let (mount, volume) = volume();
    let mut folder = mount.path().join("backups/mo/data");
    for _ in 0..below::DEPTH + 2 {
        folder.push("d");
    }
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), b"").unwrap();
    let listed: Result<Vec<_>, _> = volume.list(&Prefix::all()).try_collect().await;
    assert!(listed.unwrap_err().to_string().contains("nested too deep"));
    assert!(volume.unlisted().await.unwrap().unwrap().contains("nested too deep"));
    let refused = volume.remove_folder(&Prefix::data()).await.unwrap_err();
    assert!(refused.to_string().contains("nested too deep"), "{refused}");
    assert!(folder.join("file").exists());
}

#[tokio::test]
async fn what_writers_left_is_removed_and_nothing_else() {
    let (mount, volume) = volume();
    let folder = mount.path().join("backups/mo").join(UNFINISHED);
    volume.clear_unfinished().await.unwrap();
    let mut left = volume.writer(&key("a"), 3).await.unwrap();
    left.write(Bytes::from_static(b"1")).await.unwrap();
    std::mem::forget(left);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::write(folder.join("notes"), b"of another program").unwrap();
    volume.clear_unfinished().await.unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::remove_file(folder.join("notes")).unwrap();
    volume.clear_unfinished().await.unwrap();
    assert!(!folder.exists());
    volume.put(&key("a"), Bytes::new()).await.unwrap();
    volume.clear_unfinished().await.unwrap();
    assert_eq!(everything(mount.path()).len(), 3, "two folders and the file");
}

#[rstest]
#[case::private(0o755, 0o600, 0o700)]
#[case::group_without_the_bit(0o775, 0o600, 0o700)]
#[case::shared(0o2770, 0o660, 0o2770)]
#[case::shared_and_open(0o2777, 0o660, 0o2770)]
#[tokio::test]
async fn the_volume_says_who_may_read(#[case] mode: u32, #[case] file: u32, #[case] folder: u32) {
    let mount = tempfile::tempdir().unwrap();
    fs::set_permissions(mount.path(), Permissions::from_mode(mode)).unwrap();
    let volume = Volume::open(mount.path(), "home").unwrap();
    volume.put(&key("data/put"), Bytes::new()).await.unwrap();
    volume.create(&key("data/created"), Bytes::new()).await.unwrap();
    volume.writer(&key("data/written"), 0).await.unwrap().close().await.unwrap();
    let mode_of = |path: &str| fs::metadata(mount.path().join(path)).unwrap().permissions().mode() & 0o7777;
    for path in ["home/data/put", "home/data/created", "home/data/written"] {
        assert_eq!(mode_of(path), file, "{path}");
    }
    for path in ["home", "home/data", "home/unfinished~"] {
        assert_eq!(mode_of(path), folder, "{path}");
    }
}

/// Only root can give a file away: as another user, what is written stays his own.
#[tokio::test]
async fn what_root_writes_belongs_to_the_owner_of_the_volume() {
    let mount = tempfile::tempdir().unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(mount.path(), Some(65_532), Some(65_531)).unwrap();
    }
    let owner = fs::metadata(mount.path()).unwrap();
    let volume = Volume::open(mount.path(), "home").unwrap();
    volume.put(&key("data/put"), Bytes::new()).await.unwrap();
    volume.writer(&key("data/written"), 0).await.unwrap().close().await.unwrap();
    for path in ["home", "home/data", "home/data/put", "home/data/written"] {
        let found = fs::metadata(mount.path().join(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner.uid(), owner.gid()), "{path}");
        assert_eq!(found.uid() == 65_532, root);
    }
}
