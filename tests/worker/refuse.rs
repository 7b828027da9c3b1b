//! What is wrong is said before a BACKUP is sent, each thing by its own reason, and nothing is written.

use std::sync::Arc;

use mo_backup::{
    api::{BackupType, Method, Outcome, Reason},
    plan::BackupId,
    store::{Keys, Volume, memory::Memory},
    task::{BackupTask, Location},
    worker::{Ports, Staging, backup},
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::rig::{ROOT, Rig, keys, storage};

fn foreign(rig: &Rig) {
    let marker = serde_json::json!({
        "format": 1, "repository": "01a1fb90-0000-7000-8000-000000000001", "createdAt": "2026-11-21T00:00:00Z",
        "owner": {"namespace": "other", "name": "main", "uid": "another"},
    });
    rig.repository.set("mo-backup.json", marker.to_string());
}

fn direct(task: &mut BackupTask, ports: &mut Ports) {
    (task.method, task.staging, ports.staging, ports.keys) = (Method::Direct, None, None, Some(keys()));
}

fn s3(task: &mut BackupTask, change: impl FnOnce(&mut mo_backup::api::S3Location)) {
    match &mut task.storage.location {
        Location::S3(s3) => change(s3),
        Location::Volume(_) => unreachable!("the rig's storage is a bucket"),
    }
}

/// Breaks one thing.
fn broken(what: &str, rig: &Rig, task: &mut BackupTask, ports: &mut Ports) {
    match what {
        "account" => rig.server.set_account("acc1"),
        "role" => rig.server.revoke_moadmin(),
        "bucket" => ports.repository = Arc::new(Memory::without_bucket()),
        "read-only" => task.storage.read_only = true,
        "foreign" => foreign(rig),
        "too new" => rig.repository.set("mo-backup.json", "{\"format\":2}"),
        "damaged" => rig.repository.set("mo-backup.json", "rubbish"),
        "prefix" => rig.repository.set(&format!("data/{}/1/tae/x", rig.id), "x"),
        "volume" => {
            let folder = Volume::open(std::path::Path::new("/nowhere/at/all"), "").unwrap();
            ports.staging = Some(Staging { objects: Arc::new(folder.clone()), folder });
        }
        "same folder" => ports.repository = ports.staging.as_ref().unwrap().objects.clone(),
        "running" => rig.server.begin("somebody", 1000),
        "no base" => task.kind = BackupType::Incremental,
        "named base" => task.base = Some(BackupId::fresh()),
        "direct" => direct(task, ports),
        "direct, ca" => {
            direct(task, ports);
            s3(task, |s3| s3.ca_secret = serde_json::from_value(serde_json::json!({"name": "ca"})).unwrap());
        }
        "direct, class" => {
            direct(task, ports);
            s3(task, |s3| s3.storage_class = Some("STANDARD_IA".into()));
        }
        "direct, token" => {
            direct(task, ports);
            ports.keys = Some(Keys { session_token: Some("CANARYTOKEN".to_owned().into()), ..keys() });
        }
        other => panic!("{other}"),
    }
}

#[rstest]
#[case("v4.2.0", "account", Reason::NotSysAccount)]
#[case("v4.2.0", "role", Reason::RoleTooWeak)]
#[case("v4.2.0", "bucket", Reason::BucketNotFound)]
#[case("v4.2.0", "read-only", Reason::StorageReadOnly)]
#[case("v4.2.0", "foreign", Reason::RepositoryForeign)]
#[case("v4.2.0", "too new", Reason::RepositoryTooNew)]
#[case("v4.2.0", "damaged", Reason::RepositoryDamaged)]
#[case("v4.2.0", "prefix", Reason::PrefixNotEmpty)]
#[case("v4.2.0", "volume", Reason::VolumeNotUsable)]
#[case("v4.2.0", "same folder", Reason::InvalidSpec)]
#[case("v4.2.0", "running", Reason::BackupRunning)]
#[case("v4.2.0", "no base", Reason::BaseNotUsable)]
#[case("v4.2.0", "named base", Reason::BaseNotFound)]
#[case("v1.2.4", "direct", Reason::MethodNotSupported)]
#[case("v3.0.18", "direct", Reason::KeysInSql)]
#[case("v4.2.0", "direct, ca", Reason::MethodNotSupported)]
#[case("v4.2.0", "direct, class", Reason::MethodNotSupported)]
#[case("v4.2.0", "direct, token", Reason::MethodNotSupported)]
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_and_nothing_is_written(
    #[case] version: &'static str,
    #[case] what: &str,
    #[case] expected: Reason,
) {
    let rig = Rig::new(version);
    let (mut task, mut ports) = (rig.task(1, BackupType::Auto), rig.ports());
    broken(what, &rig, &mut task, &mut ports);
    let before = rig.repository.keys();
    let report = backup(&task, &ports, &rig.watch(&task, CancellationToken::new())).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, !expected.is_permanent()));
    assert!(report.said.message.unwrap().contains(expected.remedy()));
    assert!(!rig.sent(), "{:#?}", rig.server.statements());
    let after: Vec<_> = rig.repository.keys().into_iter().filter(|key| key != "mo-backup.json").collect();
    let before: Vec<_> = before.into_iter().filter(|key| key != "mo-backup.json").collect();
    assert_eq!(after, before);
    // Beside the marker, of a folder that is the repository.
    let own = ["/mo-backup.json", "/unfinished~"];
    let staged: Vec<_> = rig.staged().into_iter().filter(|file| !own.iter().any(|own| file.ends_with(own))).collect();
    assert_eq!(staged, Vec::<String>::new());
    assert!(!rig.words().contains("CANARY"));
}

#[rstest]
#[case("v3.0.18", true)]
#[case("v4.2.0", false)]
#[tokio::test(start_paused = true)]
async fn a_server_writes_to_the_bucket_itself(#[case] version: &'static str, #[case] allow: bool) {
    let rig = Rig::direct(version);
    let mut task = rig.task(1, BackupType::Auto);
    task.allow_keys_in_sql = allow;
    let report = rig.run(&task).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    super::assert_whole(&rig);
    assert!(rig.sent());
    let said = format!("{} {}", rig.words(), serde_json::to_string(&report).unwrap());
    assert!(!said.contains("CANARY"), "{said}");
    assert!(said.contains("'secret_access_key'='******'"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_not_shared_is_noticed() {
    let rig = Rig::new("v4.2.0");
    rig.server.unshare();
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.reason.as_deref(), Some("StagingNotShared"), "{report:#?}");
    assert!(rig.catalog().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_the_server_does_not_see_is_noticed() {
    let rig = Rig::new("v4.2.0");
    rig.server.unshare();
    let (mut task, mut ports) = (rig.task(1, BackupType::Auto), rig.ports());
    direct(&mut task, &mut ports);
    let volume = serde_json::json!({"claim": "c", "path": "", "serverPath": ROOT});
    task.storage.location = Location::Volume(serde_json::from_value(volume).unwrap());
    let report = backup(&task, &ports, &rig.watch(&task, CancellationToken::new())).await;
    assert_eq!(report.said.reason.as_deref(), Some("VolumeNotUsable"), "{report:#?}");
    assert!(rig.sent() && !report.said.retryable, "another try leaves another copy");
}

#[test]
fn the_rigs_storage_is_what_the_tests_take_it_for() {
    assert!(matches!(storage().location, Location::S3(s3) if s3.prefix == "prod"));
}

#[tokio::test(start_paused = true)]
async fn the_attempt_after_a_place_that_was_not_empty_has_another() {
    let rig = Rig::new("v4.2.0");
    rig.repository.set(&format!("data/{}/1/tae/x", rig.id), "left");
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!((report.said.reason.as_deref(), report.said.retryable), (Some("PrefixNotEmpty"), true), "{report:#?}");
    let report = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
}
