//! What a check and a list say where there is nothing, or not everything, to be seen.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, FULL, INCREMENTAL};

/// A cron job whose catalogue was lost must not take it for a success; and programs can read what they get.
#[rstest]
#[case("check", "table", 3, "")]
#[case("check", "json", 3, "")]
#[case("list", "json", 0, "[]\n")]
fn a_repository_without_a_catalogue_is_told(
    #[case] command: &str,
    #[case] output: &str,
    #[case] code: i32,
    #[case] expected: &str,
) {
    let desk = Desk::with("whole");
    std::fs::remove_dir_all(desk.path().join("prod/catalog")).unwrap();
    let (ended, out, err) = desk.run(&[command, "--path", "prod", "--output", output]);
    assert_eq!((ended, out.as_str()), (code, expected), "{err}");
    assert!(err.contains("/prod: there are no backups in this repository"), "{err}");
    assert_eq!(err.starts_with("error: "), code != 0, "{err}");
}

/// One repository by two names, and one that is gone.
#[test]
fn what_stands_in_the_index_twice_is_shown_once_and_what_is_gone_can_be_removed() {
    let desk = Desk::with("whole");
    super::copy(&desk.path().join("prod"), &desk.path().join("again"));
    let at = |name: &str| {
        let path = desk.path().join(name).display().to_string();
        json!({"volume": {"claim": "", "path": path.trim_start_matches('/'), "serverPath": "/"}})
    };
    let index = desk.path().join("mo-backup.meta");
    let write = |names: &[&str]| {
        let repositories: Vec<Value> = names.iter().map(|name| at(name)).collect();
        let content = json!({"kind": "mo-backup index", "format": 1, "repositories": repositories, "forgotten": []});
        std::fs::write(&index, content.to_string()).unwrap();
    };
    write(&["prod", "again", "gone"]);
    let (code, out, err) = desk.run(&["list"]);
    assert_eq!((code, out.matches(FULL).count()), (3, 1), "{out}{err}");
    let said = |begin: &str, end: &str| err.lines().any(|line| line.starts_with(begin) && line.ends_with(end));
    assert!(said("warning: ", "; entry 2 of \"repositories\" in the index mo-backup.meta can be removed"), "{err}");
    assert!(
        said("error: ", "if it is gone for good, remove entry 3 of \"repositories\" in the index mo-backup.meta"),
        "{err}"
    );
    let (_, out, err) = desk.run(&["check"]);
    assert!(out.ends_with("Backups checked: 2; nothing damaged was found\n"), "{out}{err}");
    // Done as it says, everything is well.
    write(&["prod"]);
    let (code, _, err) = desk.run(&["list"]);
    assert_eq!((code, err.as_str()), (0, ""));
}

/// Each by itself, with the flag that MatrixOne's own tool has for it.
#[test]
fn an_incremental_folder_alone_says_what_to_name() {
    let desk = Desk::with("whole");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples/v4.2.0");
    let [full, incremental] = ["full", "incr"].map(|kind| samples.join(kind).display().to_string());
    let (code, out, err) = desk.run(&["check", "--backup-path", &incremental]);
    assert_eq!(code, 11, "{out}{err}");
    assert!(err.contains("96 objects") && err.contains("--backup-path") && !out.contains("damaged\n"), "{out}{err}");
    let (code, out, err) = desk.run(&["check", "--backup-path", &full, "--backup-path", &incremental]);
    assert_eq!(code, 0, "{out}{err}");
}

/// What the documentation says of JSON.
#[test]
fn a_list_is_one_array_and_everything_else_is_lines() {
    let desk = Desk::with("whole");
    let told = |arguments: &[&str]| {
        let (code, out, err) = desk.run(&[arguments, &["--path", "prod", "--output", "json"]].concat());
        assert_eq!(code, 0, "{out}{err}");
        out
    };
    let list: Value = serde_json::from_str(&told(&["list"])).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    for (arguments, lines) in
        [(&["check"][..], 2), (&["check", FULL], 1), (&["list", FULL], 1), (&["list", FULL, "--not-check-data"], 1)]
    {
        let out = told(arguments);
        let backups: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(backups.len(), lines, "{out}");
        let checked = backups.iter().filter(|backup| backup["check"]["good"] == json!(true)).count();
        assert_eq!(checked, if arguments.contains(&"--not-check-data") { 0 } else { lines }, "{out}");
        assert!(backups.iter().all(|backup| backup["id"].is_string()), "{out}");
    }
}

#[test]
fn a_damaged_entry_list_is_named() {
    let desk = Desk::with("truncated-list");
    let (code, out, err) = desk.run(&["check", "--path", "prod"]);
    let named = format!("data/{INCREMENTAL}/1/entries.jsonl.zst");
    assert!(code == 4 && out.contains(&format!("fault: failed to read {named}: ")), "{code} {out}{err}");
}

/// What desktops, network file systems and people leave among the entries.
#[rstest]
#[case(".DS_Store")]
#[case("._{INCREMENTAL}.json")]
#[case(".nfs000000000a2c0c6f00000001")]
#[case("{INCREMENTAL}.json.bak")]
#[case("{INCREMENTAL}.JSON")]
#[case("copy of {INCREMENTAL}.json")]
#[case("old/{INCREMENTAL}.json")]
fn a_file_that_cannot_be_an_entry_is_told_once_and_is_in_nobodys_way(#[case] file: &str) {
    let desk = Desk::with("whole");
    let file = file.replace("{INCREMENTAL}", INCREMENTAL);
    let path = desk.path().join("prod/catalog").join(&file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{").unwrap();
    for command in ["list", "check"] {
        let (code, _, err) = desk.run(&[command, "--path", "prod"]);
        let named = err.matches(&format!("unexpected files: 1 (catalog/{file})")).count();
        assert!((code, named) == (0, 1) && !err.contains("delete its backup"), "{command}: {code} {err}");
    }
    let (code, out, err) = desk.run(&["delete", INCREMENTAL, "--path", "prod"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(path.is_file(), "it is not ours to remove");
}
