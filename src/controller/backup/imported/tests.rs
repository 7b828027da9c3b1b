use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::controller::{
    backup::{Base, Keeper},
    decision::Kind as _,
    job::WorkerImage,
    seen::{Named, Workers},
};

const ID: &str = "01a1fb90-0000-7000-8000-000000000001";

fn backup(status: Value, change: impl FnOnce(&mut Value)) -> Backup {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"imported": {"id": ID}, "storage": "st"}, "status": status
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn decided(backup: Backup, with_storage: bool) -> BackupDecision {
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "st"},
        "spec": {"type": "Volume", "volume": {"claim": "c"}}});
    let storage = with_storage.then(|| serde_json::from_value(storage).unwrap());
    let (base, named, others, workers) = (Base::NotNamed, Named::NotLookedAt, Vec::new(), Workers::default());
    let image = WorkerImage::default();
    let (terminating, kept_by) = (false, Vec::new());
    let seen = Observed { backup, storage, base, named, others, workers, terminating, kept_by, image };
    crate::controller::backup::decide(&seen, "2026-01-01T00:10:00Z".parse::<Timestamp>().unwrap())
}

/// The status that the decision leaves, with this report.
fn after(decision: &BackupDecision, report: Value) -> Value {
    let mut status = serde_json::to_value(&decision.status).unwrap();
    status["report"] = report;
    status
}

fn report(run: &str, outcome: &str, id: &str) -> Value {
    json!({"run": run, "outcome": outcome, "reason": (outcome == "Failed").then_some("BackupNotFound"), "id": id,
        "message": "it is not there", "manifest": {"key": "catalog/x.json", "sha256": "0"}})
}

fn says(decision: &BackupDecision, condition: &str) -> (String, String) {
    let found = decision.status.run.conditions.iter().find(|c| c.type_ == condition).unwrap();
    (found.status.clone(), found.reason.clone())
}

#[test]
fn it_waits_for_a_look_and_never_runs() {
    let decision = decided(backup(Value::Null, |_| {}), true);
    assert_eq!(decision.status.phase, Some(BackupPhase::Pending));
    assert_eq!((decision.status.run.run.as_deref(), decision.status.run.attempt), (Some("u-0"), 0));
    assert!(decision.effects.is_empty() && decision.status.run.attempts.is_empty());
    let waiting = backup(after(&decision, Value::Null), |_| {});
    assert!(is_awaited(&waiting));
    let again = decided(waiting.clone(), true);
    assert_eq!(again.status, waiting.written(), "a second look writes nothing");
}

#[test]
fn without_its_storage_nobody_looks() {
    let decision = decided(backup(Value::Null, |_| {}), false);
    assert_eq!(says(&decision, "Ready"), ("False".into(), "StorageNotFound".into()));
    assert!(!is_awaited(&backup(after(&decision, Value::Null), |_| {})));
}

#[test]
fn what_the_repository_says_is_taken_over() {
    let first = decided(backup(Value::Null, |_| {}), true);
    let told = backup(after(&first, report("u-0", "Succeeded", ID)), |_| {});
    assert!(!is_awaited(&told));
    let done = decided(told, true);
    assert_eq!((done.status.phase, done.effects.as_slice()), (Some(BackupPhase::Completed), [Effect::Hold].as_slice()));
    assert_eq!(says(&done, "Complete"), ("True".into(), "Imported".into()));
    assert_eq!(says(&done, "Verified"), ("False".into(), "NotVerifiedYet".into()), "nobody has looked at its objects");
    // The cache keeps less of its report, and the finalizer may not have been set before a crash.
    let cached = backup(after(&done, Value::Null), |o| o["metadata"]["finalizers"] = json!([FINALIZER]));
    let rest = decided(cached.clone(), false);
    assert_eq!((rest.status, rest.effects.len()), (cached.written(), 0));
    assert_eq!(decided(backup(after(&done, Value::Null), |_| {}), false).effects, [Effect::Hold]);
}

#[rstest]
#[case::not_there(report("u-0", "Failed", ID), "BackupNotFound")]
#[case::another(report("u-0", "Succeeded", "01a1fb90-0000-7000-8000-000000000002"), "Internal")]
fn what_is_not_there_fails_until_it_is_asked_for_again(#[case] told: Value, #[case] reason: &str) {
    let first = decided(backup(Value::Null, |_| {}), true);
    let failed = decided(backup(after(&first, told.clone()), |_| {}), true);
    assert_eq!(failed.status.phase, Some(BackupPhase::Failed));
    assert_eq!(says(&failed, "Failed"), ("True".into(), reason.into()));
    assert!(failed.status.run.end_time.is_some());
    let asked = backup(after(&failed, told), |o| o["metadata"]["annotations"] = json!({"mo-backup.io/retry": "1"}));
    let again = decided(asked, true);
    assert_eq!((again.status.phase, again.status.run.run.as_deref()), (Some(BackupPhase::Pending), Some("u-0.1")));
    assert!(again.status.run.end_time.is_none());
}

/// Its data may have been damaged or removed by somebody since.
#[test]
fn what_was_found_is_doubted_when_a_person_does() {
    let first = decided(backup(Value::Null, |_| {}), true);
    let done = decided(backup(after(&first, report("u-0", "Succeeded", ID)), |_| {}), true);
    let ask = |o: &mut Value| o["metadata"]["annotations"] = json!({"mo-backup.io/retry": "1"});
    let asked = decided(backup(after(&done, report("u-0", "Succeeded", ID)), ask), true);
    assert_eq!((asked.status.phase, asked.status.run.run.as_deref()), (Some(BackupPhase::Pending), Some("u-0.1")));
    assert_eq!(says(&asked, "Complete").0, "False");
    assert!(is_awaited(&backup(after(&asked, report("u-0", "Succeeded", ID)), ask)));
    let gone = decided(backup(after(&asked, report("u-0.1", "Failed", ID)), ask), true);
    assert_eq!((gone.status.phase, says(&gone, "Failed").1), (Some(BackupPhase::Failed), "BackupNotFound".into()));
    let still = decided(backup(after(&asked, report("u-0.1", "Succeeded", ID)), ask), true);
    assert_eq!(still.status.phase, Some(BackupPhase::Completed));
}

#[test]
fn a_report_of_an_earlier_look_does_not_count() {
    let first = decided(backup(Value::Null, |_| {}), true);
    let stale = backup(after(&first, report("other-0", "Succeeded", ID)), |_| {});
    assert_eq!(decided(stale, true).status.phase, Some(BackupPhase::Pending));
}

/// What is decided of one that is deleted, while these others keep its data.
fn deleted(policy: &str, kept_by: Vec<Keeper>) -> BackupDecision {
    let deleted = backup(json!({"phase": "Completed", "attempt": 0, "run": "u-0"}), |o| {
        o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:05:00Z");
        o["metadata"]["finalizers"] = json!([FINALIZER]);
        o["metadata"]["uid"] = json!("0b9f1c1e-7f5d-4f0e-9f43-3c1b5a0e7d21");
        o["spec"]["deletionPolicy"] = json!(policy);
    });
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "s"}, "spec": {"type": "Volume", "volume": {"claim": "c"}}});
    let seen = Observed {
        backup: deleted,
        storage: Some(serde_json::from_value(storage).unwrap()),
        base: Base::NotNamed,
        named: Named::NotLookedAt,
        others: Vec::new(),
        workers: Workers::default(),
        terminating: false,
        kept_by,
        image: WorkerImage::default(),
    };
    crate::controller::backup::decide(&seen, "2026-01-01T00:10:00Z".parse().unwrap())
}

/// Somebody who may not change a held Backup makes another one of its id, and deletes that.
#[test]
fn what_another_object_keeps_is_not_removed() {
    let other = |change: fn(&mut Value)| {
        backup(json!({"phase": "Completed"}), |o| {
            o["metadata"]["name"] = json!("precious");
            change(o);
        })
    };
    let keeper = |backup: &Backup| Keeper::of(backup, ID.parse().unwrap(), Some("another-uid"));
    let held = other(|o| o["spec"]["hold"] = json!(true));
    let retained = other(|o| o["spec"]["deletionPolicy"] = json!("Retain"));
    for (other, why) in [(held, "hold: true"), (retained, "deletionPolicy: Retain")] {
        let decision = deleted("Delete", keeper(&other).into_iter().collect());
        assert!(!decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_) | Effect::Release)), "{decision:?}");
        let (reason, message) = ready(&decision.status.run).unwrap();
        assert!(reason == Reason::Held && message.contains(&format!("Backup precious ({why})")), "{message}");
        assert!(deleted("Retain", keeper(&other).into_iter().collect()).effects.contains(&Effect::Release));
    }
    assert_eq!(keeper(&other(|o| o["spec"]["deletionPolicy"] = json!("Delete"))), None);
    assert_eq!(keeper(&other(|o| o["spec"]["imported"]["id"] = json!("01a1fb90-0000-7000-8000-000000000002"))), None);
    assert_eq!(keeper(&other(|o| o["metadata"]["uid"] = json!("another-uid"))), None);
}

#[rstest]
#[case("Retain", false)]
#[case("Delete", true)]
fn its_data_goes_only_when_that_is_asked_for(#[case] policy: &str, #[case] purges: bool) {
    let decision = deleted(policy, Vec::new());
    let jobs: Vec<_> = decision
        .effects
        .iter()
        .filter_map(|e| if let Effect::CreateJob(job) = e { Some(serde_json::to_string(job).unwrap()) } else { None })
        .collect();
    assert_eq!((jobs.len(), decision.effects.contains(&Effect::Release)), (usize::from(purges), !purges));
    assert!(jobs.iter().all(|job| job.contains(ID) && job.contains("purge")), "{jobs:?}");
}
