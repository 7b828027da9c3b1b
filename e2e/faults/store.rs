//! Rows D1, D4 to D7 and D24, seen from outside: a store that loses, changes or refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::fault::{Fault, Kind, Seen};
use crate::harness::rig::Rig;
use crate::stand::Stand;

/// What happens to an object between BACKUP and commit.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    Flipped,
}

pub(super) async fn damage_before_the_commit_is_named(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "damage").await?;
    for (name, damage, reason) in
        [("deleted", Damage::Deleted, "ObjectMissing"), ("flipped", Damage::Flipped, "ObjectCorrupted")]
    {
        let (message, key) = damaged(&stand, name, damage, reason).await?;
        let object = key.rsplit('/').next().unwrap_or_default();
        ensure!(message.contains(object), "{name}: the message does not name {object}: {message}");
    }
    stand.leave().await
}

/// One backup during whose check an object is damaged. Gives what was said, and the key of the object.
async fn damaged(stand: &Stand<'_>, name: &str, damage: Damage, reason: &str) -> anyhow::Result<(String, String)> {
    stand.s3.faults.reset();
    let listing = Arc::new(Notify::new());
    let tell = listing.clone();
    // The first listing after the copying: the check that all is in place begins.
    stand.s3.faults.arm(listing_after_a_copy(), Fault::Stall(Duration::from_secs(3)), move |_| tell.notify_one());
    stand.back_up(name, json!({"verify": "Full", "retry": {"limit": 0}})).await?;
    tokio::time::timeout(Duration::from_secs(120), listing.notified()).await.context("the worker lists nothing")?;
    let mut copied = stand.bucket.list("prod/data/").await?.into_iter().map(|(key, _)| key);
    // An object of a table; tae_list and its kind lie beside them.
    let key = copied.rfind(|key| key.ends_with("_00000")).context("nothing copied")?;
    match damage {
        Damage::Deleted => stand.bucket.delete(&key).await?,
        Damage::Flipped => stand.bucket.flip_bit(&key, 7).await?,
    }
    Ok((stand.fails(name, reason).await?, key))
}

fn listing_after_a_copy() -> impl Fn(&Seen) -> bool + Send {
    let copied = Arc::new(AtomicBool::new(false));
    move |seen| {
        if seen.kind == Kind::Write && seen.text.contains("/data/") {
            copied.store(true, Ordering::SeqCst);
        }
        copied.load(Ordering::SeqCst) && seen.kind == Kind::Read && seen.text.contains("list-type=2")
    }
}

pub(super) async fn slow_down_is_outlived(rig: &Rig) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "slow-down").await?;
    stand.s3.faults.reset();
    let slow = || Fault::Answer(503, "<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>".into());
    stand.s3.faults.arm_times(3, |seen| seen.text.contains("/data/") && seen.kind == Kind::Write, slow(), |_| {});
    // The first look, which has ten seconds in all, is spared.
    let read_back = |seen: &Seen| seen.text.starts_with("GET ") && seen.text.contains("/data/");
    stand.s3.faults.arm_times(3, read_back, slow(), |_| {});
    stand.s3.faults.arm_times(2, |seen| seen.text.contains("/catalog/") && seen.kind == Kind::Write, slow(), |_| {});
    stand.back_up("patient", json!({"verify": "Full", "retry": {"limit": 0}})).await?;
    let status = stand.completes("patient").await?;
    ensure!(status.run.attempt == 1, "it took {} attempts", status.run.attempt);
    stand.leave().await
}
