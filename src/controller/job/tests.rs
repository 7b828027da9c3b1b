use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Backup, BackupStorage},
    task::BackupTask,
};

fn storage(change: impl FnOnce(&mut Value)) -> BackupStorage {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "st", "namespace": "ns", "uid": "00000000-0000-4000-8000-0000000000ff"},
        "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1",
            "credentialsSecret": {"name": "keys", "accessKeyIdKey": "id", "secretAccessKeyKey": "key", "sessionTokenKey": "token"},
            "caSecret": {"name": "store-ca"}}}
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn backup(change: impl FnOnce(&mut Value)) -> Backup {
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": "nightly", "namespace": "ns", "uid": "00000000-0000-4000-8000-000000000001",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "dump", "userKey": "u", "passwordKey": "p"},
                "tls": {"mode": "Required", "caSecret": {"name": "sql-ca", "key": "root.pem"}}},
            "storage": "st", "staging": {"volume": {"claim": "shared", "path": "out", "serverPath": "/backup"}},
            "job": {"labels": {"team": "db", "mo-backup.io/run": "forged"}, "runAs": {"user": 1000}}
        }
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn render(backup: &Backup, storage: &BackupStorage) -> Value {
    let address = backup.spec.cluster.as_ref().unwrap().address.as_ref().unwrap();
    let task = Task::Backup(Box::new(BackupTask::for_attempt(backup, address, storage, None, 2).unwrap()));
    let image = WorkerImage { image: "mo-backup:1".into(), pull_policy: Some("IfNotPresent".into()) };
    let plan = JobPlan {
        task: &task,
        options: &backup.spec.job,
        image: &image,
        deadline: Duration::from_hours(25),
        cluster: backup.spec.cluster.as_ref(),
        storage: Some(&storage.spec),
        staging: backup.spec.staging.as_ref().map(|s| &s.volume),
        target: None,
        accounts: &[],
    };
    serde_json::to_value(plan.render().unwrap()).unwrap()
}

#[test]
fn a_job_is_what_it_was_yesterday() {
    insta::assert_yaml_snapshot!(render(&backup(|_| {}), &storage(|_| {})));
}

#[test]
fn a_users_label_does_not_hide_a_pod_from_us() {
    let job = render(&backup(|_| {}), &storage(|_| {}));
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["mo-backup.io/run"], "00000000-0000-4000-8000-000000000001-2");
    assert_eq!(labels["team"], "db");
}

/// The restricted profile of Pod Security, field by field.
#[test]
fn a_pod_is_restricted() {
    let job = render(&backup(|_| {}), &storage(|_| {}));
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(container["readOnlyRootFilesystem"], true);
    for kind in pod["volumes"].as_array().unwrap().iter().flat_map(|v| v.as_object().unwrap().keys()) {
        assert!(["name", "secret", "persistentVolumeClaim", "emptyDir", "projected"].contains(&&**kind), "{kind}");
    }
    for forbidden in ["hostNetwork", "hostPID", "hostIPC", "nodeName"] {
        assert!(pod[forbidden].is_null());
    }
}

/// The Task names Secrets at most; what they hold comes as files of named keys.
#[test]
fn only_named_keys_are_mounted() {
    let job = render(&backup(|_| {}), &storage(|_| {}));
    let volumes = job["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
    let secrets: Vec<&Value> = volumes.iter().filter_map(|v| v.get("secret")).collect();
    assert_eq!(secrets.len(), 4);
    for secret in secrets {
        assert!(!secret["items"].as_array().unwrap().is_empty(), "{secret}");
        assert_eq!(secret["defaultMode"], 0o440);
    }
}

#[test]
fn a_claim_that_serves_twice_is_one_volume() {
    let storage = storage(|o| {
        o["spec"] = json!({"type": "Volume", "volume": {"claim": "shared", "path": "repo"}});
    });
    let job = render(&backup(|_| {}), &storage);
    let pod = &job["spec"]["template"]["spec"];
    let claims = pod["volumes"].as_array().unwrap().iter().filter(|v| !v["persistentVolumeClaim"].is_null()).count();
    assert_eq!(claims, 1);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> =
        mounts.iter().filter(|m| m["name"] == "repository").filter_map(|m| m["mountPath"].as_str()).collect();
    assert_eq!(paths, [mount::REPOSITORY, mount::STAGING]);
}

#[test]
fn names_fit_a_label() {
    let longest = "x".repeat(52);
    assert!(attempt_name(&longest, 999_999_999).len() <= 63);
    assert!(purge_name(&longest, 9999).len() <= 63);
    assert!(probe_name(&longest, 9999).len() <= 63);
}
