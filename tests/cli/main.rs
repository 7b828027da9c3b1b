//! The program as people call it: what is wrong with a command line is said in one line that names the flag, with the exit
//! code that the documentation tells, and nothing is written.

#![allow(clippy::unwrap_used, reason = "tests")]

mod check;
mod pictures;
mod restore;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use rstest::rstest;

const FULL: &str = "01a1fe2d-8328-76e6-9b96-b4c1beddf5de";
const INCREMENTAL: &str = "01a1fe2d-8329-75bf-85cf-be2fdfb06e9c";
const NOBODY: &str = "01a1fe2d-0000-7000-8000-000000000000";

/// A folder with a repository `prod` from the museum, which the command line owns.
struct Desk(tempfile::TempDir);

impl Desk {
    fn with(exhibit: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), &[(exhibit, "prod")])
    }

    fn at(folder: tempfile::TempDir, exhibits: &[(&str, &str)]) -> Self {
        for (exhibit, name) in exhibits {
            let museum = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/museum").join(exhibit);
            copy(&museum.join("repository"), &folder.path().join(name));
            let marker = folder.path().join(name).join("mo-backup.json");
            let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
            text["owner"]["uid"] = "command-line".into();
            std::fs::write(&marker, text.to_string()).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::cargo_bin("mo-backup").unwrap();
        command.args(arguments).current_dir(self.path()).env_clear().env("TZ", "Asia/Shanghai").write_stdin("");
        let done = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    }

    /// What a terminal of this width gets to see.
    fn terminal(&self, columns: usize, line: &str) -> String {
        self.terminal_with(columns, line, &[])
    }

    fn terminal_with(&self, columns: usize, line: &str, environment: &[(&str, &str)]) -> String {
        let program = env!("CARGO_BIN_EXE_mo-backup");
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &format!("stty cols {columns} rows 60; '{program}' {line}"), "/dev/null"]);
        command.current_dir(self.path()).env_clear().env("TZ", "Asia/Shanghai").env("TERM", "xterm-256color");
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("SHELL", "/bin/sh");
        command.env("LC_ALL", "C.UTF-8").envs(environment.iter().copied()).stdin(std::process::Stdio::null());
        let done = command.output().unwrap();
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Every file, and what it holds.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        walk(self.path(), &mut tree);
        tree
    }
}

fn walk(folder: &Path, tree: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, tree);
        } else {
            tree.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let into = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &into);
        } else {
            std::fs::copy(entry.path(), into).unwrap();
        }
    }
}

const BACKUP: &str = "backup --password-file pw";
const PLACE: &str = "--backup_dir filesystem --path prod";

#[rstest]
#[case::unknown_command("backups", 2, "backups")]
#[case::unknown_flag("list --colour", 2, "--colour")]
#[case::unknown_flag_of_backup("backup --pth x", 2, "--pth")]
#[case::no_number("backup --port many --backup_dir filesystem --path x", 2, "--port")]
#[case::port_zero("backup --port 0 --backup_dir filesystem --path x", 2, "--port")]
#[case::no_place("{BACKUP}", 2, "--backup-dir is missing")]
#[case::no_such_kind("{BACKUP} --backup_dir tape", 2, "tape")]
#[case::no_path("{BACKUP} --backup_dir filesystem", 2, "--path")]
#[case::empty_path("{BACKUP} --backup_dir filesystem --path=", 2, "--path")]
#[case::path_with_s3("{BACKUP} --backup_dir s3 --bucket abc --path x", 2, "--path")]
#[case::bucket_with_filesystem("{BACKUP} {PLACE} --bucket abc", 2, "--bucket")]
#[case::no_bucket("{BACKUP} --backup_dir s3 --filepath x", 2, "--bucket")]
#[case::bad_bucket("{BACKUP} --backup_dir s3 --bucket A_b", 2, "--bucket")]
#[case::bad_endpoint("{BACKUP} --backup_dir s3 --bucket abc --endpoint 127.0.0.1:9000", 2, "--endpoint")]
#[case::an_address_without_path_style(
    "{BACKUP} --backup_dir s3 --bucket abc --endpoint http://127.0.0.1:9000",
    2,
    "give --is-minio"
)]
#[case::a_region_of_a_folder("{BACKUP} {PLACE} --region eu-1", 2, "--region")]
#[case::keys_of_a_folder("{BACKUP} {PLACE} --secret_access_key canary-3", 2, "--secret-access-key")]
#[case::the_root("{BACKUP} --path /", 2, "root of this machine")]
#[case::half_a_key("{BACKUP} --backup_dir s3 --bucket abc --access_key_id AKIA", 2, "--access-key-id needs")]
#[case::other_half("{BACKUP} --backup_dir s3 --bucket abc --secret_access_key_file pw", 2, "--access-key-id")]
#[case::two_secrets(
    "{BACKUP} --backup_dir s3 --bucket abc --access_key_id A --secret_access_key canary-1 --secret_access_key_file pw",
    2,
    "one of"
)]
#[case::climbing("{BACKUP} --backup_dir s3 --bucket abc --filepath a/../b", 2, "--filepath")]
#[case::a_path_for_no_server("{BACKUP} --backup_dir filesystem --path 'pr?d'", 2, "--path")]
#[case::no_ca("{BACKUP} --backup_dir s3 --bucket abc --ca-file nothing", 2, "--ca-file")]
#[case::no_pem("{BACKUP} --backup_dir s3 --bucket abc --ca-file pw", 2, "no certificate")]
#[case::base_of_a_full_one("{BACKUP} {PLACE} --base_id {FULL}", 2, "--base-id goes with")]
#[case::no_base("{BACKUP} {PLACE} --backup_type incremental", 2, "--base-id")]
#[case::bad_base("{BACKUP} {PLACE} --backup_type incremental --base_id seven", 2, "seven")]
#[case::unknown_base("{BACKUP} {PLACE} --backup_type incremental --base_id {NOBODY}", 3, "--base-id")]
#[case::no_password("backup {PLACE}", 2, "--password-file")]
#[case::no_password_file("backup {PLACE} --password-file nothing", 2, "--password-file")]
#[case::empty_password_file("backup {PLACE} --password-file empty", 2, "empty")]
#[case::two_passwords("{BACKUP} {PLACE} --password canary-1", 2, "one of")]
#[case::below_a_file("{BACKUP} --backup_dir filesystem --path pw/x", 2, "pw is no folder")]
#[case::staging_is_a_file("{BACKUP} {PLACE} --staging pw", 2, "--staging")]
#[case::server_path_alone("{BACKUP} {PLACE} --staging-server-path /x", 2, "--staging")]
#[case::nobody_answers("{BACKUP} {PLACE} --port 1", 10, "--port")]
#[case::no_index("list", 2, "--meta-path")]
#[case::a_strange_index("list --meta_path pw", 2, "--meta-path")]
#[case::nothing_there("list --backup_dir filesystem --backup_path nothing", 3, "nothing")]
#[case::no_id("list seven", 2, "seven")]
#[case::unknown_id("list {NOBODY} --path prod", 3, NOBODY)]
#[case::an_id_of_mo_br("check 25536ff0-126f-11ef-9902-26dd28356ef3 --path prod", 3, "--backup-path")]
#[case::unknown_to_check("check {NOBODY} --path prod", 3, NOBODY)]
#[case::no_id_to_delete("delete", 2, "ID")]
#[case::unknown_to_delete("delete {NOBODY} --path prod", 3, NOBODY)]
#[case::a_base_that_is_needed("delete {FULL} --path prod", 11, INCREMENTAL)]
#[case::forced_and_kept("delete {FULL} --path prod --force --not_delete_data", 2, "--force")]
#[case::no_target("restore {FULL} --backup_path prod", 2, "--restore-dir")]
#[case::unknown_to_restore(
    "restore {NOBODY} --backup_path prod --restore_dir filesystem --restore_path new",
    3,
    NOBODY
)]
#[case::one_of_two("restore --backup_path prod --restore_dir filesystem --restore_path new", 2, "--latest")]
fn what_is_wrong_is_named_and_nothing_is_written(#[case] line: &str, #[case] code: i32, #[case] named: &str) {
    let desk = Desk::with("whole");
    std::fs::write(desk.path().join("pw"), "canary-2\n").unwrap();
    std::fs::write(desk.path().join("empty"), "\n").unwrap();
    let before = desk.tree();
    let line = line.replace("{BACKUP}", BACKUP).replace("{PLACE}", PLACE);
    let line = line.replace("{FULL}", FULL).replace("{NOBODY}", NOBODY);
    let arguments: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let (ended, out, err) = desk.run(&arguments);
    assert_eq!(ended, code, "{line}\n{out}{err}");
    let errors: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{err}");
    let told = ["error: ", "warning: ", "backup: "];
    let beside = err.lines().filter(|line| !told.iter().any(|begin| line.starts_with(begin))).count();
    assert_eq!((beside, out.as_str()), (0, ""), "{err}");
    assert!(errors[0].contains(named), "{named} is not in {err}");
    assert!(!err.contains("canary"), "{err}");
    assert_eq!(desk.tree(), before, "something was written");
}

#[test]
fn a_link_that_leads_nowhere_is_no_folder() {
    let desk = Desk::with("whole");
    std::os::unix::fs::symlink("nowhere", desk.path().join("link")).unwrap();
    for line in [["list", "--path", "link"], ["check", "--backup_path", "link/below"]] {
        let (code, _, err) = desk.run(&line);
        assert!(code == 2 && err.contains("link is no folder"), "{code} {err}");
    }
}

/// In a repository nobody would look for what `mo_br` has made there.
#[rstest]
#[case::itself("old/full", "itself")]
#[case::above("old", "full")]
fn a_folder_with_backups_of_others_does_not_become_a_repository(#[case] path: &str, #[case] named: &str) {
    let desk = Desk::with("whole");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples/v4.2.0"), &desk.path().join("old"));
    let before = desk.tree();
    let (code, _, err) = desk.run(&["backup", "--password", "canary-5", "--port", "1", "--path", path]);
    assert!(code == 2 && err.contains("BACKUP statement made") && err.contains(named), "{code} {err}");
    assert_eq!(desk.tree(), before);
}

/// What goes through a staging folder may lie where MatrixOne could not write.
#[test]
fn with_staging_any_folder_can_be_a_repository() {
    let desk = Desk::with("whole");
    std::fs::create_dir(desk.path().join("stage")).unwrap();
    let nobody = ["backup", "--password", "canary-4", "--port", "1", "--path", "Ü 1"];
    let (code, _, err) = desk.run(&nobody);
    assert!(code == 2 && err.contains("MatrixOne cannot write"), "{code} {err}");
    let (code, _, err) = desk.run(&[&nobody[..], &["--staging", "stage"]].concat());
    assert!(code == 10 && err.contains("--port") && !err.contains("canary"), "{code} {err}");
}

#[test]
fn bash_completes_the_flags_of_a_command() {
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(mo-backup restore --restore-d); COMP_CWORD=2; \
                  \"$(complete -p mo-backup | grep -o '_mo[^ ]*')\" mo-backup --restore-d restore; echo ${COMPREPLY[*]}";
    let done =
        std::process::Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_mo-backup")]).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "--restore-dir\n", "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn who_reads_no_further_is_no_error() {
    let program = env!("CARGO_BIN_EXE_mo-backup");
    let mut command = std::process::Command::new(program);
    let command =
        command.args(["help", "restore"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[rstest]
#[case("missing-object", "missing")]
#[case("flipped-bit", "SHA-256")]
fn damage_is_found_and_named(#[case] exhibit: &str, #[case] named: &str) {
    let desk = Desk::with(exhibit);
    let before = desk.tree();
    let (code, out, err) = desk.run(&["check", INCREMENTAL, "--path", "prod"]);
    assert_eq!(code, 4, "{out}{err}");
    assert!(out.lines().any(|line| line.starts_with("fault: ") && line.contains(named)), "{out}{err}");
    assert_eq!(desk.tree(), before);
}

#[test]
fn a_base_is_deleted_by_force_and_what_others_need_stays() {
    let desk = Desk::with("whole");
    let (code, out, err) = desk.run(&["delete", FULL, "--path", "prod", "--force"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("stay"), "{out}");
    let (code, out, err) = desk.run(&["check", INCREMENTAL, "--path", "prod"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = desk.run(&["list", "--path", "prod", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, listed.as_array().unwrap().len(), listed[0]["id"].as_str()), (0, 1, Some(INCREMENTAL)));
}

#[rstest]
#[case::its_removal_was_cut_off(true, "")]
#[case::its_making_was_cut_off(false, "--force")]
fn what_is_left_of_a_backup_is_removed(#[case] begun: bool, #[case] flag: &str) {
    let desk = Desk::with("whole");
    let entry = desk.path().join(format!("prod/catalog/{INCREMENTAL}.json"));
    let record = desk.path().join(format!("prod/trash/{INCREMENTAL}.json"));
    if begun {
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        std::fs::rename(entry, &record).unwrap();
    } else {
        std::fs::remove_file(entry).unwrap();
        let before = desk.tree();
        let (code, _, err) = desk.run(&["delete", INCREMENTAL, "--path", "prod"]);
        assert!(code == 11 && err.contains("--force"), "{code} {err}");
        assert_eq!(desk.tree(), before);
    }
    let line = format!("delete {INCREMENTAL} --path prod {flag}");
    let (code, out, err) = desk.run(&line.split_whitespace().collect::<Vec<_>>());
    assert!(code == 0 && out.contains("Deleted backup") && !out.contains(": 0 objects"), "{out}{err}");
    let left: Vec<_> = desk.tree().into_keys().filter(|path| path.to_string_lossy().contains(INCREMENTAL)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(desk.run(&["delete", INCREMENTAL, "--path", "prod"]).0, 3);
    assert_eq!(desk.run(&["check", FULL, "--path", "prod"]).0, 0);
}

#[rstest]
#[case("")]
#[case("--force")]
fn nothing_is_deleted_while_an_entry_cannot_be_read(#[case] flag: &str) {
    let desk = Desk::with("whole");
    std::fs::write(desk.path().join(format!("prod/catalog/{INCREMENTAL}.json")), "{").unwrap();
    let before = desk.tree();
    let line = format!("delete {FULL} --path prod {flag}");
    let (code, _, err) = desk.run(&line.split_whitespace().collect::<Vec<_>>());
    assert!(code == 4 && err.contains(INCREMENTAL), "{code} {err}");
    assert_eq!(desk.tree(), before);
}

#[test]
fn times_are_local_and_a_backup_comes_back() {
    let desk = Desk::with("whole");
    let (code, out, err) = desk.run(&["list", "--path", "prod"]);
    assert_eq!((code, err.as_str()), (0, ""), "{err}");
    assert!(out.contains(" +0800 ") && out.contains(FULL) && out.contains(INCREMENTAL), "{out}");
    let restore =
        ["restore", INCREMENTAL, "--backup_path", "prod", "--restore_dir", "filesystem", "--restore_path", "new"];
    let (code, out, err) = desk.run(&restore);
    assert_eq!(code, 0, "{out}{err}");
    assert!(desk.path().join("new/mo-data/local/hk_data").is_file(), "{out}");
    let before = desk.tree();
    let (code, out, err) = desk.run(&restore);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(desk.tree(), before, "a second run has written something");
}
