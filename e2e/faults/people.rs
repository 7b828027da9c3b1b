//! Rows A20, B2: what people do to an object while it is at work.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::harness::rig::Rig;
use crate::stand::{Stand, ended_for};

pub(super) async fn cancel_and_retry(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "cancel").await?;
    stand.double.set_backup_duration(Duration::from_secs(20));
    stand.back_up("regretted", json!({})).await?;
    stand.pod("regretted").await?;
    stand.writing("regretted").await?;
    stand.double.set_backup_duration(Duration::ZERO);
    let annotate = async |verb: &str| {
        let annotation = format!("mo-backup.io/{verb}");
        stand.namespace.kubectl(&["annotate", "backup", "regretted", &annotation]).await
    };
    annotate("cancel=by-a-person").await?;
    stand.fails("regretted", "Cancelled").await?;
    let status = stand.status("regretted").await?;
    ended_for(&status, 1, "Cancelled")?;
    let handled = status.run.handled_requests.and_then(|handled| handled.cancel);
    ensure!(handled.as_deref() == Some("by-a-person"), "the token answered is {handled:?}");
    ensure!(stand.double.count("kill query") > 0 && stand.double.backups().is_empty(), "its BACKUP was not ended");
    annotate("retry=after-all").await?;
    stand.sees("regretted", "a second attempt", |s| s.run.attempt == 2).await?;
    let status = stand.completes("regretted").await?;
    ensure!(status.run.attempt == 2 && status.run.first_attempt == Some(2), "the new round is {:?}", status.run);
    stand.leave().await
}

/// The same name is another object: its data lies elsewhere, and the data of the first stays (Retain).
pub(super) async fn recreated_object_is_another(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "again").await?;
    let take = async || -> anyhow::Result<String> {
        stand.back_up("again", json!({})).await?;
        let report = stand.completes("again").await?.report.context("no report")?;
        report.id.context("no id")
    };
    let first = take().await?;
    stand.namespace.kubectl(&["delete", "backup", "again", "--timeout=60s"]).await?;
    let second = take().await?;
    ensure!(first != second, "the new object took the id of the old one");
    stand.double.set_backup_duration(Duration::from_secs(6));
    stand.namespace.kubectl(&["delete", "backup", "again", "--timeout=60s"]).await?;
    stand.back_up("again", json!({})).await?;
    stand.pod("again").await?;
    stand.writing("again").await?;
    stand.double.set_backup_duration(Duration::ZERO);
    // In the middle of its work, without waiting for what it leaves.
    stand.namespace.kubectl(&["delete", "backup", "again", "--timeout=90s"]).await?;
    let fourth = take().await?;
    let entries = stand.bucket.list("prod/catalog/").await?;
    for id in [&first, &second, &fourth] {
        ensure!(entries.iter().any(|(key, _)| key.contains(id.as_str())), "the manifest of {id} is gone: {entries:?}");
    }
    ensure!(entries.len() == 3, "there are {entries:?}");
    stand.leave().await
}
