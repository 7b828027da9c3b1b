use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Backup, BackupStorage},
    controller::{
        job::WorkerImage,
        seen::{Named, Workers},
    },
};

fn backup(change: impl FnOnce(&mut Value)) -> Backup {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "ns", "uid": "00000000-0000-4000-8000-000000000001", "generation": 1,
            "creationTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}}, "storage": "st"}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn storage(change: impl FnOnce(&mut Value)) -> BackupStorage {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1"}},
        "status": {"phase": "Ready", "attempt": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "StorageReady",
            "message": "", "observedGeneration": 1, "lastTransitionTime": "2027-01-01T00:00:00Z"}]}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn seen(backup: Backup, storage: Option<BackupStorage>) -> Observed {
    let (others, workers, image) = (Vec::new(), Workers::default(), WorkerImage::default());
    let (base, named, terminating) = (Base::NotNamed, Named::NotLookedAt, false);
    Observed { backup, storage, base, named, others, workers, terminating, kept_by: Vec::new(), image }
}

fn now() -> Timestamp {
    "2027-01-01T01:00:00Z".parse().unwrap()
}

fn said(decision: &BackupDecision) -> (Option<BackupPhase>, String) {
    let reason = ready(&decision.status.run).map(|(reason, _)| reason.to_string());
    (decision.status.phase, reason.unwrap_or_default())
}

fn none(_: &mut Value) {}

#[rstest]
#[case::all_is_well(none, none, BackupPhase::Running, "Starting")]
#[case::suspended(|b: &mut Value| b["spec"]["suspend"] = json!(true), none, BackupPhase::Suspended, "Suspended")]
#[case::not_probed(none, |s: &mut Value| { s.as_object_mut().unwrap().remove("status"); }, BackupPhase::Pending, "StorageNotReady")]
#[case::probed_before_an_edit(none, |s: &mut Value| s["metadata"]["generation"] = json!(2), BackupPhase::Pending, "StorageNotReady")]
#[case::read_only(none, |s: &mut Value| s["spec"]["accessMode"] = json!("ReadOnly"), BackupPhase::Failed, "StorageReadOnly")]
#[case::deleted(none, |s: &mut Value| s["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z"), BackupPhase::Pending, "StorageNotReady")]
#[case::method(none, |s: &mut Value| s["spec"]["s3"]["storageClass"] = json!("STANDARD_IA"), BackupPhase::Failed, "MethodNotSupported")]
#[case::spec(|b: &mut Value| b["spec"]["deadlines"] = json!({"run": "1d"}), none, BackupPhase::Failed, "InvalidSpec")]
#[case::cancelled(|b: &mut Value| b["metadata"]["annotations"] = json!({"mo-backup.io/cancel": "x"}), none, BackupPhase::Failed, "Cancelled")]
fn what_stands_before_the_first_attempt(
    #[case] of_backup: fn(&mut Value),
    #[case] of_storage: fn(&mut Value),
    #[case] phase: BackupPhase,
    #[case] reason: &str,
) {
    let decision = decide(&seen(backup(of_backup), Some(storage(of_storage))), now());
    assert_eq!(said(&decision), (Some(phase), reason.into()));
    assert_eq!(decision.status.run.end_time.is_some(), phase == BackupPhase::Failed);
    let starts = decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_)));
    assert_eq!(starts, phase == BackupPhase::Running, "{:?}", decision.effects);
}

#[test]
fn the_finalizer_and_the_rights_come_before_the_job() {
    let decision = decide(&seen(backup(none), Some(storage(none))), now());
    assert!(matches!(&*decision.effects, [Effect::Hold, Effect::Grant(_), Effect::CreateJob(_)]), "{decision:?}");
    assert_eq!(decision.status.run.run.as_deref(), Some("00000000-0000-4000-8000-000000000001-1"));
}

fn base(change: impl FnOnce(&mut Value)) -> Base {
    Base::Found(Box::new(backup(|b| {
        b["status"] = json!({"phase": "Completed", "report": {"id": "019b76da-a800-7000-8000-000000000001"}});
        change(b);
    })))
}

#[rstest]
#[case::complete(base(none), BackupPhase::Running, "Starting")]
#[case::missing(Base::Missing("x".into()), BackupPhase::Pending, "BaseNotFound")]
#[case::not_complete_yet(base(|b| b["status"]["phase"] = json!("Running")), BackupPhase::Pending, "BaseNotFound")]
#[case::failed(base(|b| b["status"]["phase"] = json!("Failed")), BackupPhase::Failed, "BaseNotUsable")]
#[case::elsewhere(base(|b| b["spec"]["storage"] = json!("other")), BackupPhase::Failed, "BaseNotUsable")]
fn a_base_must_be_there_and_whole(#[case] base: Base, #[case] phase: BackupPhase, #[case] reason: &str) {
    let mut seen = seen(backup(|b| b["spec"]["base"] = json!("x")), Some(storage(none)));
    seen.base = base;
    assert_eq!(said(&decide(&seen, now())), (Some(phase), reason.into()));
}

#[rstest]
#[case::no_kind(Named::UnknownKind, BackupPhase::Pending, "ClusterNotFound")]
#[case::no_object(Named::Missing, BackupPhase::Pending, "ClusterNotFound")]
#[case::no_address(Named::NotReady, BackupPhase::Pending, "ClusterNotReady")]
#[case::reached(Named::At(reached()), BackupPhase::Running, "Starting")]
fn a_named_cluster_must_be_there_and_reached(#[case] is: Named, #[case] phase: BackupPhase, #[case] reason: &str) {
    let by_name = |status: Value| {
        let mut seen = seen(backup(|b| (b["spec"]["cluster"], b["status"]) = (named(), status)), Some(storage(none)));
        seen.named = is.clone();
        decide(&seen, now())
    };
    let first = by_name(Value::Null);
    assert_eq!(said(&first), (Some(phase), reason.into()));
    // A Job that is still to be made needs it as much; the attempt goes on when it is there.
    let again = by_name(unmade_status(5, "Starting"));
    assert_eq!(said(&again), (Some(phase), reason.into()));
    for decision in [first, again] {
        let job = decision.effects.iter().find_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
        assert_eq!(job.is_some(), phase == BackupPhase::Running);
        let task = job.map(|job| serde_json::to_string(job).unwrap()).unwrap_or_default();
        assert_eq!(task.contains("prod-proxy.shop"), job.is_some(), "{task}");
        assert!(job.is_some() || matches!(decision.requeue, Requeue::After(_)), "nobody tells of a change");
    }
}

fn named() -> Value {
    json!({"matrixOneCluster": {"name": "prod"}, "credentialsSecret": {"name": "s"}})
}

fn reached() -> Address {
    Address { host: "prod-proxy.shop".into(), port: 6009 }
}

#[rstest]
#[case::neither(|b: &mut Value| { b["spec"]["cluster"].as_object_mut().unwrap().remove("address"); })]
#[case::both(|b: &mut Value| b["spec"]["cluster"]["matrixOneCluster"] = json!({"name": "prod"}))]
fn a_cluster_is_said_in_one_way(#[case] change: fn(&mut Value)) {
    let mut seen = seen(backup(change), Some(storage(none)));
    seen.named = Named::At(reached());
    assert_eq!(said(&decide(&seen, now())), (Some(BackupPhase::Failed), "InvalidSpec".into()));
}

/// What failed before any attempt is looked at again: nothing was done yet, and the cause may be gone.
#[test]
fn a_mended_spec_starts_by_itself() {
    let broken = backup(|b| b["spec"]["deadlines"] = json!({"run": "1d"}));
    let failed = decide(&seen(broken, Some(storage(none))), now());
    let mut mended = backup(|b| b["metadata"]["generation"] = json!(2));
    let status = mended.status.get_or_insert_default();
    (status.phase, status.run) = (failed.status.phase, failed.status.run);
    let decision = decide(&seen(mended, Some(storage(none))), now());
    assert_eq!(said(&decision), (Some(BackupPhase::Running), "Starting".into()));
    assert_eq!(decision.status.run.end_time, None);
}

fn reported(report: Value) -> BackupDecision {
    let object = backup(|b| {
        b["status"] = json!({"phase": "Running", "attempt": 1, "run": "00000000-0000-4000-8000-000000000001-1",
            "attempts": [{"number": 1, "job": "b-1", "jobUid": "j"}], "report": report});
        b["status"]["report"]["run"] = json!("00000000-0000-4000-8000-000000000001-1");
        b["status"]["report"]["outcome"] = json!("Succeeded");
    });
    decide(&seen(object, Some(storage(none))), now())
}

#[test]
fn success_without_a_manifest_is_no_success() {
    let decision = reported(json!({"id": "0192-b"}));
    assert_eq!(decision.status.phase, Some(BackupPhase::Retrying));
    assert_eq!(decision.status.run.attempts[0].reason.as_deref(), Some("Internal"));
}

fn unmade_status(minutes: i64, ready: &str) -> Value {
    let begun = now() - jiff::Span::new().minutes(minutes);
    json!({"phase": "Pending", "attempt": 1, "run": "00000000-0000-4000-8000-000000000001-1",
        "attempts": [{"number": 1, "job": "b-1", "startTime": begun.to_string()}],
        "conditions": [{"type": "Ready", "status": "False", "reason": ready, "message": "exceeded quota",
            "lastTransitionTime": begun.to_string()}]})
}

#[rstest]
#[case::in_time(5, "JobRefused", "JobRefused", None)]
#[case::refused_for_too_long(11, "JobRefused", "Retrying", Some("JobRefused"))]
#[case::taken_for_too_long(11, "NameConflict", "Retrying", Some("NameConflict"))]
fn an_attempt_whose_job_cannot_be_made_does_not_hold_the_turn_for_ever(
    #[case] minutes: i64,
    #[case] before: &str,
    #[case] expected: &str,
    #[case] ended: Option<&str>,
) {
    let mut world = seen(backup(|b| b["status"] = unmade_status(minutes, before)), Some(storage(none)));
    let ordered = decide(&world, now());
    assert_eq!(ordered.status.run.attempts[0].reason.as_deref(), ended, "on record before it is carried out");
    assert_eq!(ordered.status.run.attempts[0].end_time, None);
    let status = world.backup.status.as_mut().unwrap();
    status.run = ordered.status.run.clone();
    let decision = decide(&world, now());
    assert_eq!(said(&decision), (decision.status.phase, expected.into()));
    assert_eq!(decision.status.run.attempts[0].end_time.is_some(), ended.is_some());
    assert_ne!(decision.status.phase, Some(BackupPhase::Running));
}

#[test]
fn a_retry_asked_for_while_a_worker_is_stopped_comes_after_it() {
    let object = backup(|b| {
        b["metadata"]["annotations"] = json!({"mo-backup.io/cancel": "x", "mo-backup.io/retry": "y"});
        b["status"] = json!({"phase": "Running", "attempt": 1, "run": "00000000-0000-4000-8000-000000000001-1",
            "handledRequests": {"cancel": "x"},
            "attempts": [{"number": 1, "job": "b-1", "jobUid": "j", "reason": "Cancelled"}]});
    });
    let decision = decide(&seen(object, Some(storage(none))), now());
    let run = &decision.status.run;
    assert_eq!(run.attempts[0].reason.as_deref(), Some("Cancelled"));
    assert_eq!((run.attempt, run.first_attempt), (2, Some(2)));
    assert_eq!(run.handled_requests.as_ref().and_then(|h| h.retry.as_deref()), Some("y"));
}

#[rstest]
#[case::checked(json!({"id": "i", "manifest": {"key": "k", "sha256": "00"}, "verified": {"level": "Full", "present": 9, "hashed": 9}}), "True Verified")]
#[case::no_check(json!({"id": "i", "manifest": {"key": "k", "sha256": "00"}}), "False NotVerifiedYet")]
#[case::old_server(json!({"id": "i", "manifest": {"key": "k", "sha256": "00"}, "verified": {"level": "Manifest", "present": 9, "hashed": 0}, "warnings": [{"reason": "ServerMaySkipObjects", "message": "m"}]}), "True ServerMaySkipObjects")]
fn verified_says_what_was_checked(#[case] report: Value, #[case] expected: &str) {
    let decision = reported(report);
    assert_eq!(decision.status.phase, Some(BackupPhase::Completed));
    let verified = decision.status.run.conditions.iter().find(|c| c.type_ == "Verified").unwrap();
    assert_eq!(format!("{} {}", verified.status, verified.reason), expected);
}

#[test]
fn the_last_ten_attempts_are_kept_and_their_jobs_with_them() {
    let object = backup(|b| {
        let ended = |n: i32| json!({"number": n, "job": format!("b-{n}"), "endTime": "2027-01-01T00:00:00Z", "reason": "Stalled"});
        b["spec"]["retry"] = json!({"limit": 20});
        b["status"] = json!({"phase": "Retrying", "attempt": 10, "firstAttempt": 1, "attempts": (1..=10).map(ended).collect::<Vec<_>>()});
    });
    let uid = object.metadata.uid.clone().unwrap();
    let mut seen = seen(object, Some(storage(none)));
    let ended = |n: i32| crate::controller::seen::JobSeen {
        name: format!("b-{n}"),
        uid: format!("j{n}"),
        run: format!("{uid}-{n}"),
        created: now(),
        deleting: false,
        end: Some(crate::controller::seen::JobEnd::Complete),
    };
    seen.workers.jobs = (1..=10).map(ended).collect();
    let decision = decide(&seen, now());
    let numbers: Vec<i32> = decision.status.run.attempts.iter().map(|a| a.number).collect();
    assert_eq!(numbers, (2..=11).collect::<Vec<_>>());
    let first = Effect::DeleteJob { name: "b-1".into(), uid: "j1".into() };
    assert_eq!(decision.effects.iter().filter(|e| matches!(e, Effect::DeleteJob { .. })).collect::<Vec<_>>(), [&first]);
}
