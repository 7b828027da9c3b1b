//! The rig itself: it must behave as the real thing where the other tests rely on it.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use rustix::process::Signal;

use crate::harness::cluster::{Cluster, Options};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{Kind, S3};
use crate::harness::trial::Test;
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(job_completes),
        test!(pod_is_asked_before_it_is_killed),
        test!(pod_can_be_frozen_and_killed),
        test!(missing_image_is_seen),
        test!(lost_node_is_replaced),
        test!(control_plane_survives_a_crash),
        test!(s3_round_trip_versitygw),
        test!(s3_round_trip_minio),
        test!(matrixone_answers),
    ]
}

const MINUTE: Duration = Duration::from_secs(60);

const JOB: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {user: root, password: hush}
---
apiVersion: batch/v1
kind: Job
metadata: {name: works}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      initContainers:
      - name: first
        image: localhost/machine:dev
        command: [sh, -c, "echo made > /run/mo-backup/work/made"]
        volumeMounts: [{name: work, mountPath: /run/mo-backup/work}]
      containers:
      - name: worker
        image: localhost/machine:dev
        command: [sh, -c]
        args:
        - |
          set -e
          test "$(id -u)" = 65532
          test "$PASSWORD" = hush
          test "$NAME" = "$(hostname -s 2>/dev/null || echo "$HOSTNAME")" || test -n "$NAME"
          test "$(cat /run/mo-backup/login/password)" = hush
          test "$(cat /run/mo-backup/work/made)" = made
          test -s /var/run/secrets/kubernetes.io/serviceaccount/token
          test -s /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
          if touch /etc/written 2>/dev/null; then echo "the root is writable"; exit 1; fi
          if dd if=/dev/zero of=/run/mo-backup/work/big bs=1M count=4 2>/dev/null; then echo "no limit"; exit 1; fi
          grep -q 'NoNewPrivs:.1' /proc/self/status
          grep -q 'CapBnd:.0000000000000000' /proc/self/status
          echo all good; echo all good > /dev/termination-log
        env:
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        securityContext:
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
        volumeMounts:
        - {name: login, mountPath: /run/mo-backup/login, readOnly: true}
        - {name: work, mountPath: /run/mo-backup/work}
      volumes:
      - {name: login, secret: {secretName: login}}
      - {name: work, emptyDir: {sizeLimit: 1Mi}}
"#;

async fn job_completes(rig: &Rig) -> anyhow::Result<()> {
    let namespace = Namespace::create(rig.cluster().await?, "job").await?;
    namespace.apply(JOB).await?;
    job_ends(&namespace, "works", "Complete").await?;
    let pod = pod_of(&namespace, "works").await?;
    let status = pod.status.clone().unwrap_or_default();
    let state = status.container_statuses.unwrap_or_default()[0].state.clone().unwrap_or_default();
    let message = state.terminated.and_then(|end| end.message).unwrap_or_default();
    ensure!(message == "all good\n", "the termination message is {message:?}");
    ensure!(namespace.cluster.logs(&namespace.name, &pod.name_any()).contains("all good"), "no log");
    namespace.delete().await
}

async fn pod_is_asked_before_it_is_killed(rig: &Rig) -> anyhow::Result<()> {
    let namespace = Namespace::create(rig.cluster().await?, "grace").await?;
    let polite = "trap 'echo asked; sleep 1; echo done; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    namespace.apply(&pod("polite", polite, 10)).await?;
    namespace.apply(&pod("deaf", deaf, 1)).await?;
    for name in ["polite", "deaf"] {
        says(&namespace, name, "ready").await?;
    }
    let pods: Api<Pod> = namespace.api();
    for name in ["polite", "deaf"] {
        pods.delete(name, &DeleteParams::default()).await?;
    }
    for name in ["polite", "deaf"] {
        let what = format!("the end of {name}");
        namespace.until(&what, MINUTE, || async { Ok(pods.get_opt(name).await?.is_none().then_some(())) }).await?;
        ensure!(namespace.cluster.node(0).processes(&namespace.name, name).is_empty(), "{name} lives on");
    }
    ensure!(namespace.cluster.logs(&namespace.name, "polite").contains("done"), "it was not given its time");
    namespace.delete().await
}

async fn pod_can_be_frozen_and_killed(rig: &Rig) -> anyhow::Result<()> {
    let namespace = Namespace::create(rig.cluster().await?, "kill").await?;
    namespace.apply(&pod("victim", "echo ready; while :; do sleep 0.1; done", 1)).await?;
    says(&namespace, "victim", "ready").await?;
    let signal = |signal| namespace.cluster.signal(&namespace.name, "victim", signal);
    ensure!(signal(Signal::STOP) && signal(Signal::CONT) && signal(Signal::KILL), "no process to signal");
    let pods: Api<Pod> = namespace.api();
    let code = namespace
        .until("the exit code", MINUTE, || async {
            let status = pods.get("victim").await?.status.context("no status")?;
            let state = status.container_statuses.unwrap_or_default().first().and_then(|first| first.state.clone());
            Ok(state.and_then(|state| state.terminated).map(|end| end.exit_code))
        })
        .await?;
    ensure!(code == 137, "the exit code is {code}");
    namespace.delete().await
}

async fn missing_image_is_seen(rig: &Rig) -> anyhow::Result<()> {
    let namespace = Namespace::create(rig.cluster().await?, "image").await?;
    namespace.apply(&pod("nowhere", "true", 1).replace("machine:dev", "nowhere:dev")).await?;
    let pods: Api<Pod> = namespace.api();
    namespace
        .until("ImagePullBackOff", MINUTE, || async {
            let pod = serde_json::to_value(pods.get("nowhere").await?)?;
            let reason = pod.pointer("/status/containerStatuses/0/state/waiting/reason").cloned();
            Ok((reason.as_ref().and_then(|reason| reason.as_str()) == Some("ImagePullBackOff")).then_some(()))
        })
        .await?;
    namespace.delete().await
}

async fn lost_node_is_replaced(_: &Rig) -> anyhow::Result<()> {
    let cluster = Cluster::boot(Options { nodes: 2, quick_node_loss: true, ..Options::default() }).await?;
    let namespace = Namespace::create(&cluster, "lost").await?;
    let job = JOB.replace("backoffLimit: 0", "backoffLimit: 3").replace("set -e", "echo ready; sleep 600");
    namespace.apply(&job).await?;
    let first = namespace.until("the first Pod", MINUTE, || running(&namespace, "")).await?;
    let lost = cluster.nodes().iter().find(|node| node.name() == first.1).context("no such node")?;
    lost.lose();
    let nodes: Api<NodeObject> = Api::all(cluster.client());
    namespace
        .until("the node to be NotReady", MINUTE, || async {
            let conditions = nodes.get(&first.1).await?.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|one| one.type_ == "Ready" && one.status != "True").then_some(()))
        })
        .await?;
    namespace.until("a Pod on the other node", MINUTE, || running(&namespace, &first.1)).await?;
    ensure!(!lost.processes(&namespace.name, &first.0).is_empty(), "the lost process must live on, unheard");
    lost.heal();
    namespace
        .until("the end of the lost Pod", MINUTE, || async {
            Ok(lost.processes(&namespace.name, &first.0).is_empty().then_some(()))
        })
        .await
}

/// Name and node of a running Pod of the Job that is not on the given node.
async fn running(namespace: &Namespace<'_>, not_on: &str) -> anyhow::Result<Option<(String, String)>> {
    let pods: Api<Pod> = namespace.api();
    let found = pods.list(&ListParams::default()).await?.items.into_iter().find_map(|pod| {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        let phase = pod.status.as_ref()?.phase.clone()?;
        (phase == "Running" && node != not_on).then(|| (pod.name_any(), node))
    });
    Ok(found)
}

async fn control_plane_survives_a_crash(_: &Rig) -> anyhow::Result<()> {
    let cluster = Cluster::boot(Options { fsync: true, audit: true, ..Options::default() }).await?;
    let namespace = Namespace::create(&cluster, "crash").await?;
    namespace.apply(&pod("stays", "echo ready; while :; do sleep 0.1; done", 1)).await?;
    says(&namespace, "stays", "ready").await?;
    cluster.kill("apiserver").await?;
    cluster.kill("etcd").await?;
    cluster.revive().await?;
    ensure!(!cluster.node(0).processes(&namespace.name, "stays").is_empty(), "the Pod must live through it");
    ensure!(std::fs::metadata(cluster.audit_log())?.len() > 0, "no audit log");
    cluster.node(0).reboot().await?;
    let pods: Api<Pod> = namespace.api();
    namespace
        .until("the Pod to be Failed", MINUTE, || async {
            let phase = pods.get("stays").await?.status.and_then(|status| status.phase);
            Ok((phase.as_deref() == Some("Failed")).then_some(()))
        })
        .await?;
    namespace.delete().await
}

async fn s3_round_trip_versitygw(rig: &Rig) -> anyhow::Result<()> {
    round_trip(rig.s3(Kind::Versitygw).await?).await
}

async fn s3_round_trip_minio(rig: &Rig) -> anyhow::Result<()> {
    round_trip(rig.s3(Kind::Minio).await?).await
}

async fn round_trip(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("smoke").await?;
    let bucket = s3.bucket("smoke")?;
    bucket.put("a/b/object", b"content".to_vec()).await?;
    ensure!(bucket.list("a/").await? == [("a/b/object".to_string(), 7)], "the listing is wrong");
    bucket.flip_bit("a/b/object", 0).await?;
    ensure!(bucket.get("a/b/object").await? == b"bontent", "the bit did not flip");
    bucket.delete("a/b/object").await?;
    ensure!(bucket.list("").await?.is_empty(), "it is still there");
    Ok(())
}

async fn matrixone_answers(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = rig.matrixone().await?;
    matrixone
        .execute(&["create database smoke", "create table smoke.t (a int)", "insert into smoke.t values (1), (2)"])
        .await?;
    ensure!(matrixone.value("select count(*) from smoke.t").await? == "2", "the rows are not there");
    let target = matrixone.staging().join("smoke");
    let backup = format!("backup '127.0.0.1' filesystem '{}' parallelism '1'", target.display());
    matrixone.execute(&[&backup, "drop database smoke"]).await?;
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&target)?);
    ensure!(owner == crate::harness::matrixone::USER, "staged files belong to {owner}");
    Ok(())
}

fn pod(name: &str, script: &str, grace: u32) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace, "containers": [
            {"name": "main", "image": "localhost/machine:dev", "command": ["sh", "-c", script]}]},
    })
    .to_string()
}

async fn says(namespace: &Namespace<'_>, pod: &str, text: &str) -> anyhow::Result<()> {
    let look = || async { Ok(namespace.cluster.logs(&namespace.name, pod).contains(text).then_some(())) };
    namespace.until(&format!("{pod} to say {text}"), MINUTE, look).await
}

async fn job_ends(namespace: &Namespace<'_>, job: &str, how: &str) -> anyhow::Result<()> {
    let jobs: Api<Job> = namespace.api();
    namespace
        .until(&format!("job {job} to be {how}"), MINUTE, || async {
            let conditions = jobs.get(job).await?.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|one| one.type_ == how && one.status == "True").then_some(()))
        })
        .await
}

async fn pod_of(namespace: &Namespace<'_>, job: &str) -> anyhow::Result<Pod> {
    let pods: Api<Pod> = namespace.api();
    let found = pods.list(&ListParams::default().labels(&format!("job-name={job}"))).await?;
    found.items.into_iter().next().context("the job has no Pod")
}
