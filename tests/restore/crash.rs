//! A crash, a failure or a lost reply at every call to the source and to the target.

use std::sync::Arc;

use mo_backup::{api::Format, plan::Framing, store::memory::Fault, task::Choice};
use rstest::rstest;
use tokio::sync::Notify;

use super::rig::{MARKER, Rig, assert_done};

/// Which place breaks.
#[derive(Clone, Copy, Debug)]
enum At {
    Source,
    Target,
}

/// Lets one attempt meet the fault; says whether its process ended there.
async fn meet(rig: &Rig, at: At, call: usize, fault: Fault) -> bool {
    let end = Arc::new(Notify::new());
    let ends = end.clone();
    let dies = fault == Fault::After;
    let hook = move || {
        if dies {
            ends.notify_one();
        }
    };
    match at {
        At::Source => rig.source.fault(call, fault, hook),
        At::Target => rig.target.fault(call, fault, hook),
    }
    let task = rig.task(Choice::Latest);
    tokio::select! {
        biased;
        () = end.notified() => true,
        _ = rig.run(&task) => false,
    }
}

/// Whatever was written, and taken away again, belongs in the target.
fn nothing_else_was_written(rig: &Rig, what: &str) {
    let expected = rig.expected(1);
    for call in rig.target.calls() {
        let (verb, key) = call.split_once(' ').unwrap();
        let is_read = ["stat", "read", "list"].contains(&verb);
        assert!(is_read || key == MARKER || expected.contains_key(key), "{what}: {call}");
    }
}

async fn recovers(rig: &Rig, what: &str) {
    nothing_else_was_written(rig, what);
    let there = rig.placed();
    let expected = rig.expected(1);
    for (key, content) in &there {
        assert_eq!(expected.get(key), Some(content), "{what}: {key} appeared, and is not what it must be");
    }
    assert!(there.is_empty() || rig.target.get(MARKER).is_some(), "{what}: objects without a marker");
    let done = rig.target.get(MARKER).is_some() && rig.marker().get("completedAt").is_some();
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_done(&report);
    assert_eq!(rig.placed(), expected, "{what}");
    assert_eq!(rig.target.unfinished(), 0, "{what}");
    assert!(rig.marker().get("completedAt").is_some(), "{what}");
    let written = if done { 0 } else { expected.len() - there.len() };
    assert_eq!(report.written_objects, Some(i64::try_from(written).unwrap()), "{what}: {report:#?}");
    assert_eq!(report.already_restored.is_some(), done, "{what}");
    nothing_else_was_written(rig, what);
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn every_end_can_be_gone_on_from(
    #[values(At::Source, At::Target)] at: At,
    #[values(Fault::Before, Fault::Lost, Fault::After)] fault: Fault,
    #[values(Format::Raw, Format::Framed)] format: Format,
) {
    every_end(&Rig::new(Framing::Crc2048, format).await, (at, fault), |_| {}).await;
}

/// The same where the store copies by itself, and says what it has copied or does not.
#[rstest]
#[tokio::test(start_paused = true)]
async fn every_end_in_one_store_can_be_gone_on_from(
    #[values(At::Source, At::Target)] at: At,
    #[values(Fault::Before, Fault::Lost, Fault::After)] fault: Fault,
    #[values(true, false)] says: bool,
) {
    let original = Rig::new(Framing::Raw, Format::Raw).await;
    every_end(&original, (at, fault), |rig| rig.target.copies_from(&rig.source, says)).await;
}

async fn every_end(original: &Rig, (at, fault): (At, Fault), prepare: impl Fn(&Rig)) {
    let mut call = 0;
    loop {
        let rig = original.fresh();
        prepare(&rig);
        let before = rig.source.keys();
        let died = meet(&rig, at, call, fault).await;
        let calls = match at {
            At::Source => rig.source.calls(),
            At::Target => rig.target.calls(),
        };
        if call >= calls.len() && !died {
            assert!(call > 10, "only {call} calls were made");
            break;
        }
        recovers(&rig, &format!("{fault:?} at call {call} ({})", calls[call])).await;
        assert_eq!(rig.source.keys(), before, "the repository is only read");
        call += 1;
    }
}

/// A worker that was replaced and one that replaces it, at the same time, make what one makes.
#[tokio::test]
async fn two_workers_make_what_one_makes() {
    let rig = Rig::new(Framing::Crc2048, Format::Framed).await;
    let task = rig.task(Choice::Latest);
    let (first, second) = tokio::join!(rig.run(&task), rig.run(&task));
    assert_done(&first);
    assert_done(&second);
    assert_eq!(rig.placed(), rig.expected(1));
}
