use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Progress, Restore},
    controller::{
        decision::{Effect, ready},
        restore::{
            Boot, boot,
            decide::{
                decide, finished,
                tests::{UID, condition, ended, now, said as told, whole},
            },
        },
        run::open_record,
        seen::{JobEnd, JobSeen, Named},
    },
    task::TargetTask,
};

fn cluster() -> Value {
    json!({"address": {"host": "new-mo"}, "credentialsSecret": {"name": "root"}})
}

/// A Restore whose data is in place, before that is judged.
fn restored(change: impl FnOnce(&mut Value)) -> Observed {
    let mut world = ended(whole(), |r| {
        r["spec"]["target"]["cluster"] = cluster();
        change(r);
    });
    let report = world.restore.status.as_ref().unwrap().report.as_ref().unwrap();
    let target = TargetTask::of(&world.restore.spec.target).unwrap();
    world.boot = Boot::Ours(boot::files(&target, report.plan.as_ref().unwrap(), "v1.2.4"));
    world
}

/// The same world after this decision.
fn after(mut world: Observed, decision: &RestoreDecision) -> Observed {
    let status = world.restore.status.as_mut().unwrap();
    (status.phase, status.run) = (decision.status.phase, decision.status.run.clone());
    world
}

/// Its proof is on record and its Job ended like this.
fn proof_over(end: JobEnd, proof: &Value) -> Observed {
    let world = restored(|_| {});
    let first = decide(&world, now());
    let mut world = after(world, &first);
    world.workers.jobs.push(JobSeen {
        name: "r-proof-2".into(),
        uid: "p".into(),
        run: format!("{UID}-2"),
        created: now(),
        deleting: false,
        end: Some(end),
    });
    let mut proof = proof.clone();
    proof["run"] = json!(format!("{UID}-2"));
    world.restore.status.as_mut().unwrap().proof = Some(serde_json::from_value(proof).unwrap());
    world
}

fn good() -> Value {
    json!({"outcome": "Succeeded", "retryable": false, "bootedTime": "2027-01-01T01:10:00Z", "serverVersion": "v1.2.4",
        "accounts": ["sys"], "tables": 12, "rows": 3456})
}

#[test]
fn with_a_cluster_it_is_not_complete_when_everything_is_in_place() {
    let decision = decide(&restored(|_| {}), now());
    assert_eq!(told(&decision), (Some(RestorePhase::WaitingForBoot), Reason::Starting));
    for (of, is) in [("DataInPlace", "True"), ("Complete", "False"), ("Booted", "False"), ("Proven", "False")] {
        assert_eq!(condition(&decision, of).as_deref(), Some(is), "{of}");
    }
    let job = decision.effects.iter().find_map(|e| if let Effect::CreateJob(job) = e { Some(job) } else { None });
    let job = serde_json::to_value(job.unwrap()).unwrap();
    assert_eq!(job["metadata"]["name"], "r-proof-2");
    let volumes = job["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes[0]["secret"]["secretName"], "root");
    assert!(volumes.iter().all(|v| v["name"] != "target-store"), "what was restored is none of its business");
    let run = &decision.status.run;
    assert_eq!((run.attempt, run.first_attempt), (2, Some(2)), "the proof has tries of its own");
}

#[test]
fn further_logins_are_mounted_one_by_one() {
    let world = restored(|r| {
        r["spec"]["proof"] = json!({"bootDeadline": "1h", "credentialsSecrets": [{"name": "acme"}, {"name": "shop"}]});
    });
    let job = job(&world, world.restore.status.as_ref().unwrap().report.as_ref().unwrap(), 2);
    let Ok(job) = job else { panic!("no Job") };
    let pod = serde_json::to_value(job.spec.unwrap().template.spec).unwrap();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let of = |secret: &str| {
        let volume = pod["volumes"].as_array().unwrap().iter().find(|v| v["secret"]["secretName"] == secret).unwrap();
        mounts.iter().find(|m| m["name"] == volume["name"]).unwrap()["mountPath"].clone()
    };
    assert_eq!((of("acme"), of("shop")), ("/run/mo-backup/accounts/0".into(), "/run/mo-backup/accounts/1".into()));
}

#[rstest]
#[case::waiting(WAITING_FOR_BOOT, RestorePhase::WaitingForBoot, "False")]
#[case::reading("reading tables", RestorePhase::Proving, "True")]
fn its_progress_says_whether_it_has_booted(#[case] step: &str, #[case] phase: RestorePhase, #[case] booted: &str) {
    let mut world = proof_over(JobEnd::Complete, &good());
    world.workers.jobs.last_mut().unwrap().end = None;
    let status = world.restore.status.as_mut().unwrap();
    status.proof = None;
    status.progress = Some(Progress { run: format!("{UID}-2"), step: step.into(), ..Progress::default() });
    let decision = decide(&world, now());
    assert_eq!(decision.status.phase, Some(phase));
    assert_eq!(condition(&decision, "Booted").as_deref(), Some(booted));
    assert_eq!(condition(&decision, "Complete").as_deref(), Some("False"));
}

#[test]
fn a_good_proof_completes_it() {
    let decision = decide(&proof_over(JobEnd::Complete, &good()), now());
    assert_eq!(told(&decision), (Some(RestorePhase::Completed), Reason::Proven));
    for of in ["Complete", "Ready", "DataInPlace", "Booted", "Proven"] {
        assert_eq!(condition(&decision, of).as_deref(), Some("True"), "{of}");
    }
    let message = ready(&decision.status.run).unwrap().1;
    assert!(message.contains("12 tables with 3456 rows of account sys"), "{message}");
    assert!(decision.status.run.end_time.is_some());
    let world = after(proof_over(JobEnd::Complete, &good()), &decision);
    assert!(finished(&world.restore));
}

#[rstest]
#[case::for_good(false, RestorePhase::Failed, Reason::IdsRestarted)]
#[case::for_now(true, RestorePhase::Retrying, Reason::Retrying)]
fn a_bad_proof_leaves_the_data_in_place(#[case] retryable: bool, #[case] phase: RestorePhase, #[case] reason: Reason) {
    let bad = json!({"outcome": "Failed", "retryable": retryable, "reason": "IdsRestarted", "message": "id 272514 twice",
        "bootedTime": "2027-01-01T01:10:00Z"});
    let failed = |code| JobEnd::Failed { detail: code };
    let decision = decide(&proof_over(failed("exit code 11".into()), &bad), now());
    assert_eq!(told(&decision), (Some(phase), reason));
    for (of, is) in [("DataInPlace", "True"), ("Booted", "True"), ("Proven", "False"), ("Complete", "False")] {
        assert_eq!(condition(&decision, of).as_deref(), Some(is), "{of}");
    }
    assert!(ready(&decision.status.run).unwrap().1.contains("id 272514 twice"));
}

#[test]
fn a_failed_proof_is_tried_again_when_a_person_asks() {
    let bad = json!({"outcome": "Failed", "retryable": false, "reason": "BootDeadlineExceeded", "message": "nobody"});
    let world = proof_over(JobEnd::Failed { detail: "exit code 11".into() }, &bad);
    let failed = decide(&world, now());
    let mut world = after(world, &failed);
    assert!(finished(&world.restore));
    world.restore.metadata.annotations = Some([("mo-backup.io/retry".to_owned(), "1".to_owned())].into());
    let again = decide(&world, now());
    assert_eq!((again.status.phase, again.status.run.attempt), (Some(RestorePhase::WaitingForBoot), 3));
    assert_eq!(open_record(&again.status.run).unwrap().job, "r-proof-3", "nothing is copied again");
}

fn without_cluster(restore: &mut Restore) {
    restore.spec.target.cluster = None;
}

#[test]
fn the_cluster_may_be_given_later_and_taken_back() {
    let mut world = restored(|_| {});
    without_cluster(&mut world.restore);
    let rested = decide(&world, now());
    assert_eq!(told(&rested), (Some(RestorePhase::InPlace), Reason::NotBooted));
    let mut world = after(world, &rested);
    world.restore.spec.target.cluster = Some(serde_json::from_value(cluster()).unwrap());
    let begun = decide(&world, now());
    assert_eq!((begun.status.phase, begun.status.run.attempt), (Some(RestorePhase::WaitingForBoot), 2));
    assert_eq!(begun.status.run.end_time, None);
    let bad = json!({"outcome": "Failed", "retryable": false, "reason": "BootDeadlineExceeded", "message": "nobody"});
    let mut world = proof_over(JobEnd::Failed { detail: "exit code 11".into() }, &bad);
    without_cluster(&mut world.restore);
    assert_eq!(told(&decide(&world, now())), (Some(RestorePhase::InPlace), Reason::NotBooted));
}

fn another_cluster(restore: &mut Restore) {
    restore.spec.target.cluster.as_mut().unwrap().address.as_mut().unwrap().host = "other-mo".into();
}

fn another_login(restore: &mut Restore) {
    restore.spec.proof = Some(serde_json::from_value(json!({"credentialsSecrets": [{"name": "acme"}]})).unwrap());
}

/// What was proven of one server is not said of another.
#[rstest]
#[case::another_server(another_cluster, RestorePhase::WaitingForBoot)]
#[case::another_login(another_login, RestorePhase::WaitingForBoot)]
#[case::none(without_cluster, RestorePhase::InPlace)]
fn a_proof_of_what_the_spec_no_longer_names_counts_for_nothing(
    #[case] change: fn(&mut Restore),
    #[case] phase: RestorePhase,
) {
    let mut world = proof_over(JobEnd::Complete, &good());
    change(&mut world.restore);
    let decision = decide(&world, now());
    assert_eq!(decision.status.phase, Some(phase));
    assert_ne!(condition(&decision, "Proven").as_deref(), Some("True"));
    let again = phase == RestorePhase::WaitingForBoot;
    assert_eq!(
        (decision.status.run.attempt, decision.status.run.first_attempt),
        if again { (3, Some(3)) } else { (2, Some(3)) }
    );
}

#[test]
fn a_proof_under_way_is_stopped_when_the_spec_names_another_server() {
    let mut world = proof_over(JobEnd::Complete, &good());
    world.workers.jobs.last_mut().unwrap().end = None;
    world.restore.status.as_mut().unwrap().proof = None;
    another_cluster(&mut world.restore);
    let decision = decide(&world, now());
    assert_eq!(told(&decision), (Some(RestorePhase::WaitingForBoot), Reason::ProofOutdated));
    assert!(decision.effects.iter().any(|e| matches!(e, Effect::DeleteJob { name, .. } if name == "r-proof-2")));
    let mut world = after(world, &decision);
    world.workers.jobs.pop();
    let next = decide(&world, now());
    assert_eq!((next.status.phase, next.status.run.attempt), (Some(RestorePhase::WaitingForBoot), 3));
    assert!(next.effects.iter().any(|e| matches!(e, Effect::CreateJob(_))), "without a wait: nothing has failed");
}

/// A place that a server without `hk_data` has written to is not made good by asking for no proof.
#[test]
fn a_verdict_against_the_place_stands_without_a_cluster() {
    let bad = json!({"outcome": "Failed", "retryable": false, "reason": "IdsRestarted", "message": "id 272514 twice",
        "bootedTime": "2027-01-01T01:10:00Z"});
    let mut world = proof_over(JobEnd::Failed { detail: "exit code 11".into() }, &bad);
    without_cluster(&mut world.restore);
    let decision = decide(&world, now());
    assert_eq!(told(&decision), (Some(RestorePhase::Failed), Reason::IdsRestarted));
    assert_eq!(condition(&decision, "Complete").as_deref(), Some("False"));
}

#[test]
fn an_order_to_cancel_counts_though_the_spec_has_changed() {
    let mut world = proof_over(
        JobEnd::Failed { detail: "exit code 12".into() },
        &json!({"outcome": "Interrupted", "retryable": true}),
    );
    world.restore.metadata.annotations = Some([("mo-backup.io/cancel".to_owned(), "1".to_owned())].into());
    another_cluster(&mut world.restore);
    assert_eq!(told(&decide(&world, now())), (Some(RestorePhase::Failed), Reason::Cancelled));
}

#[test]
fn another_server_is_not_said_to_have_booted() {
    let bad = json!({"outcome": "Failed", "retryable": false, "reason": "NotTheRestored", "message": "the old one",
        "bootedTime": "2027-01-01T01:10:00Z"});
    let decision = decide(&proof_over(JobEnd::Failed { detail: "exit code 11".into() }, &bad), now());
    assert_eq!(condition(&decision, "Booted").as_deref(), Some("False"));
}

#[rstest]
#[case::missing(Named::Missing, Reason::ClusterNotFound)]
#[case::not_ready(Named::NotReady, Reason::ClusterNotReady)]
fn a_cluster_by_name_is_waited_for(#[case] named: Named, #[case] reason: Reason) {
    let mut world = restored(|r| {
        r["spec"]["target"]["cluster"] =
            json!({"matrixOneCluster": {"name": "new"}, "credentialsSecret": {"name": "root"}});
    });
    world.named = named;
    let decision = decide(&world, now());
    assert_eq!(told(&decision), (Some(RestorePhase::WaitingForBoot), reason));
    assert_eq!(condition(&decision, "DataInPlace").as_deref(), Some("True"));
    assert!(decision.effects.is_empty());
    let next = decide(&after(world, &decision), now());
    assert_eq!(next.status, decision.status, "looking again changes nothing");
}
