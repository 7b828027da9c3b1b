//! Rows C3, C5, C8, C10: the worker is asked to stop, freezes, or loses its Job.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::rig::Rig;
use crate::stand::{Stand, ended_for};

pub(super) async fn asked_to_stop_it_ends_in_time(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "asked").await?;
    stand.double.set_backup_duration(Duration::from_secs(20));
    stand.back_up("evicted", json!({})).await?;
    let pod = stand.pod("evicted").await?;
    stand.writing("evicted").await?;
    stand.double.set_backup_duration(Duration::ZERO);
    stand.namespace.kubectl(&["delete", "pod", &pod, "--wait=false"]).await?;
    let status = stand.sees("evicted", "the first attempt ended", |s| s.run.attempts[0].end_time.is_some()).await?;
    // One that had to be killed at the end of its grace could not have said so.
    ended_for(&status, 1, "Interrupted")?;
    ensure!(stand.double.backups().is_empty(), "its BACKUP goes on: {:?}", stand.double.backups());
    let status = stand.completes("evicted").await?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    stand.leave().await
}

/// A worker that is silent for too long is stopped; it wakes up while that happens, and does no harm.
pub(super) async fn frozen_it_is_replaced(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "frozen").await?;
    stand.double.set_backup_duration(Duration::from_secs(8));
    stand.back_up("frozen", json!({"deadlines": {"stall": "5s"}})).await?;
    let pod = stand.pod("frozen").await?;
    stand.writing("frozen").await?;
    let signal = |signal| stand.namespace.cluster.signal(&stand.namespace.name, &pod, signal);
    ensure!(signal(Signal::STOP), "no worker to freeze");
    stand.double.set_backup_duration(Duration::ZERO);
    let stalled = |s: &mo_backup::api::BackupStatus| s.run.attempts[0].reason.as_deref() == Some("Stalled");
    let status = stand.sees("frozen", "that it stands still", stalled).await?;
    ensure!(status.run.attempts.len() == 1, "a second worker was started beside the frozen one");
    ensure!(signal(Signal::CONT), "the frozen worker is gone before it was ended");
    let status = stand.completes("frozen").await?;
    match status.run.attempt {
        // Woken before the order to stop has reached it, it can still be faster: its manifest then counts.
        1 => ended_for(&status, 1, "Completed")?,
        2 => ended_for(&status, 1, "Stalled")?,
        more => anyhow::bail!("it took {more} attempts"),
    }
    stand.leave().await
}

/// Its Job and its Pod are deleted by hand, and it cannot say a word any more.
pub(super) async fn vanished_job_is_noticed(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "vanished").await?;
    stand.double.set_backup_duration(Duration::from_secs(8));
    stand.back_up("robbed", json!({})).await?;
    let pod = stand.pod("robbed").await?;
    stand.writing("robbed").await?;
    ensure!(stand.namespace.cluster.signal(&stand.namespace.name, &pod, Signal::STOP), "no worker to freeze");
    stand.double.set_backup_duration(Duration::ZERO);
    stand.namespace.kubectl(&["delete", "job", "robbed-1", "--wait=false"]).await?;
    stand.namespace.kubectl(&["delete", "pod", &pod, "--grace-period=1", "--wait=false"]).await?;
    let status = stand.completes("robbed").await?;
    ended_for(&status, 1, "JobVanished")?;
    ensure!(status.run.attempt == 2, "it took {} attempts", status.run.attempt);
    stand.leave().await
}
