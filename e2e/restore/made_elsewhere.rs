//! Backups that were made without us: by a plain BACKUP statement, as `mo_br` sends it.

use anyhow::Context as _;
use serde_json::json;

use super::{boot_files, in_place, is_right, restore, sums};
use crate::harness::matrixone::{Empty, MatrixOne};
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::scene::{apply_storage, claim, is_ready, secrets};

/// A full backup and an incremental one, in folders of a volume that nobody has made a repository. A Restore needs nothing
/// but their paths.
pub async fn folders_of_a_plain_backup_statement_are_restored(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let namespace = Namespace::create(rig.cluster().await?, "elsewhere").await?;
    secrets(&namespace).await?;
    let lost = MatrixOne::start().await?;
    let folder = lost.shared_folder(&namespace.name)?;
    let path = |name: &str| folder.join(name).display().to_string();
    let rows = |from: u32, to: u32| {
        format!("insert into shop.orders select result, md5(result) from generate_series({from},{to}) g")
    };
    lost.execute(&[
        "create database shop",
        "create table shop.orders(id int primary key, v varchar(40))",
        "create table shop.notes(id int auto_increment primary key, note varchar(40))",
        "insert into shop.notes(note) values ('one'), ('two')",
        &rows(1, 20_000),
        &format!("backup 'elsewhere' filesystem '{}' parallelism '4' type 'full'", path("full")),
    ])
    .await?;
    // In frames, or not: time, bytes, timestamp and type, of which the last ones are easy to find.
    let sum = std::fs::read(folder.join("full/tae/tae_sum"))?;
    let since = String::from_utf8_lossy(&sum).rsplit(',').nth(1).context("tae_sum has no timestamp")?.to_owned();
    let incremental = format!(
        "backup 'elsewhere' filesystem '{}' parallelism '4' type 'incremental' timestamp '{since}'",
        path("incr-1")
    );
    lost.execute(&[&rows(20_001, 25_000), "update shop.orders set v = 'changed' where id <= 100", &incremental])
        .await?;
    let expected = sums(&lost).await?;
    lost.stop().await;

    claim(&namespace, "elsewhere", &folder).await?;
    let volume = json!({"type": "Volume", "accessMode": "ReadOnly", "volume": {"claim": "elsewhere"}});
    apply_storage(&namespace, "elsewhere", volume).await?;
    is_ready(&namespace, "elsewhere").await?;
    let empty = Empty::prepare()?;
    claim(&namespace, "new", &empty.home()).await?;
    let source = json!({"type": "Repository", "repository": {"storage": "elsewhere", "paths": ["full", "incr-1"]}});
    namespace.apply(&restore("new", source, "new").to_string()).await?;
    in_place(&namespace, "new", "NotBooted").await?;
    let back = empty.boot(&boot_files(&namespace, "new").await?, &[]).await?;
    is_right(&back, &expected).await?;
    back.stop().await;
    namespace.delete().await
}
