//! The statements around a BACKUP when the server, or the way to it, comes and goes.

use std::time::Duration;

use mo_backup::{
    api::{BackupType, Outcome},
    store::memory::Fault,
    worker::backup,
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::{assert_whole, rig::Rig};

/// Number of the first call to the server with these words, in the same backup of another rig.
async fn call(version: &'static str, words: &str) -> usize {
    let rig = Rig::new(version);
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    rig.server.calls().iter().position(|c| c.contains(words)).unwrap()
}

/// Calls to the server that fail after the worker was told to stop.
#[rstest]
#[case::none(0)]
#[case::some(3)]
#[tokio::test(start_paused = true)]
async fn a_lost_statement_is_ended_when_the_worker_must_stop(#[case] failing: usize) {
    let rig = Rig::new("v4.2.0");
    rig.server.linger();
    rig.server.fault(call("v4.2.0", "BACKUP ").await, Fault::Lost, || {});
    let (task, stop) = (rig.task(1, BackupType::Auto), CancellationToken::new());
    let (ports, watch) = (rig.ports(), rig.watch(&task, stop.clone()));
    let (report, ()) = tokio::join!(backup(&task, &ports, &watch), async {
        while rig.server.running() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A worker that looks for it has met the loss.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = rig.server.calls().len();
        for call in next..next + failing {
            rig.server.fault(call, Fault::Before, || {});
        }
        stop.cancel();
    });
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert_eq!(rig.server.running(), 0, "{:#?}", rig.server.statements());
    assert!(rig.catalog().is_none());
}

/// The first try to end it does not arrive.
#[tokio::test(start_paused = true)]
async fn ending_a_statement_is_tried_until_it_is_over() {
    let rig = Rig::new("v4.2.0");
    rig.server.hang();
    let (task, stop) = (rig.task(1, BackupType::Auto), CancellationToken::new());
    let (ports, watch) = (rig.ports(), rig.watch(&task, stop.clone()));
    let (report, ()) = tokio::join!(backup(&task, &ports, &watch), async {
        while rig.server.running() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = rig.server.calls().len();
        for call in next..next + 4 {
            rig.server.fault(call, Fault::Before, || {});
        }
        stop.cancel();
    });
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert_eq!(rig.server.running(), 0, "{:#?}", rig.server.statements());
}

/// A proxy shows another connection's id: that one is a stranger's.
#[tokio::test(start_paused = true)]
async fn only_what_has_our_label_is_ended() {
    let rig = Rig::new("v4.2.0");
    rig.server.hang();
    let (task, stop) = (rig.task(1, BackupType::Auto), CancellationToken::new());
    let (ports, watch) = (rig.ports(), rig.watch(&task, stop.clone()));
    let (report, ()) = tokio::join!(backup(&task, &ports, &watch), async {
        while rig.server.running() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.server.renumber(700);
        stop.cancel();
    });
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert_eq!(rig.server.running(), 0);
    let killed: Vec<_> = rig.server.statements().into_iter().filter(|s| s.starts_with("kill")).collect();
    assert!(killed.iter().all(|s| s == "kill query 700"), "{killed:?}");
}

/// Somebody else's BACKUP begins during the checkpoint, which can take minutes.
#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn another_backup_that_began_meanwhile_is_not_disturbed(#[case] version: &'static str) {
    let rig = Rig::new(version);
    let other = rig.server.clone();
    let checkpoint = call(version, "'checkpoint'").await;
    rig.server.fault(checkpoint, Fault::After, move || other.begin("somebody", 1000));
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!((report.said.reason.as_deref(), report.said.retryable), (Some("BackupRunning"), true), "{report:#?}");
    assert!(!rig.sent());
    let statements = rig.server.statements();
    let began = statements.iter().position(|s| s.contains("'checkpoint'")).unwrap();
    assert!(!statements[began..].iter().any(|s| s.contains("DiskCleaner")), "its hold is the only one there can be");
    assert_eq!(rig.server.running(), 1);
}

/// What ends an attempt before it sends BACKUP.
#[derive(Clone, Copy, Debug)]
enum Early {
    StoreHangs,
    PrefixNotEmpty,
    StagingNotMounted,
    CheckpointFails,
}

impl Early {
    async fn befalls(self, rig: &Rig) {
        match self {
            Self::StoreHangs => rig.repository.fault(0, Fault::Hang, || {}),
            Self::PrefixNotEmpty => rig.repository.set(&format!("data/{}/1/tae/x", rig.id), "x"),
            Self::StagingNotMounted => std::fs::remove_dir_all(rig.folder.path()).unwrap(),
            Self::CheckpointFails => rig.server.fault(call(rig.version, "'checkpoint'").await, Fault::Before, || {}),
        }
    }
}

/// A worker was killed during its BACKUP: nobody else knows of its hold.
#[rstest]
#[tokio::test(start_paused = true)]
async fn what_a_killed_worker_left_held_is_released_by_an_attempt_that_does_not_come_to_its_backup(
    #[values(Early::StoreHangs, Early::PrefixNotEmpty, Early::StagingNotMounted, Early::CheckpointFails)] early: Early,
    #[values("v1.2.4", "v3.0.4")] version: &'static str,
) {
    let rig = Rig::new(version);
    rig.server.hold();
    early.befalls(&rig).await;
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert!(!rig.sent());
    assert!(!rig.server.is_held(), "{:#?}", rig.server.calls());
}

/// The hold can be that of the BACKUP that runs.
#[rstest]
#[case::of_somebody_else("somebody")]
#[case::of_mo_br("")]
#[tokio::test(start_paused = true)]
async fn nothing_is_released_while_a_backup_runs(#[case] label: &str) {
    let rig = Rig::new("v1.2.4");
    rig.server.hold();
    rig.server.begin(label, 1000);
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.reason.as_deref(), Some("BackupRunning"), "{report:#?}");
    assert!(rig.server.is_held(), "{:#?}", rig.server.statements());
}

/// Its own BACKUP still ran when the attempt began: it is ended first.
#[tokio::test(start_paused = true)]
async fn what_an_earlier_attempt_left_is_ended_and_then_released() {
    let rig = Rig::new("v1.2.4");
    rig.server.hold();
    rig.server.begin(&format!("{}-1", rig.uid), 1000);
    let report = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    let statements = rig.server.statements();
    let order = ["kill query", "remove_checker", "'checkpoint'", "add_checker"]
        .map(|words| statements.iter().position(|s| s.contains(words)).unwrap());
    assert!(order.is_sorted(), "{statements:#?}");
    assert_eq!((rig.server.running(), rig.server.is_held()), (0, false), "{statements:#?}");
}

/// Servers that protect a BACKUP themselves have nothing of ours to release.
#[tokio::test(start_paused = true)]
async fn what_protects_itself_is_left_alone() {
    let rig = Rig::new("v4.2.0");
    rig.repository.set(&format!("data/{}/1/tae/x", rig.id), "x");
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.reason.as_deref(), Some("PrefixNotEmpty"), "{report:#?}");
    assert!(!rig.server.statements().iter().any(|s| s.contains("DiskCleaner")), "{:#?}", rig.server.statements());
}

/// A worker that another has replaced must not take its replacement's hold.
#[tokio::test(start_paused = true)]
async fn a_worker_that_was_replaced_releases_nothing() {
    let rig = Rig::new("v1.2.4");
    rig.server.hold();
    rig.repository.fault(0, Fault::Hang, || {});
    *rig.told.superseded.lock().unwrap() = Some("looking");
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert!(rig.server.is_held());
}

#[rstest]
#[case::away_for_a_while(25, true)]
#[case::away_for_good(5000, false)]
#[tokio::test(start_paused = true)]
async fn a_hold_is_released_or_the_report_says_that_it_is_not(#[case] failing: usize, #[case] released: bool) {
    let healthy = Rig::new("v1.2.4");
    healthy.run(&healthy.task(1, BackupType::Auto)).await;
    // The first one is for what others have left.
    let release = healthy.server.calls().iter().rposition(|c| c.contains("remove_checker")).unwrap();
    let rig = Rig::new("v1.2.4");
    // The connection for it comes before.
    for call in release - 1..release - 1 + failing {
        rig.server.fault(call, Fault::Before, || {});
    }
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_whole(&rig);
    assert_eq!(rig.server.is_held(), !released);
    assert_eq!(report.warnings.iter().any(|w| w.reason == "GcNotReleased"), !released, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_answer_cannot_be_read_is_released() {
    let rig = Rig::new("v1.2.4");
    rig.server.mumble();
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert!(!rig.server.is_held());
}
