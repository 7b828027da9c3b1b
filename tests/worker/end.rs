//! Ends from outside, deadlines, and what happens to bytes between BACKUP and commit.

use std::{sync::Arc, time::Duration};

use mo_backup::{
    api::{BackupType, Outcome, Reason, TakenType, VerifyLevel},
    store::memory::Fault,
    worker::backup,
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::{assert_whole, rig::Rig};

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_to_stop_ends_its_statement() {
    let rig = Rig::new("v4.2.0");
    rig.server.hang();
    let stop = CancellationToken::new();
    let task = rig.task(1, BackupType::Auto);
    let (ports, watch) = (rig.ports(), rig.watch(&task, stop.clone()));
    let begun = tokio::time::Instant::now();
    let (report, ()) = tokio::join!(backup(&task, &ports, &watch), async {
        while rig.server.running() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    });
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert_eq!((report.said.reason.as_deref(), report.said.retryable), (Some("Interrupted"), true));
    assert_eq!(rig.server.running(), 0);
    assert!(rig.server.statements().iter().any(|s| s.starts_with("kill query")));
    assert!(begun.elapsed() < Duration::from_secs(25));
    assert!(rig.catalog().is_none());
}

#[rstest]
#[case::stall(Duration::from_secs(3600), Duration::from_secs(30), Reason::Stalled)]
#[case::run(Duration::from_secs(60), Duration::from_secs(900), Reason::RunDeadlineExceeded)]
#[tokio::test(start_paused = true)]
async fn a_statement_that_stands_still_is_ended(
    #[case] run: Duration,
    #[case] stall: Duration,
    #[case] expected: Reason,
) {
    let rig = Rig::new("v4.2.0");
    rig.server.hang();
    let mut task = rig.task(1, BackupType::Auto);
    (task.run_deadline, task.stall_deadline) = (run, stall);
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    assert_eq!((report.said.outcome, report.said.retryable, rig.server.running()), (Outcome::Failed, true, 0));
}

#[rstest]
#[case("waiting for BACKUP")]
#[case("committing")]
#[tokio::test(start_paused = true)]
async fn a_superseded_worker_never_commits(#[case] step: &'static str) {
    let rig = Rig::new("v4.2.0");
    if step == "waiting for BACKUP" {
        rig.server.hang();
    }
    *rig.told.superseded.lock().unwrap() = Some(step);
    let task = rig.task(1, BackupType::Auto);
    let watch = rig.watch(&task, CancellationToken::new());
    let report = backup(&task, &rig.ports(), &watch).await;
    assert!(watch.is_superseded());
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert!(rig.catalog().is_none());
    assert_eq!(rig.server.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_workers_one_commits_and_both_say_the_same() {
    let rig = Rig::new("v4.2.0");
    let late = rig.task(2, BackupType::Auto);
    let commit = commit_call(&rig).await;
    let fresh = Rig::new("v4.2.0");
    // The second attempt's worker commits while the first one's is about to.
    let (other, task) = (fresh.clone(), fresh.task(2, BackupType::Auto));
    let committed = fresh.run(&task).await;
    assert_eq!(committed.said.outcome, Outcome::Succeeded, "{committed:#?} {late:?} {commit}");
    let zombie = other.run(&other.task(1, BackupType::Auto)).await;
    assert_eq!((zombie.said.outcome, zombie.path), (Outcome::Succeeded, committed.path));
    assert_whole(&fresh);
}

/// Number of the call that commits.
async fn commit_call(rig: &Rig) -> usize {
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    rig.repository.calls().iter().position(|c| c.starts_with("create catalog/")).unwrap()
}

/// Number of the last call that writes bytes of the backup.
async fn last_copy(rig: &Rig) -> usize {
    let report = rig.run(&rig.task(1, BackupType::Full)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    rig.repository.calls().iter().rposition(|c| c.starts_with("put data/") && !c.ends_with("zst")).unwrap()
}

#[rstest]
#[case::missing(VerifyLevel::Manifest, Reason::ObjectMissing)]
#[case::flipped(VerifyLevel::Full, Reason::ObjectCorrupted)]
#[tokio::test(start_paused = true)]
async fn damage_in_the_bucket_before_the_commit_is_found(#[case] verify: VerifyLevel, #[case] expected: Reason) {
    let call = last_copy(&Rig::new("v4.2.0")).await;
    let rig = Rig::new("v4.2.0");
    let victim = format!("data/{}/1/tae/{}", rig.id, super::tree::name(3));
    let (bucket, key) = (rig.repository.clone(), victim.clone());
    rig.repository.fault(call, Fault::After, move || {
        let hit = if expected == Reason::ObjectMissing { bucket.unset(&key) } else { bucket.flip(&key, 77) };
        assert!(hit, "{key} is not there yet");
    });
    let mut task = rig.task(1, BackupType::Full);
    // One copy at a time, so that the last one is the last.
    (task.verify, task.parallelism) = (verify, 1);
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().contains(&victim));
    assert!(rig.catalog().is_none());
}

/// Lets something happen right after the BACKUP of this rig.
async fn after_backup(rig: &Rig, happens: impl Fn() + Send + Sync + 'static) {
    let healthy = Rig::new(rig.version);
    healthy.run(&healthy.task(1, BackupType::Auto)).await;
    let call = healthy.server.calls().iter().position(|c| c.starts_with("BACKUP ")).unwrap();
    rig.server.fault(call, Fault::After, happens);
}

#[rstest]
#[case::file("")]
#[case::companion(".sha256")]
#[tokio::test(start_paused = true)]
async fn a_configuration_that_the_server_names_must_be_there(#[case] ending: &str) {
    let rig = Rig::new("v4.2.0");
    let name = format!("config/{}{ending}", super::tree::CONFIG);
    let file = rig.folder.path().join(format!("data/{}/1/{name}", rig.id));
    after_backup(&rig, move || std::fs::remove_file(&file).unwrap()).await;
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.reason.as_deref(), Some("ObjectMissing"), "{report:#?}");
    assert!(report.said.message.unwrap().contains(&name));
    assert!(rig.catalog().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_strangers_file_does_not_hide_the_configuration() {
    let rig = Rig::new("v4.2.0");
    let file = rig.folder.path().join(format!("data/{}/1/.tmp.1", rig.id));
    after_backup(&rig, move || std::fs::write(&file, "x").unwrap()).await;
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_whole(&rig);
}

#[rstest]
#[case::other_cluster(false, "another MatrixOne cluster", "1")]
#[case::other_history(true, "not in the base", "1-full")]
#[tokio::test(start_paused = true)]
async fn an_old_history_does_not_poison_a_new_one(#[case] rewound: bool, #[case] why: &str, #[case] dir: &str) {
    let base = Rig::new("v4.2.0");
    assert_eq!(base.run(&base.task(1, BackupType::Full)).await.said.outcome, Outcome::Succeeded);
    if rewound {
        base.server.rewind();
    } else {
        base.server.set_identity("1");
    }
    let refused = base.next();
    let report = refused.run(&refused.task(1, BackupType::Incremental)).await;
    assert_eq!(report.said.reason.as_deref(), Some("BaseNotUsable"), "{report:#?}");
    let rig = base.next();
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!((report.said.outcome, report.type_), (Outcome::Succeeded, Some(TakenType::Full)), "{report:#?}");
    assert!(report.type_reason.unwrap().contains(why));
    assert_eq!(report.path, Some(format!("data/{}/{dir}", rig.id)));
    assert_whole(&rig);
    assert_eq!(rig.staged(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_earlier_attempts_statement_is_ended_first() {
    let rig = Rig::new("v4.2.0");
    rig.server.begin(&format!("{}-1", rig.uid), 1000);
    let report = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert!(rig.server.statements().iter().any(|s| s == "kill query 900"));
}

#[tokio::test(start_paused = true)]
async fn a_committed_backup_is_reported_at_once() {
    let rig = Rig::new("v4.2.0");
    let first = rig.run(&rig.task(1, BackupType::Auto)).await;
    let statements = rig.server.calls().len();
    let second = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!((second.said.outcome, &second.manifest), (Outcome::Succeeded, &first.manifest));
    assert_eq!((second.objects, second.backup_ts), (first.objects, first.backup_ts));
    assert_eq!(rig.server.calls().len(), statements, "the server was asked again");
    let stored = rig.repository.get(&first.manifest.as_ref().unwrap().key).unwrap();
    let digest: String = <sha2::Sha256 as sha2::Digest>::digest(&stored).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(first.manifest.unwrap().sha256, digest);
    drop(Arc::clone(&rig.told));
}
