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
    // By what is written, not by how many writes came before: on a busy machine there are more of some, and fewer of others.
    let writes = reference.iter().enumerate().map(|(at, text)| {
        let before = reference[..at].iter().filter(|earlier| *earlier == text).count();
        (at, text.clone(), before)
    });
    let cases = Cases::new(writes.flat_map(|write| Side::ALL.map(|side| (write.clone(), side))));
    let struck = Mutex::new(BTreeMap::<String, BTreeSet<Side>>::new());
    let (cases, struck) = (&cases, &struck);
    let lanes = stands.iter().map(|stand| async move {
        while let Some(((at, text, nth), side)) = cases.next() {
            let hit = die(stand, &format!("dies-{}-{at}", side.word()), (&text, nth), side).await;
            if hit.map_err(|error| error.context(format!("{side:?} {text}, the one after {nth}")))? {
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

/// One run in which the operator dies at this write, after as many of the same. Whether it came to it.
async fn die(stand: &Stand<'_>, name: &str, (text, nth): (&str, usize), side: Side) -> anyhow::Result<bool> {
    stand.api.faults.reset();
    let (wanted, own) = (text.to_owned(), name.to_owned());
    let this = move |seen: &Seen| seen.kind == Kind::Write && plain(seen, &own) == wanted;
    let struck = strike(&stand.api.faults, this, nth, side, stand.operator.killer());
    stand.back_up(name, json!({})).await?;
    let status = stand.completes(name).await?;
    let attempts: Vec<_> = status.run.attempts.iter().map(|attempt| (attempt.number, &attempt.reason)).collect();
    ensure!(status.run.attempt == 1 && attempts.len() == 1, "{name}: a dead operator cost an attempt: {attempts:?}");
    let jobs = stand.namespace.api::<Job>();
    let labels = format!("mo-backup.io/name={name}");
    let jobs = jobs.list(&ListParams::default().labels(&labels)).await?;
    ensure!(jobs.items.len() == 1, "{name} has {} Jobs", jobs.items.len());
    Ok(struck.at().is_some())
}

/// The request without what differs from run to run.
fn plain(seen: &Seen, name: &str) -> String {
    let path = seen.text.split('?').next().unwrap_or_default();
    let parts = path.split('/').skip_while(|part| *part != "namespaces").skip(2);
    let parts: Vec<&str> = parts.map(|part| if part.starts_with(name) { "…" } else { part }).collect();
    format!("{} {}", path.split(' ').next().unwrap_or_default(), parts.join("/"))
}
