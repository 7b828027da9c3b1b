//! What a restore says beside its result.

use rstest::rstest;

use super::{Desk, FULL, INCREMENTAL};

const TO: &str = "--backup_path prod --restore_dir filesystem --restore_path new";

fn run(desk: &Desk, line: &str) -> (i32, String, String) {
    desk.run(&line.split_whitespace().collect::<Vec<_>>())
}

/// The configuration that MatrixOne 4.2 comes with looks elsewhere.
#[rstest]
fn who_restores_4_2_by_default_is_warned_in_every_form(#[values("table", "json")] form: &str) {
    let desk = Desk::with("whole");
    let line = format!("restore {INCREMENTAL} {TO} --output {form}");
    for _ in ["restored", "already restored"] {
        let (code, out, err) = run(&desk, &line);
        assert!(code == 0 && !out.contains("shared2"), "{out}");
        assert!(err.contains("warning: etc/launch of MatrixOne 4.2 looks in ./mo-data/shared2"), "{err}");
    }
}

/// Said even where nothing comes of it, as the target is not empty: so it is said before.
#[test]
fn a_newest_backup_that_cannot_be_read_is_told_before_an_older_one_is_restored() {
    let desk = Desk::with("whole");
    std::fs::write(desk.path().join(format!("prod/catalog/{INCREMENTAL}.json")), "{").unwrap();
    let told = |err: &str| {
        let line = err.lines().find(|line| line.starts_with("warning: passed over")).unwrap_or_default();
        assert!(line.contains(INCREMENTAL) && line.contains(&format!("others is {FULL} with data of")), "{err}");
    };
    let (code, _, err) = run(&desk, &format!("restore --latest {TO}"));
    assert_eq!(code, 0, "{err}");
    told(&err);
    std::fs::remove_file(desk.path().join("new/mo-data/mo-backup-restore.json")).unwrap();
    let (code, _, err) = run(&desk, &format!("restore --latest {TO}"));
    assert!(code == 11 && err.contains("is there"), "{code} {err}");
    told(&err);
}
