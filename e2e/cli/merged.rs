//! Backups in the middle of merges. MatrixOne 1.2 loses tables whose objects are merged in the moment in which BACKUP takes
//! its checkpoint, and says OK.

use std::ops::Range;
use std::time::Duration;

use anyhow::ensure;
use mo_backup::sql::Version;

use super::GUIDE;
use super::shell::{Row, Shell};
use crate::harness::matrixone::MatrixOne;
use crate::harness::rig::Rig;

/// Tables that are merged during a backup, and how many backups are tried until a merge has met one.
const TABLES: usize = 120;
const ROUNDS: usize = 4;

const BACKUP: &str = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \
                      \"filesystem\"  --path \"/Users/admin/soft/backuppath/merged\"";

/// Every table in three objects, which nothing merges before it is told to.
async fn unmerged(matrixone: &MatrixOne) -> anyhow::Result<()> {
    matrixone.execute(&["select mo_ctl('dn','inspect','policy -r 0 -m 0')", "create database shop"]).await?;
    let all = 0..TABLES * ROUNDS;
    each(matrixone, all.clone(), |n| format!("create table shop.t{n}(id int primary key, v varchar(40))")).await?;
    for part in 0..3 {
        let (from, to) = (part * 900 + 1, part * 900 + 900);
        let rows = format!("select result, md5(result) from generate_series({from},{to}) g");
        each(matrixone, all.clone(), |n| format!("insert into shop.t{n} {rows}")).await?;
        matrixone.execute(&["select mo_ctl('dn','checkpoint','')"]).await?;
    }
    Ok(())
}

/// A statement for each of these tables.
async fn each(matrixone: &MatrixOne, tables: Range<usize>, statement: impl Fn(usize) -> String) -> anyhow::Result<()> {
    let statements: Vec<_> = tables.map(statement).collect();
    matrixone.execute(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Tables that do not hold what all of them were filled with.
async fn wrong(matrixone: &MatrixOne) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut right = None;
    for n in 0..TABLES * ROUNDS {
        let sum = format!("select concat_ws(',', count(*), sum(id * ascii(substring(v, 7, 1)))) from shop.t{n}");
        let found =
            matrixone.value(&sum).await.unwrap_or_else(|error| format!("{error:#}").chars().take(200).collect());
        ensure!(right.is_some() || found.starts_with("2700,"), "shop.t{n} holds {found}");
        if *right.get_or_insert_with(|| found.clone()) != found {
            wrong.push(format!("shop.t{n}: {found}"));
        }
    }
    Ok(wrong)
}

pub async fn a_backup_among_merges_has_every_table(_: &Rig) -> anyhow::Result<()> {
    let mut matrixone = MatrixOne::start().await?;
    let mut shell = Shell::open(&matrixone)?;
    unmerged(&matrixone).await?;
    ensure!(wrong(&matrixone).await?.is_empty(), "the tables are not alike");
    let (mut backups, mut sent) = (0, 0);
    let mut id = String::new();
    for round in 0..ROUNDS {
        let row = Row { seed: GUIDE, section: "full backup among merges", command: BACKUP, code: 0 };
        let backup = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            shell.run(&row).await
        };
        let tables = round * TABLES..(round + 1) * TABLES;
        let merge = each(&matrixone, tables, |n| format!("select mo_ctl('dn','mergeobjects','shop.t{n}:all:small')"));
        let (merged, said) = tokio::join!(merge, backup);
        merged?;
        id = shell.takes_id(&said?, &format!("id of round {round}"))?;
        backups += 1;
        sent = matrixone.log()?.matches("\"operation\": \"start backup\"").count();
        if sent > backups {
            break;
        }
    }
    if matrixone.release()? < Version::new(2, 0, 0) {
        ensure!(sent > backups, "no merge has met one of {backups} backups: nothing is proved");
    }
    matrixone.stop().await;
    std::fs::remove_dir_all(matrixone.folder().join("mo-data"))?;
    let config = matrixone.folder().join("etc/tn.toml");
    let command = format!(
        "./mo_br restore {id} --restore_dir filesystem --restore_path \"/Users/admin/soft/matrixone\" \
         --dn_config_path {}",
        config.display()
    );
    shell.run(&Row { seed: GUIDE, section: "restore", command: &command, code: 0 }).await?;
    matrixone.restart().await?;
    let wrong = wrong(&matrixone).await?;
    ensure!(wrong.is_empty(), "after {sent} BACKUPs for {backups} backups, {} are wrong: {wrong:?}", wrong.len());
    matrixone.stop().await;
    Ok(())
}
