use std::path::{Path, PathBuf};

use clap::FromArgMatches as _;
use rstest::rstest;
use serde_json::json;

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
    assert_eq!(text, format!("{}{}Backups checked: 2; nothing damaged was found\n", each(1), each(2)));
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
    assert!(text.ends_with("Backups checked: 4; 2 damaged, 1 could not be checked whole\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("not checked: ")).count(), 1, "{text}");
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
    assert_eq!(one(&Subject::of(&place, id(1)), how, &mut out, &stop).await, Ok(Verdict::Whole));
    volume(&place).delete(vec![Key::object(id(1), DIR, "tae/b")]).await.unwrap();
    assert_eq!(one(&Subject::of(&place, id(1)), how, &mut out, &stop).await, Ok(Verdict::Damaged));
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
    // Lost catalogue or no backup yet: nothing was checked, which is no success.
    claim(&volume(&place)).await;
    for (output, expected) in [(Output::Table, ""), (Output::Json, "")] {
        let (text, notes, ending) = checked(&place, output, &[]).await;
        assert!(notes.warnings[0].contains("there are no backups"), "{notes:?}");
        assert_eq!((&*text, ending, notes.say()), (expected, Ok(Ending::Done), Ending::NotFound));
    }
    repository(&place).await;
    let (_, notes, _) = checked(&place, Output::Table, &[id(1), id(2)]).await;
    assert!(notes.warnings[0].contains("left out of lists: 2;"), "{notes:?}");
    assert_eq!(notes.say(), Ending::NotFound);
    let stop = CancellationToken::new();
    let gone = one(&Subject::of(&place, id(9)), how(Output::Table), &mut Vec::new(), &stop).await.unwrap_err();
    assert_eq!(gone.ending, Ending::NotFound);
    stop.cancel();
    let stopped = one(&Subject::of(&place, id(1)), how(Output::Table), &mut Vec::new(), &stop).await.unwrap_err();
    assert_eq!(stopped.ending, Ending::Interrupted);
}

/// An empty repository beside one that was checked is told, and no more.
#[tokio::test]
async fn something_that_was_checked_is_a_success() {
    let temporary = tempfile::tempdir().unwrap();
    let places = ["a", "b"].map(|name| temporary.path().join(name));
    for path in &places {
        std::fs::create_dir(path).unwrap();
    }
    let [one, empty] = places.map(|path| folder(&path));
    repository(&one).await;
    claim(&volume(&empty)).await;
    let stop = CancellationToken::new();
    let asked = [list::ask(&empty, &stop).await.unwrap(), list::ask(&one, &stop).await.unwrap()];
    let (mut out, mut notes) = (Vec::new(), Notes::default());
    let ending = all(&asked, &|_| false, how(Output::Json), (&mut out, &mut notes), &stop).await;
    assert_eq!((ending, notes.warnings.len(), notes.ending), (Ok(Ending::Done), 1, Ending::Done), "{notes:?}");
}

/// Takes what is written, and deletes a backup when it is its turn.
struct Deleting(Vec<u8>, PathBuf);

impl Write for Deleting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if String::from_utf8_lossy(&self.0).contains(&format!("backup {}", id(1))) && self.1.exists() {
            std::fs::remove_file(&self.1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file(place: &Place, key: &Key) -> PathBuf {
    Path::new(place.lines()[1].trim_start_matches("Path: ")).join(key.as_str())
}

#[tokio::test]
async fn what_was_deleted_meanwhile_is_not_damaged() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    repository(&place).await;
    let (mut notes, stop) = (Notes::default(), CancellationToken::new());
    let asked = [list::ask(&place, &stop).await.unwrap()];
    let mut out = Deleting(Vec::new(), file(&place, &Key::catalog(id(1))));
    let ending = all(&asked, &|_| false, how(Output::Table), (&mut out, &mut notes), &stop).await;
    let text = String::from_utf8(out.0).unwrap();
    assert!(!text.contains("fault") && text.contains("\ndeleted meanwhile\n\n"), "{text}");
    assert!(text.ends_with("Backups checked: 1; nothing damaged was found\n"), "{text}");
    assert!(notes.warnings[0].contains(&format!("backup {} was deleted meanwhile", id(1))), "{notes:?}");
    assert_eq!((ending, notes.say()), (Ok(Ending::Done), Ending::Done));
    // While it was read: its objects went behind its entry.
    let subject = Subject::of(&place, id(2));
    let missing = Checked {
        name: id(2).to_string(),
        catalog: None,
        objects: 4,
        elsewhere: 0,
        bytes: 33,
        hashed: 3,
        faults: 1,
        lost: None,
        first: vec!["tae/a is missing".into()],
        warnings: vec![],
    };
    let damaged = Refusal { ending: Ending::Damaged, message: "its list is missing".into() };
    for found in [Ok(missing), Err(damaged)] {
        assert_eq!(judge(&subject, &found, &stop).await, Ok(Verdict::Damaged));
        let entry = file(&place, &Key::catalog(id(2)));
        let content = std::fs::read(&entry).unwrap();
        std::fs::remove_file(&entry).unwrap();
        let gone = judge(&subject, &found, &stop).await.unwrap_err();
        assert!(gone.ending == Ending::NotFound && gone.message.contains("deleted meanwhile"), "{gone}");
        std::fs::write(&entry, content).unwrap();
    }
    // Nothing is left to be checked.
    volume(&place).delete(vec![Key::catalog(id(2))]).await.unwrap();
    let (_, notes, _) = checked(&place, Output::Table, &[]).await;
    assert_eq!(notes.say(), Ending::NotFound);
}

fn sample(kind: &str) -> Place {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples/v4.2.0").join(kind))
}

/// Its full backup was not named: nothing is known to be damaged, and it is not known to be whole.
#[tokio::test]
async fn an_incremental_folder_alone_is_checked_as_far_as_it_is_there() {
    let place = sample("incr");
    let (text, notes, ending) = checked(&place, Output::Table, &[]).await;
    assert!(text.contains(" are as they were written, ") && !text.contains("fault"), "{text}");
    assert!(text.contains("; 96 more lie in earlier folders and were not looked at\n"), "{text}");
    assert!(text.ends_with("Backups checked: 1; nothing damaged was found, 1 could not be checked whole\n"), "{text}");
    let said = &notes.warnings[0];
    assert!(said.contains("96 objects") && said.contains("--backup-path, oldest first"), "{said}");
    assert_eq!((ending, notes.say()), (Ok(Ending::Done), Ending::Final));
    let (text, ..) = checked(&place, Output::Json, &[]).await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let check = &told["check"];
    assert_eq!([&check["good"], &check["faults"], &check["elsewhere"]], [&json!(false), &json!(0), &json!(96)]);
    // The folder that holds both of them is enough.
    let (text, notes, ending) = checked(&sample(""), Output::Table, &[]).await;
    assert!(text.ends_with("Backups checked: 2; nothing damaged was found\n"), "{text}");
    assert_eq!((ending, notes), (Ok(Ending::Done), Notes::default()));
}

/// Every object is as MatrixOne wrote it, and what it wrote has lost tables.
#[tokio::test]
async fn lost_tables_are_damage_without_a_damaged_object() {
    let temporary = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for folder in ["samples/v1.2.4/full", "merged/gone"] {
        let mut copy = std::process::Command::new("cp");
        copy.args(["-r", "."]).arg(temporary.path()).current_dir(fixtures.join(folder));
        assert!(copy.status().unwrap().success());
    }
    let place = folder(temporary.path());
    let (text, notes, ending) = checked(&place, Output::Table, &[]).await;
    assert!(
        text.contains("fault: MatrixOne has lost tables in this backup: restored, those with the rel_id "),
        "{text}"
    );
    assert!(!text.contains(" are damaged or missing"), "{text}");
    assert!(text.ends_with("Backups checked: 1; 1 damaged\n"), "{text}");
    assert_eq!((ending, notes.say()), (Ok(Ending::Damaged), Ending::Done));
    let (text, ..) = checked(&place, Output::Json, &[]).await;
    let check = &serde_json::from_str::<serde_json::Value>(&text).unwrap()["check"];
    assert_eq!([&check["good"], &check["faults"]], [&json!(false), &json!(0)]);
    assert!(check["lost"].as_str().unwrap().contains("272537, 272538"), "{check}");
}

#[tokio::test]
async fn folders_made_without_us_are_checked_too() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    volume(&place).put(&Key::foreign("one", "hakeeper/hk_data"), "x".into()).await.unwrap();
    let (text, _, ending) = checked(&place, Output::Table, &[]).await;
    assert_eq!(ending, Ok(Ending::Damaged), "{text}");
    assert!(text.starts_with("BackupDir: filesystem  Path: ") && text.contains("/one\n"), "{text}");
    assert!(text.contains("\nfault: ") && text.ends_with("Backups checked: 1; 1 damaged\n"), "{text}");
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
