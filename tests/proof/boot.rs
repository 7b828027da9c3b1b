//! Waiting for MatrixOne.

use std::time::Duration;

use mo_backup::sql::Problem;

use super::{
    double::{Double, failed},
    rig::{assert_failed, assert_proven, run, task, told},
};

fn refused() -> mo_backup::sql::Error {
    failed(Problem::Unreachable, 0, "Connection refused (os error 111)")
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_long_as_it_takes() {
    let double = Double::restored("v1.2.4");
    // Five minutes at five seconds each; nothing moves, and that is no stall.
    double.state().refusals.extend((0..60).map(|_| refused()));
    let mut task = task();
    task.stall_deadline = Duration::from_secs(30);
    let (report, told) = told(&double, &task).await;
    assert_proven(&report);
    assert!(report.booted_time.is_some());
    let steps: Vec<_> = told.iter().map(|status| status["progress"]["step"].as_str().unwrap()).collect();
    assert_eq!(steps[0], mo_backup::task::WAITING_FOR_BOOT);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_with_what_was_seen_last() {
    let double = Double::restored("v4.2.0");
    double.state().refusals.extend((0..10_000).map(|_| refused()));
    let report = run(&double, &task()).await;
    let message = assert_failed(&report, "BootDeadlineExceeded", false);
    for part in ["600 s", "Connection refused", "r-boot"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!((report.booted_time, report.tables), (None, None));
}

#[tokio::test(start_paused = true)]
async fn logins_may_be_refused_for_a_while() {
    let double = Double::restored("v4.2.0");
    let not_yet = failed(Problem::Login, 20101, "internal error: there is no user root");
    double.state().refusals.extend([refused(), not_yet.clone(), not_yet]);
    assert_proven(&run(&double, &task()).await);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_said_at_once() {
    let double = Double::restored("v4.2.0");
    let wrong = failed(Problem::Login, 1045, "Access denied for user root. internal error: check password failed");
    double.state().refusals.push_back(wrong);
    assert_failed(&run(&double, &task()).await, "LoginFailed", false);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_later_is_worth_another_attempt() {
    for at in
        ["create_at", "show logservice", "create database", "count(*) from `shop`", "select * from `shop`.`orders`"]
    {
        let double = Double::restored("v4.2.0");
        double.state().breaks = Some(at);
        assert_failed(&run(&double, &task()).await, "ServerUnreachable", true);
        assert_proven(&run(&double, &task()).await);
        assert_eq!(double.state().databases.len(), 2, "something is left after {at}");
    }
}
