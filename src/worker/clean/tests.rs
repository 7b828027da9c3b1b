use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::*;
use crate::{
    plan::{Marker, Owner, manifest::FORMAT},
    store::Volume,
};

fn id(n: u64) -> BackupId {
    BackupId::of_object(Uuid::from_u128(7), n)
}

/// Two files of a backup.
fn put(base: &Path, id: BackupId) {
    let folder = base.join(Prefix::backup(id).as_str()).join("1/tae");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("01a1fb92-a5a1-7a9e-bffc-b11511d5c2f8_00000"), "x").unwrap();
    fs::write(folder.join("../mo_meta"), "x").unwrap();
}

/// A folder with five backups and a marker.
fn repository() -> (tempfile::TempDir, RepositoryId) {
    let (folder, repository) = (tempfile::tempdir().unwrap(), RepositoryId(Uuid::from_u128(1)));
    (0..5).for_each(|n| put(folder.path(), id(n)));
    let owner = Owner { namespace: String::new(), name: "r".into(), uid: "r".into() };
    let marker = Marker { format: FORMAT, repository, owner, created_at: "2026-11-30T00:00:00Z".into() };
    fs::write(folder.path().join(Key::marker().as_str()), serde_json::to_vec(&marker).unwrap()).unwrap();
    (folder, repository)
}

fn staging(volume: &Path, folder: &str) -> Staging {
    let folder = Volume::open(volume, folder).unwrap();
    Staging { objects: Arc::new(folder.clone()), folder }
}

fn files(base: &Path) -> usize {
    let found = fs::read_dir(base).into_iter().flatten().map(Result::unwrap);
    found.map(|entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// MatrixOne exchanges the staging folder for a link to the repository, which the worker has mounted beside it.
#[tokio::test]
async fn a_staging_folder_that_became_a_link_to_the_repository_removes_nothing() {
    let (volume, (repository, of)) = (tempfile::tempdir().unwrap(), repository());
    let stage = volume.path().join("stage");
    put(&stage, id(0));
    let staging = staging(volume.path(), "stage");
    fs::rename(&stage, volume.path().join("old")).unwrap();
    symlink(repository.path(), &stage).unwrap();
    let refused = empty_folder(&staging, &Prefix::backup(id(0)), Some(of)).await.unwrap_err();
    assert!(refused.why.contains("symbolic link"), "{refused}");
    assert_eq!(files(repository.path()), 11);
}

/// The repository under another path, as after a change of the mounts: the marker is in the folder that is emptied.
#[tokio::test]
async fn a_staging_folder_that_is_the_repository_removes_nothing() {
    let (repository, of) = repository();
    let staging = staging(repository.path(), "");
    for known in [Some(of), None] {
        let refused = empty_folder(&staging, &Prefix::backup(id(0)), known).await.unwrap_err();
        assert!(refused.lasting && refused.why.contains("repository"), "{refused}");
        assert_eq!(files(repository.path()), 11);
    }
    // Another repository may lie beside what is staged.
    let other = Some(RepositoryId(Uuid::from_u128(2)));
    empty_folder(&staging, &Prefix::backup(id(0)), other).await.unwrap();
    assert_eq!(files(repository.path()), 9);
}

/// As soon as the folder is gone, MatrixOne makes it again as a link to the repository.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_removes_nothing_of_the_repository() {
    let (repository, of) = repository();
    for n in 0..200 {
        let (volume, id) = (tempfile::tempdir().unwrap(), id(1000 + n));
        put(volume.path(), id);
        let staging = staging(volume.path(), "");
        let stop = Arc::new(AtomicBool::new(false));
        let attacker = thread::spawn({
            let link = volume.path().join(Prefix::backup(id).as_str().trim_end_matches('/'));
            let (repository, stop) = (repository.path().to_owned(), stop.clone());
            move || {
                while fs::symlink_metadata(&link).is_ok() && !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(20 * (n % 40)) {
                    std::hint::spin_loop();
                }
                let _: std::io::Result<()> = fs::create_dir_all(link.parent().unwrap());
                let _: std::io::Result<()> = symlink(repository, link);
            }
        });
        let _: Result<(), NotEmpty> = empty_folder(&staging, &Prefix::backup(id), Some(of)).await;
        let _: Result<(), NotEmpty> = empty_folder(&staging, &Prefix::backup(id), Some(of)).await;
        stop.store(true, Ordering::Relaxed);
        attacker.join().unwrap();
        assert_eq!(files(repository.path()), 11, "run {n}");
    }
}

/// Folders on the way are exchanged for links, and back, while the staging folder is emptied.
#[tokio::test(flavor = "multi_thread")]
async fn folders_exchanged_meanwhile_lead_nowhere() {
    let (volume, (repository, of)) = (tempfile::tempdir().unwrap(), repository());
    let staging = staging(volume.path(), "stage");
    let stop = Arc::new(AtomicBool::new(false));
    let attacker = thread::spawn({
        let (volume, repository, stop) = (volume.path().to_owned(), repository.path().to_owned(), stop.clone());
        move || {
            let mut swaps = 0;
            // The staging folder, and the folder of all backups in it.
            let pairs = [("stage", ""), ("stage/data", "data")].map(|(at, to)| (volume.join(at), repository.join(to)));
            while swaps < 400 || !stop.load(Ordering::Relaxed) {
                for (folder, target) in &pairs {
                    let aside = volume.join("aside");
                    if fs::rename(folder, &aside).is_ok() && symlink(target, folder).is_ok() {
                        swaps += 1;
                        thread::yield_now();
                        fs::remove_file(folder).unwrap();
                        fs::rename(&aside, folder).unwrap();
                    } else {
                        fs::create_dir_all(folder).unwrap();
                    }
                }
            }
            swaps
        }
    });
    for _ in 0..200 {
        for n in 0..5 {
            let _: Result<(), NotEmpty> = empty_folder(&staging, &Prefix::backup(id(n)), Some(of)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(attacker.join().unwrap() >= 400);
    assert_eq!(files(repository.path()), 11);
}
