//! The spec: refused when it is applied, or, where only the operator can judge, before there is a Pod.

use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use mo_backup::api::Backup;
use serde_json::{Value, json};

use super::{evidence::refused, lasting};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::Kind;
use crate::scene::{Scene, apply_storage, claim, files_below, is_ready, merge, staged};

pub(super) async fn what_a_spec_may_not_say(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "specs", Kind::Versitygw).await?;
    let Scene { namespace, matrixone, bucket, staging } = &scene;
    let (before, pods) = (lasting(bucket).await?, pods(namespace).await?);
    let long = "a".repeat(53);
    let at_once = [
        ("name", json!({"metadata": {"name": long}}), "at most 52 characters"),
        ("time", json!({"spec": {"deadlines": {"run": "1d"}}}), "must be a duration of at least 1s"),
        ("number", json!({"spec": {"parallelism": 0}}), "spec.parallelism"),
        ("word", json!({"spec": {"verify": "Deeply"}}), "Unsupported value: \"Deeply\""),
    ];
    for (what, patch, words) in at_once {
        let mut backup = staged("bad", matrixone, staging, json!({}));
        merge(&mut backup, patch);
        refused_at_once(namespace, what, &backup, words).await?;
    }
    let regionless = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "bad"},
        "spec": {"type": "S3", "s3": {"bucket": "b"}}});
    refused_at_once(namespace, "region", &regionless, "spec.s3.region: Required value").await?;
    ensure!(namespace.api::<Backup>().list(&ListParams::default()).await?.items.is_empty(), "one was accepted");

    claim(namespace, "repository", &matrixone.shared_folder(&format!("{}-repository", namespace.name))?).await?;
    apply_storage(namespace, "volume", json!({"type": "Volume", "volume": {"claim": "repository"}})).await?;
    is_ready(namespace, "volume").await?;
    let pods = pods + 1;
    let by_the_operator = [
        ("size", json!({"job": {"resources": {"limits": {"memory": "1 Gi"}}}}), "InvalidSpec"),
        ("method", json!({"storage": "volume", "staging": null, "method": "Direct"}), "MethodNotSupported"),
    ];
    for (name, patch, reason) in by_the_operator {
        namespace.apply(&staged(name, matrixone, staging, patch).to_string()).await?;
        refused(namespace, &matrixone.version, name, reason).await?;
    }
    ensure!(self::pods(namespace).await? == pods, "a Pod was started");
    let after = lasting(bucket).await?;
    ensure!(after == before, "something was written to the bucket: {after:?}, before {before:?}");
    let left = files_below(staging)?;
    ensure!(left.is_empty(), "left in the staging folder: {left:?}");
    scene.namespace.delete().await
}

async fn refused_at_once(namespace: &Namespace<'_>, what: &str, object: &Value, words: &str) -> anyhow::Result<()> {
    let answer = namespace.apply(&object.to_string()).await;
    let said = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains(words), "a bad {what} is answered with {said:?}, expected {words:?}");
    println!("[refused] a bad {what}: by the API server when it is applied");
    Ok(())
}

async fn pods(namespace: &Namespace<'_>) -> anyhow::Result<usize> {
    Ok(namespace.api::<Pod>().list(&ListParams::default()).await?.items.len())
}
