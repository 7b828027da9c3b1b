use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::controller::{
    decision::Effect,
    job::{Account, WorkerImage},
    seen::Workers,
};

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn storage(change: impl FnOnce(&mut Value)) -> BackupStorage {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "uid", "generation": 1},
        "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1"}}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

/// A storage whose probe number `attempt` ended at second 0.
fn probed(phase: &str, attempt: i32, reason: &str) -> Value {
    let ended = t(0).to_string();
    json!({
        "phase": phase, "attempt": attempt, "firstAttempt": 1, "observedGeneration": 1, "run": format!("uid-{attempt}"),
        "attempts": [{"number": attempt, "job": format!("st-probe-{attempt}"), "endTime": ended, "reason": reason}],
        "report": {"run": format!("uid-{attempt}"), "outcome": "Succeeded", "backupsOver": "none"},
        "conditions": [{"type": "Ready", "status": if phase == "Failed" { "False" } else { "True" }, "reason": reason,
            "message": "", "lastTransitionTime": ended}]
    })
}

fn decided(storage: BackupStorage, now: i64) -> StorageDecision {
    decided_with(storage, Users::default(), now)
}

fn decided_with(storage: BackupStorage, users: Users, now: i64) -> StorageDecision {
    let seen = Observed { storage, users, workers: Workers::default(), image: WorkerImage::default() };
    decide(&seen, t(now))
}

fn probes(decision: &StorageDecision) -> bool {
    decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_)))
}

#[rstest]
#[case::too_early(29, 1, json!([]), false)]
#[case::due(30, 1, json!([]), true)]
#[case::nobody_waits(30, 0, json!([]), false)]
#[case::refused_a_while_ago(599, 1, json!([{"reason": "AdoptionRefused", "message": "quota"}]), false)]
#[case::refused_long_ago(600, 0, json!([{"reason": "AdoptionRefused", "message": "quota"}]), true)]
fn imported_backups_are_looked_up(
    #[case] now: i64,
    #[case] awaited: usize,
    #[case] warnings: Value,
    #[case] expected: bool,
) {
    let storage = storage(|o| {
        o["status"] = probed("Ready", 1, "StorageReady");
        o["status"]["report"]["warnings"] = warnings;
    });
    let users = Users { awaited, ..Users::default() };
    assert_eq!(at_rest(&storage, &users, t(now)), !expected);
    let decision = decided_with(storage, users, now);
    assert_eq!(probes(&decision), expected);
    let account = if awaited > 0 { Account::Catalog } else { Account::Worker };
    assert_eq!(decision.effects.contains(&Effect::Grant(account)), expected, "{:?}", decision.effects);
}

#[rstest]
#[case("None", Account::Worker)]
#[case("All", Account::Catalog)]
fn who_adopts_may_make_backups_and_nobody_else(#[case] adopt: &str, #[case] account: Account) {
    let decision = decided(storage(|o| o["spec"]["adopt"] = json!(adopt)), 0);
    let jobs = decision.effects.iter().filter_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
    assert!(jobs.map(|job| Account::of_job(job)).eq([account]));
}

#[test]
fn orphans_are_swept_once_for_a_token() {
    let with = |handled: Value| {
        storage(|o| {
            o["metadata"]["annotations"] = json!({"mo-backup.io/sweep-orphans": "now"});
            o["status"] = probed("Ready", 1, "StorageReady");
            o["status"]["handledRequests"] = json!({"sweepOrphans": handled});
        })
    };
    assert!(!probes(&decided(with(json!("now")), 30)));
    assert!(!probes(&decided(with(json!("before")), 29)));
    let decision = decided(with(json!("before")), 30);
    let job = decision.effects.iter().find_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
    assert!(serde_json::to_string(job.unwrap()).unwrap().contains(r#"\"sweep\":\"now\""#), "{job:?}");
    assert!(decision.effects.contains(&Effect::Grant(Account::Catalog)));
    assert_eq!(handled(&decision).as_deref(), Some("before"), "asked for until it was done");
    let done = decided(
        storage(|o| {
            o["metadata"]["annotations"] = json!({"mo-backup.io/sweep-orphans": "now"});
            o["status"] = json!({"phase": "Ready", "attempt": 2, "observedGeneration": 1, "run": "uid-2",
                "attempts": [{"number": 2, "job": "st-probe-2", "jobUid": "j"}],
                "report": {"run": "uid-2", "outcome": "Succeeded", "swept": {"token": "now", "attempts": 1}}});
        }),
        5,
    );
    assert_eq!(handled(&done).as_deref(), Some("now"));
}

/// An annotation may be as long as 256 KiB, a variable of a Pod's environment may not.
#[test]
fn a_long_token_is_cut_everywhere() {
    let with = |handled: Option<&str>| {
        storage(|o| {
            o["metadata"]["annotations"] = json!({"mo-backup.io/sweep-orphans": "\u{e9}".repeat(200_000)});
            o["status"] = probed("Ready", 1, "StorageReady");
            o["status"]["handledRequests"] = json!({"sweepOrphans": handled});
        })
    };
    let decision = decided(with(None), 30);
    let job = decision.effects.iter().find_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
    assert!(serde_json::to_string(job.unwrap()).unwrap().len() < 10_000);
    assert!(!probes(&decided(with(Some(&"\u{e9}".repeat(64))), 30)), "done already");
}

#[rstest]
#[case::plain("None", false, 0, 5)]
#[case::adopts("All", false, 0, 60)]
#[case::sweeps("None", true, 0, 60)]
#[case::looks_up("None", false, 1, 60)]
fn what_looks_at_every_backup_may_take_longer(
    #[case] adopt: &str,
    #[case] sweeps: bool,
    #[case] imported: usize,
    #[case] minutes: u64,
) {
    let storage = storage(|o| {
        o["spec"]["adopt"] = json!(adopt);
        if sweeps {
            o["metadata"]["annotations"] = json!({"mo-backup.io/sweep-orphans": "now"});
        }
    });
    // All of them were told by the probe that is under way.
    let users = Users { imported, ..Users::default() };
    let seen = Observed { storage, users, workers: Workers::default(), image: WorkerImage::default() };
    let run = Duration::from_mins(minutes);
    assert_eq!(limits(&seen).run, run);
    let decision = decide(&seen, t(0));
    let job = decision.effects.iter().find_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
    let deadline = job.and_then(|job| job.spec.as_ref()?.active_deadline_seconds);
    assert_eq!(deadline, i64::try_from((LIMITS.start + run + GRACE + GRACE).as_secs()).ok());
}

fn handled(decision: &StorageDecision) -> Option<String> {
    decision.status.run.handled_requests.as_ref()?.sweep_orphans.clone()
}

/// The repository of another cluster can be read, and what is waiting to be written there is told why it waits.
#[test]
fn a_foreign_repository_is_ready_to_be_read() {
    let decision = decided(
        storage(|o| {
            o["spec"]["adopt"] = json!("All");
            o["status"] = json!({"phase": "Probing", "attempt": 1, "observedGeneration": 1, "run": "uid-1",
                "attempts": [{"number": 1, "job": "st-probe-1", "jobUid": "j"}],
                "report": {"run": "uid-1", "outcome": "Succeeded", "adoption": {"made": 3},
                    "warnings": [{"reason": "RepositoryForeign", "message": "it belongs to old/bucket"}]}});
        }),
        5,
    );
    assert_eq!(decision.status.phase, Some(BackupStoragePhase::ReadOnly));
    let ready = decision.status.run.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((&*ready.status, &*ready.reason), ("True", "RepositoryForeign"));
    assert!(ready.message.contains("old/bucket") && ready.message.contains("Made 3 Backups"), "{}", ready.message);
}

#[test]
fn a_new_storage_is_probed() {
    let decision = decided(storage(|_| {}), 0);
    assert_eq!(decision.status.phase, Some(BackupStoragePhase::Probing));
    assert_eq!(decision.status.run.run.as_deref(), Some("uid-1"));
    assert!(probes(&decision));
}

#[rstest]
#[case::ready(probed("Ready", 1, "StorageReady"), 86_399, false)]
#[case::ready_for_a_day(probed("Ready", 1, "StorageReady"), 86_400, true)]
#[case::read_only(probed("ReadOnly", 1, "StorageReady"), 86_399, false)]
#[case::failed_once_too_early(probed("Failed", 1, "StorageUnreachable"), 9, false)]
#[case::failed_once(probed("Failed", 1, "StorageUnreachable"), 10, true)]
#[case::failed_often_too_early(probed("Failed", 30, "StorageUnreachable"), 3599, false)]
#[case::failed_often(probed("Failed", 30, "StorageUnreachable"), 3600, true)]
#[case::failed_for_good_too_early(probed("Failed", 1, "BucketNotFound"), 3599, false)]
#[case::failed_for_good_may_have_been_mended(probed("Failed", 1, "BucketNotFound"), 3600, true)]
fn it_is_probed_again_when_that_can_help(#[case] status: Value, #[case] now: i64, #[case] expected: bool) {
    let storage = storage(|o| o["status"] = status);
    assert_eq!(at_rest(&storage, &Users::default(), t(now)), !expected);
    let decision = decided(storage.clone(), now);
    assert_eq!(probes(&decision), expected);
    if !expected {
        assert_eq!(decision.status, storage.written(), "nothing is written while it waits");
    }
}

#[rstest]
#[case::spec(|o: &mut Value| o["metadata"]["generation"] = json!(2))]
#[case::token(|o: &mut Value| o["metadata"]["annotations"] = json!({"mo-backup.io/retry": "now"}))]
fn a_change_or_a_token_is_probed_at_once(#[case] change: fn(&mut Value)) {
    let storage = storage(|o| {
        o["status"] = probed("Failed", 7, "BucketNotFound");
        change(o);
    });
    let decision = decided(storage.clone(), 1);
    assert!(probes(&decision));
    let run = &decision.status.run;
    assert_eq!((run.attempt, run.first_attempt, run.observed_generation), (8, Some(8), storage.metadata.generation));
}

/// A storage that was probed at second 0, and a Backup whose attempt ended then.
fn after_a_backup(ended: i64, busy: bool) -> Users {
    Users { last: Some(t(ended)), busy, ..Users::default() }
}

#[rstest]
#[case::probed_just_now(after_a_backup(10, false), 29, false)]
#[case::ended(after_a_backup(10, false), 30, true)]
#[case::just_ended(after_a_backup(40, false), 44, false)]
#[case::settled(after_a_backup(40, false), 45, true)]
#[case::another_runs(after_a_backup(10, true), 599, false)]
#[case::another_runs_for_long(after_a_backup(10, true), 600, true)]
fn it_is_counted_again_after_a_backup_and_stays_ready(#[case] users: Users, #[case] now: i64, #[case] expected: bool) {
    let storage = storage(|o| o["status"] = probed("Ready", 1, "StorageReady"));
    assert_eq!(at_rest(&storage, &users, t(now)), !expected);
    let decision = decided_with(storage.clone(), users, now);
    assert_eq!(probes(&decision), expected);
    assert_eq!(decision.status.phase, Some(BackupStoragePhase::Ready));
    assert_eq!(decision.status.run.conditions, storage.written().run.conditions, "Backups go on meanwhile");
    if expected {
        assert_eq!((decision.status.run.attempt, decision.status.run.first_attempt), (2, Some(2)));
    }
}

#[rstest]
#[case::well("Succeeded", BackupStoragePhase::Ready, "True")]
#[case::badly("Failed", BackupStoragePhase::Failed, "False")]
fn what_a_routine_probe_finds_counts(#[case] outcome: &str, #[case] phase: BackupStoragePhase, #[case] ready: &str) {
    let storage = storage(|o| {
        o["status"] = probed("Ready", 1, "StorageReady");
        o["status"]["attempt"] = json!(2);
        o["status"]["run"] = json!("uid-2");
        o["status"]["attempts"] = json!([{"number": 2, "job": "st-probe-2", "jobUid": "j"}]);
        o["status"]["report"] = json!({"run": "uid-2", "outcome": outcome, "reason": "BucketNotFound",
            "warnings": [{"reason": "DeletionOnlyHides", "message": "nothing is freed"}]});
    });
    let decision = decided(storage, 60);
    assert_eq!(decision.status.phase, Some(phase));
    let condition = decision.status.run.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(condition.status, ready);
    assert_eq!(condition.message.contains("nothing is freed"), outcome == "Succeeded", "{}", condition.message);
}

/// What a person must do is said to the end; what comes by itself needs no words.
#[rstest]
#[case::comes_by_itself("StorageUnreachable", true, "No answer. Look at the network.")]
#[case::needs_a_person("BucketNotFound", false, "No answer. Look at the network. It is probed again within the hour")]
fn a_failed_probe_says_what_to_do(#[case] reason: &str, #[case] retryable: bool, #[case] said: &str) {
    let storage = storage(|o| {
        o["status"] = probed("Probing", 1, reason);
        o["status"]["run"] = json!("uid-1");
        o["status"]["attempts"] = json!([{"number": 1, "job": "st-probe-1", "jobUid": "j"}]);
        o["status"]["report"] = json!({"run": "uid-1", "outcome": "Failed", "reason": reason, "retryable": retryable,
            "message": "No answer. Look at the network."});
    });
    let decision = decided(storage, 5);
    let ready = decision.status.run.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(ready.message.starts_with(said), "{}", ready.message);
    assert_eq!(ready.message.len() == said.len(), retryable, "{}", ready.message);
}

#[test]
fn a_token_counts_once() {
    let storage = storage(|o| {
        o["status"] = probed("Ready", 1, "StorageReady");
        o["status"]["handledRequests"] = json!({"retry": "now"});
        o["metadata"]["annotations"] = json!({"mo-backup.io/retry": "now"});
    });
    assert!(!probes(&decided(storage, 1)));
}

#[rstest]
#[case::writable("ReadWrite", BackupStoragePhase::Ready)]
#[case::readable("ReadOnly", BackupStoragePhase::ReadOnly)]
fn a_good_report_makes_it_ready(#[case] mode: &str, #[case] phase: BackupStoragePhase) {
    let storage = storage(|o| {
        o["spec"]["accessMode"] = json!(mode);
        o["status"] = json!({"phase": "Probing", "attempt": 1, "observedGeneration": 1, "run": "uid-1",
            "attempts": [{"number": 1, "job": "st-probe-1", "jobUid": "j"}],
            "report": {"run": "uid-1", "outcome": "Succeeded"}});
    });
    let decision = decided(storage, 5);
    assert_eq!(decision.status.phase, Some(phase));
    let ready = decision.status.run.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((&*ready.status, &*ready.reason), ("True", "StorageReady"));
}

#[test]
fn an_impossible_spec_is_said_and_waits_for_another() {
    let storage = storage(|o| o["spec"]["s3"]["region"] = json!(""));
    let decision = decided(storage, 0);
    assert_eq!(decision.status.phase, Some(BackupStoragePhase::Failed));
    assert_eq!((decision.effects.len(), decision.requeue), (0, Requeue::OnChange));
}
