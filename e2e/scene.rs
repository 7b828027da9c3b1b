//! What a test of the product sets up first: credentials, a repository, the volume shared with MatrixOne.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mo_backup::api::{Backup, BackupPhase, BackupStatus, BackupStorage};
use mo_backup::store::{Keys, Place};
use serde_json::{Value, json};

use crate::harness::matrixone::{MatrixOne, PASSWORD};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Bucket, Kind, REGION, S3, SECRET_KEY};

/// Longest time a small backup may take on a busy machine, its place in the queue included.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A namespace with credentials, a staging volume, and a ready BackupStorage `store` in a bucket of its own.
pub struct Scene<'a> {
    /// The namespace.
    pub namespace: Namespace<'a>,
    /// The database.
    pub matrixone: &'a MatrixOne,
    /// The bucket of `store`.
    pub bucket: Bucket,
    /// The folder that MatrixOne and the worker share.
    pub staging: PathBuf,
}

impl<'a> Scene<'a> {
    /// Sets it up, with the product installed.
    pub async fn set(rig: &'a Rig, purpose: &str, kind: Kind) -> anyhow::Result<Scene<'a>> {
        rig.product().await?;
        let matrixone = rig.matrixone().await?;
        let namespace = Namespace::create(rig.cluster().await?, purpose).await?;
        secrets(&namespace).await?;
        let staging = matrixone.shared_folder(&namespace.name)?;
        claim(&namespace, "staging", &staging).await?;
        let bucket = s3_storage(&namespace, rig.s3(kind).await?, &namespace.name.clone()).await?;
        storage_ready(&namespace).await?;
        Ok(Scene { namespace, matrixone, bucket, staging })
    }

    /// Applies a Backup by way of the staging volume, changed by `patch`.
    pub async fn back_up(&self, name: &str, patch: Value) -> anyhow::Result<()> {
        let backup = staged(name, self.matrixone, &self.staging, patch);
        self.namespace.apply(&backup.to_string()).await.map(drop)
    }
}

/// Secrets for the database and the store.
pub async fn secrets(namespace: &Namespace<'_>) -> anyhow::Result<()> {
    secret(namespace, "matrixone", &[("username", "root"), ("password", PASSWORD)]).await?;
    secret(namespace, "bucket", &[("access_key_id", ACCESS_KEY), ("secret_access_key", SECRET_KEY)]).await
}

/// One Secret.
pub async fn secret(namespace: &Namespace<'_>, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
    let data: serde_json::Map<_, _> = data.iter().map(|(k, v)| ((*k).to_string(), json!(v))).collect();
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    namespace.apply(&object.to_string()).await.map(drop)
}

/// A claim bound to a folder of this machine; such a volume is what MatrixOne's Pods and the worker share.
pub async fn claim(namespace: &Namespace<'_>, name: &str, folder: &Path) -> anyhow::Result<()> {
    let volume = format!("{}-{name}", namespace.name);
    let size = json!({"storage": "10Gi"});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
            "capacity": size, "accessModes": ["ReadWriteMany"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder},
            "claimRef": {"namespace": namespace.name, "name": name}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace.name}, "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume,
            "resources": {"requests": size}}}]});
    namespace.apply(&objects.to_string()).await.map(drop)
}

/// A BackupStorage in a fresh bucket of the server, and the bucket.
pub async fn s3_storage(namespace: &Namespace<'_>, s3: &S3, bucket: &str) -> anyhow::Result<Bucket> {
    s3.create_bucket(bucket).await?;
    apply_storage(namespace, "store", json!({"type": "S3", "s3": s3_spec(&s3.endpoint(), bucket)})).await?;
    s3.bucket(bucket)
}

/// A BackupStorage with this spec.
pub async fn apply_storage(namespace: &Namespace<'_>, name: &str, spec: Value) -> anyhow::Result<()> {
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": name},
        "spec": spec});
    namespace.apply(&storage.to_string()).await.map(drop)
}

/// The `s3` part of a BackupStorage.
pub fn s3_spec(endpoint: &str, bucket: &str) -> Value {
    json!({"bucket": bucket, "prefix": "prod", "endpoint": endpoint, "region": REGION, "pathStyle": true,
        "credentialsSecret": {"name": "bucket"}})
}

/// The right keys of the test servers.
pub fn keys() -> Keys {
    Keys { id: ACCESS_KEY.into(), secret: SECRET_KEY.into(), session_token: None }
}

/// Where the store room finds a bucket of a test server.
pub fn place(s3: &S3, bucket: &str) -> Place {
    Place {
        bucket: bucket.into(),
        prefix: "team/mo".into(),
        endpoint: Some(s3.endpoint()),
        region: REGION.into(),
        path_style: true,
        checksums: true,
        ..Place::default()
    }
}

/// A Backup of this MatrixOne by way of the staging volume, changed by `patch`.
pub fn staged(name: &str, matrixone: &MatrixOne, folder: &Path, patch: Value) -> Value {
    let mut backup = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": name}, "spec": {
        "cluster": {"address": {"host": "127.0.0.1", "port": matrixone.port()}, "credentialsSecret": {"name": "matrixone"}},
        "storage": "store",
        "staging": {"volume": {"claim": "staging", "serverPath": folder}}}});
    merge(&mut backup["spec"], patch);
    backup
}

/// JSON merge patch: `null` removes.
pub fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    target.as_object_mut().map(|object| object.remove(&name));
                } else {
                    merge(&mut target[name], value);
                }
            }
        }
        other => *target = other,
    }
}

/// Waits until the BackupStorage is ready.
pub async fn storage_ready(namespace: &Namespace<'_>) -> anyhow::Result<BackupStorage> {
    is_ready(namespace, "store").await
}

/// The same of a BackupStorage of this name.
pub async fn is_ready(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<BackupStorage> {
    namespace
        .until(&format!("BackupStorage {name} to be ready"), Duration::from_secs(90), || async {
            let storage = namespace.api::<BackupStorage>().get(name).await?;
            Ok(condition(storage.status.as_ref().map(|s| &s.run.conditions), "Ready").0.then_some(storage))
        })
        .await
}

/// The status of a Backup; an empty one before there is any.
pub async fn status(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<BackupStatus> {
    Ok(namespace.api::<Backup>().get(name).await?.status.unwrap_or_default())
}

/// Waits until something is so of the Backup's status.
pub async fn sees(
    namespace: &Namespace<'_>,
    name: &str,
    what: &str,
    so: impl Fn(&BackupStatus) -> bool,
) -> anyhow::Result<BackupStatus> {
    let look = || async {
        let status = status(namespace, name).await?;
        Ok(so(&status).then_some(status))
    };
    namespace.until(&format!("Backup {name}: {what}"), PATIENCE, look).await
}

/// Waits for the end of a Backup, in either outcome.
pub async fn ended(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<Backup> {
    namespace
        .until(&format!("the end of Backup {name}"), PATIENCE, || async {
            let backup = namespace.api::<Backup>().get(name).await?;
            let over = backup.status.as_ref().is_some_and(|s| s.run.end_time.is_some());
            Ok(over.then_some(backup))
        })
        .await
}

/// Waits for the end of a Backup, and insists on a good one.
pub async fn completed(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<Backup> {
    let backup = ended(namespace, name).await?;
    let status = backup.status.clone().context("no status")?;
    if status.phase != Some(BackupPhase::Completed) {
        let seen = serde_json::to_string_pretty(&status)?;
        anyhow::bail!("Backup {name} did not complete:\n{seen}\n{}", namespace.cluster.account(&namespace.name).await);
    }
    for wanted in ["Complete", "Ready", "Verified"] {
        let (is, reason, message) = condition(Some(&status.run.conditions), wanted);
        ensure!(is, "Backup {name} is complete, but {wanted} is false: {reason}: {message}");
    }
    Ok(backup)
}

/// Waits for the end of a Backup, and insists on a failed one with this reason. Gives the message.
pub async fn failed(namespace: &Namespace<'_>, name: &str, reason: &str) -> anyhow::Result<String> {
    let backup = ended(namespace, name).await?;
    let conditions = backup.status.map(|s| s.run.conditions);
    let (is, why, message) = condition(conditions.as_ref(), "Failed");
    ensure!(is && why == reason, "Backup {name}: Failed is {is}, reason {why:?} ({message}), expected {reason}");
    ensure!(!condition(conditions.as_ref(), "Complete").0, "Backup {name} is both Failed and Complete");
    Ok(message)
}

/// Status, reason and message of a condition.
pub fn condition(
    conditions: Option<&Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>,
    type_: &str,
) -> (bool, String, String) {
    let found = conditions.into_iter().flatten().find(|c| c.type_ == type_);
    found.map_or((false, String::new(), String::new()), |c| (c.status == "True", c.reason.clone(), c.message.clone()))
}

/// Every file below a folder; empty folders do not count.
pub fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// The secret key of the store stands in no object but its Secret, and in no log.
pub async fn no_secret(namespace: &Namespace<'_>) -> anyhow::Result<()> {
    for kinds in ["backups,backupstorages,jobs,pods,events,configmaps", "events.events.k8s.io"] {
        let seen = namespace.kubectl(&["get", kinds, "-o", "yaml"]).await?;
        ensure!(!seen.contains(SECRET_KEY), "the secret key stands in {kinds}");
    }
    let logs = namespace.cluster.account(&namespace.name).await;
    ensure!(!logs.contains(SECRET_KEY), "the secret key stands in a log");
    Ok(())
}
