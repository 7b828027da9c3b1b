use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn ended(mut status: Value) -> (Option<String>, Option<String>) {
    status["phase"] = json!("Failed");
    let labels = json!({RUN_LABEL: "uid-1"});
    let pod = json!({"metadata": {"name": "b-1-x", "labels": labels}, "status": status});
    let seen = PodSeen::of(&serde_json::from_value(pod).unwrap(), "uid").unwrap();
    (seen.ended, seen.taken)
}

fn container(reason: &str, code: i32) -> Value {
    json!([{"name": WORKER, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"reason": reason, "exitCode": code}}}])
}

fn disruption(reason: &str) -> Value {
    json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "bye"}])
}

/// What a kubelet and the eviction API write.
#[rstest]
#[case::out_of_memory(json!({"containerStatuses": container("OOMKilled", 137)}), "OOMKilled, exit code 137", None)]
#[case::evicted_by_its_kubelet(
    json!({"containerStatuses": container("Error", 137), "reason": "Evicted", "message": "full",
        "conditions": disruption("TerminationByKubelet")}),
    "Evicted: full (Error, exit code 137)",
    Some("Evicted: full"),
)]
#[case::evicted_before_it_ran(json!({"reason": "Evicted", "message": "full"}), "Evicted: full", Some("Evicted: full"))]
#[case::evicted_by_the_api(
    json!({"containerStatuses": container("Error", 12), "conditions": disruption("EvictionByEvictionAPI")}),
    "EvictionByEvictionAPI: bye (Error, exit code 12)",
    Some("EvictionByEvictionAPI: bye"),
)]
fn an_end_says_who_ended_it(#[case] status: Value, #[case] words: &str, #[case] by: Option<&str>) {
    assert_eq!(ended(status), (Some(words.to_owned()), by.map(ToOwned::to_owned)));
}

#[rstest]
#[case::reached(json!({"host": "prod-proxy.shop", "port": 6009}), Named::At(Address { host: "prod-proxy.shop".into(), port: 6009 }))]
#[case::new(Value::Null, Named::NotReady)]
#[case::without_a_host(json!({"phase": "NotReady", "port": 6009}), Named::NotReady)]
#[case::with_an_empty_host(json!({"host": "", "port": 6009}), Named::NotReady)]
#[case::without_a_port(json!({"host": "prod-proxy.shop"}), Named::NotReady)]
#[case::with_an_impossible_port(json!({"host": "prod-proxy.shop", "port": 70_000}), Named::NotReady)]
fn a_matrixonecluster_is_reached_where_its_status_says(#[case] status: Value, #[case] expected: Named) {
    let object = json!({"apiVersion": "core.matrixorigin.io/v1alpha1", "kind": "MatrixOneCluster",
        "metadata": {"name": "prod", "namespace": "shop"}, "spec": {}, "status": status});
    assert_eq!(Named::of(&serde_json::from_value(object).unwrap()), expected);
}
