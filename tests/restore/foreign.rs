//! Backups as MatrixOne v1.2.4, v3.0.18 (framed) and v4.2.0 (raw) wrote them, restored by their paths alone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::Framing,
    store::{
        framing,
        memory::{Fault, Memory},
    },
    task::{Choice, RestoreTask},
};
use rstest::rstest;

use super::{
    repository::stored,
    rig::{Rig, assert_done},
};

/// Where the folders lie in the repository.
pub const FOLDERS: [&str; 2] = ["mo/2026-11-20", "mo/2026-11-21_10:00"];

pub fn folder(version: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples").join(version).join(kind)
}

/// Files of a folder: path below it, and stored bytes.
pub fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

pub async fn rig(version: &str, format: Format) -> Rig {
    let rig = Rig { source: Memory::new(), ..Rig::new(Framing::Raw, format).await };
    for (kind, at) in ["full", "incr"].into_iter().zip(FOLDERS) {
        for (path, content) in files(&folder(version, kind)) {
            rig.source.set(&format!("{at}/{path}"), content);
        }
    }
    rig
}

fn task(rig: &Rig, folders: &[&str]) -> RestoreTask {
    rig.task(Choice::Paths(folders.iter().map(ToString::to_string).collect()))
}

pub fn content(version: &str, kind: &str, path: &str) -> Vec<u8> {
    let read = std::fs::read(folder(version, kind).join(path)).unwrap();
    if version == "v4.2.0" {
        return read;
    }
    framing::deframed(&read).unwrap()
}

/// What the rule says belongs in the target: the last list's rows, each from the folder that has copied it, and the last
/// folder's ids.
fn expected(rig: &Rig, version: &str, kind: &str) -> BTreeMap<String, Bytes> {
    let framing = if rig.format == Format::Raw { Framing::Raw } else { Framing::Crc2048 };
    let list = String::from_utf8(content(version, kind, "tae/tae_list")).unwrap();
    let mut expected: BTreeMap<_, _> = list
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let from = if fields[3] == "true" { kind } else { "full" };
            let content = content(version, from, &format!("tae/{}", fields[0]));
            (format!("c1/data/{}", fields[0]), stored(framing, &content))
        })
        .collect();
    expected.insert("c1/hk_data".into(), stored(framing, &content(version, kind, "hakeeper/hk_data")));
    expected
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_chain_of_folders_is_restored(
    #[values(("v1.2.4", 81, 91), ("v3.0.18", 87, 101), ("v4.2.0", 105, 121))] (version, full, incremental): (
        &'static str,
        usize,
        usize,
    ),
    #[values(Format::Raw, Format::Framed)] format: Format,
) {
    for (folders, kind, rows) in [(&FOLDERS[..1], "full", full), (&FOLDERS[..], "incr", incremental)] {
        let rig = rig(version, format).await;
        let report = rig.run(&task(&rig, folders)).await;
        assert_done(&report);
        let expected = expected(&rig, version, kind);
        assert_eq!(expected.len(), rows + 1);
        assert!(rig.placed() == expected, "{version} {kind}: other files or contents");
        assert_eq!(report.backup.as_deref(), folders.last().copied());
        assert_eq!(report.server_version.as_deref(), Some(version));
        assert_eq!(report.objects, Some(i64::try_from(rows + 1).unwrap()));
        let bytes: usize = match format {
            Format::Raw => expected.values().map(Bytes::len).sum(),
            Format::Framed => usize::try_from(report.bytes.unwrap()).unwrap(),
        };
        assert_eq!(report.bytes, Some(i64::try_from(bytes).unwrap()), "{version} {kind}");
        let again = rig.run(&task(&rig, folders)).await;
        assert!(again.already_restored.is_some(), "{again:#?}");
    }
}

/// Changes one thing; returns what must be named.
fn damage(rig: &Rig, what: &str) -> String {
    let in_last = |path: &str| format!("{}/{path}", FOLDERS[1]);
    let keys = rig.source.keys();
    let object = |folder: &str| {
        let prefix = format!("{folder}/tae/01a1fb");
        keys.iter().find(|key| key.starts_with(&prefix)).unwrap().clone()
    };
    let flip = |key: String| (assert!(rig.source.flip(&key, 9)), key).1;
    let unset = |key: String| (assert!(rig.source.unset(&key)), key).1;
    match what {
        "unfinished" => unset(in_last("mo_meta")),
        "bit in mo_meta" => flip(in_last("mo_meta")),
        "bit in the list" => flip(in_last("tae/tae_list")),
        "list is missing" => unset(in_last("tae/tae_list")),
        "bit in hk_data" => flip(in_last("hakeeper/hk_data")),
        "hk_data is missing" => unset(in_last("hakeeper/hk_data")),
        "object is missing" => unset(object(FOLDERS[1])),
        "bit in an object" => flip(object(FOLDERS[1])),
        "companion is cut" => {
            let key = in_last("tae/tae_sum.sha256");
            rig.source.set(&key, rig.source.get(&key).unwrap().slice(..30));
            key
        }
        other => panic!("{other}"),
    }
}

#[rstest]
#[case("unfinished", Reason::BackupIncomplete)]
#[case("bit in mo_meta", Reason::ObjectCorrupted)]
#[case("bit in the list", Reason::ObjectCorrupted)]
#[case("list is missing", Reason::BackupIncomplete)]
#[case("bit in hk_data", Reason::ObjectCorrupted)]
#[case("hk_data is missing", Reason::BackupIncomplete)]
#[case("object is missing", Reason::ObjectMissing)]
#[case("bit in an object", Reason::ObjectCorrupted)]
#[case("companion is cut", Reason::ObjectCorrupted)]
#[tokio::test(start_paused = true)]
async fn a_damaged_folder_is_refused_by_name(#[case] what: &str, #[case] expected: Reason) {
    for version in ["v1.2.4", "v3.0.18"] {
        let rig = rig(version, Format::Raw).await;
        let named = damage(&rig, what);
        let report = rig.run(&task(&rig, &FOLDERS)).await;
        assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{what}: {report:#?}");
        assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{what}");
        let message = report.said.message.unwrap();
        assert!(message.contains(&named), "{what}: {message} does not name {named}");
        assert!(rig.target.keys().is_empty(), "{what}");
    }
}

#[rstest]
#[case::no_base(&FOLDERS[1..], Reason::ObjectMissing, "tae/01a1fb")]
#[case::wrong_order(&[FOLDERS[1], FOLDERS[0]], Reason::InvalidSpec, "oldest first")]
#[case::twice(&[FOLDERS[0], FOLDERS[0]], Reason::InvalidSpec, "oldest first")]
#[case::nothing_there(&["mo/none"], Reason::BackupIncomplete, "mo/none/mo_meta")]
#[tokio::test(start_paused = true)]
async fn a_wrong_chain_is_refused(#[case] folders: &[&str], #[case] expected: Reason, #[case] named: &str) {
    let rig = rig("v4.2.0", Format::Raw).await;
    let report = rig.run(&task(&rig, folders)).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().contains(named));
    assert!(rig.target.keys().is_empty());
}

/// The place itself is the folder: nothing lies beside it.
#[tokio::test(start_paused = true)]
async fn the_place_itself_can_be_the_folder() {
    let rig = Rig { source: Memory::new(), ..Rig::new(Framing::Raw, Format::Raw).await };
    for (path, content) in files(&folder("v3.0.18", "full")) {
        rig.source.set(&path, content);
    }
    let report = rig.run(&task(&rig, &[""])).await;
    assert_done(&report);
    assert!(rig.placed() == expected(&rig, "v3.0.18", "full"));
    assert!(rig.run(&task(&rig, &[""])).await.already_restored.is_some());
    assert!(rig.source.unset("mo_meta"));
    let refused = Rig { target: Memory::new(), ..rig };
    let report = refused.run(&task(&refused, &[""])).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupIncomplete.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().starts_with("mo_meta is missing"));
}

/// Whether objects are there is asked of listings: one for each folder, whatever it holds, and that of the checkpoints. Of the
/// objects only the five checkpoints and their four parts are read.
#[tokio::test(start_paused = true)]
async fn presence_is_asked_of_listings() {
    let rig = rig("v4.2.0", Format::Raw).await;
    let task = RestoreTask { plan_only: true, ..task(&rig, &FOLDERS) };
    assert_done(&rig.run(&task).await);
    let calls = rig.source.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("list ")).count(), 3, "{calls:#?}");
    let read = |call: &&String| call.starts_with("read ") && call.contains("/tae/01a1fb");
    assert_eq!(calls.iter().filter(read).count(), 9, "{calls:#?}");
}

/// Objects of which the lists say no digest are read again by the attempt that goes on.
#[tokio::test(start_paused = true)]
async fn a_foreign_restore_is_gone_on_with() {
    let rig = rig("v1.2.4", Format::Framed).await;
    rig.target.fault(50, Fault::Before, || {});
    let report = rig.run(&task(&rig, &FOLDERS)).await;
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, true), "{report:#?}");
    let there = rig.placed().len();
    assert!(there > 10);
    let report = rig.run(&task(&rig, &FOLDERS)).await;
    assert_done(&report);
    let expected = expected(&rig, "v1.2.4", "incr");
    assert_eq!(report.written_objects, Some(i64::try_from(expected.len() - there).unwrap()));
    assert!(rig.placed() == expected);
}

#[test]
fn the_samples_are_framed_as_their_versions_frame() {
    for (version, framed) in [("v1.2.4", true), ("v3.0.18", true), ("v4.2.0", false)] {
        let companion = std::fs::read(folder(version, "full").join("tae/tae_sum.sha256")).unwrap();
        assert_eq!(framing::digest_file(&companion).unwrap().1 == Framing::Crc2048, framed);
    }
}
