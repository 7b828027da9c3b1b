use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn ticket(uid: &str, created: i64, claim: Claim) -> Ticket {
    let created = Timestamp::from_second(created).unwrap();
    Ticket { created, uid: uid.into(), name: format!("ns/{uid}"), claim }
}

fn behind(position: i32, running: &str) -> Turn {
    Turn::Behind(Queue { position, running: running.into() })
}

#[rstest]
#[case::alone(&[], Turn::Ours)]
#[case::itself_does_not_count(&[ticket("b", 5, Claim::Holds)], Turn::Ours)]
#[case::somebody_runs(&[ticket("z", 9, Claim::Holds)], behind(1, "ns/z"))]
#[case::an_older_one_waits(&[ticket("z", 4, Claim::Waits)], behind(1, ""))]
#[case::a_younger_one_waits(&[ticket("z", 6, Claim::Waits)], Turn::Ours)]
#[case::the_same_second_goes_by_uid(&[ticket("a", 5, Claim::Waits)], behind(1, ""))]
#[case::the_same_second_after_us(&[ticket("c", 5, Claim::Waits)], Turn::Ours)]
#[case::one_runs_and_one_waits(&[ticket("z", 9, Claim::Holds), ticket("y", 4, Claim::Waits)], behind(2, "ns/z"))]
#[case::finished_ones_never_hold_the_turn(&[ticket("a", 1, Claim::Nothing)], Turn::Ours)]
fn first_come_first_served(#[case] others: &[Ticket], #[case] expected: Turn) {
    assert_eq!(turn(&ticket("b", 5, Claim::Waits), others), expected);
}

fn backup(name: &str, change: impl FnOnce(&mut Value)) -> Backup {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": name, "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"cluster": {"address": {"host": "mo.shop"}, "credentialsSecret": {"name": "s"}}, "storage": "st"}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn open(job: &str) -> Value {
    json!({"phase": "Running", "attempt": 1, "attempts": [{"number": 1, "job": job}]})
}

#[rstest]
#[case::new("b", |_: &mut Value| {}, Claim::Waits)]
#[case::queued("b", |o: &mut Value| o["status"] = json!({"phase": "Queued", "attempt": 0}), Claim::Waits)]
#[case::suspended("b", |o: &mut Value| o["spec"]["suspend"] = json!(true), Claim::Nothing)]
#[case::open("b", |o: &mut Value| o["status"] = open("b-1"), Claim::Holds)]
#[case::open_though_deleted("b", |o: &mut Value| { o["status"] = open("b-1"); o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"); }, Claim::Holds)]
#[case::a_purge_does_not_talk_to_matrixone("b", |o: &mut Value| o["status"] = open("b-purge-1"), Claim::Nothing)]
#[case::nor_does_a_sweep("b", |o: &mut Value| o["status"] = open("b-sweep-1"), Claim::Nothing)]
#[case::a_name_that_looks_like_a_purge("b-purge", |o: &mut Value| o["status"] = open("b-purge-1"), Claim::Holds)]
#[case::failed("b", |o: &mut Value| o["status"] = json!({"phase": "Failed", "attempt": 1}), Claim::Nothing)]
#[case::retrying("b", |o: &mut Value| o["status"] = json!({"phase": "Retrying", "attempt": 1}), Claim::Nothing)]
fn a_claim_follows_from_status(#[case] name: &str, #[case] change: fn(&mut Value), #[case] expected: Claim) {
    assert_eq!(Ticket::of(&backup(name, change)).unwrap().claim, expected);
}

#[test]
fn a_named_cluster_is_told_by_namespace_and_name() {
    let named = |namespace: &str, name: &str| {
        cluster_key(&backup("b", |b| {
            b["metadata"]["namespace"] = json!(namespace);
            b["spec"]["cluster"] = json!({"matrixOneCluster": {"name": name}, "credentialsSecret": {"name": "s"}});
        }))
    };
    assert_eq!(named("ns", "prod"), "MatrixOneCluster ns/prod");
    assert_ne!(named("ns", "prod"), named("other", "prod"));
    assert_ne!(named("ns", "prod"), named("ns", "test"));
}

#[rstest]
#[case::of_the_whole_cluster("mo.shop", "mo.shop:6001")]
#[case::of_the_namespace("mo", "mo.ns:6001")]
#[case::by_ip("fd00::7", "fd00::7:6001")]
fn a_cluster_is_told_by_its_address(#[case] host: &str, #[case] key: &str) {
    assert_eq!(cluster_key(&backup("b", |b| b["spec"]["cluster"]["address"]["host"] = json!(host))), key);
}
