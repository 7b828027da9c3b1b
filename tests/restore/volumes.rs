//! From volume to volume, opened as a Pod opens them.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use mo_backup::{
    api::{Format, Reason, RestoreReport},
    plan::Framing,
    store::Volume,
    task::{Choice, Location, RestoreTask},
    worker::{Files, restore},
};
use serde_json::json;

use super::rig::{MARKER, Rig, assert_done};

fn volume(claim: &str, path: &str) -> Location {
    Location::Volume(serde_json::from_value(json!({"claim": claim, "path": path})).unwrap())
}

#[tokio::test]
async fn the_target_has_a_mount_of_its_own_and_its_folder_is_made() {
    let rig = Rig::new(Framing::Crc2048, Format::Framed).await;
    let (repository, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for key in rig.source.keys() {
        let file = repository.path().join("backups").join(&key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, rig.source.get(&key).unwrap()).unwrap();
    }
    let mut task: RestoreTask = rig.task(Choice::Latest);
    task.storage.location = volume("repository", "backups");
    task.target.location = volume("data", "new/home");
    let files = Files { repository: repository.path().into(), target: target.path().into(), ..Files::of_the_pod() };
    let watch = rig.watch(&task);
    let ports = files.restore_ports(&task, &watch).await.unwrap();
    assert_done(&restore(&task, &ports, &watch).await);
    for (key, expected) in rig.expected(1) {
        assert_eq!(fs::read(target.path().join("new/home").join(&key)).unwrap(), expected, "{key}");
    }
    let home: Vec<_> = fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(home, ["new"], "nothing is written beside the folder");
    assert!(target.path().join("new/home").join(MARKER).exists());
}

#[tokio::test]
async fn a_target_that_is_not_mounted_is_said() {
    let rig = Rig::new(Framing::Raw, Format::Framed).await;
    let repository = tempfile::tempdir().unwrap();
    let mut task = rig.task(Choice::Latest);
    task.storage.location = volume("repository", "");
    task.target.location = volume("data", "");
    let target = repository.path().join("nowhere");
    let files = Files { repository: repository.path().into(), target, ..Files::of_the_pod() };
    let failure = files.restore_ports(&task, &rig.watch(&task)).await.err().unwrap();
    assert_eq!(failure.reason, Reason::VolumeNotUsable);
    assert!(failure.detail.contains("in the target"), "{failure}");
}

/// What no listing shows is seen before anything is read, and where it comes later, before it is called done.
#[tokio::test]
async fn a_link_in_the_target_is_no_empty_target() {
    let rig = Rig::new(Framing::Raw, Format::Framed).await;
    let mount = tempfile::tempdir().unwrap();
    let target = Arc::new(Volume::open(mount.path(), "home").unwrap());
    let mut task = rig.task(Choice::Latest);
    task.target.location = volume("data", "home");
    let link = mount.path().join("home/logservice-data");
    fs::create_dir_all(mount.path().join("home/empty")).unwrap();
    symlink("/", &link).unwrap();
    let read = rig.source.calls().len();
    let refused = |report: &RestoreReport, text: &str| {
        assert_eq!(report.said.reason.as_deref(), Some(Reason::TargetNotEmpty.as_str()), "{report:#?}");
        let message = report.said.message.as_deref().unwrap();
        assert!(message.contains(&format!("logservice-data (a symbolic link) {text}")), "{message}");
    };
    refused(&rig.run_to(&task, target.clone()).await, "is there");
    assert_eq!(rig.source.calls().len(), read);
    fs::remove_file(&link).unwrap();
    assert_done(&rig.run_to(&task, target.clone()).await);
    let marker = mount.path().join("home").join(MARKER);
    let mut begun: serde_json::Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    begun.as_object_mut().unwrap().remove("completedAt").unwrap();
    fs::write(&marker, begun.to_string()).unwrap();
    symlink("/", &link).unwrap();
    refused(&rig.run_to(&task, target).await, "came there");
    assert_eq!(fs::read_to_string(&marker).unwrap(), begun.to_string());
}
