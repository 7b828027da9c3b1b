use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn backup(change: impl FnOnce(&mut Value)) -> Backup {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "ns", "uid": "00000000-0000-4000-8000-000000000001",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "dump"}}, "storage": "st"}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn storage(change: impl FnOnce(&mut Value)) -> BackupStorage {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "u"},
        "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1"}}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn none(_: &mut Value) {}

fn attempt(backup: &Backup, storage: &BackupStorage, number: u32) -> Result<BackupTask, InvalidSpec> {
    BackupTask::for_attempt(
        backup,
        backup.spec.cluster.as_ref().unwrap().address.as_ref().unwrap(),
        storage,
        None,
        number,
    )
}

#[rstest]
#[case("90s", Some(90))]
#[case("1h30m", Some(5400))]
#[case("24h", Some(86_400))]
#[case("", None)]
#[case("0s", None)]
#[case("5", None)]
#[case("h", None)]
#[case("1d", None)]
#[case("-1s", None)]
#[case("1.5h", None)]
#[case("99999999999999999999s", None)]
#[case("9999999h", None)]
fn durations_are_those_of_go(#[case] text: &str, #[case] seconds: Option<u64>) {
    assert_eq!(duration("spec.deadlines.run", text).ok(), seconds.map(Duration::from_secs));
}

#[test]
fn a_task_holds_what_the_spec_says() {
    let backup = backup(|o| {
        o["spec"]["staging"] = json!({"volume": {"claim": "c", "path": "a/b", "serverPath": "/mnt/backup/"}});
    });
    let task = attempt(&backup, &storage(none), 3).unwrap();
    assert_eq!(task.subject.run, "00000000-0000-4000-8000-000000000001-3");
    assert_eq!(task.method, Method::Staged);
    assert_eq!(task.staging.unwrap().server_path, "/mnt/backup/a/b");
    assert_eq!(task.cluster.port, 6001);
    let other = attempt(&backup, &storage(none), 4).unwrap();
    assert_eq!(task.id, other.id, "every attempt of an object has the same id");
}

#[rstest]
#[case::base_of_a_full_one(|o: &mut Value| { o["spec"]["type"] = json!("Full"); o["spec"]["base"] = json!("x"); }, "spec.base")]
#[case::staged_without_staging(|o: &mut Value| o["spec"]["method"] = json!("Staged"), "spec.staging")]
#[case::direct_with_staging(|o: &mut Value| { o["spec"]["method"] = json!("Direct"); o["spec"]["staging"] = json!({"volume": {"claim": "c", "serverPath": "/b"}}); }, "spec.staging")]
#[case::port(|o: &mut Value| o["spec"]["cluster"]["address"]["port"] = json!(70_000), "spec.cluster.address.port")]
#[case::parallelism(|o: &mut Value| o["spec"]["parallelism"] = json!(0), "spec.parallelism")]
#[case::host(|o: &mut Value| o["spec"]["cluster"]["address"]["host"] = json!("http://mo"), "spec.cluster.address.host")]
#[case::run(|o: &mut Value| o["spec"]["deadlines"] = json!({"run": "1d"}), "spec.deadlines.run")]
#[case::path(|o: &mut Value| o["spec"]["staging"] = json!({"volume": {"claim": "c", "path": "../x", "serverPath": "/b"}}), "spec.staging.volume.path")]
#[case::server_path(|o: &mut Value| o["spec"]["staging"] = json!({"volume": {"claim": "c", "serverPath": "b"}}), "spec.staging.volume.serverPath")]
#[case::size(|o: &mut Value| o["spec"]["job"] = json!({"resources": {"limits": {"memory": "1 Gi"}}}), "spec.job.resources")]
fn an_impossible_spec_names_its_field(#[case] change: fn(&mut Value), #[case] expected: &str) {
    match attempt(&backup(change), &storage(none), 1) {
        Err(InvalidSpec::Field { field, .. }) => assert_eq!(field, expected),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::ca("caSecret", json!({"name": "ca"}))]
#[case::class("storageClass", json!("STANDARD_IA"))]
#[case::encryption("serverSideEncryption", json!({"type": "AES256"}))]
#[case::role("roleArn", json!("arn:x"))]
fn the_server_cannot_do_what_its_statement_cannot_say(#[case] field: &str, #[case] value: Value) {
    let storage = storage(|o| o["spec"]["s3"][field] = value);
    let refused = attempt(&backup(none), &storage, 1).unwrap_err();
    assert_eq!(refused.reason(), Reason::MethodNotSupported);
    assert!(refused.to_string().contains(field), "{refused}");
    let staged = backup(|o| o["spec"]["staging"] = json!({"volume": {"claim": "c", "serverPath": "/b"}}));
    assert!(attempt(&staged, &storage, 1).is_ok(), "the worker can");
}

#[test]
fn a_volume_needs_a_server_path_for_the_server_to_write_there() {
    let with =
        |path: Value| storage(|o| o["spec"] = json!({"type": "Volume", "volume": {"claim": "c", "serverPath": path}}));
    let refused = attempt(&backup(none), &with(Value::Null), 1).unwrap_err();
    assert_eq!(refused.reason(), Reason::MethodNotSupported);
    assert!(attempt(&backup(none), &with(json!("/mnt")), 1).is_ok());
}

#[rstest]
#[case::two_places(|o: &mut Value| o["spec"]["volume"] = json!({"claim": "c"}))]
#[case::no_place(|o: &mut Value| { o["spec"].as_object_mut().unwrap().remove("s3"); })]
#[case::climbing_prefix(|o: &mut Value| o["spec"]["s3"]["prefix"] = json!("a/../b"))]
#[case::size(|o: &mut Value| o["spec"]["job"] = json!({"resources": {"requests": {"cpu": "half"}}}))]
#[case::no_region(|o: &mut Value| o["spec"]["s3"]["region"] = json!(""))]
#[case::no_interval(|o: &mut Value| o["spec"]["probeEvery"] = json!("daily"))]
fn an_impossible_storage_is_refused(#[case] change: fn(&mut Value)) {
    let refused = ProbeTask::for_attempt(&storage(change), String::new(), false, 1).unwrap_err();
    assert_eq!(refused.reason(), Reason::InvalidSpec);
}
