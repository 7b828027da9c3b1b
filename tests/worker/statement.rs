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
    assert!(
        !rig.server.statements().iter().any(|s| s.contains("DiskCleaner")),
        "its hold is the only one there can be"
    );
    assert_eq!(rig.server.running(), 1);
}

#[rstest]
#[case::away_for_a_while(25, true)]
#[case::away_for_good(5000, false)]
#[tokio::test(start_paused = true)]
async fn a_hold_is_released_or_the_report_says_that_it_is_not(#[case] failing: usize, #[case] released: bool) {
    let release = call("v1.2.4", "remove_checker").await;
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
