//! Targets that are not this Restore's own, and plans that were not approved.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::Framing,
    store::memory::Fault,
    task::{Choice, RestoreTask},
};
use rstest::rstest;

use super::rig::{MARKER, Rig, assert_done};

async fn rig() -> Rig {
    Rig::new(Framing::Raw, Format::Raw).await
}

/// A target that an attempt has half filled.
async fn begun() -> Rig {
    let rig = rig().await;
    rig.target.fault(6, Fault::Before, || {});
    let report = rig.run(&rig.task(Choice::Id(rig.incremental.id))).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert!(report.said.retryable && rig.placed().len() > 1);
    rig
}

#[rstest]
#[case::a_file(|rig: &Rig| rig.target.set("zz/notes.txt", "theirs"), "zz/notes.txt")]
#[case::rubbish(|rig: &Rig| rig.target.set(MARKER, "rubbish"), MARKER)]
#[case::more_than_we_write(|rig: &Rig| rig.target.set(MARKER, "{\"format\":1,\"more\":true}"), MARKER)]
#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_empty_is_refused(#[case] put: fn(&Rig), #[case] named: &str) {
    let rig = rig().await;
    put(&rig);
    let before = rig.target.keys();
    for plan_only in [true, false] {
        let report = rig.run(&RestoreTask { plan_only, ..rig.task(Choice::Latest) }).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::TargetNotEmpty.as_str()), "{report:#?}");
        assert!(!report.said.retryable && report.said.message.unwrap().contains(named));
        assert_eq!(rig.target.keys(), before);
    }
}

#[rstest]
#[case::name(|rig: &Rig, task: &mut RestoreTask| { task.subject.name = "other".into(); let _ = rig; })]
#[case::namespace(|rig: &Rig, task: &mut RestoreTask| { task.subject.namespace = "other".into(); let _ = rig; })]
#[case::backup(|rig: &Rig, task: &mut RestoreTask| task.choice = Choice::Id(rig.full.id))]
#[case::path(|rig: &Rig, task: &mut RestoreTask| { task.target.data.path = "c2/data".into(); let _ = rig; })]
#[case::format(|rig: &Rig, task: &mut RestoreTask| { task.target.hk_data.format = Format::Framed; let _ = rig; })]
#[tokio::test(start_paused = true)]
async fn the_target_of_another_restore_is_refused(#[case] change: fn(&Rig, &mut RestoreTask)) {
    let rig = begun().await;
    let own = rig.task(Choice::Id(rig.incremental.id));
    for done in [false, true] {
        if done {
            assert_done(&rig.run(&own).await);
        }
        let before = (rig.placed(), rig.marker());
        let mut task = own.clone();
        change(&rig, &mut task);
        let report = rig.run(&task).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::TargetNotEmpty.as_str()), "{report:#?}");
        let message = report.said.message.unwrap();
        assert!(message.contains("ns/r (UID u)") && message.contains(&rig.incremental.id.to_string()), "{message}");
        assert_eq!((rig.placed(), rig.marker()), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_marker_of_a_later_version_is_not_judged() {
    let rig = rig().await;
    rig.target.set(MARKER, "{\"format\":2,\"more\":true}");
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::RepositoryTooNew.as_str()), "{report:#?}");
}

/// Somebody starts a server on a half-filled target, or writes there.
#[tokio::test(start_paused = true)]
async fn a_stranger_in_a_begun_target_is_named() {
    for key in ["c1/data/01a1fb9e-0000-7000-8000-000000000000_00000", "c1/data/zzz", "another", "zzz"] {
        let rig = begun().await;
        rig.target.set(key, "theirs");
        let report = rig.run(&rig.task(Choice::Id(rig.incremental.id))).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::TargetNotEmpty.as_str()), "{report:#?}");
        assert!(report.said.message.unwrap().contains(key));
        assert_eq!(rig.target.get(key).unwrap(), "theirs");
        assert!(rig.marker().get("completedAt").is_none());
    }
}

/// A second attempt writes only what is not there, and mends what was changed.
#[tokio::test(start_paused = true)]
async fn what_is_right_is_not_copied_again() {
    let rig = begun().await;
    let there = rig.placed();
    let changed = there.keys().next().unwrap();
    assert!(rig.target.flip(changed, 7));
    let calls = rig.target.calls().len();
    let report = rig.run(&rig.task(Choice::Id(rig.incremental.id))).await;
    assert_done(&report);
    assert_eq!(rig.placed(), rig.expected(1));
    let missing = rig.expected(1).len() - there.len();
    assert_eq!(report.written_objects, Some(i64::try_from(missing + 1).unwrap()));
    for key in there.keys().filter(|key| *key != changed) {
        assert!(!rig.target.calls()[calls..].contains(&format!("put {key}")), "{key} was written again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_only_said_and_then_holds() {
    let rig = rig().await;
    let task = rig.task(Choice::Latest);
    let report = rig.run(&RestoreTask { plan_only: true, ..task.clone() }).await;
    assert_done(&report);
    assert!(rig.target.keys().is_empty());
    assert_eq!((report.objects, report.written_objects), (Some(10), None));
    let approved_plan = Some(report.plan.unwrap().hash);
    let other = RestoreTask { choice: Choice::Id(rig.full.id), approved_plan: approved_plan.clone(), ..task.clone() };
    let refused = rig.run(&other).await;
    assert_eq!(refused.said.reason.as_deref(), Some(Reason::PlanChanged.as_str()), "{refused:#?}");
    assert!(rig.target.keys().is_empty());
    let approved = RestoreTask { approved_plan, ..task };
    assert_done(&rig.run(&approved).await);
    assert!(rig.run(&approved).await.already_restored.is_some());
    let changed = RestoreTask { approved_plan: Some("0".repeat(64)), ..approved };
    let refused = rig.run(&changed).await;
    assert_eq!(refused.said.reason.as_deref(), Some(Reason::PlanChanged.as_str()), "{refused:#?}");
}

/// Only the marker is left of what was restored, or MatrixOne would start without ids or without any object.
#[rstest]
#[case::ids(&["c1/hk_data"], "c1/hk_data is missing")]
#[case::objects(&["c1/data/"], "nothing is left below c1/data/")]
#[case::all(&["c1/"], "c1/hk_data is missing")]
#[tokio::test(start_paused = true)]
async fn what_was_restored_and_is_gone_is_not_called_done(#[case] gone: &[&str], #[case] named: &str) {
    let rig = rig().await;
    for choice in [Choice::Latest, Choice::Id(rig.incremental.id)] {
        let rig = rig.fresh();
        let task = rig.task(choice);
        assert_done(&rig.run(&task).await);
        for key in rig.target.keys().iter().filter(|key| gone.iter().any(|gone| key.starts_with(gone))) {
            assert!(rig.target.unset(key));
        }
        let before = (rig.placed(), rig.marker());
        let report = rig.run(&task).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::TargetNotEmpty.as_str()), "{report:#?}");
        let message = report.said.message.unwrap();
        assert!(!report.said.retryable && message.contains(named) && message.contains(MARKER), "{message}");
        assert_eq!((rig.placed(), rig.marker()), before);
    }
}

/// MatrixOne removes and writes objects as it goes on.
#[tokio::test(start_paused = true)]
async fn where_matrixone_went_on_is_done_still() {
    let rig = rig().await;
    let task = rig.task(Choice::Latest);
    assert_done(&rig.run(&task).await);
    for key in rig.expected(1).into_keys().filter(|key| key != "c1/hk_data") {
        assert!(rig.target.unset(&key));
    }
    rig.target.set("c1/data/01a1fb9e-0000-7000-8000-000000000000_00000", "its own");
    assert!(rig.run(&task).await.already_restored.is_some());
}

/// A report has no other sign of which place does not answer.
#[tokio::test(start_paused = true)]
async fn a_target_that_says_nothing_is_named() {
    let rig = rig().await;
    rig.target.fault(0, Fault::Hang, || {});
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::StorageUnreachable.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().contains("(in the target). "));
}

#[tokio::test(start_paused = true)]
async fn a_target_inside_the_repository_is_refused() {
    let rig = rig().await;
    let mut task = rig.task(Choice::Latest);
    task.target.location = task.storage.location.clone();
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::InvalidSpec.as_str()), "{report:#?}");
}

/// What is lost or changed in the target between its copying and the proof is noticed there, and mended by the next attempt.
#[rstest]
#[case::lost(|rig: &Rig| assert!(rig.target.unset("c1/data/gc/gc_2.ckp")), Reason::ObjectMissing)]
#[case::short(|rig: &Rig| rig.target.set("c1/data/gc/gc_2.ckp", "x"), Reason::ObjectCorrupted)]
#[case::ids_lost(|rig: &Rig| assert!(rig.target.unset("c1/hk_data")), Reason::ObjectMissing)]
#[case::ids_changed(|rig: &Rig| assert!(rig.target.flip("c1/hk_data", 3)), Reason::ObjectCorrupted)]
#[tokio::test(start_paused = true)]
async fn the_proof_in_place_sees_what_is_wrong(#[case] damage: fn(&Rig), #[case] expected: Reason) {
    let rig = std::sync::Arc::new(rig().await);
    let task = rig.task(Choice::Latest);
    let trial = rig.fresh();
    assert_done(&trial.run(&task).await);
    // The last call before the listing of everything.
    let copied = trial.target.calls().iter().rposition(|call| call == "list ").unwrap() - 1;
    let damaged = rig.clone();
    rig.target.fault(copied, Fault::After, move || damage(&damaged));
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    assert!(report.said.retryable && report.said.message.unwrap().contains("in the target"));
    assert!(rig.marker().get("completedAt").is_none());
    let report = rig.run(&task).await;
    assert_done(&report);
    assert_eq!((report.written_objects, rig.placed()), (Some(1), rig.expected(1)));
}
