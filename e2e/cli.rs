//! The command line against a real MatrixOne: what people type for `mo_br` today, word for word, in which only the name of
//! the program and what belongs to a host (paths, ports) is another one.

mod in_a_row;
mod merged;
mod shell;

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::harness::matrixone::MatrixOne;
use crate::harness::rig::Rig;
use crate::harness::s3::{Kind, Options, S3};
use crate::harness::trial::{Need, Test};
use crate::test;
use shell::{Row, Shell};

/// Sixty servers start one after the other.
const HOUR: Duration = Duration::from_secs(3600);

pub fn tests() -> Vec<Test> {
    vec![
        test!(the_guide_to_full_backups),
        test!(the_guide_to_incremental_backups),
        test!(the_reference),
        test!(the_reference_with_a_bucket),
        test!(merged::a_backup_among_merges_has_every_table).needs(Need::Sweep),
        test!(in_a_row::twelve_backups_in_a_row_start),
        test!(in_a_row::sixty_backups_of_a_quiet_server_start).needs(Need::Sweep).within(HOUR),
        test!(in_a_row::sixty_backups_with_global_checkpoints_start).needs(Need::Sweep).within(HOUR),
        test!(in_a_row::sixty_backups_under_a_writer_start).needs(Need::Sweep).within(HOUR),
        test!(in_a_row::sixty_backups_under_a_writer_with_global_checkpoints_start).needs(Need::Sweep).within(HOUR),
    ]
}

const GUIDE: &str = "mo_br physical backup guide";
const REFERENCE: &str = "mo_br reference";

/// What a table holds: the guides compare names of databases only.
const SUM: &str = "select concat_ws(',', count(*), sum(id * ascii(substring(v, 7, 1))), min(v), max(v)) from db1.t";

fn rows(from: u32, to: u32) -> String {
    format!("insert into db1.t select result, md5(result) from generate_series({from},{to}) g")
}

/// A MatrixOne with the guides' databases and a table with rows, and a shell beside it.
async fn begin() -> anyhow::Result<(MatrixOne, Shell)> {
    let matrixone = MatrixOne::start().await?;
    let shell = Shell::open(&matrixone)?;
    matrixone
        .execute(&["create database db1", "create database db2", "create table db1.t(id int, v varchar(40))"])
        .await?;
    matrixone.execute(&[&rows(1, 20_000)]).await?;
    Ok((matrixone, shell))
}

/// What the guide deletes and makes after the backup, the loss of the server, and what is there once it is back.
async fn lost_and_back(shell: &mut Shell, matrixone: &mut MatrixOne, id: &str, expected: &str) -> anyhow::Result<()> {
    matrixone.execute(&["drop database db1", "create database db3"]).await?;
    matrixone.stop().await;
    std::fs::remove_dir_all(matrixone.folder().join("mo-data"))?;
    // From 4.2 on the files of MatrixOne are not framed, and lie where the configuration of the TN says.
    let newer = matrixone.release()? >= mo_backup::sql::Version::new(4, 2, 0);
    let config = matrixone.folder().join("etc/tn.toml");
    let more = if newer { format!(" --dn_config_path {}", config.display()) } else { String::new() };
    let tae_path = if newer { "TaePath\n    ./mo-data/shared2\n" } else { "TaePath\n    ./mo-data/shared\n" };
    let command =
        format!("./mo_br restore {id}  --restore_dir filesystem --restore_path \"/Users/admin/soft/matrixone\"{more}");
    let restored = shell.run(&Row { seed: GUIDE, section: "restore", command: &command, code: 0 }).await?;
    for shown in ["From:\n    BackupDir: filesystem\n", "To\n    BackupDir: filesystem\n", tae_path] {
        ensure!(restored.contains(shown), "{shown:?} is not in\n{restored}");
    }
    matrixone.restart().await?;
    let databases = matrixone.sql("show databases").await?;
    let databases: Vec<String> = databases.iter().filter_map(|row| row.get(0)).collect();
    let has = |name: &str| databases.iter().any(|d| d == name);
    ensure!(has("db1") && has("db2") && !has("db3"), "{databases:?}");
    let found = matrixone.value(SUM).await?;
    ensure!(found == expected, "db1.t holds {found} instead of {expected}");
    ensure!(matrixone.log()?.contains("restore hakeeper data"), "hk_data was not used");
    // An id that is given twice would be refused here, or shared with another table.
    matrixone.execute(&["create database db4", "create table db4.t(a int)", "insert into db4.t values (1)"]).await?;
    let twice = matrixone.value("select count(*) - count(distinct rel_id) from mo_catalog.mo_tables").await?;
    ensure!(twice == "0", "{twice} tables have the id of another one");
    Ok(())
}

const FULL: &str = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \
                    \"filesystem\"  --path \"/Users/admin/soft/backuppath/syncback1\"";

async fn the_guide_to_full_backups(_: &Rig) -> anyhow::Result<()> {
    let (mut matrixone, mut shell) = begin().await?;
    let expected = matrixone.value(SUM).await?;
    let taken = shell.run(&Row { seed: GUIDE, section: "example 1: full backup", command: FULL, code: 0 }).await?;
    let id = shell.takes_id(&taken, "25536ff0-126f-11ef-9902-26dd28356ef3")?;
    let list = shell.run(&Row { seed: GUIDE, section: "example 1: list", command: "./mo_br list", code: 0 }).await?;
    for head in ["ID", "SIZE", "PATH", "AT TIME", "DURATION", "COMPLETE TIME", "BACKUPTS", "BACKUPTYPE"] {
        ensure!(list.contains(&format!(" {head} ")), "{head} is not in\n{list}");
    }
    ensure!(list.contains(&id) && list.contains(" full "), "{list}");
    lost_and_back(&mut shell, &mut matrixone, "25536ff0-126f-11ef-9902-26dd28356ef3", &expected).await?;
    matrixone.stop().await;
    Ok(())
}

const BASE: &str = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \
                    \"filesystem\"  --path \"/Users/admin/soft/backuppath/syncback2\"";

const INCREMENTAL: &str = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \
                           \"filesystem\"  --path \"/Users/admin/soft/backuppath/syncback2\" --backup_type \"incremental\" \
                           --base_id \"2289638c-1284-11ef-85e4-26dd28356ef3\"";

async fn the_guide_to_incremental_backups(_: &Rig) -> anyhow::Result<()> {
    let (mut matrixone, mut shell) = begin().await?;
    let taken = shell.run(&Row { seed: GUIDE, section: "example 2: full backup", command: BASE, code: 0 }).await?;
    let base = shell.takes_id(&taken, "2289638c-1284-11ef-85e4-26dd28356ef3")?;
    matrixone.execute(&[&rows(20_001, 30_000)]).await?;
    let expected = matrixone.value(SUM).await?;
    let taken =
        shell.run(&Row { seed: GUIDE, section: "example 2: incremental", command: INCREMENTAL, code: 0 }).await?;
    let id = shell.takes_id(&taken, "81531c5a-1284-11ef-9ba3-26dd28356ef3")?;
    let list = shell.run(&Row { seed: GUIDE, section: "example 2: list", command: "./mo_br list", code: 0 }).await?;
    ensure!(list.contains(&base) && list.contains(&id) && list.contains(" incremental "), "{list}");
    // Both share one path, and the base is not deleted from under the incremental one.
    let delete = "./mo_br delete 2289638c-1284-11ef-85e4-26dd28356ef3";
    let refused = shell.run(&Row { seed: REFERENCE, section: "delete a base", command: delete, code: 11 }).await?;
    ensure!(refused.contains(&id) && refused.contains("--force"), "{refused}");
    lost_and_back(&mut shell, &mut matrixone, "81531c5a-1284-11ef-9ba3-26dd28356ef3", &expected).await?;
    matrixone.stop().await;
    Ok(())
}

async fn the_reference(_: &Rig) -> anyhow::Result<()> {
    let matrixone = MatrixOne::start().await?;
    let mut shell = Shell::open(&matrixone)?;
    let row = |section, command, code| Row { seed: REFERENCE, section, command, code };
    let full = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \"filesystem\" \
                --path \"yourpath\"";
    let taken = shell.run(&row("full backup to local file system", full, 0)).await?;
    let first = shell.takes_id(&taken, "4d21b228-10dd-11ef-9497-26dd28356ef2")?;
    let incremental = format!("{full} --backup_type \"incremental\" --base_id \"xxx\"");
    shell.means("xxx", &first);
    let taken = shell.run(&row("incremental backup to local file system", &incremental, 0)).await?;
    let second = shell.takes_id(&taken, "e4cade26-3139-11ee-8631-acde48001122")?;
    let all = shell.run(&row("list of all backups", "./mo_br list", 0)).await?;
    ensure!(all.contains(&first) && all.contains(&second), "{all}");
    let one = shell.run(&row("list of one", "./mo_br list 4d21b228-10dd-11ef-9497-26dd28356ef2", 0)).await?;
    ensure!(one.contains(&first) && !one.contains(&second) && one.contains("Checking the backup data"), "{one}");
    let bare = "./mo_br list --ID 4d21b228-10dd-11ef-9497-26dd28356ef2 --not_check_data";
    let bare = shell.run(&row("list of one, not checked", bare, 0)).await?;
    ensure!(bare.contains(&first) && !bare.contains("Checking"), "{bare}");
    shell.means("1614f462-126c-11ef-9af3-26dd28356ef3", &second);
    shell.run(&row("verify a backup", "./mo_br check 1614f462-126c-11ef-9af3-26dd28356ef3", 0)).await?;
    let path = shell.path("yourpath");
    let path = path.to_str().context("no text")?;
    let check = format!("./mo_br check --backup_dir filesystem --backup_path {path}");
    let checked = shell.run(&row("verify the backups of a path", &check, 0)).await?;
    ensure!(checked.contains(&first) && checked.contains(&second), "{checked}");
    shell.means("fb26fd88-41bc-11ee-93f8-acde48001122", &second);
    let restore =
        "./mo_br restore fb26fd88-41bc-11ee-93f8-acde48001122 --restore_dir filesystem --restore_path \"your_mopath\"";
    shell.run(&row("restore from file system to file system", restore, 0)).await?;
    ensure!(shell.path("your_mopath/mo-data/local/hk_data").is_file(), "hk_data is not in place");
    let hidden = "./mo_br delete e4cade26-3139-11ee-8631-acde48001122 --not_delete_data";
    shell.run(&row("delete of what is known only", hidden, 0)).await?;
    let all = shell.run(&row("list without it", "./mo_br list", 0)).await?;
    ensure!(all.contains(&first) && !all.contains(&second), "{all}");
    shell.run(&row("delete", "./mo_br delete e4cade26-3139-11ee-8631-acde48001122", 0)).await?;
    shell.run(&row("verify what is left", "./mo_br check 4d21b228-10dd-11ef-9497-26dd28356ef2", 0)).await?;
    shell.run(&row("delete", "./mo_br delete 4d21b228-10dd-11ef-9497-26dd28356ef2", 0)).await?;
    ensure!(!shell.path("yourpath/data").exists(), "something is left of the backups");
    shell.run(&row("delete of what is gone", "./mo_br delete 4d21b228-10dd-11ef-9497-26dd28356ef2", 3)).await?;
    matrixone.stop().await;
    Ok(())
}

/// The keys of the reference's own command lines.
const KEYS: (&str, &str) = ("S0kwLuB4JofVEIAxWTqf", "X24O7t3hccmqUZqvqvmLN8464E2Nbr0DWOu9Qs5A");

async fn the_reference_with_a_bucket(_: &Rig) -> anyhow::Result<()> {
    let matrixone = MatrixOne::start().await?;
    let s3 = S3::start_with(Kind::Minio, Options { keys: Some(KEYS), ..Options::default() }).await?;
    s3.create_bucket("bucket1").await?;
    let mut shell = Shell::open(&matrixone)?;
    shell.means("http://127.0.0.1:9000", &s3.endpoint());
    let row = |section, command, code| Row { seed: REFERENCE, section, command, code };
    let backup = "./mo_br backup --host \"127.0.0.1\" --port 6001 --user \"dump\" --password \"111\" --backup_dir \"s3\" \
                  --endpoint \"http://127.0.0.1:9000\" --access_key_id \"S0kwLuB4JofVEIAxWTqf\" --secret_access_key \
                  \"X24O7t3hccmqUZqvqvmLN8464E2Nbr0DWOu9Qs5A\" --bucket \"bucket1\" --filepath \"/backup1\" --is_minio";
    let taken = shell.run(&row("full backup to minio", backup, 0)).await?;
    let id = shell.takes_id(&taken, "e4cade26-3139-11ee-8631-acde48001122")?;
    ensure!(!s3.bucket("bucket1")?.list(&format!("backup1/catalog/{id}")).await?.is_empty(), "no catalogue entry");
    let keys =
        "--access_key_id \"S0kwLuB4JofVEIAxWTqf\" --secret_access_key \"X24O7t3hccmqUZqvqvmLN8464E2Nbr0DWOu9Qs5A\"";
    let list = format!("./mo_br list {keys}");
    let list = shell.run(&row("list in a bucket", &list, 0)).await?;
    ensure!(list.contains(&id) && list.contains("bucket1"), "{list}");
    let wrong = "./mo_br list --access_key_id S0kwLuB4JofVEIAxWTqf --secret_access_key wrong";
    let refused = shell.run(&row("list with a wrong key", wrong, 11)).await?;
    // The warning about the flag has its name, too.
    let error = refused.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    ensure!(error.contains("secret-access-key") && !refused.contains("wrong"), "{refused}");
    let check = format!(
        "./mo_br check e4cade26-3139-11ee-8631-acde48001122 {}",
        keys.replace("--access", "--backup_access").replace("--secret", "--backup_secret")
    );
    shell.run(&row("verify in a bucket", &check, 0)).await?;
    let restore = format!(
        "./mo_br restore e4cade26-3139-11ee-8631-acde48001122 {0} --restore_dir s3 --restore_endpoint \
         \"http://127.0.0.1:9000\" {1} --restore_bucket bucket1 --restore_filepath restored --restore_is_minio",
        keys.replace("--access", "--backup_access").replace("--secret", "--backup_secret"),
        keys.replace("--access", "--restore_access").replace("--secret", "--restore_secret"),
    );
    shell.run(&row("restore to s3", &restore, 0)).await?;
    ensure!(!s3.bucket("bucket1")?.list("restored/hk_data").await?.is_empty(), "hk_data is not in place");
    let delete = format!("./mo_br delete e4cade26-3139-11ee-8631-acde48001122 {keys}");
    shell.run(&row("delete on the minio", &delete, 0)).await?;
    let left = s3.bucket("bucket1")?.list("backup1/data/").await?;
    ensure!(left.is_empty(), "{left:?} is left");
    ensure!(!matrixone.log()?.contains(KEYS.1), "the log of MatrixOne holds a key");
    matrixone.stop().await;
    Ok(())
}
