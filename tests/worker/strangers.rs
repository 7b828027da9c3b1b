//! Data that is not ours, below keys and folders that could be.

use std::time::Duration;

use mo_backup::{
    api::{BackupType, Outcome},
    store::memory::{Fault, Memory},
    task::ProbeTask,
    worker::probe,
};
use uuid::{NoContext, Uuid};

use super::{
    keep::{places, quiet, subject},
    rig::{Rig, storage},
};

/// What a probe writes, as long ago as this.
fn left_by_a_probe(ago: Duration) -> String {
    let (seconds, nanos) = Uuid::now_v7().get_timestamp().unwrap().to_unix();
    let then = uuid::Timestamp::from_unix(NoContext, seconds - ago.as_secs(), nanos);
    format!("probe/{}", Uuid::new_v7(then))
}

async fn probed(repository: &Memory) {
    let task =
        ProbeTask { subject: subject(), storage: storage(), backups_over: String::new(), imports: None, swept: None };
    let report = probe(&task, &places(repository), None, &quiet()).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
}

#[tokio::test]
async fn a_probe_removes_nothing_where_it_is_a_stranger() {
    let repository = Memory::new();
    let foreign = ["probe/flights.csv".to_owned(), left_by_a_probe(Duration::from_hours(48))];
    for key in &foreign {
        repository.set(key, "theirs");
    }
    probed(&repository).await;
    for key in &foreign {
        assert!(repository.get(key).is_some(), "{key} is gone");
    }
}

#[tokio::test]
async fn a_probe_removes_only_what_old_probes_have_left() {
    let repository = Memory::new();
    probed(&repository).await;
    let old = left_by_a_probe(Duration::from_hours(48));
    let young = left_by_a_probe(Duration::from_mins(5));
    let foreign =
        ["flights.csv", "2026/x", "00000000-0000-4000-8000-000000000000", "01A1FB9E-18CD-70D1-B5D7-3C2397918600"];
    let kept: Vec<_> = foreign.map(|name| format!("probe/{name}")).into_iter().chain([young]).collect();
    for key in kept.iter().chain([&old]) {
        repository.set(key, "x");
    }
    probed(&repository).await;
    assert!(repository.get(&old).is_none());
    for key in &kept {
        assert!(repository.get(key).is_some(), "{key} is gone");
    }
}

/// Whoever writes to the staging folder lets a part of it be what the worker alone may read.
#[tokio::test(start_paused = true)]
async fn a_folder_that_leads_elsewhere_is_not_copied() {
    let reference = Rig::new("v4.2.0");
    reference.run(&reference.task(1, BackupType::Full)).await;
    let backup = reference.server.calls().iter().position(|call| call.starts_with("BACKUP ")).unwrap();
    let rig = Rig::new("v4.2.0");
    let outside = tempfile::tempdir().unwrap();
    let (from, to) = (rig.folder.path().join(format!("data/{}/1/tae/ckp", rig.id)), outside.path().join("ckp"));
    let secret = "canary".repeat(50);
    let kept = secret.clone();
    rig.server.fault(backup, Fault::After, move || {
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(&from).unwrap() {
            std::fs::write(to.join(file.unwrap().file_name()), &kept).unwrap();
        }
        std::fs::remove_dir_all(&from).unwrap();
        std::os::unix::fs::symlink(&to, &from).unwrap();
    });
    let report = rig.run(&rig.task(1, BackupType::Full)).await;
    let leaked = rig.repository.keys().into_iter().find(|key| rig.repository.get(key).unwrap() == secret.as_bytes());
    assert_eq!((leaked, report.said.outcome), (None, Outcome::Failed), "{report:#?}");
    assert_eq!(report.said.reason.as_deref(), Some("VolumeNotUsable"), "{report:#?}");
}
