//! Which backup is taken.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::{BackupId, Catalog, Framing, RepositoryId, newest::Whose},
    task::{Choice, RestoreTask, WhoseTask},
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
    // What cannot be an entry by its name says nothing of any backup.
    assert!(!first.contains("notes.txt") && first.contains("1 in all"), "{first}");
    assert!(second.contains(&copied.id.to_string()), "{second}");
}

/// Whoever needs an id before it restores gets the same one.
#[tokio::test]
async fn the_newest_is_told_with_what_was_passed_over() {
    let rig = rig().await;
    let ask = async |left_out: Option<BackupId>| {
        let now = jiff::Timestamp::from_second(TIMES[1] + 3600).unwrap();
        let of = (Some(rig.repository), Whose::default(), now);
        latest(&rig.source, Place::Bucket, of, &|id| Some(id) == left_out).await
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

/// Commits a backup that is newer by so many seconds than all others, of another MatrixOne or of the same one elsewhere.
async fn another(rig: &Rig, ahead: i64, identity: &str, address: Option<&str>) -> Catalog {
    let taken = take(&rig.source, rig.repository, (TIMES[1] + ahead, Framing::Raw), &own(7), None).await;
    let key = format!("catalog/{}.json", taken.id);
    let mut entry: serde_json::Value = serde_json::from_slice(&rig.source.get(&key).unwrap()).unwrap();
    entry["cluster"]["identity"] = identity.into();
    entry["cluster"]["address"] = address.into();
    entry["object"] = "testing/nightly".into();
    rig.source.set(&key, serde_json::to_vec(&entry).unwrap());
    taken
}

/// Gives a backup an address.
fn reached_at(rig: &Rig, id: BackupId, address: &str) {
    let key = format!("catalog/{id}.json");
    let mut entry: serde_json::Value = serde_json::from_slice(&rig.source.get(&key).unwrap()).unwrap();
    entry["cluster"]["address"] = address.into();
    rig.source.set(&key, serde_json::to_vec(&entry).unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_two_matrixone_none_is_guessed() {
    let rig = rig().await;
    let other = another(&rig, 60, "a-test-cluster", Some("mo.testing:6001")).await;
    for choice in [Choice::Latest, before(TIMES[1] + 60)] {
        let report = rig.run(&rig.task(choice.clone())).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::ClusterAmbiguous.as_str()), "{report:#?}");
        let message = report.said.message.unwrap();
        let ids = [rig.incremental.id.to_string(), other.id.to_string()];
        let parts = ["identity prod", "a-test-cluster", "mo.testing:6001", "testing/nightly", "2026-11-21 03:01:00"];
        for part in parts.into_iter().chain(ids.iter().map(String::as_str)) {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!report.said.retryable && rig.target.keys().is_empty());
        let of = |identity: &str| WhoseTask { identity: Some(identity.into()), address: None };
        for (identity, id) in [("prod", rig.incremental.id), ("a-test-cluster", other.id)] {
            let rig = rig.fresh();
            let report =
                rig.run(&RestoreTask { plan_only: true, whose: of(identity), ..rig.task(choice.clone()) }).await;
            assert_done(&report);
            assert_eq!(report.backup, Some(id.to_string()));
        }
        let report = rig.run(&RestoreTask { whose: of("nobody"), ..rig.task(choice) }).await;
        assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupNotFound.as_str()), "{report:#?}");
        assert!(report.said.message.unwrap().contains(&other.id.to_string()));
    }
    // What is not old enough is no candidate.
    let report = rig.run(&rig.task(before(TIMES[1]))).await;
    assert_done(&report);
    assert_eq!(report.backup, Some(rig.incremental.id.to_string()));
}

/// A drill that was restored from production has its identity.
#[tokio::test(start_paused = true)]
async fn of_a_clone_and_its_original_none_is_guessed() {
    let rig = rig().await;
    reached_at(&rig, rig.incremental.id, "mo.production:6001");
    let clone = another(&rig, 60, "prod", Some("mo.drill:6001")).await;
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::ClusterAmbiguous.as_str()), "{report:#?}");
    for (address, id) in [("mo.production:6001", rig.incremental.id), ("mo.drill:6001", clone.id)] {
        let rig = rig.fresh();
        let whose = WhoseTask { identity: Some("prod".into()), address: Some(address.into()) };
        let report = rig.run(&RestoreTask { plan_only: true, whose, ..rig.task(Choice::Latest) }).await;
        assert_done(&report);
        assert_eq!(report.backup, Some(id.to_string()));
    }
}

/// After the clock of a server was set far ahead for a moment.
#[tokio::test(start_paused = true)]
async fn a_backup_from_the_future_is_not_the_newest() {
    let rig = rig().await;
    let future = another(&rig, 86_400, "prod", None).await;
    for choice in [Choice::Latest, before(TIMES[1] + 90_000)] {
        let rig = rig.fresh();
        let report = rig.run(&rig.task(choice)).await;
        assert_done(&report);
        assert_eq!(report.backup, Some(rig.incremental.id.to_string()));
        let [warning] = &report.warnings[..] else { panic!("{report:#?}") };
        assert_eq!(warning.reason, Reason::BackupInFuture.as_str());
        assert!(warning.message.contains(&future.id.to_string()), "{warning:?}");
    }
    let report = rig.run(&RestoreTask { plan_only: true, ..rig.task(Choice::Id(future.id)) }).await;
    assert_done(&report);
}
