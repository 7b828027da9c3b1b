//! Which backup is taken.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::{BackupId, Framing, RepositoryId},
    task::Choice,
    worker::{Place, latest},
};
use uuid::Uuid;

use super::{
    repository::{own, take},
    rig::{Rig, TIMES, assert_done},
};

async fn rig() -> Rig {
    Rig::new(Framing::Raw, Format::Raw).await
}

fn before(second: i64) -> Choice {
    Choice::Before(jiff::Timestamp::from_second(second).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_newest_data_is_chosen_that_is_old_enough() {
    let rig = rig().await;
    let (full, incremental) = (rig.full.id.to_string(), rig.incremental.id.to_string());
    for (choice, expected) in [
        (Choice::Latest, &incremental),
        (before(TIMES[1]), &incremental),
        (before(TIMES[1] - 1), &full),
        (before(TIMES[0]), &full),
    ] {
        let rig = rig.fresh();
        let report = rig.run(&rig.task(choice)).await;
        assert_done(&report);
        assert_eq!(report.backup.as_ref(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn when_none_is_old_enough_the_oldest_is_named() {
    let rig = rig().await;
    let report = rig.run(&rig.task(before(TIMES[0] - 1))).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupNotFound.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().contains(&rig.full.id.to_string()));
    assert!(rig.target.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_named() {
    let rig = rig().await;
    let id = BackupId::fresh();
    let report = rig.run(&rig.task(Choice::Id(id))).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupNotFound.as_str()), "{report:#?}");
    assert!(!report.said.retryable && report.said.message.unwrap().contains(&id.to_string()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_is_not_from_here_is_passed_over_and_named() {
    let rig = rig().await;
    rig.source.set(&format!("catalog/{}.json", BackupId::fresh()), "rubbish");
    rig.source.set("catalog/notes.txt", "theirs");
    let other = RepositoryId(Uuid::new_v4());
    let copied = take(&rig.source, other, (TIMES[1] + 9, Framing::Raw), &own(3), None).await;
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_done(&report);
    assert_eq!(report.backup, Some(rig.incremental.id.to_string()));
    let said: Vec<_> = report.warnings.iter().map(|w| (w.reason.as_str(), w.message.as_str())).collect();
    let [(damaged, first), (foreign, second)] = said[..] else { panic!("{said:?}") };
    assert_eq!((damaged, foreign), ("RepositoryDamaged", "BackupForeign"));
    assert!(first.contains("notes.txt") && first.contains("2 in all"), "{first}");
    assert!(second.contains(&copied.id.to_string()), "{second}");
}

/// Whoever needs an id before it restores gets the same one.
#[tokio::test]
async fn the_newest_is_told_with_what_was_passed_over() {
    let rig = rig().await;
    let ask = async |left_out: Option<BackupId>| {
        latest(&rig.source, Place::Bucket, Some(rig.repository), &|id| Some(id) == left_out).await
    };
    assert_eq!(ask(None).await.unwrap(), (rig.incremental.id, vec![]));
    assert_eq!(ask(Some(rig.incremental.id)).await.unwrap(), (rig.full.id, vec![]));
    // A later id, and older data.
    take(&rig.source, rig.repository, (TIMES[1] - 1, Framing::Raw), &own(3), None).await;
    assert_eq!(ask(None).await.unwrap().0, rig.incremental.id);
    rig.source.set(&format!("catalog/{}.json", BackupId::fresh()), "rubbish");
    let (id, warnings) = ask(None).await.unwrap();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!((id, warning.reason.as_str()), (rig.incremental.id, "RepositoryDamaged"));
    let instead = format!("the newest of the others is {id} with data of 2026-11-21 03:00:00 UTC");
    assert!(warning.message.contains("1 in all") && warning.message.contains(&instead), "{warning:?}");
}

/// What was begun is gone on with, though a newer backup has come meanwhile.
#[tokio::test(start_paused = true)]
async fn an_attempt_goes_on_with_what_was_begun() {
    let rig = rig().await;
    let task = rig.task(Choice::Latest);
    let calls = rig.source.calls().len();
    rig.target.fault(6, mo_backup::store::memory::Fault::Before, || {});
    let report = rig.run(&task).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?} {calls}");
    take(&rig.source, rig.repository, (TIMES[1] + 9, Framing::Raw), &own(3), None).await;
    let report = rig.run(&task).await;
    assert_done(&report);
    assert_eq!(report.backup, Some(rig.incremental.id.to_string()));
    assert_eq!(rig.placed(), rig.expected(1));
}
