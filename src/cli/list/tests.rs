use std::{path::Path, sync::Arc};

use rstest::rstest;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::*;
use crate::{
    cli::place,
    plan::{Digest, Entry, Kind, Marker, Owner, RepositoryId, manifest::FORMAT},
    sample::{self, DIR, blank},
    store::{
        Key, Volume,
        memory::{Fault, Memory},
    },
    task::Location,
};

/// A folder of this machine.
pub fn folder(path: &Path) -> Place {
    Place { location: place::folder("--path", path).unwrap(), keys: None, authorities: None }
}

/// The objects of such a place.
pub fn volume(place: &Place) -> Volume {
    let Location::Volume(volume) = &place.location else { panic!("{place:?} is no folder") };
    Volume::open(Path::new("/"), &volume.path).unwrap()
}

/// The id of the backup with this number.
pub fn id(number: u64) -> BackupId {
    BackupId::of_object(Uuid::from_u128(number.into()), number)
}

/// Makes a place the repository that the sample backups are of.
pub async fn claim(objects: &dyn Objects) -> Marker {
    let owner = Owner { namespace: String::new(), name: "n".into(), uid: "u".into() };
    let (repository, created_at) = (RepositoryId(Uuid::nil()), "2026-11-21T00:00:00Z".into());
    catalog::claim(objects, None, &Marker { format: FORMAT, repository, owner, created_at }).await.unwrap()
}

/// Commits a full backup whose objects contain their own names.
pub async fn backup(objects: &dyn Objects, number: u64, paths: &[&str]) -> Catalog {
    let entry = |path: &&str| Entry {
        path: (*path).into(),
        size: path.len() as u64,
        sha256: Digest(Sha256::digest(path).into()),
        from: 0,
    };
    for path in paths {
        objects.put(&Key::object(id(number), DIR, path), path.as_bytes().to_vec().into()).await.unwrap();
    }
    let stop = CancellationToken::new();
    let list = || paths.iter().map(entry);
    let written = catalog::write_entries(objects, (id(number), DIR), 1, list, &stop).await.unwrap();
    let sources = sample::sources([id(number)], &written.sources);
    let (entries, totals) = (written.entries, written.totals);
    let catalog = Catalog { id: id(number), sources, entries, totals, ..timed(number) };
    objects.put(&Key::catalog(id(number)), serde_json::to_vec(&catalog).unwrap().into()).await.unwrap();
    catalog
}

/// A backup of some minute of 2024.
fn timed(number: u64) -> Catalog {
    let physical = 1_715_745_404_915_410_000 + i64::try_from(number).unwrap() * 60_000_000_000;
    let (started_at, completed_at) = ("2024-05-15T03:56:44Z".into(), "2024-05-15T03:57:46Z".into());
    Catalog { backup_ts: crate::plan::Timestamp { physical, logical: 1 }, started_at, completed_at, ..blank() }
}

fn put(memory: &Memory, catalog: &Catalog) {
    let own = sample::sources([catalog.id], &[(0, 0)]);
    let catalog = Catalog { sources: own, ..catalog.clone() };
    memory.set(Key::catalog(catalog.id).as_str(), serde_json::to_vec(&catalog).unwrap());
}

fn asked(place: &Place, objects: impl Objects + 'static, marker: Option<Marker>) -> Asked<'_> {
    let (objects, remedy) = (Arc::new(objects), String::new());
    Asked { place, objects, marker, folders: Folders::default(), remedy }
}

async fn listed(
    output: Output,
    terminal: Option<usize>,
    asked: &[Asked<'_>],
    hidden: &[BackupId],
) -> (String, Notes, Result<(), Refusal>) {
    let (mut out, mut notes) = (Vec::new(), Notes::default());
    let hidden = |id| hidden.contains(&id);
    let zone = TimeZone::get("America/St_Johns").unwrap();
    let written = write(&mut out, (output, terminal, zone), asked, &hidden, &mut notes).await;
    (String::from_utf8(out).unwrap(), notes, written.map(|written| written.unwrap()))
}

/// Takes what is written, and notes how many calls of the store came before the first row.
struct Reader {
    memory: Memory,
    before: Option<usize>,
    lines: usize,
    bytes_most: usize,
    /// Reads no more than this many lines.
    most: usize,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lines >= self.most {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.before.get_or_insert_with(|| self.memory.calls().len());
        self.bytes_most = self.bytes_most.max(bytes.len());
        self.lines += bytes.split(|byte| *byte == b'\n').count() - 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn many(backups: u64) -> Memory {
    let memory = Memory::new();
    for number in 0..backups {
        put(&memory, &Catalog { id: id(number), ..timed(number) });
    }
    memory
}

#[rstest]
#[case(Output::Table, None, 10_000, 4 + 20_000)]
#[case(Output::Table, Some(80), 500, 500 * 9 - 1)]
#[case(Output::Json, None, 500, 502)]
#[tokio::test]
async fn ten_thousand_backups_are_written_as_they_are_read(
    #[case] output: Output,
    #[case] terminal: Option<usize>,
    #[case] backups: u64,
    #[case] lines: usize,
) {
    let memory = many(backups);
    let place = folder(Path::new("/backups"));
    let mut reader = Reader { memory: memory.clone(), before: None, lines: 0, bytes_most: 0, most: usize::MAX };
    let mut notes = Notes::default();
    let how = (output, terminal, TimeZone::UTC);
    write(&mut reader, how, &[asked(&place, memory, None)], &|_| false, &mut notes).await.unwrap().unwrap();
    assert_eq!((reader.lines, notes), (lines, Notes::default()));
    assert!(reader.before.is_some_and(|calls| calls < 20), "{:?} calls before the first row", reader.before);
    assert!(reader.bytes_most < 1000, "{} bytes at once", reader.bytes_most);
}

#[tokio::test]
async fn who_has_read_enough_ends_the_list() {
    let memory = many(1000);
    // A store in memory answers at once; here it waits for once, as others always do.
    memory.fault(100, Fault::After, || {});
    let place = folder(Path::new("/backups"));
    let mut reader = Reader { memory: memory.clone(), before: None, lines: 0, bytes_most: 0, most: 10 };
    let (how, mut notes) = ((Output::Table, None, TimeZone::UTC), Notes::default());
    let one = asked(&place, memory.clone(), None);
    let written = write(&mut reader, how, &[one], &|_| false, &mut notes).await.unwrap();
    screen::written(written).unwrap();
    assert!(memory.calls().len() < 200, "{} calls", memory.calls().len());
}

#[tokio::test]
async fn every_row_says_what_the_catalogue_says() {
    let memory = Memory::new();
    let marker = claim(&memory).await;
    backup(&memory, 1, &["mo_meta", "tae/a"]).await;
    put(&memory, &Catalog { id: id(2), kind: Kind::Incremental, base: Some(id(1)), chain: 1, ..timed(2) });
    let place = folder(Path::new("/backups"));
    let (text, notes, ok) =
        listed(Output::Table, None, &[asked(&place, memory.clone(), Some(marker.clone()))], &[]).await;
    let rows: Vec<_> = text.lines().collect();
    let cells: Vec<_> = rows[3].split('|').map(str::trim).collect();
    let first = id(1).to_string();
    let expected = [
        "",
        &first,
        "12 B",
        "BackupDir: filesystem  Path:",
        "2024-05-15 01:27:44 -0230",
        "1m2s",
        "2024-05-15 01:27:46 -0230",
        "1715745464915410000-1",
        "full",
        "",
    ];
    assert_eq!((cells, notes, ok), (expected.to_vec(), Notes::default(), Ok(())));
    assert!(rows[5].contains(&id(2).to_string()) && rows[5].contains("| incremental |"), "{text}");
    let (text, ..) = listed(Output::Json, None, &[asked(&place, memory, Some(marker))], &[id(2)]).await;
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let [one] = &array[..] else { panic!("{text}") };
    let expected = serde_json::json!({
        "id": id(1), "type": "full", "base": null, "backupTs": "1715745464915410000-1",
        "atTime": "2024-05-15T03:57:44.91541Z", "startedAt": "2024-05-15T03:56:44Z", "completedAt": "2024-05-15T03:57:46Z",
        "objects": 2, "bytes": 12, "copiedBytes": 12, "location": place.location, "matrixone": "v4.2.0",
        "object": "ns/name",
    });
    assert_eq!(one, &expected);
}

#[tokio::test]
async fn what_cannot_be_listed_is_named_and_hides_nothing() {
    let memory = Memory::new();
    let marker = claim(&memory).await;
    for number in 1..=3 {
        put(&memory, &Catalog { id: id(number), ..timed(number) });
    }
    let (repository, evil) = (RepositoryId(Uuid::from_u128(7)), "v4\u{9b}31m\u{1b}[31m".to_owned());
    put(&memory, &Catalog { id: id(4), repository, ..timed(4) });
    let mut named = timed(5);
    (named.object, named.started_at, named.cluster.matrixone) = (evil.clone(), evil.clone(), evil);
    put(&memory, &Catalog { id: id(5), ..named });
    memory.set(Key::catalog(id(2)).as_str(), "{\u{1b}");
    memory.set("catalog/\u{1b}[2J", "x");
    let place = folder(Path::new("/backups"));
    for (output, terminal) in [(Output::Table, None), (Output::Table, Some(80)), (Output::Json, None)] {
        let one = asked(&place, memory.clone(), Some(marker.clone()));
        let (text, notes, ok) = listed(output, terminal, &[one], &[id(3)]).await;
        let shown = |number| text.contains(&id(number).to_string());
        assert_eq!([1, 2, 3, 4, 5].map(shown), [true, false, false, false, true], "{text}");
        assert_eq!((notes.warnings.len(), notes.ending, ok), (3, Ending::Damaged, Ok(())), "{notes:?}");
        for text in notes.warnings.iter().chain([&text]) {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
        let warnings = notes.warnings.join(" ");
        assert!(warnings.contains(&id(2).to_string()) && warnings.contains(&id(4).to_string()), "{warnings}");
    }
}

#[tokio::test]
async fn warnings_of_a_broken_catalogue_are_counted_in_the_end() {
    let memory = Memory::new();
    for number in 0..100 {
        memory.set(Key::catalog(id(number)).as_str(), "{");
    }
    let place = folder(Path::new("/backups"));
    let (_, notes, _) = listed(Output::Table, None, &[asked(&place, memory, None)], &[]).await;
    assert_eq!((notes.warnings.len(), notes.ending), (21, Ending::Damaged));
    assert!(notes.warnings[20].starts_with("80 more"), "{:?}", notes.warnings[20]);
}

#[tokio::test]
async fn a_place_that_does_not_answer_does_not_hide_the_others() {
    let temporary = tempfile::tempdir().unwrap();
    let good = folder(temporary.path());
    claim(&volume(&good)).await;
    backup(&volume(&good), 1, &["mo_meta"]).await;
    let mut bad = good.clone();
    if let Location::Volume(volume) = &mut bad.location {
        volume.path = "a/../b".into();
    }
    let stop = CancellationToken::new();
    let mut notes = Notes::default();
    let places = [bad.clone(), good];
    let asked = ask_all(&places, None, &mut notes, &stop).await.unwrap();
    let [one] = &asked[..] else { panic!("{} places", asked.len()) };
    assert!(one.marker.is_some());
    assert!(notes.warnings[0].contains("a/../b") && notes.ending != Ending::Done, "{notes:?}");
    // The only one is no warning.
    assert!(ask_all(&[bad], None, &mut Notes::default(), &stop).await.is_err());
}

/// A place that was made a repository of this id.
async fn repository(path: &Path, repository: u128) -> Place {
    std::fs::create_dir_all(path).unwrap();
    let place = folder(path);
    let owner = Owner { namespace: String::new(), name: "n".into(), uid: "u".into() };
    let (repository, created_at) = (RepositoryId(Uuid::from_u128(repository)), "2026-11-21T00:00:00Z".into());
    let marker = Marker { format: FORMAT, repository, owner, created_at };
    catalog::claim(&volume(&place), None, &marker).await.unwrap();
    place
}

#[tokio::test]
async fn one_repository_under_two_names_stands_there_once() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let places = [
        repository(&at("a"), 1).await,
        folder(&at("gone")),
        repository(&at("b"), 1).await,
        repository(&at("other"), 2).await,
    ];
    let mut index = Index::open(Some(&at("index"))).unwrap();
    for place in &places {
        index.remember(&place.location).unwrap();
    }
    let (stop, mut notes) = (CancellationToken::new(), Notes::default());
    let answers = known::distinct(&places, &stop).await.unwrap();
    let twins: Vec<_> = answers.iter().map(|answer| (name(answer.place), answer.twins.len())).collect();
    assert_eq!(twins, [(name(&places[0]), 1), (name(&places[1]), 0), (name(&places[3]), 0)]);
    let asked = ask_all(&places, Some(&index), &mut notes, &stop).await.unwrap();
    let same = format!("{}: it is the same repository as {}; entry 3 of ", name(&places[2]), name(&places[0]));
    assert!(notes.warnings[0].starts_with(&same), "{notes:?}");
    assert_eq!((notes.warnings.len(), notes.ending), (1, Ending::Done), "{notes:?}");
    let (_, notes, _) = listed(Output::Table, None, &asked, &[]).await;
    // What is gone is told each time, with the line that is to be removed; what is empty is told too.
    let gone = notes.warnings.iter().find(|text| text.contains("/gone")).unwrap();
    assert!(gone.contains("no repository") && gone.contains("remove entry 2 of \"repositories\""), "{gone}");
    assert!(gone.contains(at("index").to_str().unwrap()), "{gone}");
    assert_eq!((notes.warnings.len(), notes.ending), (3, Ending::NotFound), "{notes:?}");
    assert!(notes.warnings[0].contains("/a: there are no backups"), "{notes:?}");
    // Whoever named it himself is told nothing of an index.
    let asked = ask_all(&places[1..2], None, &mut Notes::default(), &stop).await.unwrap();
    assert!(!asked[0].nothing().contains("remove"), "{}", asked[0].nothing());
}

#[tokio::test]
async fn backups_that_are_all_left_out_are_told() {
    let memory = Memory::new();
    let marker = claim(&memory).await;
    let place = folder(Path::new("/backups"));
    let one = || [asked(&place, memory.clone(), Some(marker.clone()))];
    let (text, notes, _) = listed(Output::Json, None, &one(), &[]).await;
    assert_eq!((&*text, notes.ending, notes.warnings.len()), ("[]\n", Ending::Done, 1));
    assert!(notes.warnings[0].contains("there are no backups"), "{notes:?}");
    put(&memory, &Catalog { id: id(1), ..timed(1) });
    let (text, notes, _) = listed(Output::Json, None, &one(), &[id(1)]).await;
    assert_eq!((&*text, notes.ending, notes.warnings.len()), ("[]\n", Ending::Done, 1));
    assert!(notes.warnings[0].contains("left out of lists: 1;"), "{notes:?}");
}

/// What cannot be looked at hides nothing else, and a list that may lack something is no success.
#[tokio::test]
async fn what_was_not_looked_at_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let places = [folder(temporary.path())];
    volume(&places[0]).put(&Key::foreign("one", "hakeeper/hk_data"), "x".into()).await.unwrap();
    std::fs::create_dir_all(temporary.path().join("two/tae")).unwrap();
    std::os::unix::fs::symlink("/", temporary.path().join("two/tae/tae_list")).unwrap();
    let (stop, mut notes) = (CancellationToken::new(), Notes::default());
    let asked = ask_all(&places, None, &mut notes, &stop).await.unwrap();
    assert_eq!(asked[0].folders.found.iter().map(|folder| &*folder.path).collect::<Vec<_>>(), ["one"]);
    assert!(
        notes.warnings[0].contains("passed over: failed to stat two/tae/tae_list: there is a symbolic link"),
        "{notes:?}"
    );
    assert_eq!((notes.warnings.len(), notes.ending), (1, Ending::Final), "{notes:?}");
}

#[tokio::test]
async fn folders_made_without_us_stand_in_the_same_table() {
    let temporary = tempfile::tempdir().unwrap();
    let place = folder(temporary.path());
    let stop = CancellationToken::new();
    let nothing = ask(&place, &stop).await.unwrap();
    let (_, notes, _) = listed(Output::Table, None, &[nothing], &[]).await;
    assert_eq!(notes.ending, Ending::NotFound, "{notes:?}");
    // Its BACKUP was cut off.
    volume(&place).put(&Key::foreign("one", "hakeeper/hk_data"), "x".into()).await.unwrap();
    let one = ask(&place, &stop).await.unwrap();
    let (text, notes, _) = listed(Output::Table, None, &[one], &[]).await;
    assert!(text.contains("/one ") && text.contains(" - "), "{text}");
    assert_eq!((notes.warnings.len(), notes.ending), (2, Ending::Damaged), "{notes:?}");
    assert!(notes.warnings[0].contains("mo_meta") && notes.warnings[1].contains("mo_br"), "{notes:?}");
    let one = ask(&place, &stop).await.unwrap();
    let (text, ..) = listed(Output::Json, None, &[one], &[]).await;
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((&array[0]["folder"], &array[0]["id"]), (&"one".into(), &serde_json::Value::Null));
    assert!(array[0]["unusable"].as_str().is_some_and(|why| why.contains("mo_meta")), "{text}");
}

#[tokio::test]
async fn being_told_to_stop_ends_it() {
    let stop = CancellationToken::new();
    stop.cancel();
    let refusal = until(&stop, std::future::pending::<Result<(), Refusal>>()).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Interrupted);
}

#[rstest]
#[case(&["list", "--ID", "x", "--not_check_data", "--access_key_id", "k"], Some("x"))]
#[case(&["list", "x", "--not-check-data", "--meta_path", "m"], Some("x"))]
#[case(&["list", "--backup_dir", "filesystem", "--backup_path", "/a", "--output", "json"], None)]
fn the_flags_of_mo_br_are_taken(#[case] typed: &[&str], #[case] id: Option<&str>) {
    use clap::FromArgMatches as _;
    let command = crate::cli::with_underscores(ListFlags::augment_args(clap::Command::new("list")));
    let flags = ListFlags::from_arg_matches(&command.try_get_matches_from(typed).unwrap()).unwrap();
    assert_eq!(flags.id.as_deref().or(flags.named.as_deref()), id);
    assert_eq!(flags.not_check_data, id.is_some());
}
