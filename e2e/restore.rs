//! From a bucket and an empty place to a running MatrixOne: a real server is backed up and deleted, and another one boots
//! from what a `Restore` has put in place, with the files of its ConfigMap and nothing else.

mod base_deleted;
mod made_elsewhere;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use mo_backup::api::{Restore, RestorePhase};
use serde_json::{Value, json};

use crate::harness::matrixone::{Empty, MatrixOne};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Bucket, Kind, SECRET_KEY};
use crate::harness::trial::Test;
use crate::scene::{
    PATIENCE, claim, completed, condition, files_below, s3_spec, s3_storage, secrets, staged, storage_ready,
};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(a_lost_server_comes_back_from_each_of_its_backups),
        test!(a_lost_server_comes_back_in_a_bucket),
        test!(a_target_that_is_not_empty_is_left_alone),
        test!(base_deleted::an_incremental_comes_back_without_its_base),
        test!(made_elsewhere::folders_of_a_plain_backup_statement_are_restored),
    ]
}

/// What the tables of the test hold: counts and sums over the values. A count alone is right even without the objects.
const SUMS: [&str; 2] = [
    "select concat_ws(',', count(*), sum(id * ascii(substring(v, 7, 1))), min(v), max(v)) from shop.orders",
    "select concat_ws(',', count(*), sum(id * ascii(note)), min(note), max(note)) from shop.notes",
];

async fn sums(matrixone: &MatrixOne) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for query in SUMS {
        found.push(matrixone.value(query).await?);
    }
    Ok(found)
}

/// Rows in two tables, a full backup, more and changed rows, an incremental one, and rows that no backup has. Gives what
/// the tables held at each backup.
pub async fn two_backups(namespace: &Namespace<'_>, matrixone: &MatrixOne) -> anyhow::Result<[Vec<String>; 2]> {
    let folder = matrixone.shared_folder(&namespace.name)?;
    claim(namespace, "staging", &folder).await?;
    let rows = |from: u32, to: u32| {
        format!("insert into shop.orders select result, md5(result) from generate_series({from},{to}) g")
    };
    matrixone
        .execute(&[
            "create database shop",
            "create table shop.orders(id int primary key, v varchar(40))",
            "create table shop.notes(id int auto_increment primary key, note varchar(40))",
            &rows(1, 20_000),
            "insert into shop.notes(note) values ('one'), ('two')",
        ])
        .await?;
    let mut at = [sums(matrixone).await?, Vec::new()];
    namespace.apply(&staged("first", matrixone, &folder, json!({"type": "Full"})).to_string()).await?;
    completed(namespace, "first").await?;
    let changes = ["update shop.orders set v = 'changed' where id <= 100", "delete from shop.notes where id = 1"];
    matrixone.execute(&[&rows(20_001, 25_000), changes[0], changes[1]]).await?;
    at[1] = sums(matrixone).await?;
    namespace.apply(&staged("second", matrixone, &folder, json!({"type": "Incremental"})).to_string()).await?;
    completed(namespace, "second").await?;
    matrixone.execute(&["truncate table shop.orders"]).await?;
    ensure!(at[0] != at[1] && sums(matrixone).await? != at[1], "the three states cannot be told apart");
    Ok(at)
}

pub fn restore(name: &str, source: Value, claim: &str) -> Value {
    restore_to(name, source, json!({"type": "Volume", "volume": {"claim": claim}}))
}

fn restore_to(name: &str, source: Value, target: Value) -> Value {
    json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Restore", "metadata": {"name": name},
        "spec": {"source": source, "target": target}})
}

async fn ended(namespace: &Namespace<'_>, name: &str) -> anyhow::Result<Restore> {
    let over = |restore: Restore| restore.status.as_ref().is_some_and(|s| s.run.end_time.is_some()).then_some(restore);
    let look = || async { Ok(over(namespace.api::<Restore>().get(name).await?)) };
    namespace.until(&format!("the end of Restore {name}"), PATIENCE, look).await
}

pub async fn in_place(namespace: &Namespace<'_>, name: &str, reason: &str) -> anyhow::Result<Restore> {
    let restore = ended(namespace, name).await?;
    let status = restore.status.clone().context("no status")?;
    let (complete, why, message) = condition(Some(&status.run.conditions), "Complete");
    if !complete || why != reason || status.phase != Some(RestorePhase::InPlace) {
        let seen = namespace.cluster.account(&namespace.name).await;
        anyhow::bail!("Restore {name} is {:?}, {why}: {message}\n{seen}", status.phase);
    }
    ensure!(condition(Some(&status.run.conditions), "DataInPlace").0, "complete without data in place");
    Ok(restore)
}

/// The files that the new MatrixOne is started with.
pub async fn boot_files(namespace: &Namespace<'_>, restore: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let map = namespace.api::<ConfigMap>().get(&format!("{restore}-boot")).await?;
    map.data.context("the ConfigMap holds nothing")
}

/// The restored server holds what was backed up, gives ids that nobody has, and takes new rows.
pub async fn is_right(matrixone: &MatrixOne, expected: &[String]) -> anyhow::Result<()> {
    let found = sums(matrixone).await?;
    ensure!(found == expected, "the restored tables hold {found:?} instead of {expected:?}");
    let said = matrixone.log()?;
    ensure!(said.contains("restore hakeeper data"), "hk_data was not used:\n{}", matrixone.tail(40));
    matrixone.execute(&["create table shop.later(a int)", "insert into shop.later values (1)"]).await?;
    matrixone.execute(&["create account tenant9 admin_name 'admin' identified by '111'"]).await?;
    matrixone.execute(&["insert into shop.notes(note) values ('after')"]).await?;
    let twice = matrixone.value("select count(*) - count(distinct rel_id) from mo_catalog.mo_tables").await?;
    ensure!(twice == "0", "{twice} tables have the id of another one");
    Ok(())
}

/// A MatrixOne with two backups in a bucket, and what its tables held at each.
async fn backed_up<'r>(
    rig: &'r Rig,
    name: &str,
) -> anyhow::Result<(Namespace<'r>, Bucket, MatrixOne, [Vec<String>; 2])> {
    rig.product().await?;
    let namespace = Namespace::create(rig.cluster().await?, name).await?;
    secrets(&namespace).await?;
    let bucket = s3_storage(&namespace, rig.s3(Kind::Versitygw).await?, &namespace.name.clone()).await?;
    storage_ready(&namespace).await?;
    let matrixone = MatrixOne::start().await?;
    let at = two_backups(&namespace, &matrixone).await?;
    Ok((namespace, bucket, matrixone, at))
}

async fn a_lost_server_comes_back_from_each_of_its_backups(rig: &Rig) -> anyhow::Result<()> {
    let (namespace, bucket, lost, at) = backed_up(rig, "restore").await?;
    lost.stop().await;
    drop(lost);
    let before = bucket.list("").await?;

    let sources = [
        ("first", json!({"type": "Backup", "backup": {"name": "first"}})),
        ("second", json!({"type": "Repository", "repository": {"storage": "store", "latest": true}})),
    ];
    for ((name, source), expected) in sources.into_iter().zip(&at) {
        let empty = Empty::prepare()?;
        claim(&namespace, name, &empty.home()).await?;
        namespace.apply(&restore(name, source.clone(), name).to_string()).await?;
        let done = in_place(&namespace, name, "NotBooted").await?;
        let report = done.status.and_then(|s| s.report).context("no report")?;
        ensure!(report.objects.is_some_and(|n| n > 10) && report.written_objects == report.objects, "{report:?}");
        let again = format!("{name}-again");
        once_only(&namespace, name, &again, source, &empty).await?;
        let back = empty.boot(&boot_files(&namespace, name).await?, &[]).await?;
        is_right(&back, expected).await?;
        if name == "second" {
            ensure!(bucket.list("").await? == before, "a restore has changed the repository");
            restored_once_more(&namespace, &back).await?;
        }
        back.stop().await;
    }
    namespace.delete().await
}

/// A restored server is one like any other: its backup is restored as well. The newest of the repository is now that one.
async fn restored_once_more(namespace: &Namespace<'_>, back: &MatrixOne) -> anyhow::Result<()> {
    let folder = back.shared_folder(&namespace.name)?;
    claim(namespace, "staging-2", &folder).await?;
    back.execute(&["insert into shop.orders select result, md5(result) from generate_series(30001,31000) g"]).await?;
    let expected = sums(back).await?;
    let volume = json!({"type": "Full", "staging": {"volume": {"claim": "staging-2"}}});
    namespace.apply(&staged("third", back, &folder, volume).to_string()).await?;
    completed(namespace, "third").await?;
    let empty = Empty::prepare()?;
    claim(namespace, "third", &empty.home()).await?;
    let latest = json!({"type": "Repository", "repository": {"storage": "store", "latest": true}});
    namespace.apply(&restore("third", latest, "third").to_string()).await?;
    in_place(namespace, "third", "NotBooted").await?;
    let again = empty.boot(&boot_files(namespace, "third").await?, &[]).await?;
    let found = sums(&again).await?;
    ensure!(found == expected, "the server restored from a restored one holds {found:?} instead of {expected:?}");
    again.stop().await;
    Ok(())
}

/// From a bucket to a fresh prefix of a bucket, planned first. The new server keeps everything there but its logs.
async fn a_lost_server_comes_back_in_a_bucket(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let namespace = Namespace::create(rig.cluster().await?, "s3-restore").await?;
    secrets(&namespace).await?;
    let s3 = rig.s3(Kind::Minio).await?;
    let bucket = s3_storage(&namespace, s3, &namespace.name.clone()).await?;
    storage_ready(&namespace).await?;
    let lost = MatrixOne::start().await?;
    let at = two_backups(&namespace, &lost).await?;
    lost.stop().await;
    drop(lost);

    let mut place = s3_spec(&s3.endpoint(), &namespace.name);
    place["prefix"] = json!("databases/shop-2");
    let source = json!({"type": "Repository", "repository": {"storage": "store", "latest": true}});
    let mut wanted = restore_to("shop", source, json!({"type": "S3", "s3": place}));
    wanted["spec"]["mode"] = json!("Plan");
    namespace.apply(&wanted.to_string()).await?;
    let planned = ended(&namespace, "shop").await?.status.context("no status")?;
    ensure!(planned.phase == Some(RestorePhase::Planned), "{planned:?}");
    ensure!(bucket.list("databases/").await?.is_empty(), "a plan has written something");
    let plan = planned.report.and_then(|r| r.plan).context("no plan in the report")?;
    wanted["spec"]["mode"] = json!("Execute");
    wanted["spec"]["approvedPlan"] = json!(plan.hash);
    namespace.apply(&wanted.to_string()).await?;
    let look = || async {
        let phase = namespace.api::<Restore>().get("shop").await?.status.and_then(|s| s.phase);
        Ok((phase != Some(RestorePhase::Planned)).then_some(()))
    };
    namespace.until("the planned Restore to begin", PATIENCE, look).await?;
    let done = in_place(&namespace, "shop", "NotBooted").await?;
    let report = done.status.and_then(|s| s.report).context("no report")?;
    let (written, by_store) = (report.written_objects, report.copied_by_store);
    ensure!(written == report.objects && by_store == written, "{by_store:?} of {written:?} were copied by the store");

    let files = boot_files(&namespace, "shop").await?;
    ensure!(files.values().all(|text| !text.contains(SECRET_KEY)), "a key stands in the boot files");
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let back = Empty::prepare()?.boot(&files, &keys).await?;
    is_right(&back, &at[1]).await?;
    back.stop().await;
    namespace.delete().await
}

/// The same manifest applied again, as on a rebuilt Kubernetes, touches nothing.
async fn once_only(
    namespace: &Namespace<'_>,
    name: &str,
    other: &str,
    source: Value,
    empty: &Empty,
) -> anyhow::Result<()> {
    let files = |empty: &Empty| -> anyhow::Result<Vec<_>> {
        let mut found = files_below(&empty.home())?;
        found.sort();
        found.into_iter().map(|path| Ok((path.metadata()?.modified()?, path))).collect()
    };
    let before = files(empty)?;
    namespace.kubectl(&["delete", "restore", name]).await?;
    let ours = format!("mo-backup.io/kind=Restore,mo-backup.io/name={name}");
    let gone =
        || async { Ok(namespace.kubectl(&["get", "jobs", "-l", &ours, "-o", "name"]).await?.is_empty().then_some(())) };
    namespace.until("the Jobs of the deleted Restore to be gone", Duration::from_secs(90), gone).await?;
    namespace.apply(&restore(name, source.clone(), name).to_string()).await?;
    in_place(namespace, name, "AlreadyRestored").await?;
    namespace.apply(&restore(other, source, name).to_string()).await?;
    let refused = ended(namespace, other).await?;
    let (failed, why, message) = condition(refused.status.as_ref().map(|s| &s.run.conditions), "Failed");
    ensure!(failed && why == "TargetNotEmpty", "another Restore into the same place: {why}: {message}");
    ensure!(files(empty)? == before, "a second apply has touched the target");
    Ok(())
}

async fn a_target_that_is_not_empty_is_left_alone(rig: &Rig) -> anyhow::Result<()> {
    let scene = crate::scene::Scene::set(rig, "occupied", Kind::Versitygw).await?;
    let namespace = &scene.namespace;
    scene.back_up("only", json!({"type": "Full"})).await?;
    completed(namespace, "only").await?;
    let empty = Empty::prepare()?;
    std::fs::create_dir_all(empty.home().join("mo-data/shared"))?;
    std::fs::write(empty.home().join("mo-data/shared/precious"), "rows")?;
    claim(namespace, "occupied", &empty.home()).await?;
    let source = json!({"type": "Backup", "backup": {"name": "only"}});
    namespace.apply(&restore("over", source, "occupied").to_string()).await?;
    let refused = ended(namespace, "over").await?;
    let status = refused.status.context("no status")?;
    let (failed, why, message) = condition(Some(&status.run.conditions), "Failed");
    ensure!(failed && why == "TargetNotEmpty" && message.contains("precious"), "{why}: {message}");
    ensure!(status.run.attempt == 1, "what another attempt cannot cure was repeated");
    let left = files_below(&empty.home().join("mo-data"))?;
    ensure!(left.len() == 1, "something was written beside what is there: {left:?}");
    scene.namespace.delete().await
}
