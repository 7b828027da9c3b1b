//! Versions and upgrades.

use rstest::rstest;

use super::{
    double::Double,
    rig::{assert_failed, assert_proven, run, task},
};

#[rstest]
#[case("v1.2.4", Some("v4.2.0"), false)]
#[case("v4.2.0", Some("v4.2.0"), true)]
#[case("v4.2.0", Some("v4.1.4"), true)]
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

/// v4.2.0 reads the rows of v3.0.18, and never ends the upgrade of its own tables.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_known_not_to_work_is_refused() {
    let mut task = task();
    task.restored.server_version = Some("v3.0.18".into());
    let message = assert_failed(&run(&Double::restored("v4.2.0"), &task).await, "VersionNotSuitable", false);
    assert!(message.contains("is v4.2.0, and v3.0.18 was backed up: the upgrade"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn versions_that_were_never_tried_together_are_said() {
    let mut task = task();
    task.restored.server_version = Some("v4.1.4".into());
    let report = run(&Double::restored("v4.2.0"), &task).await;
    assert_proven(&report);
    let reasons: Vec<_> = report.warnings.iter().map(|warning| warning.reason.as_str()).collect();
    assert_eq!(reasons, ["VersionNotTried"]);
}

#[rstest]
#[case::both_known("v4.2.0", Some("v4.2.0"), false)]
#[case::backup_unknown("v4.2.0", None, true)]
#[case::backup_nameless("v4.2.0", Some("main"), true)]
#[case::server_nameless("main", Some("v4.2.0"), true)]
#[tokio::test(start_paused = true)]
async fn what_could_not_be_compared_is_said(
    #[case] now: &'static str,
    #[case] before: Option<&str>,
    #[case] said: bool,
) {
    let double = Double::restored(now);
    let mut task = task();
    task.restored.server_version = before.map(str::to_owned);
    let report = run(&double, &task).await;
    assert_proven(&report);
    let reasons: Vec<_> = report.warnings.iter().map(|warning| warning.reason.as_str()).collect();
    assert_eq!(reasons, if said { vec!["VersionNotCompared"] } else { vec![] });
}

#[tokio::test(start_paused = true)]
async fn a_version_that_says_no_number_fits_into_the_status() {
    let name =
        concat!("a-name\u{1b}[31m-that-somebody-gave-to-a-server-of-their-own-", "and-that-goes-on-and-on-and-on");
    let report = run(&Double::restored(name), &task()).await;
    assert_proven(&report);
    let version = report.server_version.unwrap();
    assert!(version.starts_with("8.0.30-MatrixOne-a-name?[31m-that"), "{version}");
    assert_eq!(version.chars().count(), 64);
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
