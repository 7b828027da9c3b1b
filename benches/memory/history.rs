//! A namespace after weeks of backups: what an API server stores of it, other people's bookkeeping included.

use jiff::Timestamp;
use mo_backup::controller::job::{KIND_LABEL, NAME_LABEL, RUN_LABEL};
use serde_json::{Map, Value, json};

use crate::api::Api;

/// Where everything is.
const NAMESPACE: &str = "shop";
/// When all of them began.
const BEGAN: &str = "2026-11-20T00:00:02Z";
/// When all of them ended.
const ENDED: &str = "2026-11-20T00:01:33Z";

/// An API server with a ready storage, this many Backups that are complete, and a few that still want to run.
pub fn api(complete: usize, open: usize) -> anyhow::Result<Api> {
    let mut api = Api::at(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut put = |collection: &str, object: Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        api.put((collection.into(), name), object).map_err(|no| anyhow::anyhow!("{no}"))
    };
    for crd in mo_backup::api::crds() {
        put("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", serde_json::to_value(crd)?)?;
    }
    put("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
    let ours = format!("/apis/mo-backup.io/v1alpha1/namespaces/{NAMESPACE}");
    put(&format!("{ours}/backupstorages"), managed(storage()))?;
    for n in 0..complete {
        put(&format!("{ours}/backups"), managed(backup(n, true)))?;
        // They stay as long as their Backup.
        put(&format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs"), managed(job(n)))?;
        put(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), managed(pod(n)))?;
    }
    for n in complete..complete + open {
        put(&format!("{ours}/backups"), managed(backup(n, false)))?;
    }
    Ok(api)
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": "2026-11-20T00:01:33Z"})
}

fn storage() -> Value {
    json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "bucket", "namespace": NAMESPACE, "generation": 1, "finalizers": []},
        "spec": {"type": "S3", "s3": {"bucket": "backups", "region": "us-east-1", "credentialsSecret": {"name": "keys"}}},
        "status": {"phase": "Ready", "attempt": 1, "observedGeneration": 1, "endTime": Timestamp::now().to_string(),
            "conditions": [condition("Ready", "True", "StorageReady", "")]}
    })
}

fn name_of(n: usize) -> String {
    format!("nightly-{n:04}")
}

fn uid_of(n: usize) -> String {
    format!("00000000-0000-4000-9000-{n:012}")
}

fn labels(n: usize) -> Value {
    json!({KIND_LABEL: "Backup", NAME_LABEL: name_of(n), RUN_LABEL: format!("{}-1", uid_of(n)),
        "app.kubernetes.io/managed-by": "mo-backup", "app.kubernetes.io/name": "mo-backup"})
}

fn job(n: usize) -> Value {
    let name = name_of(n);
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("{name}-1"), "namespace": NAMESPACE, "labels": labels(n), "generation": 1,
            "ownerReferences": [{"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "name": name, "uid": uid_of(n),
                "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": {"metadata": {"labels": labels(n)}, "spec": pod_spec()}},
        "status": {"succeeded": 1, "startTime": BEGAN, "completionTime": ENDED, "conditions": [
            {"type": "Complete", "status": "True", "lastProbeTime": ENDED, "lastTransitionTime": ENDED}]}
    })
}

fn pod(n: usize) -> Value {
    let name = format!("{}-1", name_of(n));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{name}-x7f2k"), "namespace": NAMESPACE, "labels": labels(n), "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid_of(n), "controller": true, "blockOwnerDeletion": true}]},
        "spec": pod_spec(),
        "status": {"phase": "Succeeded", "startTime": BEGAN, "hostIP": "10.0.0.3", "podIP": "10.1.0.7",
            "conditions": [condition("Initialized", "True", "PodCompleted", ""), condition("Ready", "False", "PodCompleted", "")],
            "containerStatuses": [{"name": "worker", "ready": false, "restartCount": 0, "image": "mo-backup", "imageID": "mo-backup",
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": BEGAN, "finishedAt": ENDED}}}]}
    })
}

fn pod_spec() -> Value {
    let variable = |n: usize| json!({"name": format!("VARIABLE_{n}"), "value": "a value of some length"});
    json!({
        "restartPolicy": "Never", "serviceAccountName": "mo-backup-worker", "nodeName": "worker-node-3.example.internal",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "worker", "image": "mo-backup", "args": ["worker"], "env": (0..8).map(variable).collect::<Vec<_>>(),
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "staging", "mountPath": "/staging"}, {"name": "keys", "mountPath": "/keys"}]}],
        "volumes": [{"name": "staging", "persistentVolumeClaim": {"claimName": "matrixone-backups"}},
            {"name": "keys", "secret": {"secretName": "keys"}}]
    })
}

fn backup(n: usize, complete: bool) -> Value {
    let name = name_of(n);
    let mut object = json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "creationTimestamp": "2026-11-20T00:00:00Z",
            "uid": uid_of(n), "finalizers": ["mo-backup.io/data"],
            "labels": {"app.kubernetes.io/managed-by": "argocd", "app.kubernetes.io/part-of": "shop", "schedule": "nightly"}},
        "spec": {
            "cluster": {"address": {"host": "matrixone-cn-0.matrixone", "port": 6001}, "credentialsSecret": {"name": "matrixone"},
                "tls": {"mode": "Preferred"}},
            "storage": "bucket", "type": "Auto", "method": "Staged", "parallelism": 4, "verify": "Sample",
            "staging": {"volume": {"claim": "matrixone-backups", "path": "staging", "serverPath": "/backups"}},
            "deletionPolicy": "Delete", "suspend": false, "hold": false, "allowKeysInSql": false,
            "retry": {"limit": 3}, "deadlines": {"start": "15m", "run": "24h", "stall": "15m"},
            "job": {"runAs": {"user": 1000}, "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
        }
    });
    let applied = json!({"apiVersion": object["apiVersion"], "kind": "Backup", "spec": object["spec"]}).to_string();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
    if complete {
        object["status"] = status(&name, &uid_of(n), n);
    }
    object
}

fn status(name: &str, uid: &str, n: usize) -> Value {
    let run = format!("{uid}-1");
    let (began, ended) = (BEGAN, ENDED);
    let sha256 = format!("{n:064x}");
    json!({
        "phase": "Completed", "observedGeneration": 1, "attempt": 1, "firstAttempt": 1, "run": run, "startTime": began, "endTime": ended,
        "attempts": [{"number": 1, "job": format!("{name}-1"), "jobUid": uid, "pod": format!("{name}-1-x7f2k"),
            "node": "worker-node-3.example.internal", "startTime": began, "endTime": ended, "reason": "Completed",
            "message": "the backup is committed and every object was seen in its place"}],
        "conditions": [
            condition("Complete", "True", "Completed", "the backup is committed and every object was seen in its place"),
            condition("Failed", "False", "Completed", ""), condition("Ready", "True", "Completed", "12034 objects, 81.4 GiB"),
            condition("Reconciling", "False", "Completed", ""), condition("Stalled", "False", "Completed", ""),
            condition("Verified", "True", "Verified", "12034 objects were seen, 120 of them read back"),
        ],
        "report": {
            "run": run, "outcome": "Succeeded", "retryable": false, "id": format!("01a1fb92-c001-7000-8000-{n:012x}"),
            "type": "Incremental", "base": format!("01a1fb92-c001-7000-8000-{:012x}", n.saturating_sub(1)),
            "backupTs": "1795220000000000000-1", "exactUntil": "1795219999000000000-0", "atTime": began,
            "startTime": began, "completeTime": ended, "duration": "1m31s", "objects": 12034, "bytes": 87_402_948_211_i64,
            "size": "81.4 GiB", "copiedBytes": 402_948_211, "reusedBytes": 87_000_000_000_i64, "method": "Staged",
            "path": format!("s3://backups/prod/data/01a1fb92-c001-7000-8000-{n:012x}/1"),
            "server": {"version": "v4.2.0", "identity": "1795229936705"},
            "manifest": {"key": format!("catalog/01a1fb92-c001-7000-8000-{n:012x}.json"), "sha256": sha256},
            "verified": {"level": "Sample", "present": 12034, "hashed": 120},
        },
        "progress": {"run": run, "heartbeat": ended, "text": "100%", "step": "clearing up", "objects": 1300, "totalObjects": 1300,
            "bytes": 402_948_211, "totalBytes": 402_948_211, "bytesPerSecond": 12_000_000}
    })
}

/// Adds what the API server notes about who wrote which field: it is as long as the object.
fn managed(mut object: Value) -> Value {
    let owned = |manager: &str, subresource: Option<&str>, fields: Value| {
        let mut entry = json!({"manager": manager, "operation": "Apply", "apiVersion": "mo-backup.io/v1alpha1",
            "time": "2026-11-20T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields});
        if let Some(subresource) = subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    };
    let (mut operator, mut worker) = (object["status"].clone(), json!({}));
    for theirs in ["report", "progress"] {
        if let Some(field) = operator.as_object_mut().and_then(|fields| fields.remove(theirs)) {
            worker[theirs] = field;
        }
    }
    let applied = json!({"metadata": {"annotations": object["metadata"]["annotations"], "labels": object["metadata"]["labels"]},
        "spec": object["spec"]});
    object["metadata"]["managedFields"] = json!([
        owned("kubectl", None, fields(&applied)),
        owned("mo-backup-operator", Some("status"), json!({"f:status": fields(&operator)})),
        owned("mo-backup-worker", Some("status"), json!({"f:status": fields(&worker)})),
    ]);
    object
}

/// The fields of a value, as `FieldsV1` writes them.
fn fields(value: &Value) -> Value {
    let named = |object: &Map<String, Value>| -> Map<String, Value> {
        object.iter().map(|(name, value)| (format!("f:{name}"), fields(value))).collect()
    };
    match value {
        Value::Object(object) => Value::Object(named(object)),
        Value::Array(items) if items.iter().any(|item| item["type"].is_string()) => {
            let keyed = items.iter().filter_map(Value::as_object).map(|item| {
                let mut below = named(item);
                below.insert(".".into(), json!({}));
                (format!("k:{}", json!({"type": item.get("type")})), Value::Object(below))
            });
            Value::Object(keyed.collect())
        }
        _ => json!({}),
    }
}
