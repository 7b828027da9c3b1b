//! Which MatrixOne it is.

use mo_backup::task::ProofTask;
use rstest::rstest;

use super::{
    double::{AT, DONE, Double, HIGHEST},
    rig::{assert_failed, assert_proven, run, task},
};

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn another_identity_is_another_server(#[case] version: &'static str) {
    let double = Double::restored(version);
    double.state().identity = "1795999999999";
    let message = assert_failed(&run(&double, &task()).await, "NotTheRestored", false);
    assert!(message.contains("set up at"), "{message}");
    assert_eq!(double.sent("create database"), 0, "something was written to a server that is another one");
}

#[rstest]
#[case("v1.2.4", "1795999999999", false)]
#[case("v1.2.4", "1795263290110", true)]
#[tokio::test(start_paused = true)]
async fn of_a_backup_made_without_us_it_is_known_what_cannot_be(
    #[case] version: &'static str,
    #[case] identity: &'static str,
    #[case] right: bool,
) {
    let double = Double::restored(version);
    double.state().identity = identity;
    let mut task = task();
    task.restored.server_identity = None;
    let report = run(&double, &task).await;
    if right { assert_proven(&report) } else { drop(assert_failed(&report, "NotTheRestored", false)) }
}

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn the_old_server_is_told_apart_and_nothing_is_written_there(#[case] version: &'static str) {
    let double = Double::old(version);
    let message = assert_failed(&run(&double, &task()).await, "NotTheRestored", false);
    assert!(message.contains("it runs since") && !message.contains("Stop it"), "{message}");
    assert_eq!(double.sent("create database"), 0, "something was written to the old server");
}

/// The log service of an old server that was started with `hk_data` has begun above the first ids.
#[tokio::test(start_paused = true)]
async fn so_is_one_that_was_itself_started_on_a_restored_place() {
    let double = Double::old("v4.2.0");
    double.state().replica = HIGHEST - 1;
    let message = assert_failed(&run(&double, &task()).await, "NotTheRestored", false);
    assert!(message.contains("it runs since"), "{message}");
    assert_eq!(double.sent("create database"), 0, "something was written to the old server");
}

#[rstest]
#[case::log_service_not_shown(|double: &Double, _: &mut ProofTask| double.state().silent = true)]
#[case::log_service_older_and_few_ticks(|double: &Double, _: &mut ProofTask| double.state().replica = HIGHEST - 1)]
#[case::end_of_the_restore_unknown(|_: &Double, task: &mut ProofTask| task.restored.complete_time = None)]
#[tokio::test(start_paused = true)]
async fn where_no_sign_can_be_had_it_is_said(#[case] hide: fn(&Double, &mut ProofTask)) {
    let (double, mut task) = (Double::restored("v4.2.0"), task());
    hide(&double, &mut task);
    let report = run(&double, &task).await;
    assert_proven(&report);
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert_eq!(warning.reason, "OldServerNotRuledOut");
    assert!(warning.message.contains("an address of its own"), "{}", warning.message);
}

#[rstest]
#[case::a_table(true)]
#[case::a_periodic_task(false)]
#[tokio::test(start_paused = true)]
async fn what_happened_in_between_happened_to_the_old_server(#[case] table: bool) {
    // Restarted since: it does not say of itself that it is older.
    let double = Double::restored("v1.2.4");
    if table {
        double.change("orders", |orders| orders.made = AT + 600);
    } else {
        double.state().ran = DONE - 600;
    }
    let message = assert_failed(&run(&double, &task()).await, "NotTheRestored", false);
    assert!(message.contains("after 2026-11-21T12:15:08Z"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_clock_is_wrong_is_not_taken_for_the_old_one() {
    let double = Double::restored("v1.2.4");
    {
        let mut state = double.state();
        (state.now, state.since) = (state.now - 3000, state.since - 3000);
    }
    assert_proven(&run(&double, &task()).await);
}

#[tokio::test(start_paused = true)]
async fn a_user_of_another_account_cannot_prove() {
    let double = Double::restored("v4.2.0").of("tenant1");
    assert_failed(&run(&double, &task()).await, "NotSysAccount", false);
}
