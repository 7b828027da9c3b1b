//! Row A8: the API server dies in the middle of a backup.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::harness::cluster::Options;
use crate::harness::rig::{Bare, Rig};
use crate::simulator::Version;
use crate::stand::Stand;

pub(super) async fn api_server_dies_in_mid_run(rig: &Rig) -> anyhow::Result<()> {
    let bare = Bare::boot(Options::default()).await?;
    let stand = Stand::of(rig, &bare, "api-dies", Version::V4_2_0).await?;
    stand.double.set_backup_duration(Duration::from_secs(4));
    stand.back_up("deaf", json!({})).await?;
    stand.writing("deaf").await?;
    bare.cluster.kill("apiserver").await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    bare.cluster.revive().await?;
    let status = stand.completes("deaf").await?;
    ensure!(status.run.attempt == 1, "it took {} attempts: {:?}", status.run.attempt, status.run.attempts);
    stand.leave().await
}
