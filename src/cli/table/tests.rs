use rstest::rstest;

use super::*;
use crate::{
    cli::place,
    sample::blank,
    worker::{FolderContent, FoundFolder},
};

fn folder(path: &str) -> Location {
    place::folder("--path", std::path::Path::new(path)).unwrap()
}

fn rows() -> Vec<Row> {
    let catalog = |id: &str, kind, physical, bytes, (started, completed): (&str, &str)| {
        let mut catalog = blank();
        catalog.id = id.parse().unwrap();
        (catalog.kind, catalog.totals.bytes) = (kind, bytes);
        catalog.backup_ts = crate::plan::Timestamp { physical, logical: 1 };
        (catalog.started_at, catalog.completed_at) = (started.into(), completed.into());
        catalog
    };
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let location = folder("/Users/admin/soft/backuppath/syncback2");
    let times = ("2024-05-15T06:26:59Z", "2024-05-15T06:27:08.927034917Z");
    let full =
        catalog("01a1fb92-c001-7000-8000-000000000001", Kind::Full, 1_715_754_419_668_571_000, 70_000_123, times);
    let times = ("2024-05-15T06:29:38Z", "no time");
    let id = "01a1fb92-c001-7000-8000-000000000002";
    let incremental = catalog(id, Kind::Incremental, 1_715_754_578_690_660_000, 72_400_000, times);
    [full, incremental].iter().map(|catalog| Row::of(catalog, &location, &zone)).collect()
}

fn drawn(rows: &[Row], terminal: Option<usize>) -> String {
    let widest = rows.iter().flat_map(|row| &row.path).map(|line| line.chars().count()).max().unwrap_or_default();
    let (mut table, mut out) = (Table::new(Form::of(widest, terminal)), Vec::new());
    for row in rows {
        table.row(&mut out, row).unwrap();
    }
    table.end(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_pipe_gets_the_whole_table() {
    insta::assert_snapshot!(drawn(&rows(), None));
}

#[test]
fn a_wide_terminal_gets_a_table_that_fits() {
    let mut rows = rows();
    rows[1].path[1] = "/backups/of/a/cluster/whose/name/is/long/and/whose/folders/are/many".into();
    let text = drawn(&rows, Some(200));
    assert!(text.lines().all(|line| line.chars().count() <= 200), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_terminal_of_80_columns_gets_blocks() {
    let mut rows = rows();
    rows[1].path[1] = "/backups/of/a/cluster/whose/name/is/long/and/whose/folders/are/many".into();
    let text = drawn(&rows, Some(80));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[rstest]
fn ids_and_times_are_never_broken(#[values(1, 20, 39, 40, 41, 80, 120, 188, 189, 190, 191, 200, 400)] width: usize) {
    let rows = rows();
    let text = drawn(&rows, Some(width));
    for row in &rows {
        for value in [&row.id, &row.size, &row.at, &row.took, &row.completed, &row.backup_ts, &row.kind] {
            assert!(text.contains(value.as_str()), "{value} at {width}: {text}");
        }
    }
    let longest = rows.iter().map(|row| row.id.len()).max().unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= width.max(longest)), "{width}: {text}");
}

#[test]
fn a_table_without_rows_is_its_head() {
    assert_eq!(drawn(&[], None).lines().count(), 4);
    assert_eq!(drawn(&[], Some(80)), "");
}

#[test]
fn places_of_every_kind_have_lines() {
    let s3 = |text: &str| -> Location { serde_json::from_str(text).unwrap() };
    let aws = s3(r#"{"s3": {"bucket": "backups", "prefix": "prod", "region": "r"}}"#);
    assert_eq!(path(&aws, ""), ["BackupDir: s3  Bucket: backups  Path:", "prod"]);
    let own = s3(r#"{"s3": {"bucket": "backups", "prefix": "", "endpoint": "http://127.0.0.1:9000", "region": "r"}}"#);
    let lines = ["BackupDir: s3  Endpoint:", "http://127.0.0.1:9000", "Bucket: backups  Path:", "full"];
    assert_eq!(path(&own, "full"), lines);
    assert_eq!(path(&folder("/"), ""), ["BackupDir: filesystem  Path:", "/"]);
    assert_eq!(path(&folder("/a"), "b/c")[1], "/a/b/c");
    assert_eq!(path(&folder("/a"), "b\u{1b}[31m\r")[1], "/a/b?[31m?", "a name does nothing to a terminal");
}

#[test]
fn what_a_folder_does_not_say_is_not_invented() {
    let location = folder("/old");
    let backup_ts = crate::plan::Timestamp { physical: 1_715_745_404_915_410_000, logical: 1 };
    let content = |elsewhere| FolderContent {
        backup_ts,
        objects: 7,
        bytes: 65_000_000,
        copied: 7 - elsewhere,
        elsewhere,
        server_version: None,
    };
    let found = |content| FoundFolder { path: "one".into(), content };
    let row = |content| Row::of_folder(&found(content), &location, &TimeZone::UTC);
    let full = row(Ok(content(0)));
    assert_eq!((&*full.id, &*full.took, &*full.completed, &*full.size), ("-", "-", "-", "65 MB"));
    assert_eq!((&*full.at, &*full.kind), ("2024-05-15 03:56:44 +0000", "full"));
    assert_eq!(row(Ok(content(1))).kind, "incremental");
    let unusable = row(Err("damaged".into()));
    assert_eq!(
        (&*unusable.size, &*unusable.backup_ts, &*unusable.kind, &*unusable.path[1]),
        ("-", "-", "-", "/old/one")
    );
}

#[rstest]
#[case("/a/b", 10, &["/a/b"])]
#[case("/aaa/bbb/ccc", 9, &["/aaa/bbb/", "ccc"])]
#[case("one two three", 7, &["one two", "three"])]
#[case("0123456789", 4, &["0123", "4567", "89"])]
#[case("", 4, &[""])]
#[case("äöü/ß", 4, &["äöü/", "ß"])]
fn texts_end_where_words_and_folders_end(#[case] text: &str, #[case] width: usize, #[case] parts: &[&str]) {
    assert_eq!(wrap(text, width), parts);
}
