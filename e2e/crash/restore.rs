//! The worker of a Restore dies at one of its requests to the store: the next attempt goes on, what comes out is byte for
//! byte what an undisturbed Restore makes, and nothing is written beside it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use mo_backup::api::{Restore, RestorePhase, RestoreStatus};
use rustix::process::Signal;
use serde_json::json;

use super::trace::{Dice, Side, strike};
use crate::harness::rig::Rig;
use crate::scene::{PATIENCE, s3_spec};
use crate::stand::Stand;

const SAMPLE: usize = 6;
/// What the target says about itself: it names the Restore and times.
const MARKER: &str = "mo-backup-restore.json";

type Objects = BTreeMap<String, Vec<u8>>;

pub(super) async fn restore_at_sampled_indices(rig: &Rig) -> anyhow::Result<()> {
    let mut dice = Dice::roll_in("crash of a restore");
    sweep(rig, move |requests| {
        (0..SAMPLE).map(|_| (dice.below(requests), Side::ALL[dice.below(Side::ALL.len())])).collect()
    })
    .await
}

pub(super) async fn restore_at_every_index(rig: &Rig) -> anyhow::Result<()> {
    sweep(rig, |requests| (0..requests).flat_map(|index| Side::ALL.map(|side| (index, side))).collect()).await
}

async fn sweep(rig: &Rig, choose: impl FnOnce(usize) -> Vec<(usize, Side)>) -> anyhow::Result<()> {
    let stand = Stand::set(rig, "restore-dies").await?;
    stand.back_up("only", json!({})).await?;
    stand.completes("only").await?;
    stand.s3.faults.reset();
    let status = restored(&stand, "undisturbed").await?;
    ensure!(status.run.attempt == 1, "an undisturbed Restore took {} attempts", status.run.attempt);
    let requests = stand.s3.faults.seen().len();
    let expected = below(&stand, "undisturbed").await?;
    ensure!(expected.len() > 5, "only {} objects were restored", expected.len());
    let (chosen, mut hits) = (choose(requests), 0);
    for (number, (index, side)) in chosen.iter().copied().enumerate() {
        let name = format!("dies-{number}");
        let hit = die(&stand, &name, (index, side), &expected).await;
        hits += usize::from(hit.with_context(|| format!("the worker died {} request {index}", side.word()))?);
    }
    let runs = chosen.len();
    eprintln!("[crash] workers of a Restore died at {hits} of {runs} moments, among {requests} requests");
    ensure!((runs - hits) * 5 <= runs, "the worker was hit at {hits} of {runs} moments");
    stand.leave().await
}

/// One Restore whose first worker dies at this moment. False when the moment never came.
async fn die(stand: &Stand<'_>, name: &str, at: (usize, Side), expected: &Objects) -> anyhow::Result<bool> {
    let before = beside(stand, name).await?;
    stand.s3.faults.reset();
    let kill = stand.namespace.cluster.node(0).striker(&stand.namespace.name, Signal::KILL);
    let struck = strike(&stand.s3.faults, |_| true, at.0, at.1, move |_| kill());
    let status = restored(stand, name).await?;
    ensure!(status.run.attempt <= 2, "{name} took {} attempts after one death", status.run.attempt);
    ensure!(below(stand, name).await? == *expected, "{name}: the target differs from that of an undisturbed Restore");
    ensure!(beside(stand, name).await? == before, "{name}: something was written beside the target");
    Ok(struck.at().is_some())
}

/// Restores the backup to a prefix of its own name, and waits for the good end.
async fn restored(stand: &Stand<'_>, name: &str) -> anyhow::Result<RestoreStatus> {
    let namespace = &stand.namespace;
    let mut place = s3_spec(&stand.s3.endpoint(), &namespace.name);
    place["prefix"] = json!(format!("restored/{name}"));
    let restore = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "Restore", "metadata": {"name": name}, "spec": {
        "source": {"type": "Backup", "backup": {"name": "only"}}, "target": {"type": "S3", "s3": place}}});
    namespace.apply(&restore.to_string()).await?;
    let look = || async {
        let status = namespace.api::<Restore>().get(name).await?.status;
        Ok(status.filter(|status| status.run.end_time.is_some()))
    };
    let status = namespace.until(&format!("the end of Restore {name}"), PATIENCE, look).await?;
    if status.phase != Some(RestorePhase::InPlace) {
        let (seen, said) = (namespace.cluster.account(&namespace.name).await, stand.operator.log());
        anyhow::bail!("Restore {name}: {}\n{seen}\n{said}", serde_json::to_string_pretty(&status)?);
    }
    Ok(status)
}

/// What lies in the target, the marker aside.
async fn below(stand: &Stand<'_>, name: &str) -> anyhow::Result<Objects> {
    let prefix = format!("restored/{name}/");
    let mut found = BTreeMap::new();
    for (key, _) in stand.bucket.list(&prefix).await? {
        let path = key.strip_prefix(&prefix).context("a key outside the prefix")?.to_owned();
        if path != MARKER {
            found.insert(path, stand.bucket.get(&key).await?);
        }
    }
    Ok(found)
}

/// All else in the bucket.
async fn beside(stand: &Stand<'_>, name: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let prefix = format!("restored/{name}/");
    Ok(stand.bucket.list("").await?.into_iter().filter(|(key, _)| !key.starts_with(&prefix)).collect())
}
