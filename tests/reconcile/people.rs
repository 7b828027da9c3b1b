//! What people do to Backups, and what the operator says and does about it.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    standing,
    world::{BACKUPS, CLUSTERS, Ends, JOBS, NS, PODS, STORAGES, World, backup, storage},
};

fn annotate(world: &World, name: &str, verb: &str, token: &str) {
    world.edit(BACKUPS, name, |o| o["metadata"]["annotations"][format!("mo-backup.io/{verb}")] = json!(token));
}

fn edit_spec(world: &World, name: &str, field: &str, value: Value) {
    world.edit(BACKUPS, name, |o| {
        o["spec"][field] = value;
        o["metadata"]["generation"] = json!(o["metadata"]["generation"].as_i64().unwrap() + 1);
    });
}

async fn running(ends: Ends) -> World {
    let mut world = World::new(None);
    world.script = [ends].into();
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, backup("nightly"));
    for _ in 0..6 {
        world.operate().await;
        world.kubernetes();
        world.pass_time(5);
    }
    assert_eq!(standing(&world, "nightly")["phase"], "Running");
    world
}

fn condition(world: &World, type_: &str) -> String {
    let object = world.object(BACKUPS, "nightly").unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.iter().find(|c| c["type"] == type_).unwrap();
    format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

#[tokio::test]
async fn nothing_is_written_at_rest() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    let (writes, requests) = (world.api.lock().unwrap().writes.len(), *world.requests.lock().unwrap());
    for _ in 0..50 {
        world.operate().await;
        world.pass_time(600);
    }
    assert_eq!(world.api.lock().unwrap().writes.len(), writes);
    let asked = *world.requests.lock().unwrap() - requests;
    assert_eq!(asked, 50, "a look at the storage costs one list, one at the finished Backup nothing");
}

#[tokio::test]
async fn a_backup_waits_for_its_storage() {
    let mut world = World::new(None);
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False StorageNotFound");
    world.apply(STORAGES, storage());
    world.settle().await;
    assert_eq!(condition(&world, "Complete"), "True Completed");
}

fn by_name(name: &str) -> Value {
    let mut object = backup(name);
    object["spec"]["cluster"] = json!({"matrixOneCluster": {"name": "prod"}, "credentialsSecret": {"name": "dump"}});
    object
}

fn matrix_one_cluster(status: Value) -> Value {
    json!({"apiVersion": "core.matrixorigin.io/v1alpha1", "kind": "MatrixOneCluster",
        "metadata": {"name": "prod", "namespace": NS}, "spec": {}, "status": status})
}

#[tokio::test]
async fn a_backup_waits_for_its_matrixonecluster_and_goes_where_that_is() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, by_name("nightly"));
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False ClusterNotFound");
    world.apply(CLUSTERS, matrix_one_cluster(json!({})));
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False ClusterNotReady");
    assert!(world.api.lock().unwrap().jobs_made.iter().all(|job| job.contains("-probe-")));
    world.edit(CLUSTERS, "prod", |o| o["status"] = json!({"host": "prod-proxy.shop", "port": 6009}));
    world.settle().await;
    assert_eq!(condition(&world, "Complete"), "True Completed");
    let job = world.object(JOBS, "nightly-1").unwrap();
    let task = job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap();
    let task: Value = serde_json::from_str(task).unwrap();
    assert_eq!((&task["cluster"]["host"], &task["cluster"]["port"]), (&json!("prod-proxy.shop"), &json!(6009)));
}

#[tokio::test]
async fn cancel_stops_the_worker_and_retry_goes_on_with_the_next_attempt() {
    let mut world = running(Ends::Never).await;
    annotate(&world, "nightly", "cancel", "one");
    world.settle().await;
    assert_eq!(condition(&world, "Failed"), "True Cancelled");
    assert!(world.object(PODS, "nightly-1-pod").is_none(), "the worker is gone");
    let handled = world.object(BACKUPS, "nightly").unwrap()["status"]["handledRequests"].clone();
    assert_eq!(handled, json!({"cancel": "one"}));
    world.script.clear();
    annotate(&world, "nightly", "retry", "two");
    world.settle().await;
    let standing = standing(&world, "nightly");
    assert_eq!(standing["phase"], "Completed", "{standing:#}");
    assert_eq!(standing["attempt"], 2);
}

#[tokio::test]
async fn a_job_deleted_by_somebody_makes_room_for_the_next_attempt() {
    let mut world = running(Ends::Never).await;
    world.api.lock().unwrap().objects.remove(&(JOBS.into(), "nightly-1".into()));
    for _ in 0..10 {
        world.operate().await;
        world.pass_time(60);
    }
    let made = world.api.lock().unwrap().jobs_made.clone();
    assert!(!made.contains(&"nightly-2".to_owned()), "its Pod is still alive: {made:?}");
    world.api.lock().unwrap().objects.remove(&(PODS.into(), "nightly-1-pod".into()));
    world.script.clear();
    world.settle().await;
    let standing = standing(&world, "nightly");
    assert_eq!(standing["attempts"], json!(["1 nightly-1 JobVanished", "2 nightly-2 Completed"]));
}

#[tokio::test]
async fn a_silent_worker_is_stopped_after_its_deadline() {
    let mut world = running(Ends::Never).await;
    world.pass_time(15 * 60 + 61);
    world.operate().await;
    assert!(world.object(JOBS, "nightly-1").unwrap()["metadata"]["deletionTimestamp"].is_string());
    world.script.clear();
    world.settle().await;
    let standing = standing(&world, "nightly");
    assert_eq!(standing["attempts"], json!(["1 nightly-1 Stalled", "2 nightly-2 Completed"]));
}

#[tokio::test]
async fn a_lost_node_gets_no_second_worker() {
    let mut world = running(Ends::Never).await;
    let now = world.api.lock().unwrap().now.clone();
    world.edit(PODS, "nightly-1-pod", |p| {
        p["metadata"]["deletionTimestamp"] = json!(now);
        p["metadata"]["finalizers"] = json!(["held-by-its-kubelet"]);
    });
    for _ in 0..20 {
        world.pass_time(600);
        world.operate().await;
    }
    assert_eq!(condition(&world, "Stalled"), "True NodeLost");
    assert_eq!(world.api.lock().unwrap().jobs_made, ["store-probe-1", "nightly-1"]);
}

#[tokio::test]
async fn a_dying_namespace_lets_go_and_starts_nothing() {
    let mut world = running(Ends::Never).await;
    world.script = [Ends::Killed].into();
    world.api.lock().unwrap().terminating = true;
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False NamespaceTerminating");
    let object = world.object(BACKUPS, "nightly").unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!([]));
    assert!(!world.api.lock().unwrap().jobs_made.contains(&"nightly-2".to_owned()));
}

#[tokio::test]
async fn a_quota_is_named_and_costs_no_attempt() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.settle().await;
    world.api.lock().unwrap().quota = Some("exceeded quota: jobs=0".into());
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False JobRefused");
    world.api.lock().unwrap().quota = None;
    world.settle().await;
    assert_eq!(standing(&world, "nightly")["attempts"], json!(["1 nightly-1 Completed"]));
}

#[tokio::test]
async fn a_strangers_job_is_neither_adopted_nor_deleted() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    let stranger = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "nightly-1", "namespace": NS},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    world.apply(JOBS, stranger);
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    assert_eq!(condition(&world, "Stalled"), "True NameConflict");
    world.api.lock().unwrap().objects.remove(&(JOBS.into(), "nightly-1".into()));
    world.settle().await;
    assert_eq!(condition(&world, "Complete"), "True Completed");
}

#[tokio::test]
async fn a_recreated_backup_does_not_adopt_the_old_job() {
    let mut world = running(Ends::Never).await;
    world.api.lock().unwrap().objects.remove(&(BACKUPS.into(), "nightly".into()));
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    assert_eq!(condition(&world, "Stalled"), "True NameConflict");
    // The garbage collector removes what the old object owned.
    for (collection, name) in [(JOBS, "nightly-1"), (PODS, "nightly-1-pod")] {
        world.api.lock().unwrap().objects.remove(&(collection.into(), name.into()));
    }
    world.script.clear();
    world.settle().await;
    assert_eq!(condition(&world, "Complete"), "True Completed");
}

#[tokio::test]
async fn deleting_stops_the_worker_first_and_hold_waits() {
    let mut world = running(Ends::Never).await;
    edit_spec(&world, "nightly", "hold", json!(true));
    edit_spec(&world, "nightly", "deletionPolicy", json!("Delete"));
    world.api.lock().unwrap().mark_deleted(BACKUPS, "nightly");
    world.settle().await;
    assert_eq!(condition(&world, "Ready"), "False Held");
    assert!(world.object(JOBS, "nightly-1").is_none(), "the worker is stopped");
    edit_spec(&world, "nightly", "hold", json!(false));
    world.settle().await;
    assert!(world.object(BACKUPS, "nightly").is_none());
    assert!(world.api.lock().unwrap().jobs_made.contains(&"nightly-purge-2".to_owned()));
}

#[tokio::test]
async fn a_stopped_workers_files_are_removed_though_the_data_is_retained() {
    let mut world = running(Ends::Never).await;
    world.api.lock().unwrap().mark_deleted(BACKUPS, "nightly");
    world.settle().await;
    assert!(world.object(BACKUPS, "nightly").is_none());
    let job = world.object(JOBS, "nightly-sweep-2").unwrap();
    let pod = &job["spec"]["template"]["spec"];
    let task: Value = serde_json::from_str(pod["containers"][0]["env"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!((&task["task"], &task["staging"]["path"]), (&json!("sweep"), &json!("out")));
    let secrets = pod["volumes"].as_array().unwrap().iter().filter(|v| v["secret"].is_object()).count();
    assert_eq!(secrets, 0, "it needs neither the store nor the server");
}

#[tokio::test]
async fn a_worker_that_told_its_end_needs_no_sweep() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    world.api.lock().unwrap().mark_deleted(BACKUPS, "nightly");
    world.settle().await;
    assert!(world.object(BACKUPS, "nightly").is_none());
    let made = world.api.lock().unwrap().jobs_made.clone();
    assert!(!made.iter().any(|name| name.contains("sweep")), "{made:?}");
}

#[tokio::test]
async fn a_sweep_that_cannot_be_made_holds_nobody_and_says_so() {
    let mut world = running(Ends::Never).await;
    world.api.lock().unwrap().quota = Some("exceeded quota: jobs=1".into());
    world.api.lock().unwrap().mark_deleted(BACKUPS, "nightly");
    world.settle().await;
    assert!(world.object(BACKUPS, "nightly").is_none());
    let last = world.api.lock().unwrap().writes.iter().rev().find(|w| w.contains("StagingNotEmptied")).cloned();
    let last = last.expect("what may be left is said");
    assert!(last.contains("/backup/out") && last.contains("exceeded quota"), "{last}");
}

#[tokio::test]
async fn counts_are_made_again_after_a_backup_and_the_storage_stays_ready() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.settle().await;
    world.apply(BACKUPS, backup("nightly"));
    for _ in 0..40 {
        world.operate().await;
        let status = world.object(STORAGES, "store").unwrap()["status"].clone();
        assert_eq!(status["phase"], "Ready", "{status:#}");
        world.kubernetes();
        world.pass_time(5);
    }
    let probed = world.object(STORAGES, "store").unwrap()["status"]["attempt"].clone();
    assert_eq!(probed, 2);
    world.pass_time(24 * 3600);
    world.settle().await;
    assert_eq!(world.object(STORAGES, "store").unwrap()["status"]["attempt"], 3, "once a day anyway");
}

#[tokio::test]
async fn an_edit_of_a_finished_backup_is_acknowledged() {
    let mut world = World::new(None);
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    edit_spec(&world, "nightly", "hold", json!(true));
    world.settle().await;
    let status = world.object(BACKUPS, "nightly").unwrap()["status"].clone();
    assert_eq!(status["observedGeneration"], 2);
    assert!(status["conditions"].as_array().unwrap().iter().all(|c| c["observedGeneration"] == 2));
    assert_eq!(condition(&world, "Complete"), "True Completed");
}

#[rstest]
#[case::by_address(backup)]
#[case::by_name(by_name)]
#[tokio::test]
async fn backups_of_one_cluster_take_turns(#[case] of: fn(&str) -> Value) {
    let mut world = World::new(None);
    world.script = [Ends::Never].into();
    world.apply(STORAGES, storage());
    world.apply(CLUSTERS, matrix_one_cluster(json!({"host": "prod-proxy.shop", "port": 6009})));
    world.apply(BACKUPS, of("first"));
    world.apply(BACKUPS, of("second"));
    for _ in 0..10 {
        world.operate().await;
        world.kubernetes();
    }
    assert_eq!(standing(&world, "first")["phase"], "Running");
    assert_eq!(standing(&world, "second")["phase"], "Queued");
    let queue = world.object(BACKUPS, "second").unwrap()["status"]["queue"].clone();
    assert_eq!(queue, json!({"position": 1, "running": "shop/first"}));
    world.script.clear();
    world.settle().await;
    assert_eq!(standing(&world, "second")["phase"], "Completed");
    assert!(world.object(BACKUPS, "second").unwrap()["status"]["queue"].is_null());
}
