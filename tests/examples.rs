//! Every example can be read, is taken by the rules of its kind, and names only what is there.

use std::{fs, path::Path};

use kube::core::cel::Validator;
use mo_backup::{
    api::{Backup, BackupStorage, Restore, crds},
    task::{BackupTask, ProbeTask, PurgeTask, RestoreTask},
};
use serde_json::Value;

/// The documents of all examples, with the file's name.
fn documents() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let documents = |path: &Path| -> Vec<(String, Value)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let all: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
        all.into_iter().map(|document| (name.clone(), document)).collect()
    };
    paths.iter().flat_map(|path| documents(path)).collect()
}

/// The documents of a kind.
fn of_kind(kind: &str) -> Vec<(String, Value)> {
    documents().into_iter().filter(|(_, document)| document["kind"] == kind).collect()
}

/// The document as the API server stores it: with an identity.
fn stored(mut document: Value) -> Value {
    let identity = [
        ("namespace", "databases"),
        ("uid", "0b9f1c1e-7f5d-4f0e-9f43-3c1b5a0e7d21"),
        ("creationTimestamp", "2026-11-20T12:00:00Z"),
    ];
    for (name, value) in identity {
        document["metadata"][name] = value.into();
    }
    document
}

/// A field that the type does not know would be gone after reading and writing.
fn unknown_fields(path: &str, written: &Value, read: &Value, out: &mut Vec<String>) {
    for (name, value) in written.as_object().into_iter().flatten() {
        match read.get(name) {
            None => out.push(format!("{path}.{name}")),
            Some(read) => unknown_fields(&format!("{path}.{name}"), value, read, out),
        }
    }
}

fn read<T: serde::de::DeserializeOwned + serde::Serialize>(name: &str, document: &Value) -> T {
    let object: T = serde_json::from_value(document.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut unknown = vec![];
    unknown_fields("", document, &serde_json::to_value(&object).unwrap(), &mut unknown);
    assert!(unknown.is_empty(), "{name}: nobody knows {unknown:?}");
    object
}

#[test]
fn every_example_is_of_a_known_kind() {
    for (name, document) in documents() {
        let known = ["Secret", "Backup", "BackupStorage", "Restore"].iter().any(|kind| document["kind"] == *kind);
        assert!(known, "{name}: {}", document["kind"]);
        assert!(document["metadata"].get("namespace").is_none(), "{name}: the reader chooses the namespace");
    }
}

#[test]
fn the_rules_take_every_example() {
    for crd in crds() {
        let kind = crd.spec.names.kind.clone();
        let schema = serde_json::to_value(crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
        let examples = of_kind(&kind);
        assert!(!examples.is_empty(), "no example of {kind}");
        for (name, document) in examples {
            Validator::new().validate(&schema, &document, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn what_the_examples_name_is_there() {
    let names = |kind| of_kind(kind).iter().map(|(_, d)| d["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    let (secrets, storages): (Vec<String>, Vec<String>) = (names("Secret"), names("BackupStorage"));
    for (name, document) in of_kind("Backup") {
        let backup: Backup = read(&name, &document);
        assert!(storages.contains(&backup.spec.storage), "{name}: no example of storage {}", backup.spec.storage);
        let secret = backup.spec.cluster.map(|cluster| cluster.credentials_secret.name);
        assert!(secret.is_none_or(|secret| secrets.contains(&secret)), "{name}");
    }
    for (name, document) in of_kind("Restore") {
        let source = read::<Restore>(&name, &document).spec.source;
        let backups: Vec<String> = names("Backup");
        assert!(source.backup.is_none_or(|b| backups.contains(&b.name)), "{name}");
        assert!(source.repository.is_none_or(|r| storages.contains(&r.storage)), "{name}");
    }
    for (name, document) in of_kind("BackupStorage") {
        let storage: BackupStorage = read(&name, &document);
        let secret = storage.spec.s3.and_then(|s3| s3.credentials_secret);
        assert!(secret.is_none_or(|secret| secrets.contains(&secret.name)), "{name}");
    }
}

/// A password that somebody forgot to replace must not look like one.
#[test]
fn secrets_are_placeholders() {
    for (name, document) in of_kind("Secret") {
        for (key, value) in document["stringData"].as_object().unwrap() {
            assert!(key == "username" || value == "REPLACE-ME", "{name}: {key}");
        }
    }
}

#[test]
fn every_example_becomes_a_task() {
    let storages: Vec<BackupStorage> =
        of_kind("BackupStorage").into_iter().map(|(name, document)| read(&name, &stored(document))).collect();
    for storage in &storages {
        ProbeTask::for_attempt(storage, String::new(), false, 1).unwrap();
    }
    for (name, document) in of_kind("Backup") {
        let backup: Backup = read(&name, &stored(document));
        let storage = storages.iter().find(|s| s.metadata.name.as_ref() == Some(&backup.spec.storage)).unwrap();
        match backup.spec.cluster.as_ref().map(|cluster| cluster.address.as_ref().unwrap()) {
            Some(address) => drop(BackupTask::for_attempt(&backup, address, storage, None, 1).unwrap()),
            None => drop(PurgeTask::for_attempt(&backup, storage, 1).unwrap()),
        }
    }
    for (name, document) in of_kind("Restore") {
        let restore: Restore = read(&name, &stored(document));
        let id = "01940000-0000-7000-8000-000000000001".parse().unwrap();
        RestoreTask::for_attempt(&restore, &storages[0], Some(id), 1).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
