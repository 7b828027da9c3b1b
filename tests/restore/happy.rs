//! What comes out is what was backed up, in the format of its place, and nothing else.

use std::sync::Arc;

use mo_backup::{
    api::Format,
    plan::Framing,
    store::Volume,
    task::{Choice, Location},
};
use rstest::rstest;

use super::{
    repository::{content, name, own, take},
    rig::{Rig, TIMES, assert_done},
};

/// Calls that change a store.
fn writes(calls: &[String]) -> Vec<&String> {
    let verbs = ["put", "create", "begin", "append", "close", "delete"];
    calls.iter().filter(|call| verbs.contains(&call.split(' ').next().unwrap())).collect()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_backup_comes_back_byte_for_byte(
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
    #[values(Format::Raw, Format::Framed)] format: Format,
    #[values(0, 1)] which: usize,
) {
    let rig = Rig::new(framing, format).await;
    let backup = [&rig.full, &rig.incremental][which];
    let report = rig.run(&rig.task(Choice::Id(backup.id))).await;
    assert_done(&report);
    let expected = rig.expected(which);
    assert_eq!(rig.placed(), expected);
    let (objects, bytes) = (expected.len(), rig.trees[which].values().map(Vec::len).sum::<usize>());
    // What says something about the backup stays where it is.
    let apart = 500 + 50 + 90 + 30;
    assert_eq!(report.objects, Some(i64::try_from(objects).unwrap()));
    assert_eq!(report.written_objects, report.objects);
    assert_eq!(report.bytes, Some(i64::try_from(bytes - apart).unwrap()));
    assert_eq!(report.backup, Some(backup.id.to_string()));
    assert_eq!(report.server_version.as_deref(), Some("v4.2.0"));
    assert!(report.at_time.unwrap().starts_with("2026-11-21 "));
    let plan = report.plan.unwrap();
    assert_eq!((plan.data_path.as_str(), plan.data_format, plan.hk_data_format), ("c1/data", format, format));
    assert_eq!(rig.marker()["hash"], plan.hash);
    assert_eq!(rig.marker()["completedAt"], "2026-11-21T05:46:40Z");
    assert_eq!(writes(&rig.source.calls()).len(), 2, "the lists of two backups, and nothing since");
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_second_apply_touches_nothing(#[values(true, false)] named: bool, #[values(true, false)] gone: bool) {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let choice = if named { Choice::Id(rig.incremental.id) } else { Choice::Latest };
    let mut task = rig.task(choice);
    assert_done(&rig.run(&task).await);
    let (before, calls) = (rig.placed(), rig.target.calls().len());
    if gone {
        rig.source.keys().iter().for_each(|key| assert!(rig.source.unset(key)));
    } else {
        take(&rig.source, rig.repository, (TIMES[1] + 1, Framing::Raw), &own(3), None).await;
    }
    // The same manifest on a new Kubernetes.
    (task.subject.uid, task.subject.run) = ("another".into(), "another-1".into());
    let report = rig.run(&task).await;
    assert_done(&report);
    let already = report.already_restored.unwrap();
    assert_eq!((already.uid.as_str(), already.completed_at.as_str()), ("u", "2026-11-21T05:46:40Z"));
    assert_eq!((report.backup, report.written_objects), (Some(rig.incremental.id.to_string()), Some(0)));
    assert_eq!(rig.placed(), before);
    assert_eq!(writes(&rig.target.calls()[calls..]), Vec::<&String>::new());
}

/// An object that is sent in parts, in a folder of a volume whose file system keeps a folder for itself.
#[rstest]
#[tokio::test]
async fn a_volume_is_filled(#[values(Format::Raw, Format::Framed)] format: Format) {
    let mut rig = Rig::new(Framing::Crc2048, format).await;
    let mut tree = own(3);
    tree.insert(name(9), content(9, (5 << 20) + 77));
    let large = take(&rig.source, rig.repository, (TIMES[1] + 1, Framing::Crc2048), &tree, None).await;
    rig.trees[0] = tree;
    let mount = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(mount.path().join("lost+found/deep")).unwrap();
    std::fs::write(mount.path().join("lost+found/deep/#12"), "theirs").unwrap();
    let mut task = rig.task(Choice::Latest);
    let volume = serde_json::json!({"claim": "mo-data", "path": ""});
    task.target.location = Location::Volume(serde_json::from_value(volume).unwrap());
    let target = Arc::new(Volume::open(mount.path(), "").unwrap());
    let report = rig.run_to(&task, target.clone()).await;
    assert_done(&report);
    assert_eq!(report.backup, Some(large.id.to_string()));
    for (key, expected) in rig.expected(0) {
        assert_eq!(std::fs::read(mount.path().join(&key)).unwrap(), expected, "{key}");
    }
    let report = rig.run_to(&task, target).await;
    assert!(report.already_restored.is_some(), "{report:#?}");
}
