//! `Direct` to S3: MatrixOne writes into the bucket by itself, and the worker proves what it wrote.

use anyhow::{Context as _, ensure};
use mo_backup::api::{Backup, BackupReport, TakenType};
use mo_backup::store::catalog;
use serde_json::{Value, json};

use crate::harness::fault::Kind as Request;
use crate::harness::matrixone::MatrixOne;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Kind, SECRET_KEY};
use crate::harness::trial::{Need, Test};
use crate::scene::{apply_storage, completed, merge, no_secret, s3_spec, secrets, staged, storage_ready};
use crate::stand::{repository, whole};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(full_and_incremental_with_the_keys_of_the_secret).needs(Need::WritesToS3),
        test!(full_and_incremental_with_the_servers_own_identity).needs(Need::WritesToS3),
    ]
}

/// The statement needs the keys then; they stand there and nowhere else, not even in the server's log.
async fn full_and_incremental_with_the_keys_of_the_secret(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = rig.matrixone().await?;
    let said = full_and_incremental(rig, matrixone, Kind::Minio, "FromSecret").await?;
    for statement in &said {
        let sent = statement.contains(SECRET_KEY);
        ensure!(sent == statement.starts_with("BACKUP "), "the secret key is sent: {sent}, in {}", redacted(statement));
    }
    ensure!(!matrixone.tail(usize::MAX).contains(SECRET_KEY), "the secret key stands in the log of MatrixOne");
    Ok(())
}

/// A server that can find keys by itself is sent none.
async fn full_and_incremental_with_the_servers_own_identity(rig: &Rig) -> anyhow::Result<()> {
    let own = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let matrixone = MatrixOne::start_with(&own).await?;
    let said = full_and_incremental(rig, &matrixone, Kind::Versitygw, "Ambient").await?;
    for statement in &said {
        let clean = !statement.contains(SECRET_KEY) && !statement.contains("access_key");
        ensure!(clean, "keys are sent in {}", redacted(statement));
    }
    matrixone.stop().await;
    Ok(())
}

fn redacted(statement: &str) -> String {
    statement.replace(SECRET_KEY, "******")
}

/// Takes both, judges what lies in the bucket, and gives every statement that was sent.
async fn full_and_incremental(
    rig: &Rig,
    matrixone: &MatrixOne,
    kind: Kind,
    credentials: &str,
) -> anyhow::Result<Vec<String>> {
    rig.product().await?;
    let store = rig.s3(kind).await?;
    let namespace = Namespace::create(rig.cluster().await?, "direct").await?;
    secrets(&namespace).await?;
    store.create_bucket(&namespace.name).await?;
    let s3 = s3_spec(&store.endpoint(), &namespace.name);
    apply_storage(&namespace, "store", json!({"type": "S3", "s3": s3, "serverCredentials": credentials})).await?;
    storage_ready(&namespace).await?;
    let sql = MysqlProxy::before(matrixone.port()).await?;
    let database = namespace.name.replace('-', "_");
    let table = format!("create table {database}.t(id int, v varchar(20))");
    let rows = format!("insert into {database}.t select result, 'row' from generate_series(1,2000) g");
    matrixone.execute(&[&format!("create database {database}"), &table, &rows]).await?;
    let full = take(&namespace, matrixone, sql.port, "first", json!({"type": "Full", "verify": "Full"})).await?;
    matrixone.execute(&[&rows]).await?;
    let incremental = take(&namespace, matrixone, sql.port, "second", json!({"type": "Incremental"})).await?;
    ensure!(full.type_ == Some(TakenType::Full) && full.reused_bytes == Some(0), "the first: {full:?}");
    ensure!(incremental.base == full.id && incremental.base.is_some(), "the base is {:?}", incremental.base);
    ensure!(incremental.copied_bytes < incremental.bytes, "nothing was reused: {incremental:?}");

    let repository = repository(store, &namespace.name)?;
    let catalog::All { catalogs, unreadable } = catalog::all(&repository).await?;
    ensure!(catalogs.len() == 2 && unreadable.is_empty(), "the catalogue has {catalogs:?} and {unreadable:?}");
    for entry in &catalogs {
        whole(&repository, entry).await?;
        println!("[direct] {} {:?}: {:?}", namespace.name, entry.kind, entry.totals);
    }
    no_secret(&namespace).await?;
    let said: Vec<_> = sql.faults.seen().into_iter().filter(|s| s.kind == Request::Query).map(|s| s.text).collect();
    let backups: Vec<_> = said.iter().filter(|text| text.starts_with("BACKUP ")).collect();
    ensure!(backups.len() == 2, "{} BACKUPs were sent", backups.len());
    for text in backups {
        ensure!(text.contains("S3OPTION") && !text.contains("is_minio"), "sent: {}", redacted(text));
    }
    namespace.delete().await?;
    Ok(said)
}

async fn take(
    namespace: &Namespace<'_>,
    matrixone: &MatrixOne,
    port: u16,
    name: &str,
    patch: Value,
) -> anyhow::Result<BackupReport> {
    let direct = json!({"method": "Direct", "staging": null, "cluster": {"address": {"port": port}}});
    let mut backup = staged(name, matrixone, std::path::Path::new("/"), direct);
    merge(&mut backup["spec"], patch);
    namespace.apply(&backup.to_string()).await?;
    let done: Backup = completed(namespace, name).await?;
    done.status.and_then(|status| status.report).context("no report")
}
