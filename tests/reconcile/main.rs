//! The real `reconcile` against an API server in memory: what is said to Kubernetes, and that a fault at any request
//! changes nothing about where everything comes to rest.

mod api;
mod people;
mod world;

use rstest::rstest;
use serde_json::{Value, json};
use world::{BACKUPS, Ends, Fault, STORAGES, World, backup, storage};

/// How a Backup stands, without times.
pub fn standing(world: &World, name: &str) -> Value {
    let Some(object) = world.object(BACKUPS, name) else { return json!("gone") };
    let status = &object["status"];
    let conditions: Vec<String> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            format!(
                "{}={} {}",
                c["type"].as_str().unwrap(),
                c["status"].as_str().unwrap(),
                c["reason"].as_str().unwrap()
            )
        })
        .collect();
    let attempts: Vec<String> = status["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|a| format!("{} {} {}", a["number"], a["job"].as_str().unwrap(), a["reason"].as_str().unwrap_or("open")))
        .collect();
    json!({"phase": status["phase"], "attempt": status["attempt"], "conditions": conditions, "attempts": attempts})
}

async fn story(script: Vec<Ends>, fault: Option<(usize, Fault)>) -> World {
    let mut world = World::new(fault);
    world.script = script.into();
    world.apply(STORAGES, storage());
    world.apply(BACKUPS, backup("nightly"));
    world.settle().await;
    world
}

fn well() -> Vec<Ends> {
    vec![]
}

fn at_the_second_try() -> Vec<Ends> {
    vec![Ends::Badly("StorageThrottled", true)]
}

fn never() -> Vec<Ends> {
    vec![Ends::Killed, Ends::Badly("StorageError", true), Ends::Badly("ObjectMissing", true)]
}

fn hopeless() -> Vec<Ends> {
    vec![Ends::Badly("BucketNotFound", false)]
}

#[rstest]
#[case::well(well(), "Completed", 1)]
#[case::second_try(at_the_second_try(), "Completed", 2)]
#[case::never(never(), "Failed", 3)]
#[case::hopeless(hopeless(), "Failed", 1)]
#[tokio::test]
async fn a_backup_comes_to_rest(#[case] script: Vec<Ends>, #[case] phase: &str, #[case] attempts: i64) {
    let world = story(script, None).await;
    let standing = standing(&world, "nightly");
    assert_eq!(standing["phase"], phase, "{standing:#}");
    assert_eq!(standing["attempt"], attempts, "{standing:#}");
}

/// Every request of a story goes wrong once, in each way: it never arrives, its reply is lost, the operator dies before
/// it sees the reply. The story (an attempt that fails, one that does not, deletion with its purge) goes the same way,
/// and no Job is made twice.
#[rstest]
#[tokio::test]
async fn a_fault_at_any_request_changes_nothing(#[values(Fault::Before, Fault::ReplyLost, Fault::Crash)] fault: Fault) {
    let (expected, reference) = story_to_the_end(None).await;
    let requests = *reference.requests.lock().unwrap();
    let (jobs, probes) = jobs_of(&reference);
    assert_eq!(jobs, ["nightly-1", "nightly-2", "nightly-purge-3"]);
    assert!(probes.len() >= 3, "it is counted again after the Backup has ended and is gone: {probes:?}");
    assert!(requests > 50, "a story of {requests} requests proves little");
    for at in 0..requests {
        let (rest, world) = story_to_the_end(Some((at, fault))).await;
        assert_eq!(rest, expected, "{fault:?} at request {at}");
        let (made, probes) = jobs_of(&world);
        assert_eq!(made, jobs, "{fault:?} at request {at}: one Job for each attempt");
        let each_once = probes.iter().enumerate().all(|(i, name)| *name == format!("store-probe-{}", i + 1));
        assert!(each_once && probes.len() >= 3, "{fault:?} at request {at}: {probes:?}");
    }
}

/// The Jobs that were made for the Backup, and those for its storage.
fn jobs_of(world: &World) -> (Vec<String>, Vec<String>) {
    let made = world.api.lock().unwrap().jobs_made.clone();
    made.into_iter().partition(|name| name.starts_with("nightly"))
}

/// How the Backup stood before it was deleted, and the world after that.
async fn story_to_the_end(fault: Option<(usize, Fault)>) -> (Value, World) {
    let mut world = story(at_the_second_try(), fault).await;
    let rest = standing(&world, "nightly");
    world.edit(BACKUPS, "nightly", |o| o["spec"]["deletionPolicy"] = json!("Delete"));
    world.api.lock().unwrap().mark_deleted(BACKUPS, "nightly");
    world.settle().await;
    assert_eq!(standing(&world, "nightly"), "gone", "{fault:?}");
    (rest, world)
}
