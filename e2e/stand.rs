//! A world of its own for a test that breaks things: a namespace with its own operator process, its own double of
//! MatrixOne, and a proxy before each server, so that every request can be counted and broken.

mod invariants;
mod operator;
mod spy;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mo_backup::api::{AttemptRecord, Backup, BackupPhase, BackupStatus};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::fault::{Faults, Kind};
use crate::harness::http_proxy::HttpProxy;
use crate::harness::matrixone::USER;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::{Bare, Rig};
use crate::harness::s3::{Bucket, Kind as Server, S3};
use crate::scene::{self, PATIENCE, claim, condition, merge, s3_spec, secret, secrets, storage_ready};
use crate::simulator::{Contents, Options, Role, Simulator, User, Version};

pub use invariants::{no_secret, repository, whole, whole_or_none};
pub use operator::Operator;
pub use spy::Spy;

/// The user of the double; the password is seen nowhere else, so that it tells where it leaks to.
pub const LOGIN: &str = "keeper";
pub const PASSWORD: &str = "canary-w8Zr3q";

/// How long nothing must be written for a world to count as at rest.
const QUIET: Duration = Duration::from_millis(1500);

pub struct Stand<'a> {
    // Dropped first: nobody acts on what goes next.
    pub operator: Operator<'a>,
    pub namespace: Namespace<'a>,
    pub double: Simulator,
    /// Between workers and the double.
    pub sql: MysqlProxy,
    /// Between workers and the store.
    pub s3: HttpProxy,
    /// Between the operator and the API server.
    pub api: HttpProxy,
    /// Between all workers of the cluster and the API server.
    pub pods: &'a HttpProxy,
    pub store: &'a S3,
    pub bucket: Bucket,
    pub staging: PathBuf,
}

impl<'a> Stand<'a> {
    /// With a double of the newer version.
    pub async fn set(rig: &'a Rig, purpose: &str) -> anyhow::Result<Stand<'a>> {
        Stand::of(rig, rig.bare().await?, purpose, Version::V4_2_0).await
    }

    /// Ready for backups: the storage has been probed.
    pub async fn of(rig: &'a Rig, bare: &'a Bare, purpose: &str, version: Version) -> anyhow::Result<Stand<'a>> {
        let cluster = &bare.cluster;
        let namespace = Namespace::create(cluster, purpose).await?;
        secrets(&namespace).await?;
        secret(&namespace, "matrixone", &[("username", LOGIN), ("password", PASSWORD)]).await?;
        let staging = shared_folder(&cluster.folder().path().join("staging").join(&namespace.name))?;
        claim(&namespace, "staging", &staging).await?;
        let double = double(version)?;
        let sql = MysqlProxy::before(double.port).await?;
        let store = rig.s3(Server::Versitygw).await?;
        let s3 = HttpProxy::before_s3(store).await?;
        let api = HttpProxy::before_api(cluster).await?;
        let operator = Operator::start(cluster, &namespace.name, api.kubeconfig())?;
        store.create_bucket(&namespace.name).await?;
        let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store"},
            "spec": {"type": "S3", "s3": s3_spec(&s3.endpoint(), &namespace.name)}});
        namespace.apply(&storage.to_string()).await?;
        let ready = storage_ready(&namespace).await;
        ready.with_context(|| format!("the operator said:\n{}", operator.log()))?;
        let bucket = store.bucket(&namespace.name)?;
        Ok(Stand { operator, namespace, double, sql, s3, api, pods: &bare.pods, store, bucket, staging })
    }

    /// Applies a full backup by way of the staging volume, changed by `patch`.
    pub async fn back_up(&self, name: &str, patch: Value) -> anyhow::Result<()> {
        let address = json!({"host": "127.0.0.1", "port": self.sql.port});
        let mut spec = json!({
            "cluster": {"address": address, "credentialsSecret": {"name": "matrixone"}},
            "storage": "store", "type": "Full",
            "staging": {"volume": {"claim": "staging", "serverPath": self.staging}}});
        merge(&mut spec, patch);
        let meta = json!({"name": name});
        let backup = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": meta, "spec": spec});
        self.namespace.apply(&backup.to_string()).await.map(drop)
    }

    pub async fn status(&self, name: &str) -> anyhow::Result<BackupStatus> {
        scene::status(&self.namespace, name).await
    }

    /// Waits until the Backup has ended and the operator, started again whenever it is dead, writes nothing any more.
    pub async fn rests(&self, name: &str) -> anyhow::Result<Backup> {
        let end = Instant::now() + PATIENCE;
        let mut written = (self.api.faults.count(Kind::Write), Instant::now());
        loop {
            if self.operator.run()? {
                written.1 = Instant::now();
            }
            let count = self.api.faults.count(Kind::Write);
            if count != written.0 {
                written = (count, Instant::now());
            }
            let backup: Backup = self.namespace.api().get(name).await?;
            let over = backup.status.as_ref().is_some_and(|s| s.run.end_time.is_some());
            if over && written.1.elapsed() >= QUIET {
                return Ok(backup);
            }
            if Instant::now() > end {
                let (seen, said) = (self.namespace.cluster.account(&self.namespace.name).await, self.operator.log());
                bail!("Backup {name} has not come to rest within {PATIENCE:?}:\n{seen}\nthe operator said:\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for rest, insists on a good end, and judges what is there.
    pub async fn completes(&self, name: &str) -> anyhow::Result<BackupStatus> {
        let backup = self.rests(name).await?;
        let status = backup.status.clone().unwrap_or_default();
        if status.phase != Some(BackupPhase::Completed) {
            let seen = self.namespace.cluster.account(&self.namespace.name).await;
            bail!("Backup {name} did not complete: {}\n{seen}", serde_json::to_string_pretty(&status)?);
        }
        whole_or_none(self, &backup).await?;
        Ok(status)
    }

    /// Waits for rest, insists on a bad end for this reason, and judges what is there. Gives the message.
    pub async fn fails(&self, name: &str, reason: &str) -> anyhow::Result<String> {
        let backup = self.rests(name).await?;
        let status = backup.status.clone().unwrap_or_default();
        let (is, why, message) = condition(Some(&status.run.conditions), "Failed");
        ensure!(is && why == reason, "Backup {name}: Failed is {is} for {why:?} ({message}), expected {reason}");
        ensure!(status.phase == Some(BackupPhase::Failed), "Backup {name} is {:?}", status.phase);
        whole_or_none(self, &backup).await?;
        Ok(message)
    }

    /// Waits until something is so of the Backup's status.
    pub async fn sees(
        &self,
        name: &str,
        what: &str,
        so: impl Fn(&BackupStatus) -> bool,
    ) -> anyhow::Result<BackupStatus> {
        let seen = scene::sees(&self.namespace, name, what, so).await;
        seen.with_context(|| format!("the operator said:\n{}", self.operator.log()))
    }

    /// Waits until MatrixOne has begun to write.
    pub async fn writing(&self, name: &str) -> anyhow::Result<()> {
        let begun = self.double.until(PATIENCE, |double| double.backups().iter().any(|b| b.written > 1)).await;
        ensure!(begun, "Backup {name}: no BACKUP was sent");
        Ok(())
    }

    /// Waits until the Pod of the attempt under way is on record, and gives its name.
    pub async fn pod(&self, name: &str) -> anyhow::Result<String> {
        let of = |status: &BackupStatus| status.run.attempts.last().and_then(|attempt| attempt.pod.clone());
        let status = self.sees(name, "the Pod on record", |status| of(status).is_some()).await?;
        of(&status).context("no Pod")
    }

    /// Cleans up after a test that went well: the namespace goes in bounded time although its operator is still there.
    pub async fn leave(self) -> anyhow::Result<()> {
        let unknown = self.double.unknown();
        ensure!(unknown.is_empty(), "the double has no recorded answer for {unknown:?}");
        [&self.api.faults, &self.s3.faults, &self.sql.faults].into_iter().for_each(Faults::disarm);
        self.operator.run()?;
        no_secret(&self).await?;
        self.namespace.delete().await
    }
}

/// The attempt with this number.
pub fn attempt(status: &BackupStatus, number: i32) -> anyhow::Result<&AttemptRecord> {
    let found = status.run.attempts.iter().find(|attempt| attempt.number == number);
    found.with_context(|| format!("attempt {number} is not on record: {:?}", status.run.attempts))
}

/// Why this attempt ended.
pub fn ended_for(status: &BackupStatus, number: i32, reason: &str) -> anyhow::Result<()> {
    let attempt = attempt(status, number)?;
    ensure!(attempt.reason.as_deref() == Some(reason), "attempt {number} did not end for {reason}: {attempt:?}");
    Ok(())
}

fn double(version: Version) -> anyhow::Result<Simulator> {
    let users = vec![User::sys(LOGIN, PASSWORD, Role::MoAdmin)];
    Ok(Simulator::start(version, Options { users, contents: Contents::Small, ..Options::default() })?)
}

/// A folder that both the double and workers can write.
fn shared_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    std::os::unix::fs::chown(folder, Some(USER), Some(USER))?;
    Ok(folder.to_owned())
}
