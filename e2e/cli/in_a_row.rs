//! Backups in a row, each of which is restored, started and read. With its default MatrixOne makes a global checkpoint after 40
//! incremental ones; where BACKUP's own is the 40th, what BACKUP leaves does not start, and it says OK.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use mo_backup::sql::Version;

use super::GUIDE;
use super::shell::{Row, Shell};
use crate::harness::matrixone::MatrixOne;
use crate::harness::rig::Rig;

/// Restored servers that run beside the one that is backed up.
const BESIDE: usize = 2;

/// How many backups are taken, and of what.
struct Course {
    backups: usize,
    /// What the configuration of the TN says besides.
    configured: &'static str,
    /// Whether rows are written all the time.
    written: bool,
}

const OFTEN: &str = "[tn.Ckp]\nglobal-min-count = 4\n";

/// Twelve of a quiet server.
pub async fn twelve_backups_in_a_row_start(_: &Rig) -> anyhow::Result<()> {
    taken(&Course { backups: 12, configured: OFTEN, written: false }).await
}

pub async fn sixty_backups_of_a_quiet_server_start(_: &Rig) -> anyhow::Result<()> {
    taken(&Course { backups: 60, configured: "", written: false }).await
}

pub async fn sixty_backups_with_global_checkpoints_start(_: &Rig) -> anyhow::Result<()> {
    taken(&Course { backups: 60, configured: OFTEN, written: false }).await
}

pub async fn sixty_backups_under_a_writer_start(_: &Rig) -> anyhow::Result<()> {
    taken(&Course { backups: 60, configured: "", written: true }).await
}

pub async fn sixty_backups_under_a_writer_with_global_checkpoints_start(_: &Rig) -> anyhow::Result<()> {
    taken(&Course { backups: 60, configured: OFTEN, written: true }).await
}

/// A backup that was called good, and what it must hold.
struct Good {
    id: String,
    rows: usize,
}

async fn taken(course: &Course) -> anyhow::Result<()> {
    let matrixone = MatrixOne::start_on(|data| {
        let config = data.with_file_name("etc").join("tn.toml");
        Ok(std::fs::write(&config, std::fs::read_to_string(&config)? + course.configured)?)
    });
    let matrixone = matrixone.await?;
    let mut shell = Shell::open(&matrixone)?;
    let tables = ["create database shop", "create table shop.t(id int primary key, v varchar(40))"];
    matrixone.execute(&tables).await?;
    matrixone.execute(&["create table shop.w(id int primary key, v varchar(40))"]).await?;
    let over = AtomicBool::new(false);
    let backups = async {
        let taken = backups(course, &matrixone, &mut shell).await;
        over.store(true, Ordering::Relaxed);
        taken
    };
    let (good, written) = tokio::join!(backups, write(&matrixone, course.written, &over));
    let (good, written) = (good?, written?);
    ensure!(!course.written || written > 0, "nothing was written beside the backups");
    let sent = matrixone.log()?.matches("\"operation\": \"start backup\"").count();
    println!("{}: {} backups, {sent} BACKUP statements, {written} rows beside", matrixone.version, good.len());
    let config = matrixone.folder().join("etc/tn.toml");
    let mut starts = Vec::new();
    for backup in &good {
        starts.push(start(&shell, &config, backup));
    }
    futures::stream::iter(starts).buffer_unordered(BESIDE).try_collect::<()>().await?;
    matrixone.stop().await;
    Ok(())
}

/// Takes them, each of one row more, and checks each.
async fn backups(course: &Course, matrixone: &MatrixOne, shell: &mut Shell) -> anyhow::Result<Vec<Good>> {
    let mut good = Vec::new();
    for rows in 1..=course.backups {
        matrixone.execute(&[&format!("insert into shop.t values ({rows}, md5('{rows}'))")]).await?;
        let row = Row { seed: GUIDE, section: "one of many backups", command: BACKUP, code: 0 };
        let id = shell.takes_id(&shell.run(&row).await?, &format!("id of backup {rows}"))?;
        let command = format!("./mo_br check {id}");
        let said = shell.run(&Row { seed: GUIDE, section: "check", command: &command, code: 0 }).await?;
        ensure!(!said.contains("could not be seen"), "{said}");
        good.push(Good { id, rows });
    }
    Ok(good)
}

const BACKUP: &str = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \
                      \"filesystem\"  --path \"/Users/admin/soft/backuppath/row\"";

/// Writes rows, and deletes some, until it is over. Says how many it has written.
async fn write(matrixone: &MatrixOne, writes: bool, over: &AtomicBool) -> anyhow::Result<usize> {
    let mut written = 0_usize;
    while writes && !over.load(Ordering::Relaxed) {
        written += 1;
        let insert = format!("insert into shop.w values ({written}, md5('{written}'))");
        let delete = format!("delete from shop.w where id = {}", written.saturating_sub(50));
        matrixone.execute(&[&insert, &delete]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(written)
}

/// Restores one, starts a server on it, and reads it.
async fn start(shell: &Shell, config: &Path, backup: &Good) -> anyhow::Result<()> {
    let Good { id, rows } = backup;
    let restored = format!("/Users/admin/soft/restored-{rows}");
    let command = format!(
        "mkdir \"{restored}\" && ./mo_br restore {id} --restore_dir filesystem --restore_path \"{restored}\" \
         --dn_config_path {}",
        config.display()
    );
    shell.run(&Row { seed: GUIDE, section: "restore", command: &command, code: 0 }).await?;
    let from = shell.path(&format!("restored-{rows}"));
    let matrixone = MatrixOne::start_on(|data| {
        for found in std::fs::read_dir(from.join("mo-data"))? {
            let found = found?;
            std::fs::rename(found.path(), data.join(found.file_name()))?;
        }
        Ok(())
    });
    let matrixone = matrixone.await.with_context(|| format!("backup {rows}, {id}, was called good"))?;
    let sum = "select concat_ws(',', count(*), count(distinct id), count(case when v = md5(cast(id as char)) then 1 end)) from ";
    let found = matrixone.value(&format!("{sum} shop.t")).await?;
    ensure!(found == format!("{rows},{rows},{rows}"), "shop.t of backup {rows} holds {found}");
    // The writer deletes its row of fifty before after it has written one.
    let found = matrixone.value("select count(*) - count(distinct id) from shop.w").await?;
    ensure!(found == "0", "shop.w of backup {rows} holds {found} rows twice");
    let kept = matrixone.value("select coalesce(max(id) - min(id), 0) - count(*) from shop.w").await?;
    ensure!(kept == "-1" || kept == "0", "shop.w of backup {rows} lacks rows: {kept}");
    if matrixone.release()? >= Version::new(3, 0, 0) {
        let open = matrixone.value("select count(*) from mo_catalog.mo_version where state <> 2").await?;
        ensure!(open == "0", "backup {rows}: {open} versions are not ready");
    }
    matrixone.stop().await;
    Ok(())
}
