//! Probing a storage and purging backups.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use mo_backup::{
    api::{BackupType, ManifestRef, Outcome, Reason, VersioningState},
    store::{Volume, memory::Memory},
    task::{ProbeTask, PurgeTask, StagingTask, Subject, SweepTask},
    worker::{Files, Place, Places, Staging, Watch, probe, purge, sweep},
};
use rstest::rstest;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    assert_whole,
    rig::{Rig, Told, storage},
};

/// The time of day of these tests.
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub fn places(repository: &Memory) -> Places {
    Places { repository: Arc::new(repository.clone()), kind: Place::Bucket, staging: None }
}

/// A watch that nobody hears from.
pub fn quiet() -> Watch {
    let clock = Arc::new(|| NOW);
    let limits = (Duration::from_secs(3600), Duration::from_secs(900));
    Watch::new(Arc::<Told>::default(), clock, "u-1", limits, CancellationToken::new())
}

pub fn subject() -> Subject {
    Subject { namespace: "ns".into(), name: "main".into(), uid: "u".into(), attempt: 1, run: "u-1".into() }
}

fn purge_task(rig: &Rig) -> PurgeTask {
    PurgeTask { subject: subject(), id: rig.id, storage: storage(), known: None, staging: None }
}

async fn chain() -> (Rig, Rig) {
    let full = Rig::new("v4.2.0");
    assert_eq!(full.run(&full.task(1, BackupType::Full)).await.said.outcome, Outcome::Succeeded);
    let incremental = full.next();
    let report = incremental.run(&incremental.task(1, BackupType::Incremental)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    (full, incremental)
}

#[tokio::test(start_paused = true)]
async fn what_another_backup_needs_outlives_its_own() {
    let (full, incremental) = chain().await;
    purge(&purge_task(&full), &places(&full.repository), NOW).await.unwrap();
    assert!(full.catalog().is_none());
    assert_whole(&incremental);
    purge(&purge_task(&incremental), &places(&full.repository), NOW).await.unwrap();
    assert_eq!(full.repository.keys(), ["mo-backup.json"]);
    purge(&purge_task(&incremental), &places(&full.repository), NOW).await.unwrap();
}

/// A BackupStorage was made anew under its name, with another bucket.
#[tokio::test(start_paused = true)]
async fn what_was_written_elsewhere_is_not_said_to_be_removed() {
    let full = Rig::new("v4.2.0");
    let report = full.run(&full.task(1, BackupType::Full)).await;
    let task = PurgeTask { known: report.manifest.clone(), ..purge_task(&full) };
    let known = task.known.clone().unwrap();
    let marker: Value = serde_json::from_slice(&full.repository.get("mo-backup.json").unwrap()).unwrap();
    assert_eq!(known.repository.as_deref(), marker["repository"].as_str());
    let other = Memory::new();
    let refused = purge(&task, &places(&other), NOW).await.unwrap_err();
    assert_eq!(refused.reason, Reason::PurgeFailed);
    let mut theirs = marker.clone();
    theirs["repository"] = "01a1fb90-0000-7000-8000-00000000000f".into();
    other.set("mo-backup.json", serde_json::to_vec(&theirs).unwrap());
    let refused = purge(&task, &places(&other), NOW).await.unwrap_err();
    assert_eq!(refused.reason, Reason::PurgeFailed);
    for part in [&*known.key, known.repository.as_deref().unwrap(), "01a1fb90-0000-7000-8000-00000000000f"] {
        assert!(refused.detail.contains(part), "{part} in {refused}");
    }
    // In its own repository it is removed, and once more after an attempt whose end was not heard.
    purge(&task, &places(&full.repository), NOW).await.unwrap();
    purge(&task, &places(&full.repository), NOW).await.unwrap();
    // A report of an earlier version does not name the repository.
    let old = PurgeTask { known: Some(ManifestRef { repository: None, ..known }), ..task };
    purge(&old, &places(&other), NOW).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_staging_folder_that_has_become_the_repository_is_not_emptied() {
    let (full, incremental) = chain().await;
    let folder = tempfile::tempdir().unwrap();
    let empty = Volume::open(folder.path(), "").unwrap();
    let staging = Staging { objects: Arc::new(full.repository.clone()), folder: empty };
    let places = Places { staging: Some(staging), ..places(&full.repository) };
    let purged = purge(&purge_task(&full), &places, NOW).await.unwrap();
    assert!(purged.kept > 0 && full.catalog().is_none());
    assert_whole(&incremental);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_somebody_else_is_purged() {
    let (full, _) = chain().await;
    let mut task = purge_task(&full);
    task.storage.uid = "another".into();
    let before = full.repository.keys();
    let refused = purge(&task, &places(&full.repository), NOW).await.unwrap_err();
    assert_eq!(refused.reason.as_str(), "RepositoryForeign");
    assert_eq!(full.repository.keys(), before);
}

#[rstest]
#[case::entry("catalog/")]
#[case::data("data/")]
#[tokio::test(start_paused = true)]
async fn without_a_marker_a_purge_that_removes_nothing_does_not_succeed(#[case] left: &str) {
    let rig = Rig::new("v4.2.0");
    assert_eq!(rig.run(&rig.task(1, BackupType::Full)).await.said.outcome, Outcome::Succeeded);
    for key in rig.repository.keys().into_iter().filter(|key| !key.starts_with(left)) {
        rig.repository.unset(&key);
    }
    let before = rig.repository.keys();
    let refused = purge(&purge_task(&rig), &places(&rig.repository), NOW).await.unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.retryable), ("PurgeFailed", true), "{refused}");
    for word in [left, "mo-backup.json", "BackupStorage ns/main"] {
        assert!(refused.detail.contains(word), "{refused}");
    }
    assert_eq!(rig.repository.keys(), before);
    for key in before {
        rig.repository.unset(&key);
    }
    purge(&purge_task(&rig), &places(&rig.repository), NOW).await.unwrap();
}

#[tokio::test]
async fn a_sweep_empties_its_own_folder_and_no_other() {
    let rig = Rig::new("v4.2.0");
    let folder = tempfile::tempdir().unwrap();
    let other = "data/01a1fb90-0000-7000-8000-000000000009/1/mo_meta";
    for file in [format!("data/{}/1/tae/x", rig.id), format!("data/{}/2/mo_meta", rig.id), other.to_owned()] {
        let path = folder.path().join("out").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let task = SweepTask {
        subject: subject(),
        id: rig.id,
        staging: StagingTask { path: "out".into(), server_path: "/b".into() },
    };
    let files = Files { staging: folder.path().into(), ..Files::of_the_pod() };
    let staging = files.staging(&task.staging).unwrap();
    sweep(&task, &staging).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path().join("out/data")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [folder.path().join("out").join(other).ancestors().nth(2).unwrap()]);
    sweep(&task, &staging).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_says_what_a_store_can_do_and_holds() {
    let (full, incremental) = chain().await;
    full.repository.set("data/01a1fb90-0000-7000-8000-000000000001/1/tae/x", "x");
    let task = ProbeTask {
        subject: subject(),
        storage: storage(),
        backups_over: "2, the last at noon".into(),
        imports: None,
        swept: None,
    };
    let report = probe(&task, &places(&full.repository), None, &quiet()).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    let can = report.capabilities.unwrap();
    assert!(can.conditional_create);
    assert_eq!(can.versioning.state, VersioningState::Unknown, "nobody was there to ask");
    assert_eq!(report.backups_over, "2, the last at noon");
    let seen = report.repository.unwrap();
    let added = [&full, &incremental].map(|r| r.catalog().unwrap().totals.copied_bytes).iter().sum::<u64>();
    assert_eq!((seen.backups, seen.bytes, seen.orphans), (2, i64::try_from(added).unwrap(), 1));
    assert_eq!(seen.owner, "ns/main");
    assert!(!full.repository.keys().iter().any(|k| k.starts_with("probe/")));
}

#[tokio::test(start_paused = true)]
async fn a_probe_claims_an_empty_place_and_writes_nothing_where_it_may_not() {
    let fresh = Memory::new();
    let mut task =
        ProbeTask { subject: subject(), storage: storage(), backups_over: String::new(), imports: None, swept: None };
    let report = probe(&task, &places(&fresh), None, &quiet()).await;
    assert_eq!((report.said.outcome, fresh.keys()), (Outcome::Succeeded, vec!["mo-backup.json".to_owned()]));
    task.storage.uid = "another".into();
    let calls = fresh.calls().len();
    let report = probe(&task, &places(&fresh), None, &quiet()).await;
    assert_eq!((report.said.outcome, &report.capabilities), (Outcome::Succeeded, &None), "{report:#?}");
    let told: Vec<_> = report.warnings.iter().map(|w| &*w.reason).collect();
    assert_eq!((told, report.repository.map(|r| r.owner)), (vec!["RepositoryForeign"], Some("ns/main".into())));
    let writes =
        |calls: &[String]| calls.iter().any(|c| ["read", "stat", "list"].iter().all(|verb| !c.starts_with(verb)));
    assert!(!writes(&fresh.calls()[calls..]), "{:?}", &fresh.calls()[calls..]);
    let nowhere = probe(&task, &places(&Memory::without_bucket()), None, &quiet()).await;
    assert_eq!(nowhere.said.reason.as_deref(), Some("BucketNotFound"), "{nowhere:#?}");
}
