//! The base of an incremental backup is deleted, and the incremental one still comes back.

use std::sync::Arc;

use jiff::Timestamp;
use mo_backup::{
    api::Format,
    plan::Framing,
    task::{Choice, PurgeTask, StorageTask},
    worker::{Place, Places, purge},
};
use rstest::rstest;

use super::{
    repository::name,
    rig::{Rig, assert_done},
};

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_an_incremental_needs_of_its_deleted_base_stays_and_comes_back(
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
) {
    let rig = Rig::new(framing, Format::Raw).await;
    let restore = rig.task(Choice::Latest);
    let places = Places { repository: Arc::new(rig.source.clone()), kind: Place::Bucket, staging: None };
    let storage = StorageTask { read_only: false, ..restore.storage.clone() };
    let task = PurgeTask { subject: restore.subject.clone(), id: rig.full.id, storage, known: None, staging: None };
    purge(&task, &places, Timestamp::UNIX_EPOCH).await.unwrap();
    let base = format!("data/{}/1/", rig.full.id);
    let kept: Vec<_> = rig.source.keys().into_iter().filter(|key| key.starts_with(&base)).collect();
    let expected: Vec<_> = (2..5).map(|n| format!("{base}{}", name(n))).collect();
    assert_eq!(kept, expected, "exactly what the incremental one names of it");
    assert!(rig.source.get(&format!("catalog/{}.json", rig.full.id)).is_none());
    let report = rig.run(&restore).await;
    assert_done(&report);
    assert_eq!(report.backup, Some(rig.incremental.id.to_string()));
    assert_eq!(rig.placed(), rig.expected(1));
    let gone = rig.fresh();
    let report = gone.run(&gone.task(Choice::Id(rig.full.id))).await;
    assert_eq!(report.said.reason.as_deref(), Some("BackupNotFound"), "{report:#?}");
}
