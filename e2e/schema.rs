//! The rules of the kinds, judged by a real API server.

use std::time::Duration;

use anyhow::{bail, ensure};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cases::{Case, cases};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::trial::Test;
use crate::harness::wait::until;
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test!(every_rule_on_the_api_server), test!(explained_by_kubectl)]
}

/// The operator is kept out: `suspend` would not stop it from writing a status, so the CRDs are installed alone.
async fn every_rule_on_the_api_server(_: &Rig) -> anyhow::Result<()> {
    let cluster = crate::harness::cluster::Cluster::boot(crate::harness::cluster::Options::default()).await?;
    for crd in mo_backup::api::crds() {
        cluster.apply(&serde_json::to_string(&crd)?).await?;
        let name = format!("crd/{}", crd.name_any());
        let wait = ["wait", "--for=condition=Established", &name, "--timeout=5s"];
        // Right after the apply there are no conditions yet, which kubectl takes for an error.
        until("the CRD", Duration::from_secs(60), || async { cluster.kubectl(&wait).await.map(Some) }).await?;
    }
    let namespace = Namespace::create(&cluster, "schema").await?;
    let mut wrong = Vec::new();
    for case in cases() {
        if let Err(error) = judge(&namespace, &case).await {
            wrong.push(format!("{}: {error:#}", case.name));
        }
    }
    ensure!(wrong.is_empty(), "{} cases are judged otherwise:\n{}", wrong.len(), wrong.join("\n"));
    namespace.delete().await
}

async fn judge(namespace: &Namespace<'_>, case: &Case) -> anyhow::Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("mo-backup.io", "v1alpha1", &case.kind));
    let objects: Api<DynamicObject> = Api::namespaced_with(namespace.cluster.client(), &namespace.name, &kind);
    let name = case.new["metadata"]["name"].as_str().unwrap_or_default();
    let first: DynamicObject = serde_json::from_value(case.old.clone().unwrap_or_else(|| case.new.clone()))?;
    let strict = PostParams::default();
    let outcome = match &case.old {
        None => objects.create(&strict, &first).await.map(drop),
        Some(old) => {
            objects.create(&strict, &first).await?;
            if let Some(status) = old.get("status") {
                merge_status(&objects, name, status).await?;
            }
            if case.new.get("status") == old.get("status") {
                let spec = Patch::Merge(json!({"spec": case.new["spec"]}));
                objects.patch(name, &PatchParams::default(), &spec).await.map(drop)
            } else {
                merge_status(&objects, name, &case.new["status"]).await
            }
        }
    };
    if objects.get_opt(name).await?.is_some() {
        objects.delete(name, &DeleteParams::default()).await?;
    }
    match (&case.refused, outcome) {
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => bail!("it is refused: {error}"),
        (Some(refused), Ok(())) => bail!("it is accepted, expected: {}", refused.message),
        (Some(refused), Err(error)) => {
            let text = error.to_string();
            ensure!(text.contains(&refused.message) && text.contains(&refused.at), "it is refused with: {text}");
            Ok(())
        }
    }
}

async fn merge_status(objects: &Api<DynamicObject>, name: &str, status: &serde_json::Value) -> kube::Result<()> {
    let patch = Patch::Merge(json!({"status": status}));
    objects.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

async fn explained_by_kubectl(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let cluster = rig.cluster().await?;
    for path in ["backup.spec.verify", "backup.spec.staging.volume.serverPath", "backupstorage.spec.s3.region"] {
        // A new kind is served at once, its documentation a moment later.
        let explained = || async { cluster.kubectl(&["explain", path]).await.map(Some) };
        let text = until("the explanation", Duration::from_secs(60), explained).await?;
        ensure!(text.contains("DESCRIPTION") && text.len() > 150, "kubectl explain {path} says too little:\n{text}");
    }
    Ok(())
}
