//! The store room on real S3 servers: what every store must do, what each refusal is called, who wins a commit.

use std::{sync::Arc, time::Duration};

use anyhow::{anyhow, ensure};
use futures::{TryStreamExt as _, future::join_all};
use jiff::Timestamp;
use mo_backup::api::{BackupStorage, ObjectLockState, Outcome, StorageReport, VersioningState};
use mo_backup::store::{
    Bucket, Key, Keys, Objects, Place, Prefix, Problem, Questions,
    conformance::{conformance, conformance_of_copies},
};
use mo_backup::task::ProbeTask;
use mo_backup::worker::{self, Places, Reporter, Untold, Watch, probe};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Kind, REGION, S3};
use crate::harness::trial::Test;
use crate::scene::{keys, place};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(versitygw_conforms),
        test!(minio_conforms),
        test!(versitygw_copies_by_itself),
        test!(minio_copies_by_itself),
        test!(versitygw_refuses_by_name),
        test!(minio_refuses_by_name),
        test!(versitygw_says_what_it_keeps),
        test!(minio_says_what_it_keeps),
    ]
}

fn other_keys(id: &str, secret: &str) -> Keys {
    Keys { id: id.into(), secret: secret.into(), session_token: None }
}

async fn versitygw_conforms(rig: &Rig) -> anyhow::Result<()> {
    conforms(rig.s3(Kind::Versitygw).await?).await
}

async fn minio_conforms(rig: &Rig) -> anyhow::Result<()> {
    conforms(rig.s3(Kind::Minio).await?).await
}

async fn conforms(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("conformance").await?;
    let keys = keys();
    let bucket = Bucket::open(&place(s3, "conformance"), Some(&keys), None)?;
    let nowhere = Bucket::open(&place(s3, "never-made"), Some(&keys), None)?;
    // A neighbour's objects, beside and above the prefix, are none of ours.
    let outside = s3.bucket("conformance")?;
    for key in ["team/mo2/data/x", "team/mo.txt", "catalog/x"] {
        outside.put(key, b"theirs".to_vec()).await?;
    }
    conformance(&bucket, &nowhere).await.map_err(|said| anyhow!(said))?;
    ensure!(outside.list("").await?.len() == 3, "a neighbour's object was touched");
    says_when_it_was_written(&bucket).await?;
    Ok(())
}

async fn versitygw_copies_by_itself(rig: &Rig) -> anyhow::Result<()> {
    copies_by_itself(rig.s3(Kind::Versitygw).await?).await
}

async fn minio_copies_by_itself(rig: &Rig) -> anyhow::Result<()> {
    copies_by_itself(rig.s3(Kind::Minio).await?).await
}

/// Within a bucket and from one to another; and the store says what it has copied, so that nothing need be read back.
async fn copies_by_itself(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("copied-from").await?;
    s3.create_bucket("copied-to").await?;
    let keys = keys();
    let open = |bucket: &str, prefix: &str| {
        Bucket::open(&Place { prefix: prefix.into(), ..place(s3, bucket) }, Some(&keys), None)
    };
    let source = open("copied-from", "team/mo")?;
    for target in [open("copied-from", "restored")?, open("copied-to", "")?] {
        conformance_of_copies(&source, &target).await.map_err(|said| anyhow!(said))?;
        let (from, key, to) = (source.address(), Key::probe("said"), Key::probe("said"));
        let from = from.ok_or_else(|| anyhow!("no address"))?;
        source.put(&key, "what is said of it".into()).await?;
        let (tag, _) = source.read_tagged(&key).await?;
        let tag = tag.ok_or_else(|| anyhow!("no tag"))?;
        ensure!(target.copy((&from, &key), &tag, &to).await?.is_some(), "the store says no SHA-256 of a copy");
        let denied = Bucket::open(&place(s3, "copied-to"), Some(&other_keys(ACCESS_KEY, "canary-of-a-secret")), None)?;
        let e = denied.copy((&from, &key), &tag, &to).await.err().ok_or_else(|| anyhow!("anyone may copy"))?;
        ensure!(e.problem == Problem::Denied && !e.to_string().contains("canary"), "{:?}: {e}", e.problem);
    }
    Ok(())
}

/// Orphans are judged by it.
async fn says_when_it_was_written(bucket: &Bucket) -> anyhow::Result<()> {
    let before = Timestamp::now() - Duration::from_mins(10);
    let key = Key::probe("dated");
    bucket.put(&key, "x".into()).await?;
    let found = bucket.list(&Prefix::probe()).try_next().await?.ok_or_else(|| anyhow!("nothing is listed"))?;
    ensure!(
        found.modified.is_some_and(|at| at > before && at < Timestamp::now() + Duration::from_mins(10)),
        "{found:?}"
    );
    bucket.delete(vec![key]).await.map_err(Into::into)
}

async fn versitygw_says_what_it_keeps(rig: &Rig) -> anyhow::Result<()> {
    says_what_it_keeps(rig.s3(Kind::Versitygw).await?).await
}

async fn minio_says_what_it_keeps(rig: &Rig) -> anyhow::Result<()> {
    says_what_it_keeps(rig.s3(Kind::Minio).await?).await
}

const LOCK: &str = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled\
    </ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>2</Days></DefaultRetention></Rule>\
    </ObjectLockConfiguration>";

/// Buckets of every kind are probed; what they keep is in the report, and a bucket that does not say it serves as well.
async fn says_what_it_keeps(s3: &S3) -> anyhow::Result<()> {
    for bucket in ["plain", "versioned", "suspended"] {
        s3.create_bucket(bucket).await?;
    }
    s3.create_locking_bucket("locking").await?;
    s3.create_locking_bucket("locked").await?;
    for (bucket, status) in [("versioned", "Enabled"), ("suspended", "Enabled"), ("suspended", "Suspended")] {
        let xml = format!(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
             </VersioningConfiguration>"
        );
        s3.configure(bucket, "versioning", &xml).await?;
    }
    s3.configure("locked", "object-lock", LOCK).await?;
    let right = keys();
    for (bucket, versioning, lock, warned) in [
        ("plain", VersioningState::Off, ObjectLockState::Off, vec![]),
        ("versioned", VersioningState::Enabled, ObjectLockState::Off, vec!["DeletionOnlyHides"]),
        ("suspended", VersioningState::Suspended, ObjectLockState::Off, vec!["DeletionOnlyHides"]),
        ("locking", VersioningState::Enabled, ObjectLockState::Enabled, vec!["DeletionOnlyHides"]),
        ("locked", VersioningState::Enabled, ObjectLockState::Enabled, vec!["DeletionOnlyHides", "ObjectsLocked"]),
    ] {
        let report = probed(s3, bucket, &right).await?;
        let can = report.capabilities.ok_or_else(|| anyhow!("{bucket}: no capabilities"))?;
        ensure!((can.versioning.state, can.object_lock.state) == (versioning, lock), "{bucket}: {can:?}");
        let retention = can.object_lock.default_retention;
        ensure!(retention.is_some() == (bucket == "locked"), "{bucket}: {retention:?}");
        ensure!(retention.is_none_or(|r| r == "GOVERNANCE, 2 days"), "{bucket}: another retention");
        let reasons: Vec<_> = report.warnings.iter().map(|w| w.reason.as_str()).collect();
        ensure!(reasons == warned, "{bucket}: {:?}", report.warnings);
        ensure!(report.repository.is_some_and(|r| r.backups == 0), "{bucket}: nothing was counted");
    }
    let report = probed(s3, "versioned", &other_keys(ACCESS_KEY, "canary-of-a-secret")).await?;
    let can = report.capabilities.ok_or_else(|| anyhow!("who may not ask has no capabilities"))?;
    let why = [can.versioning.why, can.object_lock.why].map(Option::unwrap_or_default);
    ensure!((can.versioning.state, can.object_lock.state) == (VersioningState::Unknown, ObjectLockState::Unknown));
    ensure!(why.iter().all(|w| w.contains("SignatureDoesNotMatch") && !w.contains("canary")), "{why:?}");
    Ok(())
}

/// Nobody listens: the probe's report is its result.
struct Nobody;

#[async_trait::async_trait]
impl Reporter for Nobody {
    async fn send(&self, _: &Value) -> Result<(), Untold> {
        Ok(())
    }
}

/// The report of a probe with the right keys, whose questions are asked with these.
async fn probed(s3: &S3, bucket: &str, asking: &Keys) -> anyhow::Result<StorageReport> {
    let place = place(s3, bucket);
    let opened = Bucket::open(&place, Some(&keys()), None)?;
    let questions = Questions::open(&place, Some(asking), None)?;
    let storage: BackupStorage = serde_json::from_value(json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": bucket, "namespace": "e2e", "uid": format!("uid-of-{bucket}")},
        "spec": {"type": "S3", "s3": {"bucket": bucket, "region": REGION}}
    }))?;
    let task = ProbeTask::for_attempt(&storage, String::new(), false, 1)?;
    let places = Places { repository: Arc::new(opened), kind: worker::Place::Bucket, staging: None };
    let (run, limit) = (&task.subject.run, Duration::from_mins(5));
    let watch = Watch::new(Arc::new(Nobody), Arc::new(Timestamp::now), run, (limit, limit), CancellationToken::new());
    let report = probe(&task, &places, Some(&questions), &watch).await;
    ensure!(report.said.outcome == Outcome::Succeeded, "{bucket}: {report:?}");
    Ok(report)
}

async fn versitygw_refuses_by_name(rig: &Rig) -> anyhow::Result<()> {
    let s3 = rig.s3(Kind::Versitygw).await?;
    refusals(s3).await?;
    let elsewhere = Place { region: "eu-west-7".into(), ..place(s3, "refusals") };
    every_call(&Bucket::open(&elsewhere, Some(&keys()), None)?, Problem::Region).await
}

async fn minio_refuses_by_name(rig: &Rig) -> anyhow::Result<()> {
    refusals(rig.s3(Kind::Minio).await?).await
}

async fn refusals(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("refusals").await?;
    let at = |id: &str, secret: &str| Bucket::open(&place(s3, "refusals"), Some(&other_keys(id, secret)), None);
    every_call(&at(ACCESS_KEY, "canary-of-a-secret")?, Problem::Denied).await?;
    every_call(&at("nobody-at-all-here", "canary-of-a-secret")?, Problem::Denied).await?;
    let tls = Place { endpoint: Some(s3.endpoint().replace("http:", "https:")), ..place(s3, "refusals") };
    every_call(&Bucket::open(&tls, Some(&keys()), None)?, Problem::Tls).await
}

/// Every kind of call fails with this problem, and says nothing of hosts and secrets.
async fn every_call(bucket: &dyn Objects, problem: Problem) -> anyhow::Result<()> {
    let key = Key::probe("refused");
    let outcomes = join_all([
        Box::pin(async { bucket.stat(&key).await.map(drop) }) as futures::future::BoxFuture<'_, _>,
        Box::pin(async { bucket.read(&key, None).await.map(drop) }),
        Box::pin(async { bucket.list(&Prefix::all()).try_next().await.map(drop) }),
        Box::pin(bucket.put(&key, "x".into())),
        Box::pin(bucket.create(&key, "x".into())),
    ])
    .await;
    for outcome in outcomes {
        let e = outcome.err().ok_or_else(|| anyhow!("a call succeeded instead of failing with {problem:?}"))?;
        ensure!(e.problem == problem, "{:?} instead of {problem:?}: {e}", e.problem);
        ensure!(!e.temporary, "{e} counts as temporary");
        let said = e.to_string();
        ensure!(!said.contains("127.0.0.1") && !said.contains("canary") && !said.contains("nobody-at"), "{said}");
    }
    Ok(())
}
