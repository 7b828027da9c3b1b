//! From a bucket alone: the Kubernetes that made the backups is gone with everything in it, and so is the database. A new one
//! finds them, shows them, and brings the newest back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::ListParams;
use mo_backup::api::{Backup, BackupPhase, BackupReport, BackupStorage, BackupStoragePhase};
use serde_json::json;

use crate::harness::cluster::{Cluster, Options};
use crate::harness::matrixone::{Empty, MatrixOne};
use crate::harness::namespace::Namespace;
use crate::harness::product::Product;
use crate::harness::rig::Rig;
use crate::harness::s3::{Bucket, Kind, S3};
use crate::harness::trial::Test;
use crate::restore::{boot_files, in_place, is_right, restore, two_backups};
use crate::scene::{self, PATIENCE, claim, condition, s3_spec, s3_storage, secrets, storage_ready};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test!(a_database_comes_back_from_a_bucket_alone)]
}

/// What is left of the old world: the bucket, what the tables held at the newest backup, and what the old Kubernetes said.
struct Left {
    bucket: Bucket,
    rows: Vec<String>,
    reports: Vec<BackupReport>,
}

async fn a_database_comes_back_from_a_bucket_alone(rig: &Rig) -> anyhow::Result<()> {
    let s3 = rig.s3(Kind::Versitygw).await?;
    let left = lost(s3).await?;
    let before = left.bucket.list("").await?;

    let cluster = Cluster::boot(Options::default()).await?;
    let _product = Product::install(&cluster).await?;
    let namespace = Namespace::create(&cluster, "new").await?;
    secrets(&namespace).await?;
    let spec = json!({"type": "S3", "adopt": "All", "s3": s3_spec(&s3.endpoint(), "bucket-alone")});
    scene::apply_storage(&namespace, "found", spec).await?;
    finds(&namespace, &left).await?;
    only_imports(&namespace, &left).await?;

    let empty = Empty::prepare()?;
    claim(&namespace, "back", &empty.home()).await?;
    let source = json!({"type": "Repository", "repository": {"storage": "found", "latest": true}});
    namespace.apply(&restore("back", source, "back").to_string()).await?;
    in_place(&namespace, "back", "NotBooted").await?;
    let back = empty.boot(&boot_files(&namespace, "back").await?, &[]).await?;
    is_right(&back, &left.rows).await?;
    back.stop().await;

    by_hand(&namespace).await?;
    removed_and_found_again(&namespace, &left).await?;
    ensure!(left.bucket.list("").await? == before, "the repository of another cluster was changed");
    namespace.delete().await
}

/// Two backups; then database and Kubernetes are gone.
async fn lost(s3: &S3) -> anyhow::Result<Left> {
    let cluster = Cluster::boot(Options::default()).await?;
    let _product = Product::install(&cluster).await?;
    let namespace = Namespace::create(&cluster, "old").await?;
    secrets(&namespace).await?;
    let bucket = s3_storage(&namespace, s3, "bucket-alone").await?;
    storage_ready(&namespace).await?;
    let matrixone = MatrixOne::start().await?;
    let [_, rows] = two_backups(&namespace, &matrixone).await?;
    matrixone.stop().await;
    let mut reports = Vec::new();
    for name in ["first", "second"] {
        reports.push(scene::status(&namespace, name).await?.report.context("no report")?);
    }
    Ok(Left { bucket, rows, reports })
}

/// Every backup has a Backup that says what the one said that took it.
async fn finds(namespace: &Namespace<'_>, left: &Left) -> anyhow::Result<()> {
    scene::is_ready(namespace, "found").await?;
    for old in &left.reports {
        let name = format!("imported-{}", old.id.as_deref().context("no id")?);
        let looked = || async {
            let backup = namespace.api::<Backup>().get_opt(&name).await?;
            let phase = backup.as_ref().and_then(|b| b.status.as_ref()?.phase);
            Ok(backup.filter(|_| phase == Some(BackupPhase::Completed)))
        };
        let backup = namespace.until(&format!("Backup {name} to be complete"), PATIENCE, looked).await?;
        let status = backup.status.context("no status")?;
        ensure!(status.run.attempt == 0 && status.run.attempts.is_empty(), "an imported Backup has run: {status:?}");
        ensure!(condition(Some(&status.run.conditions), "Complete").1 == "Imported", "{:?}", status.run.conditions);
        let new = status.report.context("no report")?;
        let facts = |r: &BackupReport| {
            let server = r.server.as_ref().map(|s| (s.version.clone(), s.identity.clone()));
            let times = (r.backup_ts.clone(), r.exact_until.clone(), r.at_time.clone(), r.complete_time.clone());
            (r.id.clone(), r.type_, r.base.clone(), r.objects, r.bytes, r.manifest.clone(), server, times)
        };
        ensure!(facts(&new) == facts(old), "{new:#?}\ninstead of\n{old:#?}");
    }
    let storage = namespace.api::<BackupStorage>().get("found").await?.status.context("no status")?;
    let (ready, reason, message) = condition(Some(&storage.run.conditions), "Ready");
    ensure!(storage.phase == Some(BackupStoragePhase::ReadOnly) && ready, "{:?}: {message}", storage.phase);
    ensure!(reason == "RepositoryForeign" && message.contains("old-"), "{reason}: {message}");
    let seen = storage.report.and_then(|r| r.repository).context("nothing was counted")?;
    ensure!((seen.backups, seen.orphans, seen.unreadable) == (2, 0, 0), "{seen:?}");
    ensure!(
        namespace.api::<Backup>().list(&ListParams::default()).await?.items.len() == 2,
        "more Backups than backups"
    );
    Ok(())
}

/// The token of the Job that made them is good for imported Backups only.
async fn only_imports(namespace: &Namespace<'_>, left: &Left) -> anyhow::Result<()> {
    let account = format!("--as=system:serviceaccount:{}:mo-backup-catalog", namespace.name);
    for denied in [vec!["get", "secrets"], vec!["delete", "backups", "--all"], vec!["get", "pods"]] {
        let answer = namespace.kubectl(&[&denied[..], &[&account]].concat()).await;
        ensure!(answer.is_err(), "a Job that imports may {denied:?}");
    }
    let id = "01a1fb90-0000-7000-8000-000000000001";
    let backup = |name: &str, spec: serde_json::Value| json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": name}, "spec": spec});
    let name = format!("imported-{id}");
    let cluster = json!({"address": {"host": "10.0.0.1"}, "credentialsSecret": {"name": "matrixone"}});
    let imported = json!({"imported": {"id": id}, "storage": "found"});
    let mut purging = imported.clone();
    purging["deletionPolicy"] = json!("Delete");
    for (what, object, words) in [
        ("a Backup that runs", backup(&name, json!({"cluster": cluster, "storage": "found"})), "only imported Backups"),
        ("one that removes data", backup(&name, purging), "is kept unless"),
        ("one of another name", backup("nightly", imported.clone()), "named after its id"),
    ] {
        let args = ["-n", &namespace.name, "create", "--dry-run=server", &account, "-f", "-"];
        let text = namespace.cluster.kubectl_with(&args, &object.to_string()).await.err().map(|e| format!("{e:#}"));
        ensure!(text.as_ref().is_some_and(|text| text.contains(words)), "{what} is not refused as expected: {text:?}");
    }
    let args = ["-n", &namespace.name, "create", "--dry-run=server", &account, "-f", "-"];
    namespace.cluster.kubectl_with(&args, &backup(&name, imported).to_string()).await?;
    ensure!(left.reports.len() == 2, "two backups were taken");
    Ok(())
}

/// One that somebody writes, of a backup that is not there.
async fn by_hand(namespace: &Namespace<'_>) -> anyhow::Result<()> {
    let spec = json!({"imported": {"id": "01a1fb90-0000-7000-8000-00000000dead"}, "storage": "found"});
    let backup = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": "by-hand"},
        "spec": spec});
    namespace.apply(&backup.to_string()).await?;
    let message = scene::failed(namespace, "by-hand", "BackupNotFound").await?;
    ensure!(message.contains("does not exist"), "{message}");
    namespace.kubectl(&["delete", "backup", "by-hand"]).await.map(drop)
}

/// Deleting one keeps the data: the next probe finds it again, and a Delete in somebody else's repository removes nothing.
async fn removed_and_found_again(namespace: &Namespace<'_>, left: &Left) -> anyhow::Result<()> {
    let name = format!("imported-{}", left.reports[0].id.as_deref().context("no id")?);
    let uid = namespace.api::<Backup>().get(&name).await?.metadata.uid;
    namespace.kubectl(&["delete", "backup", &name, "--timeout=90s"]).await?;
    namespace.kubectl(&["annotate", "backupstorage", "found", "mo-backup.io/retry=look"]).await?;
    let again = || async {
        let backup = namespace.api::<Backup>().get_opt(&name).await?.filter(|b| b.metadata.uid != uid);
        Ok(backup.filter(|b| b.status.as_ref().is_some_and(|s| s.phase == Some(BackupPhase::Completed))))
    };
    namespace.until(&format!("{name} to be found again"), PATIENCE, again).await?;
    let delete = r#"{"spec":{"deletionPolicy":"Delete"}}"#;
    namespace.kubectl(&["patch", "backup", &name, "--type=merge", "-p", delete]).await?;
    namespace.kubectl(&["delete", "backup", &name, "--wait=false"]).await?;
    let refused = |message: &str| message.contains("RepositoryForeign");
    let stuck = scene::sees(namespace, &name, "the refusal to remove data", |status| {
        let (_, reason, message) = condition(Some(&status.run.conditions), "Ready");
        reason == "PurgeFailed" && refused(&message)
    });
    tokio::time::timeout(Duration::from_secs(300), stuck).await??;
    let keep = r#"{"spec":{"deletionPolicy":"Retain"}}"#;
    namespace.kubectl(&["patch", "backup", &name, "--type=merge", "-p", keep]).await?;
    namespace.kubectl(&["wait", "--for=delete", &format!("backup/{name}"), "--timeout=120s"]).await.map(drop)
}
