//! Ends in the moment of the commit and right after it: what is committed is known, and what is not whole does not count.

use std::time::Duration;

use mo_backup::{
    api::{BackupType, Outcome, VerifyLevel},
    store::memory::Fault,
    worker::backup,
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::{assert_whole, rig::Rig};

/// Number of the first call that begins so, in the same backup of another rig.
async fn call(beginning: &str, ending: &str) -> usize {
    let rig = Rig::new("v4.2.0");
    let report = rig.run(&quiet(&rig, 1)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    let calls = rig.repository.calls();
    calls.iter().position(|c| c.starts_with(beginning) && c.ends_with(ending)).unwrap()
}

/// Copies one object at a time, so that calls have the same numbers every time.
fn quiet(rig: &Rig, attempt: u32) -> mo_backup::task::BackupTask {
    let mut task = rig.task(attempt, BackupType::Auto);
    (task.parallelism, task.verify) = (1, VerifyLevel::Manifest);
    task
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_worker_told_to_stop_while_it_commits_knows_whether_it_has(
    #[values(Fault::Before, Fault::Lost, Fault::After)] fault: Fault,
) {
    let create = call("create catalog/", "").await;
    let rig = Rig::new("v4.2.0");
    let (task, stop) = (quiet(&rig, 1), CancellationToken::new());
    let stopping = stop.clone();
    rig.repository.fault(create, fault, move || stopping.cancel());
    let report = backup(&task, &rig.ports(), &rig.watch(&task, stop)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_whole(&rig);
    assert_eq!(rig.staged(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_worker_told_to_stop_before_does_not_commit() {
    let list = call("put data/", "zst").await;
    let rig = Rig::new("v4.2.0");
    let (task, stop) = (quiet(&rig, 1), CancellationToken::new());
    let stopping = stop.clone();
    rig.repository.fault(list, Fault::After, move || stopping.cancel());
    let report = backup(&task, &rig.ports(), &rig.watch(&task, stop)).await;
    assert_eq!((report.said.outcome, report.said.reason.as_deref()), (Outcome::Interrupted, Some("Interrupted")));
    assert!(rig.catalog().is_none());
    assert_eq!(rig.staged(), Vec::<String>::new(), "what a failed attempt has staged helps nobody");
}

/// The other worker commits in the very moment in which this one is about to.
#[tokio::test(start_paused = true)]
async fn the_one_that_is_slower_reports_the_others_backup() {
    let create = call("create catalog/", "").await;
    let (faster, slower) = (Rig::new("v4.2.0"), Rig::new("v4.2.0"));
    let faster = Rig { id: slower.id, uid: slower.uid.clone(), ..faster };
    let committed = faster.run(&quiet(&faster, 2)).await;
    assert_eq!(committed.said.outcome, Outcome::Succeeded, "{committed:#?}");
    let (from, to) = (faster.repository.clone(), slower.repository.clone());
    // Its last look before the create: whether somebody has committed.
    slower.repository.fault(create - 1, Fault::After, move || {
        for key in from.keys() {
            to.set(&key, from.get(&key).unwrap());
        }
    });
    let report = slower.run(&quiet(&slower, 1)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert!(slower.repository.calls().iter().any(|c| c.starts_with("create catalog/")), "it did not come so far");
    assert_eq!((report.path, report.manifest), (committed.path, committed.manifest));
    assert_whole(&slower);
}

/// Nothing that is committed is ever taken back: another backup may be based on it.
#[rstest]
#[case::object("tae/")]
#[case::list("entries.jsonl.zst")]
#[tokio::test(start_paused = true)]
async fn a_commit_whose_objects_are_gone_is_damaged_and_stays(#[case] what: &str) {
    let rig = Rig::new("v4.2.0");
    assert_eq!(rig.run(&quiet(&rig, 1)).await.said.outcome, Outcome::Succeeded);
    let victim = rig.repository.keys().into_iter().find(|k| k.starts_with("data/") && k.contains(what)).unwrap();
    assert!(rig.repository.unset(&victim));
    let before = rig.repository.keys();
    let report = rig.run(&quiet(&rig, 2)).await;
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{report:#?}");
    assert_eq!(report.said.reason.as_deref(), Some("RepositoryDamaged"));
    assert!(report.said.message.unwrap().contains(&victim));
    assert_eq!(rig.repository.keys(), before);
}

/// A worker that was believed dead wakes up while a purge removes everything.
#[tokio::test(start_paused = true)]
async fn a_purge_beside_the_check_is_seen_by_the_commit() {
    let create = call("create catalog/", "").await;
    let rig = Rig::new("v4.2.0");
    let calls = {
        let other = Rig::new("v4.2.0");
        other.run(&quiet(&other, 1)).await;
        other.repository.calls()
    };
    let check = calls[..create].iter().rposition(|c| c.starts_with("list data/")).unwrap();
    let (bucket, below) = (rig.repository.clone(), format!("data/{}/", rig.id));
    rig.repository.fault(check, Fault::After, move || {
        for key in bucket.keys().into_iter().filter(|k| k.starts_with(&below)) {
            bucket.unset(&key);
        }
    });
    let report = rig.run(&quiet(&rig, 1)).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert!(rig.catalog().is_none(), "a commit without objects");
}

#[tokio::test(start_paused = true)]
async fn a_second_look_says_what_the_first_one_did_and_no_more() {
    let rig = Rig::new("v1.2.4");
    let first = rig.run(&rig.task(1, BackupType::Full)).await;
    let second = rig.run(&rig.task(2, BackupType::Full)).await;
    let reasons = |r: &mo_backup::api::BackupReport| r.warnings.iter().map(|w| w.reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&second), reasons(&first));
    assert_eq!(reasons(&second), ["NoGcProtection", "ServerMaySkipObjects"]);
    let (first, second) = (first.verified.unwrap(), second.verified.unwrap());
    assert_eq!((first.level, first.hashed), (VerifyLevel::Full, first.present));
    assert_eq!((second.level, second.hashed, second.present), (VerifyLevel::Manifest, 0, first.present));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_leaves_the_staged_files_of_its_replacement() {
    let rig = Rig::new("v4.2.0");
    rig.server.hang();
    let (task, stop) = (quiet(&rig, 1), CancellationToken::new());
    let (ports, watch) = (rig.ports(), rig.watch(&task, stop.clone()));
    let own = rig.folder.path().join(format!("data/{}/1/tae", rig.id));
    let others = rig.folder.path().join(format!("data/{}/2/tae", rig.id));
    let (report, ()) = tokio::join!(backup(&task, &ports, &watch), async {
        while rig.server.running() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for folder in [&own, &others] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("x"), "x").unwrap();
        }
        stop.cancel();
    });
    assert_eq!(report.said.outcome, Outcome::Interrupted, "{report:#?}");
    assert_eq!((own.exists(), others.join("x").exists()), (false, true));
}
