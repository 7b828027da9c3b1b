//! The store room on real S3 servers: what every store must do, what each refusal is called, who wins a commit.

use anyhow::{anyhow, ensure};
use futures::{TryStreamExt as _, future::join_all};
use mo_backup::store::{Bucket, Key, Keys, Objects, Place, Prefix, Problem, conformance::conformance};

use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Kind, REGION, S3, SECRET_KEY};
use crate::harness::trial::Test;
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(versitygw_conforms),
        test!(minio_conforms),
        test!(versitygw_refuses_by_name),
        test!(minio_refuses_by_name),
    ]
}

fn keys(id: &str, secret: &str) -> Keys {
    Keys { id: id.into(), secret: secret.into(), session_token: None }
}

fn place(s3: &S3, bucket: &str) -> Place {
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

async fn versitygw_conforms(rig: &Rig) -> anyhow::Result<()> {
    conforms(rig.s3(Kind::Versitygw).await?).await
}

async fn minio_conforms(rig: &Rig) -> anyhow::Result<()> {
    conforms(rig.s3(Kind::Minio).await?).await
}

async fn conforms(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("conformance").await?;
    let keys = keys(ACCESS_KEY, SECRET_KEY);
    let bucket = Bucket::open(&place(s3, "conformance"), Some(&keys), None)?;
    let nowhere = Bucket::open(&place(s3, "never-made"), Some(&keys), None)?;
    // A neighbour's objects, beside and above the prefix, are none of ours.
    let outside = s3.bucket("conformance")?;
    for key in ["team/mo2/data/x", "team/mo.txt", "catalog/x"] {
        outside.put(key, b"theirs".to_vec()).await?;
    }
    conformance(&bucket, &nowhere).await.map_err(|said| anyhow!(said))?;
    ensure!(outside.list("").await?.len() == 3, "a neighbour's object was touched");
    Ok(())
}

async fn versitygw_refuses_by_name(rig: &Rig) -> anyhow::Result<()> {
    let s3 = rig.s3(Kind::Versitygw).await?;
    refusals(s3).await?;
    let elsewhere = Place { region: "eu-west-7".into(), ..place(s3, "refusals") };
    every_call(&Bucket::open(&elsewhere, Some(&keys(ACCESS_KEY, SECRET_KEY)), None)?, Problem::Region).await
}

async fn minio_refuses_by_name(rig: &Rig) -> anyhow::Result<()> {
    refusals(rig.s3(Kind::Minio).await?).await
}

async fn refusals(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("refusals").await?;
    let at = |id: &str, secret: &str| Bucket::open(&place(s3, "refusals"), Some(&keys(id, secret)), None);
    every_call(&at(ACCESS_KEY, "canary-of-a-secret")?, Problem::Denied).await?;
    every_call(&at("nobody-at-all-here", "canary-of-a-secret")?, Problem::Denied).await?;
    let tls = Place { endpoint: Some(s3.endpoint().replace("http:", "https:")), ..place(s3, "refusals") };
    every_call(&Bucket::open(&tls, Some(&keys(ACCESS_KEY, SECRET_KEY)), None)?, Problem::Tls).await
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
