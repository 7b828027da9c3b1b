//! A `Backup` from `kubectl apply` to a proven copy in a bucket.

use anyhow::{Context as _, ensure};
use mo_backup::api::{Backup, BackupPhase, BackupStatus, TakenType};
use serde_json::{Value, json};

use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::Kind;
use crate::harness::trial::Test;
use crate::scene::{Scene, claim, completed, condition, files_below, no_secret, secrets, sees, staged, storage_ready};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(full_and_incremental_to_versitygw),
        test!(full_to_minio),
        test!(direct_to_a_volume),
        test!(deletion_removes_what_it_may),
        test!(two_namespaces_take_turns),
        test!(a_matrixonecluster_is_waited_for),
        test!(namespace_deletion_lets_go),
    ]
}

async fn full_and_incremental_to_versitygw(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "versitygw", Kind::Versitygw).await?;
    let Scene { namespace, matrixone, bucket, staging } = &scene;
    let rows = "insert into main_line.t select result, 'row' from generate_series(1,2000) g";
    matrixone.execute(&["create database main_line", "create table main_line.t(id int, v varchar(20))", rows]).await?;
    scene.back_up("first", json!({"verify": "Full"})).await?;
    let first = completed(namespace, "first").await?;
    matrixone.execute(&[rows]).await?;
    scene.back_up("second", json!({})).await?;
    let second = completed(namespace, "second").await?;

    let report = |b: &Backup| b.status.clone().and_then(|s| s.report).context("no report");
    let (full, incremental) = (report(&first)?, report(&second)?);
    ensure!(full.type_ == Some(TakenType::Full), "the first backup is {:?}", full.type_);
    ensure!(incremental.type_ == Some(TakenType::Incremental), "the second: {incremental:?}");
    ensure!(incremental.base == full.id, "the base is {:?}", incremental.base);
    ensure!(incremental.copied_bytes < incremental.bytes, "nothing was reused: {incremental:?}");
    let keys: Vec<String> = bucket.list("prod/").await?.into_iter().map(|(key, _)| key).collect();
    for report in [&full, &incremental] {
        let manifest = report.manifest.as_ref().context("no manifest")?;
        ensure!(keys.iter().any(|k| *k == format!("prod/{}", manifest.key)), "{} is not in the bucket", manifest.key);
    }
    let left = files_below(staging)?;
    ensure!(left.is_empty(), "left in the staging folder: {left:?}");
    let table = namespace.cluster.kubectl(&["get", "backups", "-A"]).await?;
    let widest = table.lines().map(|l| l.chars().count()).max().unwrap_or_default();
    ensure!(widest <= 120, "kubectl get backups -A is {widest} wide:\n{table}");
    namespace.kubectl(&["wait", "--for=condition=Complete", "backup/second", "--timeout=60s"]).await?;
    let wrong = namespace.kubectl(&["wait", "--for=condition=Failed", "backup/second", "--timeout=1s"]).await;
    ensure!(wrong.is_err(), "kubectl wait for Failed returned for a good backup");
    no_secret(namespace).await?;
    scene.namespace.delete().await
}

async fn full_to_minio(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "minio", Kind::Minio).await?;
    scene.back_up("only", json!({"type": "Full", "verify": "Sample"})).await?;
    completed(&scene.namespace, "only").await?;
    scene.namespace.delete().await
}

async fn direct_to_a_volume(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let matrixone = rig.matrixone().await?;
    let namespace = Namespace::create(rig.cluster().await?, "volume").await?;
    secrets(&namespace).await?;
    let folder = matrixone.shared_folder(&namespace.name)?;
    claim(&namespace, "repository", &folder).await?;
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store"},
        "spec": {"type": "Volume", "volume": {"claim": "repository", "path": "prod", "serverPath": folder}}});
    namespace.apply(&storage.to_string()).await?;
    storage_ready(&namespace).await?;
    let direct = json!({"staging": null, "method": "Direct", "verify": "Full"});
    for name in ["first", "second"] {
        namespace.apply(&staged(name, matrixone, &folder, direct.clone()).to_string()).await?;
        completed(&namespace, name).await?;
    }
    let second = namespace.api::<Backup>().get("second").await?.status.and_then(|s| s.report).context("no report")?;
    ensure!(second.type_ == Some(TakenType::Incremental), "the second backup is {:?}", second.type_reason);
    namespace.delete().await
}

async fn deletion_removes_what_it_may(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "deletion", Kind::Versitygw).await?;
    let Scene { namespace, bucket, .. } = &scene;
    let delete = json!({"deletionPolicy": "Delete"});
    for name in ["base", "child"] {
        scene.back_up(name, delete.clone()).await?;
        completed(namespace, name).await?;
    }
    let id = |b: Backup| b.status.and_then(|s| s.report).and_then(|r| r.id).context("no id");
    let base = id(namespace.api::<Backup>().get("base").await?)?;
    remove(namespace, "base").await?;
    let left = bucket.list(&format!("prod/data/{base}/")).await?;
    ensure!(!left.is_empty(), "objects that the incremental needs are gone");
    let entry = format!("prod/catalog/{base}.json");
    ensure!(
        bucket.list("prod/catalog/").await?.iter().all(|(k, _)| *k != entry),
        "the entry of the base is still there"
    );
    remove(namespace, "child").await?;
    let left: Vec<_> = bucket.list("prod/data/").await?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    scene.namespace.delete().await
}

/// Deletes a Backup and waits until it is gone.
async fn remove(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<()> {
    namespace.kubectl(&["delete", "backup", name, "--wait=false"]).await?;
    let what = format!("Backup {name} to be gone");
    namespace
        .until(&what, std::time::Duration::from_secs(60), || async {
            Ok(namespace.api::<Backup>().get_opt(name).await?.is_none().then_some(()))
        })
        .await
}

async fn two_namespaces_take_turns(rig: &Rig) -> anyhow::Result<()> {
    let one = Scene::set(rig, "turn-a", Kind::Versitygw).await?;
    let two = Scene::set(rig, "turn-b", Kind::Versitygw).await?;
    one.back_up("b", json!({"type": "Full", "verify": "Full"})).await?;
    two.back_up("b", json!({"type": "Full"})).await?;
    let queued = two.namespace.until("the second backup to be queued", std::time::Duration::from_secs(90), || async {
        let status = two.namespace.api::<Backup>().get("b").await?.status.unwrap_or_default();
        Ok(status.run.queue.filter(|q| q.position >= 1 && !q.running.is_empty()))
    });
    let place = queued.await?;
    ensure!(!place.running.is_empty(), "the queue does not say who runs: {place:?}");
    completed(&one.namespace, "b").await?;
    completed(&two.namespace, "b").await?;
    one.namespace.delete().await?;
    two.namespace.delete().await
}

/// The kind of matrixone-operator, as far as a Backup looks at it.
fn kind_of_matrixone_operator() -> Value {
    let status = json!({"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "integer"}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "matrixoneclusters.core.matrixorigin.io"},
        "spec": {"group": "core.matrixorigin.io", "scope": "Namespaced",
            "names": {"kind": "MatrixOneCluster", "plural": "matrixoneclusters", "singular": "matrixonecluster"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"status": status}}}}]}})
}

async fn a_matrixonecluster_is_waited_for(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "named", Kind::Versitygw).await?;
    let Scene { namespace, matrixone, .. } = &scene;
    let by_name = json!({"type": "Full", "cluster": {"address": null, "matrixOneCluster": {"name": "prod"}}});
    scene.back_up("b", by_name).await?;
    let waits = async |reason: &str, words: &str| {
        let said = |s: &BackupStatus| {
            let (_, why, message) = condition(Some(&s.run.conditions), "Ready");
            why == reason && message.contains(words)
        };
        let status = sees(namespace, "b", &format!("{reason}: {words}"), said).await?;
        ensure!(status.phase == Some(BackupPhase::Pending), "it waits in phase {:?}", status.phase);
        ensure!(status.run.attempt == 0, "waiting costs an attempt");
        anyhow::Ok(())
    };
    waits("ClusterNotFound", "does not know the kind").await?;
    namespace.apply(&kind_of_matrixone_operator().to_string()).await?;
    let crd = "crd/matrixoneclusters.core.matrixorigin.io";
    namespace.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=120s"]).await?;
    waits("ClusterNotFound", "there is no MatrixOneCluster prod").await?;
    let object = json!({"apiVersion": "core.matrixorigin.io/v1alpha1", "kind": "MatrixOneCluster",
        "metadata": {"name": "prod"}});
    namespace.apply(&object.to_string()).await?;
    waits("ClusterNotReady", "no host and port").await?;
    let reached = json!({"status": {"host": "127.0.0.1", "port": matrixone.port()}}).to_string();
    let patch = ["patch", "matrixonecluster", "prod", "--subresource=status", "--type=merge", "-p", &reached];
    namespace.kubectl(&patch).await?;
    completed(namespace, "b").await?;
    namespace.kubectl(&["delete", crd]).await?;
    scene.namespace.delete().await
}

async fn namespace_deletion_lets_go(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "goodbye", Kind::Versitygw).await?;
    scene.back_up("done", json!({"deletionPolicy": "Delete"})).await?;
    completed(&scene.namespace, "done").await?;
    scene.back_up("running", json!({"type": "Full", "verify": "Full"})).await?;
    scene.namespace.delete().await
}
