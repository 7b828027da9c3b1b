//! Rows E2, E4, E8: MatrixOne dies, forgets, or does something else.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mo_backup::api::TakenType;
use mysql_async::prelude::Queryable as _;
use serde_json::json;

use crate::harness::fault::{Fault, with_text};
use crate::harness::rig::Rig;
use crate::simulator::Version;
use crate::stand::{LOGIN, PASSWORD, Stand, attempt, ended_for};

pub(super) async fn killed_in_mid_backup(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "server-dies").await?;
    stand.double.set_backup_duration(Duration::from_secs(4));
    stand.back_up("outlives", json!({})).await?;
    stand.writing("outlives").await?;
    tokio::task::block_in_place(|| stand.double.kill_server());
    tokio::time::sleep(Duration::from_secs(1)).await;
    stand.double.set_backup_duration(Duration::ZERO);
    stand.double.restart_server()?;
    let status = stand.completes("outlives").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    ended_for(&status, 1, "StatementUnknown")?;
    let path = status.report.and_then(|report| report.path).context("no path")?;
    ensure!(path.trim_end_matches('/').ends_with("/2"), "the second attempt lies in {path}");
    stand.leave().await
}

/// v1.2.4 goes on with a BACKUP whose client is gone: its worker waits for the label to end, and uses what is there.
pub(super) async fn lost_connection_finds_its_statement(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::of(rig, rig.bare().await?, "cut", Version::V1_2_4).await?;
    stand.double.set_backup_duration(Duration::from_secs(4));
    stand.sql.faults.arm(with_text("BACKUP '"), Fault::Cut(Duration::from_secs(1)), |_| {});
    stand.back_up("cut", json!({})).await?;
    let status = stand.completes("cut").await?;
    ensure!(status.run.attempt == 1, "it took {} attempts: {:?}", status.run.attempt, attempt(&status, 1)?);
    let sent = stand.double.count("backup '");
    ensure!(sent == 1, "BACKUP was sent {sent} times");
    stand.leave().await
}

pub(super) async fn foreign_backup_is_waited_for(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "foreign").await?;
    stand.double.set_backup_duration(Duration::from_secs(600));
    let folder = stand.staging.with_file_name(format!("{}-foreign", stand.namespace.name));
    let statement = format!("BACKUP 'of-somebody' FILESYSTEM '{}' PARALLELISM '1' TYPE 'full'", folder.display());
    let mut foreign = connect(&stand).await?;
    let connection = foreign.id();
    let foreign = tokio::spawn(async move { foreign.query_drop(statement).await });
    ensure!(stand.double.until(Duration::from_secs(90), |d| !d.backups().is_empty()).await, "it has not begun");
    stand.back_up("polite", json!({"retry": {"limit": 6}})).await?;
    let status = stand.sees("polite", "an attempt ended", |s| s.run.attempts.iter().any(|a| a.end_time.is_some()));
    ended_for(&status.await?, 1, "BackupRunning")?;
    ensure!(!foreign.is_finished() && stand.double.count("kill query") == 0, "a BACKUP of somebody else was ended");
    stand.double.set_backup_duration(Duration::ZERO);
    connect(&stand).await?.query_drop(format!("kill query {connection}")).await?;
    ensure!(foreign.await?.is_err(), "the foreign BACKUP ended well");
    stand.completes("polite").await?;
    stand.leave().await
}

/// As somebody else would, past the proxy.
async fn connect(stand: &Stand<'_>) -> anyhow::Result<mysql_async::Conn> {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(stand.double.port)
        .user(Some(LOGIN))
        .pass(Some(PASSWORD))
        .prefer_socket(false);
    Ok(mysql_async::Conn::new(options).await?)
}

pub(super) async fn rewound_history_takes_a_full_backup(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "rewound").await?;
    let auto = || json!({"type": "Auto"});
    let taken = async |name: &str| -> anyhow::Result<_> {
        stand.back_up(name, auto()).await?;
        stand.completes(name).await?.report.context("no report")
    };
    let first = taken("first").await?;
    let second = taken("second").await?;
    ensure!(second.type_ == Some(TakenType::Incremental) && second.base == first.id, "the second is {second:?}");
    stand.double.rewind();
    let third = taken("third").await?;
    ensure!(third.type_ == Some(TakenType::Full), "the third is {third:?}");
    let why = third.type_reason.unwrap_or_default();
    ensure!(!why.is_empty(), "it does not say why it is full");
    stand.leave().await
}
