use std::path::Path;

use clap::FromArgMatches as _;
use rstest::rstest;

use super::*;
use crate::{
    cli::list::tests::{backup, claim, folder, id, volume},
    sample::DIR,
    store::{Key, Objects as _},
};

const PATHS: [&str; 4] = ["hakeeper/hk_data", "mo_meta", "tae/a", "tae/b"];

fn how(output: Output) -> How {
    How { depth: Depth::Content, parallelism: 2, output }
}

/// A repository of two backups.
async fn repository(place: &Place) {
    let objects = volume(place);
    claim(&objects).await;
    backup(&objects, 1, &PATHS).await;
    backup(&objects, 2, &PATHS).await;
}

async fn checked(place: &Place, output: Output, hidden: &[BackupId]) -> (String, Notes, Result<Ending, Refusal>) {
    let (mut out, mut notes, stop) = (Vec::new(), Notes::default(), CancellationToken::new());
    let asked = [list::ask(place, &stop).await.unwrap()];
    let hidden = |id| hidden.contains(&id);
    let ending = all(&asked, &hidden, how(output), (&mut out, &mut notes), &stop).await;
    (String::from_utf8(out).unwrap(), notes, ending)
}

fn spoil(place: &Place, number: u64, path: &str) {
    let root = place.lines()[1].trim_start_matches("Path: ").to_owned();
    let file = Path::new(&root).join(Key::object(id(number), DIR, path).as_str());
    let content = std::fs::read(&file).unwrap();
    std::fs::write(&file, content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
}

#[tokio::test]
async fn every_backup_of_a_place_is_checked() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    repository(&place).await;
    let (text, notes, ending) = checked(&place, Output::Table, &[]).await;
    let each = |number| {
        format!(
            "backup {}\nChecking the backup data...\nchecked 4 objects (33 B), all as they were written\n\n",
            id(number)
        )
    };
    assert_eq!(text, format!("{}{}checked 2 backups, all as they were written\n", each(1), each(2)));
    assert_eq!((notes, ending), (Notes::default(), Ok(Ending::Done)));
    let (text, ..) = checked(&place, Output::Json, &[id(1)]).await;
    let one: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&one["id"], &one["check"]["good"], &one["check"]["hashed"]), (&json!(id(2)), &true.into(), &4.into()));
    assert_eq!((&one["type"], &one["check"]["depth"], text.lines().count()), (&"full".into(), &"content".into(), 1));
}

#[tokio::test]
async fn damage_is_told_and_does_not_hide_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    repository(&place).await;
    spoil(&place, 1, "tae/a");
    volume(&place).delete(vec![Key::object(id(1), DIR, "tae/b")]).await.unwrap();
    volume(&place).put(&Key::catalog(id(3)), "{".into()).await.unwrap();
    volume(&place).put(&Key::catalog(id(4)), "{\"format\": 2}".into()).await.unwrap();
    let (text, notes, ending) = checked(&place, Output::Table, &[]).await;
    assert_eq!((ending, notes.say()), (Ok(Ending::Damaged), Ending::Final));
    assert!(text.contains("2 of 4 objects are damaged or missing"), "{text}");
    for (path, why) in [("tae/a", "SHA-256"), ("tae/b", "is missing")] {
        let key = Key::object(id(1), DIR, path);
        let told = text.lines().find(|line| line.starts_with(&format!("fault: {key}")));
        assert!(told.is_some_and(|line| line.contains(why)), "{text}");
    }
    assert!(text.contains("checked 4 objects (33 B), all as they were written"), "{text}");
    assert!(text.ends_with("2 of 4 backups are damaged, 1 could not be checked\n"), "{text}");
    let (text, ..) = checked(&place, Output::Json, &[]).await;
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let good = |at: usize| told[at]["check"]["good"].as_bool().unwrap();
    assert_eq!([good(0), good(1), good(2), good(3)], [false, true, false, false], "{text}");
    assert_eq!((&told[0]["check"]["faults"], told[0]["check"]["first"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert!(told[2]["check"]["error"].is_string() && told[2]["id"] == json!(id(3)), "{text}");
}

#[tokio::test]
async fn what_is_there_is_told_by_listings_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    repository(&place).await;
    // Its size is right.
    spoil(&place, 1, "tae/a");
    let how = How { depth: Depth::Presence, ..how(Output::Table) };
    let (mut out, stop) = (Vec::new(), CancellationToken::new());
    assert_eq!(one(&Subject::of(&place, id(1)), how, &mut out, &stop).await, Ok(Ending::Done));
    volume(&place).delete(vec![Key::object(id(1), DIR, "tae/b")]).await.unwrap();
    assert_eq!(one(&Subject::of(&place, id(1)), how, &mut out, &stop).await, Ok(Ending::Damaged));
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[1], "found 4 objects (33 B), all that there must be", "{text}");
    assert!(lines[3].starts_with("fault: ") && lines[3].ends_with("tae/b is missing"), "{text}");
    assert_eq!(lines[4], "1 of 4 objects are missing or have another size", "{text}");
}

#[tokio::test]
async fn what_is_no_backup_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    let (text, notes, ending) = checked(&place, Output::Table, &[]).await;
    assert_eq!((&*text, ending, notes.say()), ("", Ok(Ending::Done), Ending::NotFound));
    repository(&place).await;
    let stop = CancellationToken::new();
    let gone = one(&Subject::of(&place, id(9)), how(Output::Table), &mut Vec::new(), &stop).await.unwrap_err();
    assert_eq!(gone.ending, Ending::NotFound);
    stop.cancel();
    let stopped = one(&Subject::of(&place, id(1)), how(Output::Table), &mut Vec::new(), &stop).await.unwrap_err();
    assert_eq!(stopped.ending, Ending::Interrupted);
}

#[tokio::test]
async fn folders_made_without_us_are_checked_too() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    volume(&place).put(&Key::foreign("one", "hakeeper/hk_data"), "x".into()).await.unwrap();
    let (text, _, ending) = checked(&place, Output::Table, &[]).await;
    assert_eq!(ending, Ok(Ending::Damaged), "{text}");
    assert!(text.starts_with("BackupDir: filesystem  Path: ") && text.contains("/one\n"), "{text}");
    assert!(text.contains("\nfault: ") && text.ends_with("1 of 1 backups are damaged\n"), "{text}");
}

fn flags(typed: &[&str]) -> CheckFlags {
    let command = crate::cli::with_underscores(CheckFlags::augment_args(clap::Command::new("check")));
    CheckFlags::from_arg_matches(&command.try_get_matches_from(typed).unwrap()).unwrap()
}

#[rstest]
#[case("/old/full", "/old/inc", "Path: /old", &["full", "inc"])]
#[case("/old/b/1", "/old/a/2", "Path: /old", &["b/1", "a/2"])]
#[case("/old", "/old/inc", "Path: /old", &["", "inc"])]
#[case("/old/../full", "/inc/", "Path: /", &["full", "inc"])]
fn several_folders_are_a_chain(#[case] a: &str, #[case] b: &str, #[case] place: &str, #[case] below: &[&str]) {
    let flags = flags(&["check", "--backup_dir", "filesystem", "--backup_path", a, "--backup_path", b]);
    let (found, paths) = place::chain(&flags.place).unwrap();
    assert_eq!(found.lines()[1], place);
    assert_eq!(paths, below);
}

#[rstest]
#[case("/old/full", "old/inc/", "Path: old", &["full", "inc"])]
#[case("full", "inc", "Path: ", &["full", "inc"])]
#[case("full", "full/inc", "Path: full", &["", "inc"])]
#[case("full1", "full2", "Path: ", &["full1", "full2"])]
fn so_are_several_in_a_bucket(#[case] a: &str, #[case] b: &str, #[case] place: &str, #[case] below: &[&str]) {
    let flags = flags(&["check", "--bucket", "bucket", "--backup_filepath", a, "--filepath", b]);
    let (found, paths) = place::chain(&flags.place).unwrap();
    assert_eq!(found.lines(), ["BackupDir: s3", "Bucket: bucket", place]);
    assert_eq!(paths, below);
}

#[rstest]
#[case::paths_in_a_bucket("--backup_dir s3 --bucket bucket --backup_path /a/b --backup_path /a/c", "--backup-path")]
#[case::an_id("01a1fb92-c001-7000-8000-000000000002 --backup_path /a/b --backup_path /a/c", "--backup-path")]
#[case::an_id_in_a_bucket(
    "01a1fb92-c001-7000-8000-000000000002 --bucket bucket --filepath b --filepath c",
    "--backup-filepath"
)]
#[case::prefixes_of_a_folder("--backup_dir filesystem --filepath b --filepath c", "--backup-filepath")]
#[case::climbing("--bucket bucket --filepath b --filepath ../c", "--backup-filepath")]
#[case::both("--bucket bucket --filepath b --filepath c --path /d", "--backup-path")]
#[tokio::test]
async fn what_does_not_fit_together_is_refused(#[case] typed: &str, #[case] flag: &str) {
    let typed: Vec<_> = std::iter::once("check").chain(typed.split(' ')).collect();
    let refusal = run(&flags(&typed), CancellationToken::new()).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Usage, "{refusal}");
    assert!(refusal.message.contains(flag), "{refusal}");
}
