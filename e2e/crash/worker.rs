//! Row C1: a worker dies at one of its requests to the store, to MatrixOne or to the API server.

use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use rustix::process::Signal;
use serde_json::json;

use super::trace::{Cases, Dice, Side, strike};
use crate::harness::fault::{Faults, Kind, Seen};
use crate::harness::rig::Rig;
use crate::stand::{Spy, Stand};

/// Runs at the same time, each in a namespace of its own.
const LANES: usize = 5;
const SAMPLE: usize = 20;

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Store,
    MatrixOne,
    ApiServer,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    to: To,
    index: usize,
    side: Side,
}

pub(super) async fn worker_at_sampled_indices(rig: &Rig) -> anyhow::Result<()> {
    let mut dice = Dice::roll_in("crash");
    sweep(rig, move |mut all| {
        let chosen = (0..SAMPLE.min(all.len())).map(|_| {
            let moment = all.swap_remove(dice.below(all.len()));
            Moment { side: Side::ALL[dice.below(Side::ALL.len())], ..moment }
        });
        chosen.collect()
    })
    .await
}

pub(super) async fn worker_at_every_index(rig: &Rig) -> anyhow::Result<()> {
    sweep(rig, |all| all.iter().flat_map(|moment| Side::ALL.map(|side| Moment { side, ..*moment })).collect()).await
}

async fn sweep(rig: &Rig, choose: impl FnOnce(Vec<Moment>) -> Vec<Moment>) -> anyhow::Result<()> {
    let spy = Spy::begin();
    let stands = try_join_all((0..LANES).map(|_| Stand::set(rig, "worker-dies"))).await?;
    let all = reference(&stands[0]).await?;
    let requests = all.len();
    let chosen = choose(all);
    let runs = chosen.len();
    let cases = Cases::new(chosen.into_iter().enumerate());
    let missed = Mutex::new(Vec::new());
    let (cases, missed) = (&cases, &missed);
    let lanes = stands.iter().map(|stand| async move {
        while let Some((number, moment)) = cases.next() {
            let hit = die(stand, number, moment).await.with_context(|| format!("the worker died at {moment:?}"))?;
            if !hit {
                missed.lock().expect("missed").push(moment);
            }
        }
        anyhow::Ok(())
    });
    try_join_all(lanes).await?;
    let missed = missed.lock().expect("missed").clone();
    eprintln!("[crash] workers died at {} of {runs} moments, among {requests} requests", runs - missed.len());
    // Copies run side by side and heartbeats come with time, so that the last numbers are not reached in every run.
    ensure!(missed.len() * 5 <= runs, "the worker was not hit at {missed:?}");
    spy.judge()?;
    for stand in stands {
        stand.leave().await?;
    }
    Ok(())
}

/// Every request of a worker that takes one backup in peace.
async fn reference(stand: &Stand<'_>) -> anyhow::Result<Vec<Moment>> {
    stand.s3.faults.reset();
    stand.sql.faults.reset();
    stand.back_up("reference", json!({})).await?;
    stand.completes("reference").await?;
    let mut moments = Vec::new();
    for to in [To::Store, To::MatrixOne, To::ApiServer] {
        let (faults, chosen) = way(stand, to, "reference");
        let count = faults.seen().iter().filter(|seen| chosen(seen)).count();
        ensure!(count > 0, "the worker sent nothing to {to:?}");
        moments.extend((0..count).map(|index| Moment { to, index, side: Side::Before }));
    }
    Ok(moments)
}

type Chosen = Box<dyn Fn(&Seen) -> bool + Send>;

/// The proxy on the way, and which of its requests are this Backup's worker's.
fn way<'a>(stand: &'a Stand<'_>, to: To, name: &str) -> (&'a Faults, Chosen) {
    match to {
        To::Store => (&stand.s3.faults, Box::new(|_| true)),
        To::MatrixOne => (&stand.sql.faults, Box::new(|seen| seen.kind == Kind::Query)),
        To::ApiServer => {
            let path = format!("/namespaces/{}/backups/{name}/status", stand.namespace.name);
            (&stand.pods.faults, Box::new(move |seen| seen.text.contains(&path)))
        }
    }
}

/// One run in which the first worker dies at this moment. False when the moment never came.
async fn die(stand: &Stand<'_>, number: usize, moment: Moment) -> anyhow::Result<bool> {
    let name = format!("dies-{number}");
    stand.s3.faults.reset();
    stand.sql.faults.reset();
    let kill = stand.namespace.cluster.node(0).striker(&stand.namespace.name, Signal::KILL);
    let (faults, chosen) = way(stand, moment.to, &name);
    let struck = strike(faults, chosen, moment.index, moment.side, move |_| kill());
    stand.back_up(&name, json!({})).await?;
    let status = stand.completes(&name).await?;
    ensure!(status.run.attempt <= 2, "{name} took {} attempts after one death", status.run.attempt);
    let Some(at) = struck.at() else { return Ok(false) };
    let first = status.run.attempts.first().context("no attempt")?;
    let reason = first.reason.as_deref().unwrap_or_default();
    // Who dies after its report was taken has done its work.
    ensure!(["WorkerFailed", "Completed"].contains(&reason), "{name}, killed at {at:?}, ended for {reason}");
    Ok(true)
}
