//! A Restore that waits for the MatrixOne started on its target, and says of a real one whether it is right: booted with
//! the files of its ConfigMap, without `hk_data`, without one object, with the wrong backend, and the old one by mistake.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use mo_backup::api::{Restore, RestorePhase, RestoreStatus};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::harness::matrixone::{Empty, MatrixOne, PASSWORD};
use crate::harness::rig::Rig;
use crate::harness::s3::Kind;
use crate::harness::trial::Test;
use crate::scene::{PATIENCE, Scene, claim, completed, condition, files_below, secret};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test!(a_restored_server_is_proven), test!(what_is_wrong_with_a_restored_server_is_named)]
}

/// A database and an account of this name, and a backup of them. Their tables need more than one look: a great one, a
/// name to be quoted, an index, a view.
async fn backed_up(scene: &Scene<'_>, name: &str) -> anyhow::Result<()> {
    let statements = [
        "create database DB",
        "create table DB.great(id int primary key, v varchar(40), key(v))",
        "insert into DB.great select result, md5(result) from generate_series(1,20000) g",
        "create table DB.`a ``b.c`(a int)",
        "insert into DB.`a ``b.c` values (1), (null)",
        "create view DB.seen as select * from DB.great",
        "create account DB admin_name 'admin' identified by '111'",
    ]
    .map(|statement| statement.replace("DB", name));
    scene.matrixone.execute(&statements.each_ref().map(String::as_str)).await?;
    let mut tenant = scene.matrixone.connect_as(&format!("{name}#admin"), PASSWORD).await?;
    for statement in ["create database own", "create table own.t(a int)", "insert into own.t values (1), (2), (3)"] {
        tenant.query_drop(statement).await?;
    }
    tenant.disconnect().await?;
    let user = format!("{name}#admin");
    secret(&scene.namespace, "tenant", &[("username", &user), ("password", PASSWORD)]).await?;
    scene.back_up("only", json!({"type": "Full"})).await?;
    completed(&scene.namespace, "only").await.map(drop)
}

/// A Restore of that backup to a volume, waiting at this port of this machine.
async fn restore(scene: &Scene<'_>, name: &str, empty: &Empty, port: u16, proof: Value) -> anyhow::Result<()> {
    claim(&scene.namespace, name, &empty.home()).await?;
    let cluster = json!({"address": {"host": "127.0.0.1", "port": port}, "credentialsSecret": {"name": "matrixone"}});
    let restore = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Restore", "metadata": {"name": name}, "spec": {
        "source": {"type": "Backup", "backup": {"name": "only"}},
        "target": {"type": "Volume", "volume": {"claim": name}, "cluster": cluster},
        "proof": proof}});
    scene.namespace.apply(&restore.to_string()).await.map(drop)
}

async fn sees(
    scene: &Scene<'_>,
    name: &str,
    what: &str,
    so: impl Fn(&RestoreStatus) -> bool,
) -> anyhow::Result<RestoreStatus> {
    let look = || async {
        let status = scene.namespace.api::<Restore>().get(name).await?.status.unwrap_or_default();
        ensure!(what == "its end" || status.run.end_time.is_none(), "Restore {name} has ended: {status:?}");
        Ok(so(&status).then_some(status))
    };
    scene.namespace.until(&format!("Restore {name}: {what}"), PATIENCE, look).await
}

/// Everything is in place, and the Restore waits.
async fn waits(scene: &Scene<'_>, name: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let waiting = |status: &RestoreStatus| {
        let step = status.progress.as_ref().is_some_and(|p| p.step == mo_backup::task::WAITING_FOR_BOOT);
        status.phase == Some(RestorePhase::WaitingForBoot) && step
    };
    let status = sees(scene, name, "the wait for the boot", waiting).await?;
    let conditions = Some(&status.run.conditions);
    ensure!(condition(conditions, "DataInPlace").0 && !condition(conditions, "Complete").0, "{status:?}");
    let map = scene.namespace.api::<ConfigMap>().get(&format!("{name}-boot")).await?;
    map.data.context("the ConfigMap holds nothing")
}

async fn ended(scene: &Scene<'_>, name: &str) -> anyhow::Result<RestoreStatus> {
    sees(scene, name, "its end", |status| status.run.end_time.is_some()).await
}

/// The end of a Restore that must not be good. Gives the message.
async fn refused(scene: &Scene<'_>, name: &str, reason: &str) -> anyhow::Result<String> {
    let status = ended(scene, name).await?;
    let conditions = Some(&status.run.conditions);
    let (failed, why, message) = condition(conditions, "Failed");
    let (proven, ..) = condition(conditions, "Proven");
    ensure!(failed && why == reason && !proven, "Restore {name}: {why}: {message}\n{status:?}");
    ensure!(condition(conditions, "DataInPlace").0, "what is in place is not in doubt: {status:?}");
    Ok(message)
}

async fn left_over(matrixone: &MatrixOne) -> anyhow::Result<()> {
    let left = "select count(*) from mo_catalog.mo_database where datname like 'mo-backup-proof%'";
    ensure!(matrixone.value(left).await? == "0", "a database of the proof was left");
    Ok(())
}

async fn a_restored_server_is_proven(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "proven", Kind::Versitygw).await?;
    backed_up(&scene, "proven").await?;
    let empty = Empty::prepare()?;
    let logins = json!({"credentialsSecrets": [{"name": "tenant"}]});
    // Nobody is there; then the address is corrected, and the wait for the wrong one ends.
    restore(&scene, "right", &empty, 1, logins).await?;
    let files = waits(&scene, "right").await?;
    let right = json!({"spec": {"target": {"cluster": {"address": {"port": empty.port()}}}}}).to_string();
    scene.namespace.kubectl(&["patch", "restore", "right", "--type=merge", "-p", &right]).await?;
    let back = empty.boot(&files, &[]).await?;
    let status = ended(&scene, "right").await?;
    let conditions = Some(&status.run.conditions);
    for wanted in ["Complete", "Ready", "DataInPlace", "Booted", "Proven"] {
        let (is, why, message) = condition(conditions, wanted);
        ensure!(is, "{wanted}: {why}: {message}\n{}", scene.namespace.cluster.account(&scene.namespace.name).await);
    }
    ensure!(status.phase == Some(RestorePhase::Completed), "{status:?}");
    let reasons: Vec<_> = status.run.attempts.iter().filter_map(|a| a.reason.as_deref()).collect();
    ensure!(reasons == ["Completed", "ProofOutdated", "Completed"], "{reasons:?}");
    let proof = status.proof.context("no proof in the status")?;
    ensure!(proof.accounts == ["sys", "proven"], "{proof:?}");
    ensure!(proof.server_version.is_some_and(|version| back.version.ends_with(&version)), "{}", back.version);
    left_over(&back).await?;

    let stored = "select count(*) from mo_catalog.mo_tables where relkind not in ('v', 'e') and account_id in \
                  (select account_id from mo_catalog.mo_account where account_name in ('sys', 'proven'))";
    let stored: i64 = back.value(stored).await?.parse()?;
    let unread = proof.warnings.iter().filter(|warning| warning.reason == "TablesNotRead").count();
    let tables = proof.tables.unwrap_or_default();
    ensure!(
        tables <= stored && tables + 3 >= stored && (tables == stored || unread == 1),
        "{tables} of {stored} tables"
    );
    // The table and its index, the one with the quoted name, and the tenant's.
    ensure!(proof.rows.is_some_and(|rows| rows > 40_005), "{:?} rows", proof.rows);
    ensure!(proof.bytes.is_some_and(|bytes| bytes > 20_000 * 37), "{:?} bytes", proof.bytes);
    ensure!(proof.skipped.is_some_and(|skipped| skipped > 0), "the view was not said to be skipped");
    let named = proof.warnings.iter().any(|w| w.reason == "AccountsNotRead" && w.message.contains("\"proven\""));
    ensure!(!named, "an account that was read is said not to be: {:?}", proof.warnings);
    back.stop().await;
    scene.namespace.delete().await
}

async fn what_is_wrong_with_a_restored_server_is_named(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "unproven", Kind::Versitygw).await?;
    backed_up(&scene, "unproven").await?;
    without_ids(&scene).await?;
    without_an_object(&scene).await?;
    with_the_wrong_backend(&scene).await?;
    the_old_one(&scene).await?;
    scene.namespace.delete().await
}

async fn without_ids(scene: &Scene<'_>) -> anyhow::Result<()> {
    let empty = Empty::prepare()?;
    restore(scene, "no-ids", &empty, empty.port(), json!({})).await?;
    let files = waits(scene, "no-ids").await?;
    std::fs::remove_file(empty.home().join("mo-data/local/hk_data"))?;
    let back = empty.boot(&files, &[]).await?;
    let message = refused(scene, "no-ids", "IdsRestarted").await?;
    ensure!(message.contains("hk_data") && message.contains("Stop it at once"), "{message}");
    left_over(&back).await?;
    back.stop().await;
    Ok(())
}

async fn without_an_object(scene: &Scene<'_>) -> anyhow::Result<()> {
    let empty = Empty::prepare()?;
    restore(scene, "no-object", &empty, empty.port(), json!({})).await?;
    let files = waits(scene, "no-object").await?;
    let objects = files_below(&empty.home().join("mo-data/shared"))?;
    let largest = objects.iter().max_by_key(|path| path.metadata().map_or(0, |m| m.len())).context("no object")?;
    std::fs::remove_file(largest)?;
    let back = empty.boot(&files, &[]).await?;
    let message = refused(scene, "no-object", "ValuesUnreadable").await?;
    let name = largest.file_name().context("no name")?.to_string_lossy();
    ensure!(message.contains("proven.") && message.contains(&*name), "{name} is missing: {message}");
    back.stop().await;
    Ok(())
}

/// 1.2.4 does not know the other backend, 4.2 does not start with it on these files.
async fn with_the_wrong_backend(scene: &Scene<'_>) -> anyhow::Result<()> {
    let empty = Empty::prepare()?;
    // A port that nobody else is given meanwhile: that of a server which has ended is free for the next one.
    let nobody = Empty::prepare()?;
    restore(scene, "wrong", &empty, nobody.port(), json!({"bootDeadline": "90s"})).await?;
    let mut files = waits(scene, "wrong").await?;
    let mut edited = 0;
    for text in files.values_mut().filter(|text| text.contains("backend = \"DISK\"")) {
        *text = text.replace("backend = \"DISK\"", "backend = \"DISK-V2\"");
        edited += 1;
    }
    ensure!(edited > 0, "no file names the backend");
    ensure!(empty.boot(&files, &[]).await.is_err(), "MatrixOne runs with the wrong backend");
    let message = refused(scene, "wrong", "BootDeadlineExceeded").await?;
    ensure!(message.contains("wrong-boot") && message.contains("refused"), "{message}");
    drop(nobody);
    Ok(())
}

/// The server that was backed up still runs, and is named by mistake.
async fn the_old_one(scene: &Scene<'_>) -> anyhow::Result<()> {
    let empty = Empty::prepare()?;
    restore(scene, "old", &empty, scene.matrixone.port(), json!({})).await?;
    let message = refused(scene, "old", "NotTheRestored").await?;
    ensure!(message.contains("target.cluster") && !message.contains("Stop it"), "{message}");
    left_over(scene.matrixone).await?;
    Ok(())
}
