//! Ids that are given a second time.

use rstest::rstest;

use super::{
    double::{AT, BOOT, Double, FIRST, HIGHEST},
    rig::{assert_failed, assert_proven, run, task},
};

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn a_start_without_hk_data_is_found(#[case] version: &'static str) {
    let double = Double::without_ids(version);
    let message = assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
    assert!(message.contains("hk_data") && message.contains(&FIRST.to_string()), "{message}");
    assert_eq!(double.state().databases.len(), 2, "the database of the proof was left");
}

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn so_is_one_that_has_given_many_since(#[case] version: &'static str) {
    let double = Double::without_ids(version);
    double.state().next = HIGHEST + 40;
    double.change("orders", |orders| orders.made = BOOT + 5);
    assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
    assert_eq!(double.sent("create database"), 0, "one more id was taken where it was clear already");
}

#[tokio::test(start_paused = true)]
async fn a_log_service_without_the_ids_of_the_backup_is_not_believed() {
    let double = Double::without_ids("v4.2.0");
    double.state().next = HIGHEST + 40;
    let message = assert_failed(&run(&double, &task()).await, "NotTheRestored", false);
    assert!(message.contains("log service"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_server_finds_taken_is_one_given_twice() {
    let double = Double::restored("v4.2.0");
    double.state().duplicate = true;
    assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
}

#[tokio::test(start_paused = true)]
async fn a_database_is_not_dropped_when_another_one_would_go_too() {
    let double = Double::without_ids("v1.2.4");
    double.state().next = 272_506;
    assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
    assert_eq!(double.sent("drop database"), 0);
    assert!(double.state().databases.iter().any(|database| database.1 == "shop"));
}

#[tokio::test(start_paused = true)]
async fn nor_by_the_next_proof() {
    let double = Double::without_ids("v1.2.4");
    double.state().next = 272_506;
    let first = assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
    assert!(first.contains("a new database"), "{first}");
    // What else a killed proof has left stays too: nothing is dropped there any more.
    double.state().databases.insert(0, ("sys", "mo-backup-proof-u-1".into(), 293_160, AT + 4000));
    let second = assert_failed(&run(&double, &task()).await, "IdsRestarted", false);
    assert!(second.contains("mo-backup-proof-u-3") && second.contains("272506"), "{second}");
    assert_eq!(double.sent("drop database"), 0);
    assert_eq!(double.state().databases.len(), 4);
}

/// Several CNs give ids from ranges of their own.
#[tokio::test(start_paused = true)]
async fn a_younger_id_may_be_lower_than_one_given_since() {
    let double = Double::restored("v4.2.0");
    double.state().databases.push(("sys", "new".into(), 400_000, BOOT + 10));
    assert_proven(&run(&double, &task()).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_proof_has_left_goes_with_the_next() {
    let double = Double::restored("v1.2.4");
    let left = |name: &str, id| double.state().databases.push(("sys", name.into(), id, AT + 4000));
    left("mo-backup-proof-u-1", 293_160);
    left("mo-backup-proof-another-1", 293_161);
    assert_proven(&run(&double, &task()).await);
    let names: Vec<_> = double.state().databases.iter().map(|database| database.1.clone()).collect();
    assert_eq!(names, ["shop", "tdb", "mo-backup-proof-another-1"]);
}
