use std::os::unix::fs::symlink;

use super::*;

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

/// `/proc` cannot be flushed: everything works but the last step.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_failed_flush_is_told_as_what_it_is() {
    use std::os::fd::AsRawFd as _;
    let real = tempfile::tempdir().unwrap();
    let opened = File::open(real.path()).unwrap();
    let volume = Volume::open(Path::new("/proc/self/fd"), &opened.as_raw_fd().to_string()).unwrap();
    let put = volume.put(&key("a"), Bytes::from_static(b"1")).await.unwrap_err();
    assert!(put.problem != Problem::Missing && real.path().join("a").exists(), "{put:?}");
    let writer = volume.writer(&key("b"), 0).await.unwrap();
    let closed = writer.close().await.unwrap_err();
    assert!(closed.problem != Problem::Missing && real.path().join("b").exists(), "{closed:?}");
}
