//! What the operator's token is worth, tried by hand, and what an idle operator writes.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::harness::cluster::{Cluster, Options};
use crate::harness::namespace::Namespace;
use crate::harness::product::{self, Product};
use crate::harness::rig::Rig;
use crate::harness::trial::Test;
use crate::scene::{merge, secrets};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test!(the_operators_token_is_worth_little), test!(an_idle_operator_writes_nothing)]
}

const OPERATOR: &str = "--as=system:serviceaccount:mo-backup:mo-backup-operator";
const WORKER: &str = "mo-backup-worker";

async fn the_operators_token_is_worth_little(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let namespace = Namespace::create(rig.cluster().await?, "rights").await?;
    secrets(&namespace).await?;
    for denied in [
        vec!["get", "secret", "matrixone"],
        vec!["get", "secrets"],
        vec!["get", "configmaps"],
        vec!["create", "serviceaccount", "other"],
        vec!["delete", "secret", "matrixone"],
        vec!["create", "token", WORKER],
    ] {
        let answer = namespace.kubectl(&[&denied[..], &[OPERATOR]].concat()).await;
        ensure!(answer.is_err(), "the operator may {denied:?}");
    }
    let owner = owned(&namespace).await?;
    let cases = [
        ("another image", json!({"containers": [{"image": "localhost/machine:dev"}]}), "only the mo-backup image"),
        ("another account", json!({"serviceAccountName": "default"}), "must run as mo-backup-worker"),
        ("the host's network", json!({"hostNetwork": true}), "host namespaces"),
        (
            "a folder of the host",
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "volume is not allowed",
        ),
        ("another command", json!({"containers": [{"command": ["/bin/sh"]}]}), "as worker only"),
        (
            "a library",
            json!({"containers": [{"env": [{"name": "LD_PRELOAD", "value": "/x"}]}]}),
            "nothing but its task",
        ),
        ("capabilities", json!({"containers": [{"securityContext": {"capabilities": null}}]}), "unprivileged"),
        ("root", json!({"securityContext": {"runAsNonRoot": false}}), "unprivileged"),
    ];
    for (what, patch, words) in cases {
        let answer = try_job(&namespace, job(&owner, patch)).await;
        let text = answer.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(text.contains(words), "a Job with {what} is not refused as expected: {text:?}");
    }
    let mut orphan = job(&owner, json!({}));
    merge(&mut orphan["metadata"], json!({"ownerReferences": null}));
    ensure!(try_job(&namespace, orphan).await.is_err(), "a Job without an owner is accepted");
    try_job(&namespace, job(&owner, json!({}))).await?;
    let somebodys = ["create", "job", "somebodys", "--image=localhost/machine:dev", "--", "true"];
    namespace.kubectl(&somebodys).await?;
    let deleted = namespace.kubectl(&["delete", "job", "somebodys", OPERATOR]).await;
    let text = deleted.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(text.contains("only Jobs of mo-backup.io objects"), "the operator deletes somebody's Job: {text:?}");
    boot_files_only(&namespace).await?;
    namespace.delete().await
}

/// Of `ConfigMap`s the operator writes those of Restores, and takes over no other of such a name.
async fn boot_files_only(namespace: &Namespace<'_>) -> anyhow::Result<()> {
    let map = |name: &str, restore: Option<&str>, text: &str| {
        let labels = restore.map_or_else(|| json!({}), |restore| json!({"mo-backup.io/restore": restore}));
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": text}})
            .to_string()
    };
    let write = async |map: String| {
        let apply = ["apply", "--server-side", "--force-conflicts", "-n", &namespace.name, "-f", "-", OPERATOR];
        namespace.cluster.kubectl_with(&apply, &map).await
    };
    namespace.apply(&map("taken-boot", None, "somebody's")).await?;
    for (what, map) in [
        ("any", map("settings", Some("settings"), "x")),
        ("one of a Restore's name without saying so", map("r-boot", None, "x")),
        ("one of another Restore's name", map("r-boot", Some("other"), "x")),
        ("somebody's", map("taken-boot", Some("taken"), "x")),
    ] {
        let text = write(map).await.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(text.contains("only ConfigMaps with the boot files"), "the operator writes {what}: {text:?}");
    }
    write(map("r-boot", Some("r"), "x")).await?;
    write(map("r-boot", Some("r"), "y")).await.map(drop)
}

async fn owned(namespace: &Namespace<'_>) -> anyhow::Result<Value> {
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "owner"},
        "spec": {"type": "Volume", "volume": {"claim": "none"}}});
    namespace.apply(&storage.to_string()).await?;
    let uid = namespace.kubectl(&["get", "backupstorage", "owner", "-o", "jsonpath={.metadata.uid}"]).await?;
    Ok(json!([{"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "name": "owner", "uid": uid.trim(),
        "controller": true}]))
}

/// A Job as the operator could make it, changed by a patch of its Pod.
fn job(owner: &Value, patch: Value) -> Value {
    let container = json!({"name": "worker", "image": "localhost/mo-backup:dev", "imagePullPolicy": "Never",
        "args": ["worker"], "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}}});
    let mut pod = json!({"restartPolicy": "Never", "serviceAccountName": WORKER, "containers": [container.clone()],
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}});
    merge(&mut pod, patch);
    // A merge patch replaces lists: give the container back what the patch did not mean.
    let mut whole = container;
    merge(&mut whole, pod["containers"][0].clone());
    pod["containers"][0] = whole;
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "tried-", "ownerReferences": owner},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}}})
}

async fn try_job(namespace: &Namespace<'_>, job: Value) -> anyhow::Result<String> {
    let args = ["-n", &namespace.name, "create", "--dry-run=server", OPERATOR, "-f", "-"];
    namespace.cluster.kubectl_with(&args, &job.to_string()).await
}

async fn an_idle_operator_writes_nothing(_: &Rig) -> anyhow::Result<()> {
    let cluster = Cluster::boot(Options { audit: true, ..Options::default() }).await?;
    let product = Product::install(&cluster).await?;
    let namespace = Namespace::create(&cluster, "idle").await?;
    finished_backups(&namespace, 100).await?;
    let seen = || -> anyhow::Result<Vec<String>> { writes(&std::fs::read_to_string(cluster.audit_log())?) };
    // The operator sees the finished objects, writes what it has to say about them, and comes to rest.
    crate::harness::wait::until("the operator to come to rest", Duration::from_secs(120), || async {
        let before = seen()?.len();
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok((seen()?.len() == before).then_some(()))
    })
    .await?;
    let before = seen()?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = seen()?;
    ensure!(after.len() == before.len(), "an idle operator wrote: {:?}", &after[before.len()..]);
    ensure!(product.metrics().await?.contains("mo_backup_backups"), "no metrics");
    Ok(())
}

/// Backups as they stand after their work, as a restored etcd or a long life would show them.
async fn finished_backups(namespace: &Namespace<'_>, count: usize) -> anyhow::Result<()> {
    let list: Vec<Value> = (0..count)
        .map(|n| {
            json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": format!("old-{n}")},
                "spec": {"suspend": true, "storage": "store", "cluster": {"address": {"host": "10.0.0.1"},
                    "credentialsSecret": {"name": "matrixone"}}}})
        })
        .collect();
    namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string()).await?;
    // Cancelling ends them for good.
    let cancel = ["annotate", "backups", "--all", "mo-backup.io/cancel=now"];
    namespace.kubectl(&cancel).await?;
    namespace
        .until("all backups to be over", Duration::from_secs(90), || async {
            let ends = namespace.kubectl(&["get", "backups", "-o", "jsonpath={.items[*].status.endTime}"]).await?;
            Ok((ends.split_whitespace().count() == count).then_some(()))
        })
        .await
}

/// Requests of the operator that write, from the audit log.
fn writes(log: &str) -> anyhow::Result<Vec<String>> {
    let user = format!("system:serviceaccount:{}:mo-backup-operator", product::NAMESPACE);
    let mut found = Vec::new();
    for line in log.lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let verb = event["verb"].as_str().unwrap_or_default();
        if event["user"]["username"] == user.as_str() && !["get", "list", "watch"].contains(&verb) {
            found.push(format!("{verb} {}", event["requestURI"].as_str().unwrap_or_default()));
        }
    }
    Ok(found)
}
