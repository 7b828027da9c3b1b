//! The worker against a store in memory and a MatrixOne that answers what real ones were recorded to answer.

#[path = "worker/base.rs"]
mod base;
#[path = "worker/beside.rs"]
mod beside;
#[path = "worker/crash.rs"]
mod crash;
#[path = "worker/double.rs"]
mod double;
#[path = "worker/end.rs"]
mod end;
#[path = "worker/halfway.rs"]
mod halfway;
#[path = "worker/import.rs"]
mod import;
#[path = "worker/keep.rs"]
mod keep;
#[path = "worker/merged.rs"]
mod merged;
#[path = "worker/orphans.rs"]
mod orphans;
#[path = "worker/process.rs"]
mod process;
#[path = "worker/refuse.rs"]
mod refuse;
#[allow(dead_code, reason = "a restore needs more of it")]
#[path = "restore/repository.rs"]
mod repository;
#[path = "worker/rig.rs"]
mod rig;
#[allow(dead_code, reason = "other tests ask it for more")]
#[path = "fixtures/catalog.rs"]
mod sample;
#[path = "worker/soon.rs"]
mod soon;
#[path = "worker/statement.rs"]
mod statement;
#[path = "worker/strangers.rs"]
mod strangers;
#[path = "worker/target.rs"]
mod target;
#[path = "worker/tree.rs"]
mod tree;

use mo_backup::{
    api::{BackupType, Outcome, TakenType},
    plan::{EntriesReader, Framing},
};
use rig::Rig;
use rstest::rstest;
use sha2::Digest as _;

/// The committed backup is whole: every entry lies where it says, with its content.
fn assert_whole(rig: &Rig) {
    let catalog = rig.catalog().expect("a committed catalogue");
    let list = rig.repository.get(&format!("data/{}/{}/entries.jsonl.zst", catalog.id, catalog.attempt)).unwrap();
    let mut reader = EntriesReader::new(&catalog).unwrap();
    reader.push(list).unwrap();
    let mut objects = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        let source = &catalog.sources[usize::try_from(entry.from).unwrap()];
        assert_eq!(source.framing, Framing::Raw);
        let key = format!("data/{}/{}/{}", source.backup, source.attempt, entry.path);
        let found = rig.repository.get(&key).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(found.len() as u64, entry.size, "{key}");
        assert_eq!(sha2::Sha256::digest(&found)[..], entry.sha256.0, "{key}");
        objects += 1;
    }
    reader.finish().unwrap();
    let recorded = if rig.version == "v1.2.4" { 2 } else { 1 };
    assert_eq!(objects, 8 + 2 + recorded + 5, "objects, a checkpoint, what was collected, and the files beside them");
}

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn a_full_and_an_incremental_backup(#[case] version: &'static str) {
    let first = Rig::new(version);
    let report = first.run(&first.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_eq!(report.type_, Some(TakenType::Full));
    assert!(report.type_reason.unwrap().contains("no backup yet"));
    assert_whole(&first);
    let second = first.next();
    let report = second.run(&second.task(1, BackupType::Auto)).await;
    assert_eq!((report.said.outcome, report.type_), (Outcome::Succeeded, Some(TakenType::Incremental)), "{report:#?}");
    assert_eq!(report.base, Some(first.id.to_string()));
    assert_whole(&second);
    assert_eq!(second.staged(), Vec::<String>::new());
    assert!(!second.server.is_held());
}
