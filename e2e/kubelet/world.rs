//! A cluster with a real node, and one namespace with all that backups need, reached by the names of Services.

use std::path::PathBuf;

use anyhow::Context as _;
use mo_backup::api::BackupStatus;
use serde_json::{Value, json};

use crate::harness::cluster::{Cluster, Options};
use crate::harness::fault::{Fault, with_text};
use crate::harness::forward::Forward;
use crate::harness::kubelet;
use crate::harness::matrixone::MatrixOne;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{Bucket, Kind};
use crate::scene::{self, PATIENCE, claim, completed, s3_spec, secrets, staged, storage_ready};

/// What the kubelet and admission must put up with.
pub const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";

pub async fn node() -> anyhow::Result<Cluster> {
    Cluster::boot(Options { kubelet: true, nodes: 0, ..Options::default() }).await
}

pub struct World<'a> {
    pub namespace: Namespace<'a>,
    pub matrixone: &'a MatrixOne,
    pub bucket: Bucket,
    pub staging: PathBuf,
    /// Between workers and MatrixOne, to hold them at a statement.
    pub sql: MysqlProxy,
    // Kept for as long as Pods come this way.
    _ways: [Forward; 2],
}

impl<'a> World<'a> {
    /// Ready for backups: the storage has been probed by a Job.
    pub async fn make(rig: &'a Rig, cluster: &'a Cluster) -> anyhow::Result<World<'a>> {
        let (matrixone, s3) = tokio::try_join!(rig.matrixone(), rig.s3(Kind::Versitygw))?;
        let sql = MysqlProxy::before(matrixone.port()).await?;
        let ways = [Forward::to(sql.port).await?, Forward::to(s3.port()).await?];
        let namespace = Namespace::create(cluster, "node").await?;
        cluster.kubectl(&["label", "namespace", &namespace.name, RESTRICTED]).await?;
        namespace.apply(&service("matrixone", 6001, ways[0].port).to_string()).await?;
        namespace.apply(&service("s3", 7070, ways[1].port).to_string()).await?;
        secrets(&namespace).await?;
        let staging = matrixone.shared_folder("kubelet")?;
        claim(&namespace, "staging", &staging).await?;
        s3.create_bucket(&namespace.name).await?;
        let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store"},
            "spec": {"type": "S3", "s3": s3_spec("http://s3:7070", &namespace.name)}});
        namespace.apply(&storage.to_string()).await?;
        storage_ready(&namespace).await?;
        let bucket = s3.bucket(&namespace.name)?;
        Ok(World { namespace, matrixone, bucket, staging, sql, _ways: ways })
    }

    /// Applies a Backup by way of the staging volume, changed by `patch`.
    pub async fn back_up(&self, name: &str, patch: Value) -> anyhow::Result<()> {
        let mut backup = staged(name, self.matrixone, &self.staging, patch);
        let host = format!("matrixone.{}.svc", self.namespace.name);
        backup["spec"]["cluster"]["address"] = json!({"host": host, "port": 6001});
        self.namespace.apply(&backup.to_string()).await.map(drop)
    }

    /// Waits until something is so of the Backup's status.
    pub async fn sees(
        &self,
        name: &str,
        what: &str,
        so: impl Fn(&BackupStatus) -> bool,
    ) -> anyhow::Result<BackupStatus> {
        scene::sees(&self.namespace, name, what, so).await
    }

    /// Waits for a good end: Complete, Ready, Verified.
    pub async fn completed(&self, name: &str) -> anyhow::Result<BackupStatus> {
        completed(&self.namespace, name).await?.status.context("no status")
    }

    /// Takes a full backup whose first attempt stays where it asks for a checkpoint. Gives its Pod.
    pub async fn held(&self, name: &str) -> anyhow::Result<String> {
        let seen = self.sql.faults.seen().len();
        // Longer than any test waits; the end of the worker ends it.
        self.sql.faults.arm(with_text("heckpoint"), Fault::Stall(PATIENCE * 2), |_| {});
        self.back_up(name, json!({"type": "Full"})).await?;
        let reached = || async {
            let asked = self.sql.faults.seen()[seen..].iter().any(|seen| seen.text.contains("heckpoint"));
            Ok(asked.then_some(()))
        };
        self.namespace.until(&format!("the checkpoint of Backup {name}"), PATIENCE, reached).await?;
        let pod = |status: &BackupStatus| status.run.attempts.last().and_then(|attempt| attempt.pod.clone());
        let status = self.sees(name, "the Pod on record", |status| pod(status).is_some()).await?;
        pod(&status).context("no Pod")
    }
}

/// A Service for a server of this machine.
fn service(name: &str, port: u16, target: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [
            {"port": port, "targetPort": target}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [kubelet::ADDRESS]}], "ports": [{"port": target}]}]})
}
