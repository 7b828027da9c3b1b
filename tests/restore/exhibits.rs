//! The museum: small repositories on disk, each damaged in one way, as they would lie in a bucket. Each is refused by the
//! name of the damaged thing, and its target stays empty. `UPDATE=1` makes them anew, with the damages of `museum.rs`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::{BackupId, Framing},
    store::memory::Memory,
    task::Choice,
};
use serde_json::{Value, json};

use super::{
    museum::damage,
    rig::{Rig, assert_done},
};

/// Folder, the damage as `museum.rs` calls it, and why a restore is refused.
pub const EXHIBITS: [(&str, &str, Reason); 11] = [
    ("missing-object", "object is missing", Reason::ObjectMissing),
    ("missing-object-of-base", "object of the base is missing", Reason::ObjectMissing),
    ("flipped-bit", "bit in an object", Reason::ObjectCorrupted),
    ("truncated-list", "list is cut", Reason::RepositoryDamaged),
    ("truncated-entry", "entry is cut", Reason::RepositoryDamaged),
    ("upwards", "upwards", Reason::RepositoryDamaged),
    ("absolute", "absolute", Reason::RepositoryDamaged),
    ("wrong-digest", "wrong digest", Reason::ObjectCorrupted),
    ("foreign-repository", "other repository", Reason::BackupForeign),
    ("unknown-format", "unknown format", Reason::RepositoryTooNew),
    ("a-million-claimed", "a million claimed", Reason::RepositoryDamaged),
];

/// What nothing is wrong with.
pub const WHOLE: &str = "whole";

pub fn museum() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/museum")
}

fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// Writes an exhibit, and beside it which backup is asked for and what must be named.
fn exhibit(folder: &str, rig: &Rig, label: &Value) {
    let root = museum().join(folder);
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    for key in rig.source.keys() {
        let file = root.join("repository").join(&key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, rig.source.get(&key).unwrap()).unwrap();
    }
    fs::write(root.join("label.json"), format!("{label:#}\n")).unwrap();
}

async fn update() {
    let original = Rig::small(Framing::Raw, Format::Raw).await;
    let id = original.incremental.id;
    exhibit(WHOLE, &original, &json!({"backup": id}));
    for (folder, what, reason) in EXHIBITS {
        let rig = original.fresh();
        let named = damage(&rig, what);
        exhibit(folder, &rig, &json!({"backup": id, "reason": reason.as_str(), "named": named}));
    }
}

/// An exhibit as it lies on disk, and its label.
async fn enter(folder: &str) -> (Rig, BackupId, Value) {
    let root = museum().join(folder);
    let rig = Rig { source: Memory::new(), ..Rig::small(Framing::Raw, Format::Raw).await };
    for (key, content) in files(&root.join("repository")) {
        rig.source.set(&key, content);
    }
    let label: Value = serde_json::from_slice(&fs::read(root.join("label.json")).unwrap()).unwrap();
    let id = label["backup"].as_str().unwrap().parse().unwrap();
    (rig, id, label)
}

#[tokio::test(start_paused = true)]
async fn every_exhibit_is_refused_by_the_name_of_what_is_damaged() {
    if std::env::var_os("UPDATE").is_some() {
        update().await;
    }
    let (rig, id, _) = enter(WHOLE).await;
    assert_done(&rig.run(&rig.task(Choice::Id(id))).await);
    assert!(!rig.placed().is_empty());
    for (folder, _, reason) in EXHIBITS {
        let (rig, id, label) = enter(folder).await;
        assert_eq!(label["reason"], reason.as_str(), "{folder}");
        let report = rig.run(&rig.task(Choice::Id(id))).await;
        assert_eq!(report.said.reason.as_deref(), Some(reason.as_str()), "{folder}: {report:#?}");
        assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{folder}");
        let (message, named) = (report.said.message.unwrap(), label["named"].as_str().unwrap());
        assert!(!named.is_empty() && message.contains(named), "{folder}: {message} does not name {named}");
        assert!(rig.target.keys().is_empty(), "{folder}: {:?}", rig.target.keys());
    }
}

#[test]
fn every_exhibit_is_shown_and_explained() {
    let shown: BTreeSet<_> = fs::read_dir(museum())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<_> = EXHIBITS.iter().map(|(folder, ..)| *folder).chain([WHOLE]).map(str::to_owned).collect();
    assert_eq!(shown, known);
    let words = fs::read_to_string(museum().join("README.md")).unwrap();
    for folder in known {
        assert!(words.contains(&format!("`{folder}`")), "the README does not explain {folder}");
    }
}
