//! Versions and upgrades.

use rstest::rstest;

use super::{
    double::Double,
    rig::{assert_failed, assert_proven, run, task},
};

#[rstest]
#[case("v1.2.4", Some("v4.2.0"), false)]
#[case("v4.2.0", Some("v4.2.0"), true)]
#[case("v4.2.0", Some("v1.2.4"), true)]
#[case("v1.2.4", None, true)]
#[tokio::test(start_paused = true)]
async fn an_older_server_is_refused(#[case] now: &'static str, #[case] before: Option<&str>, #[case] right: bool) {
    let double = Double::restored(now);
    let mut task = task();
    task.restored.server_version = before.map(str::to_owned);
    let report = run(&double, &task).await;
    if right {
        assert_proven(&report);
        assert_eq!(report.server_version.as_deref(), Some(now));
    } else {
        let message = assert_failed(&report, "ServerTooOld", false);
        assert!(message.contains("is v1.2.4, and v4.2.0 was backed up"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_waited_for_as_long_as_it_moves() {
    let double = Double::restored("v4.2.0");
    // Half an hour, twice the stall deadline.
    double.state().upgrading = Some((360, true));
    assert_proven(&run(&double, &task()).await);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_stands_still_is_named() {
    let double = Double::restored("v4.2.0");
    double.state().upgrading = Some((u32::MAX, false));
    let message = assert_failed(&run(&double, &task()).await, "UpgradeNotSettled", true);
    assert!(message.contains("4.0.6 in state 0"), "{message}");
}
