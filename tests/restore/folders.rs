//! Folders that were made without us: found, described, and put into chains.

use std::{collections::BTreeMap, path::Path};

use mo_backup::{
    api::{Format, Reason},
    plan::Timestamp,
    store::{
        Volume,
        memory::{Fault, Memory},
    },
    task::Choice,
    worker::{FolderContent, FoundFolder, Place, chain_of, folders},
};
use rstest::rstest;
use sha2::{Digest as _, Sha256};

use super::{
    foreign::{FOLDERS, files, folder, rig},
    rig::assert_done,
};

/// What the samples say: folder, consistency point, objects, bytes, and how many of the objects were copied.
const SAMPLES: [(&str, &str, i64, u64, u64, u64); 6] = [
    ("v1.2.4", "full", 1_795_222_807_905_996_502, 81, 379_033, 81),
    ("v1.2.4", "incr", 1_795_222_808_398_698_357, 91, 429_513, 19),
    ("v3.0.18", "full", 1_795_222_076_329_082_550, 87, 574_692, 87),
    ("v3.0.18", "incr", 1_795_222_076_968_680_509, 101, 606_282, 23),
    ("v4.2.0", "full", 1_795_222_057_369_096_985, 105, 735_537, 105),
    ("v4.2.0", "incr", 1_795_222_058_096_687_453, 121, 770_938, 25),
];

fn expected() -> Vec<FoundFolder> {
    let described = |(version, kind, physical, objects, bytes, copied): (&str, &str, _, _, _, _)| FoundFolder {
        path: format!("{version}/{kind}"),
        content: Ok(FolderContent {
            backup_ts: Timestamp { physical, logical: 1 },
            objects,
            bytes,
            copied,
            elsewhere: objects - copied,
            server_version: Some(version.into()),
        }),
    };
    SAMPLES.into_iter().map(described).collect()
}

fn put(memory: &Memory, at: &str, (version, kind): (&str, &str)) {
    for (path, content) in files(&folder(version, kind)) {
        memory.set(&format!("{at}{path}"), content);
    }
}

async fn found(memory: &Memory) -> BTreeMap<String, Result<FolderContent, String>> {
    let folders = folders(memory, Place::Bucket).await.unwrap();
    assert_eq!((folders.left_out, folders.missed), (0, vec![]));
    folders.found.into_iter().map(|folder| (folder.path, folder.content)).collect()
}

/// The samples where they lie, in folders of a volume.
#[tokio::test]
async fn what_the_samples_say_is_said() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples");
    let volume = Volume::open(&root, "").unwrap();
    assert_eq!(folders(&volume, Place::Volume).await.unwrap().found, expected());
    let one = Volume::open(&root, "v4.2.0").unwrap();
    let paths: Vec<_> = folders(&one, Place::Volume).await.unwrap().found.into_iter().map(|f| f.path).collect();
    assert_eq!(paths, ["full", "incr"]);
    let itself = folders(&Volume::open(&root, "v4.2.0/incr").unwrap(), Place::Volume).await.unwrap().found;
    assert_eq!(itself, [FoundFolder { path: String::new(), content: expected().pop().unwrap().content }]);
}

/// A repository, a folder that is the place itself, others beside it, and one too deep.
#[tokio::test(start_paused = true)]
async fn folders_are_told_from_a_repository() {
    let memory = Memory::new();
    for at in ["", "a/", "a/b/", "a/b/c/", "data/x/", "not-data/"] {
        put(&memory, at, ("v4.2.0", "full"));
    }
    for (key, content) in [("catalog/x.json", "{}"), ("data/x.txt", "x"), ("b/mo_meta.txt", "x"), ("b/tae_list", "x")] {
        memory.set(key, content);
    }
    let all = found(&memory).await;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["", "a", "a/b", "data/x", "not-data"]);
    assert!(all.values().all(|content| content.as_ref().is_ok_and(FolderContent::is_full)), "{all:#?}");
    memory.set("mo-backup.json", "{}");
    assert_eq!(found(&memory).await.keys().collect::<Vec<_>>(), ["", "a", "a/b", "not-data"]);
}

#[rstest]
#[case::not_finished(|m: &Memory| assert!(m.unset("x/mo_meta")), "x/mo_meta, which is written last, is missing")]
#[case::no_list(|m: &Memory| assert!(m.unset("x/tae/tae_list")), "x/tae/tae_list is missing")]
#[case::no_sum(|m: &Memory| assert!(m.unset("x/tae/tae_sum")), "x/tae/tae_sum is missing")]
#[case::no_ids(|m: &Memory| assert!(m.unset("x/hakeeper/hk_data")), "x/hakeeper/hk_data is missing")]
#[case::no_companion(|m: &Memory| assert!(m.unset("x/mo_meta.sha256")), "x/mo_meta.sha256 is missing")]
#[case::bit_in_the_list(|m: &Memory| assert!(m.flip("x/tae/tae_list", 50)), "x/tae/tae_list")]
#[case::bit_in_meta(|m: &Memory| assert!(m.flip("x/mo_meta", 50)), "the SHA-256 of x/mo_meta")]
#[case::they_disagree(disagree, "adds up to 735537 bytes, its tae_sum says 735538")]
#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_used_says_why(#[case] damage: fn(&Memory), #[case] why: &str) {
    let memory = Memory::new();
    put(&memory, "x/", ("v4.2.0", "full"));
    put(&memory, "y/", ("v4.2.0", "incr"));
    damage(&memory);
    let all = found(&memory).await;
    let said = all["x"].as_ref().unwrap_err();
    assert!(said.contains(why), "{said}");
    assert!(all["y"].is_ok(), "{all:#?}");
    assert_eq!(all.len(), 2);
}

/// A sum that its companion agrees with, and the list does not.
fn disagree(memory: &Memory) {
    let sum = String::from_utf8(memory.get("x/tae/tae_sum").unwrap().to_vec()).unwrap();
    let sum = sum.replace(",735537,", ",735538,");
    memory.set("x/tae/tae_sum.sha256", Sha256::digest(sum.as_bytes()).to_vec());
    memory.set("x/tae/tae_sum", sum);
}

/// MatrixOne copies objects first: a BACKUP that was cut off has left nothing else.
#[tokio::test(start_paused = true)]
async fn what_a_cut_off_backup_has_left_is_found() {
    let memory = Memory::new();
    memory.set("cut/tae/01a1fb9e-18cd-70d1-b5d7-3c2397918600_00000", "x");
    memory.set("none/tae/01a1fb9e-18cd-70d1-b5d7-3c2397918600_0000", "x");
    memory.set("none/01a1fb9e-18cd-70d1-b5d7-3c2397918600_00000", "x");
    memory.set("none/xtae/tae_list", "x");
    let all = found(&memory).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all["cut"].as_ref().unwrap_err().contains("has not finished"), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn of_very_many_folders_the_first_are_told() {
    let memory = Memory::new();
    for n in 0..10_003 {
        memory.set(&format!("{n:05}/mo_meta"), "x");
        memory.set(&format!("{n:05}/tae/tae_list"), "x");
    }
    let all = folders(&memory, Place::Bucket).await.unwrap();
    assert_eq!((all.found.len(), all.left_out), (10_000, 3));
    assert!(all.missed[0].starts_with("3 folders more than the first 10000 are left out"), "{:?}", all.missed);
    assert!(memory.calls().iter().all(|call| !call.starts_with("read ")), "what cannot be used is not read");
}

/// Neither what lies deep nor the objects of a backup are listed, however many there are.
#[tokio::test(start_paused = true)]
async fn a_large_place_is_not_walked() {
    let memory = Memory::new();
    put(&memory, "x/full/", ("v4.2.0", "full"));
    for n in 0..3000 {
        memory.set(&format!("x/full/tae/{n:05}"), "x");
        memory.set(&format!("far/away/from/here/{n:05}"), "x");
    }
    assert_eq!(found(&memory).await.keys().collect::<Vec<_>>(), ["x/full"]);
    let calls = memory.calls();
    let looks: Vec<_> = calls.iter().filter(|call| call.starts_with("level ")).map(String::as_str).collect();
    assert_eq!(looks, ["level ", "level far/", "level x/", "level far/away/", "level x/full/"]);
    assert!(calls.iter().all(|call| !call.starts_with("list ")), "{calls:#?}");
}

/// The look is bounded, and says so.
#[tokio::test(start_paused = true)]
async fn where_the_look_ends_is_told() {
    let memory = Memory::new();
    for n in 0..25_000 {
        memory.set(&format!("{n:05}"), "x");
    }
    put(&memory, "mo/full/", ("v4.2.0", "full"));
    let all = folders(&memory, Place::Bucket).await.unwrap();
    assert_eq!(all.found, []);
    assert!(all.missed[0].contains("name the folder that holds the backups"), "{:?}", all.missed);
    // A place that is a backup itself is one among however many files.
    put(&memory, "", ("v4.2.0", "full"));
    let all = folders(&memory, Place::Bucket).await.unwrap();
    assert!(all.found[0].path.is_empty() && all.found[0].content.is_ok(), "{all:#?}");
}

/// A large folder hides no others, until all of them are too much.
#[rstest]
#[case(3, 1)]
#[case(30, 0)]
#[tokio::test(start_paused = true)]
async fn large_folders_are_looked_at_in_part(#[case] large: u32, #[case] found: usize) {
    let memory = Memory::new();
    for n in 0..large * 21_000 {
        memory.set(&format!("a{:02}/{n:06}", n / 21_000), "x");
    }
    put(&memory, "b/full/", ("v4.2.0", "full"));
    let all = folders(&memory, Place::Bucket).await.unwrap();
    assert_eq!((all.found.len(), all.missed.len()), (found, 1), "{:?}", all.missed);
}

/// A folder that may not be looked into hides no others, and is told.
#[tokio::test(start_paused = true)]
async fn what_may_not_be_looked_at_is_passed_over() {
    let memory = Memory::new();
    for at in ["a/", "b/", "c/"] {
        put(&memory, at, ("v4.2.0", "full"));
    }
    memory.close("a/");
    memory.close("c/mo_meta.sha256");
    let all = folders(&memory, Place::Bucket).await.unwrap();
    assert_eq!(all.found.iter().map(|folder| folder.path.as_str()).collect::<Vec<_>>(), ["b"]);
    let missed = ["failed to level a/: AccessDenied", "failed to stat c/mo_meta.sha256: AccessDenied"];
    assert_eq!(all.missed, missed.map(|why| format!("passed over: {why}")));
    memory.close("");
    let failure = folders(&memory, Place::Bucket).await.unwrap_err();
    assert_eq!(failure.reason, Reason::StorageCredentialsRejected, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_failure() {
    let whole = Memory::new();
    put(&whole, "x/", ("v4.2.0", "full"));
    found(&whole).await;
    for call in 0..whole.calls().len() {
        let memory = Memory::new();
        put(&memory, "x/", ("v4.2.0", "full"));
        memory.fault(call, Fault::Before, || {});
        let failure = folders(&memory, Place::Bucket).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::StorageUnreachable, true), "call {call}: {failure}");
    }
}

fn made(path: &str, at: i64, elsewhere: Option<u64>) -> FoundFolder {
    let content = elsewhere.map(|elsewhere| FolderContent {
        backup_ts: Timestamp { physical: at, logical: 1 },
        objects: 10,
        bytes: 10,
        copied: 10 - elsewhere,
        elsewhere,
        server_version: None,
    });
    FoundFolder { path: path.into(), content: content.ok_or_else(|| "it is damaged".into()) }
}

#[rstest]
#[case::a_full_one("p/full-2", &["p/full-2"])]
#[case::the_first_incremental("p/incr-1", &["p/full-1", "p/incr-1"])]
#[case::behind_another_full("p/incr-3", &["p/full-2", "p/incr-2", "p/incr-3"])]
#[case::elsewhere("q/incr", &["q/incr"])]
#[case::beside_the_place("incr", &["full", "incr"])]
#[case::the_place_itself("", &[""])]
#[case::damaged("p/damaged", &["p/damaged"])]
#[case::unknown("p/none", &["p/none"])]
fn a_chain_begins_with_the_last_full_one(#[case] path: &str, #[case] chain: &[&str]) {
    let all = [
        made("p/full-1", 1, Some(0)),
        made("p/incr-1", 2, Some(5)),
        made("p/full-2", 3, Some(0)),
        made("p/copy-of-full-2", 3, Some(0)),
        made("p/damaged", 4, None),
        made("p/incr-3", 6, Some(5)),
        made("p/incr-2", 5, Some(5)),
        made("p/younger", 7, Some(0)),
        made("q/incr", 8, Some(5)),
        made("incr", 10, Some(5)),
        made("full", 9, Some(0)),
        made("", 11, Some(5)),
    ];
    assert_eq!(chain_of(&all, path), chain);
}

/// What is offered is what a restore takes.
#[rstest]
#[tokio::test(start_paused = true)]
async fn a_chain_that_is_found_is_restored(#[values("v1.2.4", "v3.0.18", "v4.2.0")] version: &'static str) {
    let rig = rig(version, Format::Raw).await;
    let all = folders(&rig.source, Place::Bucket).await.unwrap().found;
    let chain = chain_of(&all, FOLDERS[1]);
    assert_eq!(chain, FOLDERS);
    assert_done(&rig.run(&rig.task(Choice::Paths(chain))).await);
}
