//! A check of a repository's backup: everything is looked at, all damage is counted, and what is not known is no damage.

use std::{fs, sync::Arc, time::Duration};

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::{BackupId, Framing},
    store::{Objects, Patience, Volume, memory::Fault},
    task::{Choice, RestoreTask},
    worker::{CheckTask, Checked, Depth, Failure, Place, Watch, check},
};
use rstest::rstest;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    exhibits::{EXHIBITS, WHOLE, museum},
    museum::damage,
    repository::{Tree, checkpoint, content, name, own, repository, take},
    rig::{Rig, TIMES},
};

const IMPATIENT: Patience =
    Patience { first: Duration::from_millis(1), longest: Duration::from_millis(1), limit: Duration::ZERO };

pub async fn run(rig: &Rig, choice: Choice, depth: Depth) -> Result<Checked, Failure> {
    let task = CheckTask { choice, parallelism: 3, depth };
    let source: Arc<dyn Objects> = Arc::new(rig.source.clone());
    check(&task, &source, Place::Bucket, IMPATIENT, &rig.watch(&rig.task(Choice::Latest))).await
}

/// Nothing was asked of its source yet.
async fn rig() -> Rig {
    Rig::new(Framing::Raw, Format::Raw).await.fresh()
}

fn key(rig: &Rig, path: &str) -> String {
    format!("data/{}/1/{path}", rig.incremental.id)
}

fn of_base(rig: &Rig, n: u8) -> String {
    format!("data/{}/1/{}", rig.full.id, name(n))
}

const CONFIG: &str = "config/cn.toml_01a1fb9e-2560-7b91-9479-9d72d684aabd";

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_whole_backup_is_looked_at_as_a_whole(
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
    #[values(Depth::Presence, Depth::Content)] depth: Depth,
) {
    let rig = Rig::new(framing, Format::Raw).await;
    for (n, catalog) in [&rig.full, &rig.incremental].into_iter().enumerate() {
        let checked = run(&rig, Choice::Id(catalog.id), depth).await.unwrap();
        let objects = rig.trees[n].len() as u64;
        let expected = Checked {
            name: catalog.id.to_string(),
            catalog: Some(catalog.clone()),
            objects,
            elsewhere: 0,
            bytes: rig.trees[n].values().map(|content| content.len() as u64).sum(),
            hashed: if depth == Depth::Content { objects } else { 0 },
            faults: 0,
            lost: None,
            first: vec![],
            warnings: vec![],
        };
        assert_eq!(checked, expected);
    }
    assert_eq!(run(&rig, Choice::Latest, depth).await.unwrap().name, rig.incremental.id.to_string());
}

/// Two sources are two listings, and of the objects only the checkpoints are asked for by themselves.
#[tokio::test(start_paused = true)]
async fn presence_asks_for_listings_alone() {
    let rig = rig().await;
    run(&rig, Choice::Id(rig.incremental.id), Depth::Presence).await.unwrap();
    let calls = rig.source.calls();
    let of_checkpoints = |call: &&String| call.contains("/tae/ckp/") || call.contains(&checkpoint(2));
    let of_data: Vec<_> = calls.iter().filter(|call| call.contains(" data/") && !of_checkpoints(call)).collect();
    assert_eq!(of_data.len(), 4, "{of_data:#?}");
    // The list once more in the end, for the checkpoints.
    assert!(of_data.iter().step_by(3).all(|call| call.starts_with("read ") && call.ends_with("/entries.jsonl.zst")));
    assert!(of_data[1..3].iter().all(|call| call.starts_with("list ")), "{of_data:#?}");
    assert_eq!(calls.iter().filter(of_checkpoints).count(), 5, "{calls:#?}");
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_is_missing_or_has_another_size_is_counted(
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
    #[values(Depth::Presence, Depth::Content)] depth: Depth,
) {
    let rig = Rig::new(framing, Format::Raw).await;
    let gone = [key(&rig, "mo_meta"), key(&rig, CONFIG), key(&rig, &name(5)), of_base(&rig, 3)];
    for key in &gone {
        assert!(rig.source.unset(key));
    }
    let short = [key(&rig, "tae/tae_list"), key(&rig, &name(7))];
    for key in &short {
        let whole = rig.source.get(key).unwrap();
        rig.source.set(key, whole.slice(..whole.len() - 7));
    }
    let checked = run(&rig, Choice::Id(rig.incremental.id), depth).await.unwrap();
    let objects = rig.trees[1].len() as u64;
    assert_eq!((checked.objects, checked.faults, checked.first.len()), (objects, 6, 6), "{:#?}", checked.first);
    for key in &gone {
        assert!(checked.first.contains(&format!("{key} is missing")), "{key}: {:#?}", checked.first);
    }
    for key in &short {
        let said = checked.first.iter().find(|said| said.starts_with(key)).unwrap();
        let expected = match (depth, framing) {
            (Depth::Presence, _) => "bytes instead of",
            (Depth::Content, Framing::Raw) => "its size is",
            (Depth::Content, Framing::Crc2048) => "the checksum of block",
        };
        assert!(said.contains(expected), "{said}");
    }
    let sorted = {
        let mut first = checked.first.clone();
        first.sort();
        first
    };
    assert_eq!(checked.first, sorted);
    // The full backup has lost one of these, and shares none of the others.
    assert_eq!(run(&rig, Choice::Id(rig.full.id), depth).await.unwrap().faults, 1);
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_wherever_it_is(#[values(Framing::Raw, Framing::Crc2048)] framing: Framing) {
    let rig = Rig::new(framing, Format::Raw).await;
    let changed = [
        key(&rig, "mo_meta"),
        key(&rig, CONFIG),
        key(&rig, "hakeeper/hk_data"),
        key(&rig, "tae/tae_list"),
        key(&rig, "tae/gc/gc_2.ckp"),
        key(&rig, &name(6)),
        of_base(&rig, 4),
    ];
    for key in &changed {
        assert!(rig.source.flip(key, 9), "{key}");
    }
    let choice = Choice::Id(rig.incremental.id);
    assert_eq!(run(&rig, choice.clone(), Depth::Presence).await.unwrap().faults, 0);
    let checked = run(&rig, choice, Depth::Content).await.unwrap();
    assert_eq!(checked.faults, 7, "{:#?}", checked.first);
    assert_eq!((checked.objects, checked.hashed), (14, 7));
    for key in &changed {
        let said = checked.first.iter().find(|said| said.starts_with(&format!("{key}: "))).unwrap();
        assert!(said.contains("SHA-256") || said.contains("checksum of block"), "{said}");
    }
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn all_faults_are_counted_and_twenty_are_named(#[values(Depth::Presence, Depth::Content)] depth: Depth) {
    let (source, repository) = repository();
    let mut tree: Tree = (0..40).map(|n| (name(n), content(n, 50))).collect();
    tree.extend(own(1));
    let catalog = take(&source, repository, (TIMES[0], Framing::Raw), &tree, None).await;
    for n in 3..28 {
        assert!(source.unset(&format!("data/{}/1/{}", catalog.id, name(n))));
    }
    let rig = Rig { source, ..rig().await };
    let checked = run(&rig, Choice::Id(catalog.id), depth).await.unwrap();
    assert_eq!((checked.objects, checked.faults, checked.first.len()), (48, 25, 20));
    assert!(checked.first.iter().all(|said| said.ends_with(" is missing")), "{:#?}", checked.first);
}

/// Whenever a store stops answering: what was not seen is not known, and no damage.
#[rstest]
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_midway_is_no_damage(#[values(Depth::Presence, Depth::Content)] depth: Depth) {
    let whole = rig().await;
    run(&whole, Choice::Id(whole.incremental.id), depth).await.unwrap();
    let calls = whole.source.calls().len();
    assert!(calls >= 5);
    for from in 0..calls {
        let rig = whole.fresh();
        for call in from..from + 200 {
            rig.source.fault(call, Fault::Before, || {});
        }
        let failure = run(&rig, Choice::Id(rig.incremental.id), depth).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::StorageUnreachable, true), "call {from}: {failure}");
    }
}

#[rstest]
#[case("list is cut", Reason::RepositoryDamaged)]
#[case("list is missing", Reason::RepositoryDamaged)]
#[case("bit in the list", Reason::RepositoryDamaged)]
#[case("entry is cut", Reason::RepositoryDamaged)]
#[case("entry is of another", Reason::RepositoryDamaged)]
#[case("hk_data is not listed", Reason::RepositoryDamaged)]
#[case("a million claimed", Reason::RepositoryDamaged)]
#[case("other repository", Reason::BackupForeign)]
#[case("unknown format", Reason::RepositoryTooNew)]
#[tokio::test(start_paused = true)]
async fn without_its_lists_nothing_is_known_of_a_backup(
    #[case] what: &str,
    #[case] expected: Reason,
    #[values(Depth::Presence, Depth::Content)] depth: Depth,
) {
    let rig = rig().await;
    let named = damage(&rig, what);
    let failure = run(&rig, Choice::Id(rig.incremental.id), depth).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (expected, false), "{what}: {failure}");
    assert!(failure.detail.contains(&named), "{what}: {failure} does not name {named}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_said_and_a_lost_marker_only_warned_of() {
    let rig = rig().await;
    let id = BackupId::fresh();
    let failure = run(&rig, Choice::Id(id), Depth::Presence).await.unwrap_err();
    assert_eq!(failure.reason, Reason::BackupNotFound);
    assert!(failure.detail.contains(&id.to_string()));
    assert!(rig.source.unset("mo-backup.json"));
    let checked = run(&rig, Choice::Latest, Depth::Content).await.unwrap();
    assert_eq!((checked.faults, checked.warnings.len()), (0, 1), "{checked:#?}");
}

/// The museum where it lies, in folders of a volume.
#[tokio::test]
async fn every_exhibit_is_told_by_the_name_of_what_is_damaged() {
    let rig = rig().await;
    let shown = EXHIBITS.iter().map(|(folder, _, reason)| (*folder, Some(*reason))).chain([(WHOLE, None)]);
    for (folder, reason) in shown {
        let root = museum().join(folder);
        let label: Value = serde_json::from_slice(&fs::read(root.join("label.json")).unwrap()).unwrap();
        let choice = Choice::Id(label["backup"].as_str().unwrap().parse().unwrap());
        let source: Arc<dyn Objects> = Arc::new(Volume::open(&root.join("repository"), "").unwrap());
        let task = CheckTask { choice, parallelism: 2, depth: Depth::Content };
        let watch = rig.watch(&rig.task(Choice::Latest));
        let checked = check(&task, &source, Place::Volume, IMPATIENT, &watch).await;
        let named = label["named"].as_str().unwrap_or_default();
        match (checked, reason) {
            (Ok(checked), None) => assert_eq!((checked.faults, checked.hashed), (0, checked.objects), "{folder}"),
            (Ok(checked), Some(Reason::ObjectMissing | Reason::ObjectCorrupted)) => {
                assert_eq!(checked.faults, 1, "{folder}");
                assert!(checked.first[0].contains(named), "{folder}: {:?}", checked.first);
            }
            (Err(failure), Some(reason)) => {
                assert_eq!(failure.reason, reason, "{folder}: {failure}");
                assert!(failure.detail.contains(named), "{folder}: {failure}");
            }
            (other, reason) => panic!("{folder}: {other:?} instead of {reason:?}"),
        }
    }
}

/// It shows how far it is, and does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_check_that_stands_still_ends() {
    let rig = rig().await;
    let trial = rig.fresh();
    assert_eq!(run(&trial, Choice::Latest, Depth::Content).await.unwrap().objects, 14);
    rig.source.fault(trial.source.calls().len() - 2, Fault::Hang, || {});
    let task = RestoreTask { stall_deadline: Duration::from_secs(60), ..rig.task(Choice::Latest) };
    let source: Arc<dyn Objects> = Arc::new(rig.source.clone());
    let check_task = CheckTask { choice: Choice::Latest, parallelism: 1, depth: Depth::Content };
    let failure = check(&check_task, &source, Place::Bucket, IMPATIENT, &rig.watch(&task)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Stalled, "{failure}");
    let told = rig.told.0.lock().unwrap().clone();
    let reading = told.iter().find(|said| said["progress"]["step"] == "reading every object").expect("progress");
    assert_eq!(reading["progress"]["totalObjects"], 14);
    assert!(told.iter().any(|said| said["progress"]["objects"].as_u64() > Some(5)), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_told_to_stop_says_so() {
    let rig = rig().await;
    let stop = CancellationToken::new();
    let ends = stop.clone();
    rig.source.fault(6, Fault::After, move || ends.cancel());
    let clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(1_795_240_000));
    let limits = (Duration::from_secs(3600), Duration::from_secs(900));
    let watch = Watch::new(rig.told.clone(), clock, "u-1", limits, stop);
    let source: Arc<dyn Objects> = Arc::new(rig.source.clone());
    let task = CheckTask { choice: Choice::Latest, parallelism: 0, depth: Depth::Content };
    let failure = check(&task, &source, Place::Bucket, Patience::default(), &watch).await.unwrap_err();
    assert_eq!((failure.reason, failure.outcome), (Reason::Interrupted, Outcome::Interrupted), "{failure}");
}
