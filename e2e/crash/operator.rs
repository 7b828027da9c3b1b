//! Rows A1 to A7: the operator dies on either side of each of its writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::ensure;
use futures::future::try_join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::json;

use super::trace::{Cases, Side, strike};
use crate::harness::fault::{Kind, Seen};
use crate::harness::rig::Rig;
use crate::stand::{Spy, Stand};

/// Runs at the same time, each in a namespace of its own.
const LANES: usize = 4;

pub(super) async fn operator_at_every_index(rig: &Rig) -> anyhow::Result<()> {
    let spy = Spy::begin();
    let stands = try_join_all((0..LANES).map(|_| Stand::set(rig, "operator-dies"))).await?;
    let reference = reference(&stands[0]).await?;
    let indices = 0..reference.len();
    let cases = Cases::new(indices.flat_map(|index| Side::ALL.map(|side| (index, side))));
    let struck = Mutex::new(BTreeMap::<String, BTreeSet<Side>>::new());
    let (cases, struck) = (&cases, &struck);
    let lanes = stands.iter().map(|stand| async move {
        while let Some((index, side)) = cases.next() {
            let hit =
                die(stand, index, side).await.map_err(|error| error.context(format!("{side:?} write {index}")))?;
            if let Some(text) = hit {
                struck.lock().expect("struck").entry(text).or_default().insert(side);
            }
        }
        anyhow::Ok(())
    });
    try_join_all(lanes).await?;
    let struck = struck.lock().expect("struck").clone();
    eprintln!("[crash] the operator died on each side of {} writes", reference.len());
    for text in BTreeSet::from_iter(reference) {
        let sides = struck.get(&text).map_or(0, BTreeSet::len);
        ensure!(sides == Side::ALL.len(), "{text} was struck on {sides} of {} sides", Side::ALL.len());
    }
    spy.judge()?;
    for stand in stands {
        stand.leave().await?;
    }
    Ok(())
}

/// What the operator writes for one backup when nothing happens to it.
async fn reference(stand: &Stand<'_>) -> anyhow::Result<Vec<String>> {
    stand.api.faults.reset();
    stand.back_up("reference", json!({})).await?;
    stand.completes("reference").await?;
    let writes = stand.api.faults.seen().into_iter().filter(|seen| seen.kind == Kind::Write);
    Ok(writes.map(|seen| plain(&seen, "reference")).collect())
}

/// One run in which the operator dies at this write. Gives what the write was, if it came to it.
async fn die(stand: &Stand<'_>, index: usize, side: Side) -> anyhow::Result<Option<String>> {
    let name = format!("dies-{}-{index}", side.word());
    stand.api.faults.reset();
    let struck = strike(&stand.api.faults, |seen| seen.kind == Kind::Write, index, side, stand.operator.killer());
    stand.back_up(&name, json!({})).await?;
    let status = stand.completes(&name).await?;
    let attempts: Vec<_> = status.run.attempts.iter().map(|attempt| (attempt.number, &attempt.reason)).collect();
    ensure!(status.run.attempt == 1 && attempts.len() == 1, "{name}: a dead operator cost an attempt: {attempts:?}");
    let jobs = stand.namespace.api::<Job>();
    let labels = format!("mo-backup.io/name={name}");
    let jobs = jobs.list(&ListParams::default().labels(&labels)).await?;
    ensure!(jobs.items.len() == 1, "{name} has {} Jobs", jobs.items.len());
    Ok(struck.at().map(|seen| plain(&seen, &name)))
}

/// The request without what differs from run to run.
fn plain(seen: &Seen, name: &str) -> String {
    let path = seen.text.split('?').next().unwrap_or_default();
    let parts = path.split('/').skip_while(|part| *part != "namespaces").skip(2);
    let parts: Vec<&str> = parts.map(|part| if part.starts_with(name) { "…" } else { part }).collect();
    format!("{} {}", path.split(' ').next().unwrap_or_default(), parts.join("/"))
}
