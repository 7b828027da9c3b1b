//! Source and target in one store: it copies by itself, and nothing is believed that was not read or summed.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::Framing,
    store::memory::Fault,
    task::Choice,
};
use rstest::rstest;

use super::{
    repository::name,
    rig::{MARKER, Rig, assert_done},
};

async fn rig(framing: Framing, says: bool) -> Rig {
    let rig = Rig::new(framing, Format::Raw).await;
    rig.target.copies_from(&rig.source, says);
    rig
}

fn count(calls: &[String], verb: &str) -> usize {
    calls.iter().filter(|call| call.split(' ').next() == Some(verb)).count()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn each_object_is_read_once_and_copied_by_the_store(#[values(true, false)] says: bool) {
    let rig = rig(Framing::Raw, says).await;
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_done(&report);
    assert_eq!(rig.placed(), rig.expected(1));
    let objects = rig.expected(1).len();
    assert_eq!(report.copied_by_store, Some(i64::try_from(objects).unwrap()));
    assert_eq!(report.written_objects, report.copied_by_store);
    for n in 2..8 {
        let reads = rig.source.calls().iter().filter(|c| c.starts_with("read ") && c.ends_with(&name(n))).count();
        assert_eq!(reads, 1, "{}", name(n));
    }
    let calls = rig.target.calls();
    // The marker at the end.
    assert_eq!((count(&calls, "put"), count(&calls, "begin"), count(&calls, "copy")), (1, 0, objects));
}

#[tokio::test(start_paused = true)]
async fn what_must_leave_its_frames_goes_through_the_worker() {
    let rig = rig(Framing::Crc2048, true).await;
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_done(&report);
    assert_eq!(rig.placed(), rig.expected(1));
    assert_eq!((report.copied_by_store, count(&rig.target.calls(), "copy")), (Some(0), 0));
}

/// Changed after it was read and before it is copied: the store is asked for what was read, and has it no longer.
#[tokio::test(start_paused = true)]
async fn what_is_changed_after_it_was_read_is_refused() {
    let rig = rig(Framing::Raw, true).await;
    let first = rig.fresh();
    first.target.copies_from(&first.source, true);
    assert_done(&first.run(&first.task(Choice::Latest)).await);
    let begun = first.target.calls().iter().position(|call| *call == format!("create {MARKER}")).unwrap();
    let damaged = format!("data/{}/1/{}", rig.incremental.id, name(6));
    let (source, key) = (rig.source.clone(), damaged.clone());
    rig.target.fault(begun, Fault::After, move || assert!(source.flip(&key, 1000)));
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert_eq!(report.said.reason.as_deref(), Some(Reason::ObjectCorrupted.as_str()));
    assert!(report.said.message.unwrap().contains(&damaged));
    let expected = rig.expected(1);
    assert!(rig.placed().iter().all(|(key, content)| expected.get(key) == Some(content)), "something wrong appeared");
}
