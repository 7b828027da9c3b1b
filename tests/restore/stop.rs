//! A restore that must stop.

use std::{sync::Arc, time::Duration};

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::Framing,
    store::{Patience, memory::Fault},
    task::Choice,
    worker::{RestorePorts, Watch, restore},
};
use tokio_util::sync::CancellationToken;

use super::rig::{Rig, assert_done};

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_to_stop_leaves_what_the_next_one_goes_on_from() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let task = rig.task(Choice::Latest);
    let stop = CancellationToken::new();
    let ends = stop.clone();
    rig.target.fault(8, Fault::After, move || ends.cancel());
    let clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(1_795_240_000));
    let watch = Watch::new(rig.told.clone(), clock, "u-1", (task.run_deadline, task.stall_deadline), stop);
    let (source, target) = (Arc::new(rig.source.clone()), Arc::new(rig.target.clone()));
    let ports = RestorePorts { source, target, patience: Patience::default() };
    let report = restore(&task, &ports, &watch).await;
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Interrupted, true), "{report:#?}");
    let there = rig.placed();
    assert!(!there.is_empty() && there.len() < rig.expected(1).len());
    let report = rig.run(&task).await;
    assert_done(&report);
    assert_eq!(report.written_objects, Some(i64::try_from(rig.expected(1).len() - there.len()).unwrap()));
}

/// A store that never answers ends the attempt, and what is half done is gone on with.
#[tokio::test(start_paused = true)]
async fn a_restore_that_stands_still_ends() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let mut task = rig.task(Choice::Latest);
    task.stall_deadline = Duration::from_secs(60);
    rig.target.fault(8, Fault::Hang, || {});
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::Stalled.as_str()), "{report:#?}");
    assert!(report.said.retryable);
    let told = rig.told.0.lock().unwrap().clone();
    let copying = told.iter().find(|said| said["progress"]["step"] == "copying").expect("progress of the copying");
    assert_eq!(copying["progress"]["totalObjects"], 10);
    assert_done(&rig.run(&task).await);
    assert_eq!(rig.placed(), rig.expected(1));
}
