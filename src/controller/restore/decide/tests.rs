use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Backup, BackupStorage},
    controller::{
        job::WorkerImage,
        seen::{JobEnd, JobSeen, Named, Workers},
    },
};

pub(in crate::controller::restore) const UID: &str = "00000000-0000-4000-8000-000000000009";

pub(in crate::controller::restore) fn restore(change: impl FnOnce(&mut Value)) -> Restore {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Restore",
        "metadata": {"name": "r", "namespace": "ns", "uid": UID, "generation": 1},
        "spec": {
            "source": {"type": "Backup", "backup": {"name": "b"}},
            "target": {"type": "S3", "s3": {"bucket": "new", "region": "us-east-1"}}
        }
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn backup(phase: &str) -> Backup {
    serde_json::from_value(json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": "b", "namespace": "ns"},
        "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}}, "storage": "st"},
        "status": {"phase": phase, "attempt": 1, "report": {"run": "x-1", "outcome": "Succeeded", "retryable": false,
            "id": "01940000-0000-7000-8000-000000000001"}}
    }))
    .unwrap()
}

fn storage() -> BackupStorage {
    serde_json::from_value(json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1"}}
    }))
    .unwrap()
}

fn seen(restore: Restore) -> Observed {
    Observed {
        restore,
        backup: Some(backup("Completed")),
        storage: Some(storage()),
        boot: Boot::Missing,
        named: Named::NotLookedAt,
        workers: Workers::default(),
        image: WorkerImage::default(),
    }
}

pub(in crate::controller::restore) fn now() -> Timestamp {
    "2027-01-01T01:00:00Z".parse().unwrap()
}

pub(in crate::controller::restore) fn said(decision: &RestoreDecision) -> (Option<RestorePhase>, Reason) {
    (decision.status.phase, ready(&decision.status.run).unwrap().0)
}

pub(in crate::controller::restore) fn condition(decision: &RestoreDecision, of: &str) -> Option<String> {
    decision.status.run.conditions.iter().find(|c| c.type_ == of).map(|c| c.status.clone())
}

#[rstest]
#[case::all_is_there(|_: &mut Observed| {}, RestorePhase::Copying, Reason::Starting)]
#[case::suspended(|s: &mut Observed| s.restore.spec.suspend = true, RestorePhase::Suspended, Reason::Suspended)]
#[case::no_backup(|s: &mut Observed| s.backup = None, RestorePhase::Pending, Reason::BackupNotReady)]
#[case::backup_runs(|s: &mut Observed| s.backup = Some(backup("Running")), RestorePhase::Pending, Reason::BackupNotReady)]
#[case::backup_failed(|s: &mut Observed| s.backup = Some(backup("Failed")), RestorePhase::Failed, Reason::BackupNotReady)]
#[case::no_storage(|s: &mut Observed| s.storage = None, RestorePhase::Pending, Reason::StorageNotFound)]
#[case::bad_spec(|s: &mut Observed| s.restore.spec.parallelism = 0, RestorePhase::Failed, Reason::InvalidSpec)]
fn what_stands_before_the_first_attempt(
    #[case] change: fn(&mut Observed),
    #[case] phase: RestorePhase,
    #[case] reason: Reason,
) {
    let mut world = seen(restore(|_| {}));
    change(&mut world);
    let decision = decide(&world, now());
    assert_eq!(said(&decision), (Some(phase), reason));
    let starts = decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_)));
    assert_eq!(starts, phase == RestorePhase::Copying);
    assert_eq!(decision.status.run.attempt, i32::from(starts), "an attempt is on record exactly when its Job is made");
}

/// A Restore whose first attempt is on record, with what its worker and its Job say.
pub(in crate::controller::restore) fn ended(report: Value, change: impl FnOnce(&mut Value)) -> Observed {
    let mut world = seen(restore(|r| {
        let mut report = report;
        report["run"] = json!(format!("{UID}-1"));
        r["status"] = json!({"phase": "Copying", "attempt": 1, "firstAttempt": 1, "run": format!("{UID}-1"),
            "attempts": [{"number": 1, "job": "r-restore-1", "startTime": "2027-01-01T00:00:00Z"}], "report": report});
        change(r);
    }));
    world.workers.jobs.push(JobSeen {
        name: "r-restore-1".into(),
        uid: "j".into(),
        run: format!("{UID}-1"),
        created: "2027-01-01T00:00:00Z".parse().unwrap(),
        deleting: false,
        end: Some(JobEnd::Complete),
    });
    world
}

fn plan() -> Value {
    json!({"hash": "a".repeat(64), "dataPath": "data", "dataFormat": "Raw", "hkDataPath": "hk_data", "hkDataFormat": "Raw"})
}

pub(in crate::controller::restore) fn whole() -> Value {
    json!({"outcome": "Succeeded", "retryable": false, "completeTime": "2027-01-01T00:30:00Z", "objects": 7,
        "serverVersion": "v1.2.4", "plan": plan()})
}

/// Complete is said when everything that was asked for is there: the data, and the files to boot from it.
#[test]
fn it_is_in_place_only_with_its_boot_files() {
    let mut world = ended(whole(), |_| {});
    let first = decide(&world, now());
    let [Effect::WriteBoot(map)] = &*first.effects else { panic!("{:?}", first.effects) };
    assert_eq!(
        (first.status.phase, condition(&first, "Complete").as_deref()),
        (Some(RestorePhase::Copying), Some("False"))
    );
    assert!(open_record(&first.status.run).is_some(), "not judged before it is all there");
    world.boot = Boot::Ours(map.data.clone().unwrap());
    let second = decide(&world, now());
    assert_eq!(said(&second), (Some(RestorePhase::InPlace), Reason::NotBooted));
    for (of, is) in [("Complete", "True"), ("Failed", "False"), ("DataInPlace", "True")] {
        assert_eq!(condition(&second, of).as_deref(), Some(is), "{of}");
    }
    assert!(second.status.run.end_time.is_some());
}

#[test]
fn a_strange_config_map_is_left_alone_and_told() {
    let world = Observed { boot: Boot::Strange, ..ended(whole(), |_| {}) };
    let decision = decide(&world, now());
    assert_eq!(said(&decision), (Some(RestorePhase::Copying), Reason::NameConflict));
    assert!(decision.effects.is_empty());
    assert_eq!(condition(&decision, "Stalled").as_deref(), Some("True"));
}

#[test]
fn a_second_apply_says_that_nothing_was_touched() {
    let mut report = whole();
    report["completeTime"].take();
    report["alreadyRestored"] = json!({"completedAt": "2026-12-31T00:00:00Z", "uid": "old"});
    let mut world = ended(report, |_| {});
    let first = decide(&world, now());
    let [Effect::WriteBoot(map)] = &*first.effects else { panic!("a rebuilt cluster needs the boot files too") };
    world.boot = Boot::Ours(map.data.clone().unwrap());
    assert_eq!(said(&decide(&world, now())), (Some(RestorePhase::InPlace), Reason::AlreadyRestored));
}

#[test]
fn a_plan_is_complete_and_is_carried_out_when_the_mode_changes() {
    let report = json!({"outcome": "Succeeded", "retryable": false, "plan": plan()});
    let world = ended(report, |r| r["spec"]["mode"] = json!("Plan"));
    let planned = decide(&world, now());
    assert_eq!(said(&planned), (Some(RestorePhase::Planned), Reason::Planned));
    assert_eq!(condition(&planned, "Complete").as_deref(), Some("True"));
    assert!(planned.effects.is_empty());
    let mut object = world.restore.clone();
    let status = object.status.as_mut().unwrap();
    (status.phase, status.run) = (planned.status.phase, planned.status.run);
    object.spec.mode = RestoreMode::Execute;
    let later = "2027-01-01T02:00:00Z".parse().unwrap();
    let next = decide(&Observed { restore: object, ..world }, later);
    assert_eq!((said(&next), next.status.run.attempt), ((Some(RestorePhase::Copying), Reason::Starting), 2));
    assert_eq!(condition(&next, "Complete").as_deref(), Some("False"));
    assert_eq!(next.status.run.end_time, None);
}

#[rstest]
#[case::another_can_help(true, RestorePhase::Retrying, Reason::Retrying)]
#[case::none_can(false, RestorePhase::Failed, Reason::ObjectMissing)]
fn a_failed_attempt(#[case] retryable: bool, #[case] phase: RestorePhase, #[case] reason: Reason) {
    let report =
        json!({"outcome": "Failed", "retryable": retryable, "reason": "ObjectMissing", "message": "tae/x is missing"});
    let decision = decide(&ended(report, |_| {}), now());
    assert_eq!(said(&decision), (Some(phase), reason));
    assert!(ready(&decision.status.run).unwrap().1.contains("tae/x is missing"));
    assert_eq!(condition(&decision, "DataInPlace").as_deref(), None);
}

#[test]
fn success_without_a_plan_is_none() {
    let mut report = whole();
    report.as_object_mut().unwrap().remove("plan");
    assert_eq!(said(&decide(&ended(report, |_| {}), now())).0, Some(RestorePhase::Retrying));
}

#[test]
fn a_deleted_one_is_left_to_kubernetes() {
    let world = ended(whole(), |r| r["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:59:00Z"));
    let decision = decide(&world, now());
    assert!(decision.effects.is_empty());
    assert_eq!(decision.requeue, Requeue::OnChange);
}

/// Nothing changes on a world that has not changed, wherever it is looked at again.
#[rstest]
#[case::new(seen(restore(|_| {})))]
#[case::over(ended(whole(), |_| {}))]
#[case::no_backup(Observed { backup: None, ..seen(restore(|_| {})) })]
fn deciding_twice_changes_nothing(#[case] mut world: Observed) {
    let first = decide(&world, now());
    let mut status = world.restore.status.unwrap_or_default();
    (status.phase, status.run) = (first.status.phase, first.status.run.clone());
    world.restore.status = Some(status);
    assert_eq!(decide(&world, now()).status, first.status);
}
