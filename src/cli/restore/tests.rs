mod again;
mod latest;
mod places;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    cli::with_underscores,
    store::framing::{self, Framer},
    task::Choice,
    worker::{Reporter, Untold},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: RestoreFlags,
}

fn parsed(line: &[&str]) -> Result<RestoreFlags, clap::Error> {
    let matches = with_underscores(Line::command()).try_get_matches_from(["restore"].iter().chain(line))?;
    Ok(Line::from_arg_matches(&matches)?.flags)
}

struct Silent;

#[async_trait]
impl Reporter for Silent {
    async fn send(&self, _: &Value) -> Result<(), Untold> {
        Ok(())
    }
}

/// Backups of some kind, and a folder of a MatrixOne whose `mo-data` was removed.
struct Room {
    folder: TempDir,
}

impl Room {
    fn new() -> Self {
        let room = Self { folder: tempfile::tempdir().unwrap() };
        room.write("mo/etc/launch/launch.toml", "tnservices = []");
        room
    }

    /// With a repository of the museum.
    fn of(exhibit: &str) -> Self {
        let room = Self::new();
        copy(&fixture("museum").join(exhibit).join("repository"), &room.path("backups"));
        room
    }

    /// With folders that a MatrixOne of this version wrote.
    fn of_samples(version: &str) -> Self {
        let room = Self::new();
        for kind in ["full", "incr"] {
            copy(&fixture("samples").join(version).join(kind), &room.path("backups").join(kind));
        }
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The flags of a line in which `@` stands for this room. Its index is empty.
    fn flags(&self, line: &str) -> RestoreFlags {
        let line = format!("{line} --meta_path @/meta").replace('@', self.folder.path().to_str().unwrap());
        parsed(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    async fn order(&self, line: &str) -> Result<Order, Refusal> {
        Order::of(&self.flags(line), &CancellationToken::new()).await
    }

    async fn run(&self, line: &str) -> Result<(RestoreReport, String), Refusal> {
        self.run_until(line, CancellationToken::new()).await
    }

    async fn run_until(&self, line: &str, stop: CancellationToken) -> Result<(RestoreReport, String), Refusal> {
        let order = self.order(line).await?;
        let limits = (Duration::from_hours(1), Duration::from_hours(1));
        let watch = Watch::new(Arc::new(Silent), worker::wall(), &order.task.subject.run, limits, stop);
        let report = order.carry_out(&watch.with_pace(Duration::from_millis(1))).await?;
        order.judge(&report)?;
        let said = said::head(&order) + &said::done(&order, &report);
        let trap = said::trap(&order, &report).unwrap_or_default();
        Ok((report, said + trap))
    }

    /// All files in the folder of the MatrixOne.
    fn home(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.path("mo"))
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (name, content) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut framer = Framer::default();
    let mut stored = framer.push(content).to_vec();
    stored.extend_from_slice(&framer.finish());
    stored
}

const IDS: [&str; 2] = ["01a1fe2d-8328-76e6-9b96-b4c1beddf5de", "01a1fe2d-8329-75bf-85cf-be2fdfb06e9c"];
const FROM: &str = "--backup_dir filesystem --backup_path @/backups";
const TO: &str = "--restore_dir filesystem --restore_path @/mo";

#[tokio::test]
async fn a_backup_is_restored_where_matrixone_looks_for_it() {
    let room = Room::of("whole");
    let line = format!("{} {FROM} {TO} --checksum --parallelism 1", IDS[1]);
    let (report, said) = room.run(&line).await.unwrap();
    let object = |of: usize, path: &str| {
        framed(&fs::read(room.path("backups/data").join(IDS[of]).join("1").join(path)).unwrap())
    };
    let name = |n: u8| format!("01a1fb9e-18cd-70d1-b5d7-3c23979186{n:02x}_00000");
    let mut expected = BTreeMap::from([
        ("mo-data/local/hk_data".to_owned(), object(1, "hakeeper/hk_data")),
        ("mo-data/shared/gc/gc_2.ckp".to_owned(), object(1, "tae/gc/gc_2.ckp")),
    ]);
    for (of, n) in [(0, 3), (1, 6)] {
        expected.insert(format!("mo-data/shared/{}", name(n)), object(of, &format!("tae/{}", name(n))));
    }
    let mut found = room.home();
    let here = room.folder.path().display();
    let marker: Value = serde_json::from_slice(&found.remove("mo-data/mo-backup-restore.json").unwrap()).unwrap();
    assert_eq!(marker["plan"]["place"], format!("folder {here}/mo/mo-data"));
    assert!(found.remove("etc/launch/launch.toml").is_some(), "what was there stays");
    assert_eq!(found, expected);
    assert_eq!((report.backup.as_deref(), report.written_objects), (Some(IDS[1]), Some(4)));
    let head = format!(
        "From:\n    BackupDir: filesystem\n    Path: {here}/backups\n\n\
         To\n    BackupDir: filesystem\n    Path: {here}/mo\n\n\
         TaePath\n    ./mo-data/shared\n"
    );
    assert!(said.starts_with(&head), "{said}");
    for text in
        [format!("Restored backup {}, 4 objects", IDS[1]), "./mo-data/local/hk_data".into(), "backend DISK\n".into()]
    {
        assert!(said.contains(&text), "{text} in {said}");
    }

    let before = room.home();
    let (again, said) = room.run(&line).await.unwrap();
    assert!(again.already_restored.is_some() && said.contains("Already restored: backup"), "{said}");
    assert!(said.contains(&format!("empty BackupDir: filesystem Path: {here}/mo/mo-data first")), "{said}");
    assert_eq!(room.home(), before);
    // What is there is another backup's.
    let refusal = room.run(&format!("{} {FROM} {TO}", IDS[0])).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    assert_eq!(room.home(), before);
}

#[rstest]
#[case("mo/mo-data/shared/x", "shared/x")]
#[case("mo/mo-data/logservice-data/x", "logservice-data/x")]
#[tokio::test]
async fn a_place_that_is_not_empty_is_left_alone(#[case] there: &str, #[case] named: &str) {
    let room = Room::of("whole");
    room.write(there, "x");
    let before = room.home();
    let refusal = room.run(&format!("{} {FROM} {TO}", IDS[1])).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final);
    let target = room.path("mo/mo-data");
    for text in [named, "--restore-path", target.to_str().unwrap()] {
        assert!(refusal.message.contains(text), "{text} in {refusal}");
    }
    assert_eq!(room.home(), before);
}

#[tokio::test]
async fn a_damaged_backup_and_a_stop_leave_nothing_behind() {
    let room = Room::of("missing-object");
    let before = room.home();
    let refusal = room.run(&format!("{} {FROM} {TO}", IDS[1])).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Damaged, "{refusal}");
    assert_eq!(room.home(), before);

    let room = Room::of("whole");
    let stop = CancellationToken::new();
    stop.cancel();
    let refusal = room.run_until(&format!("{} {FROM} {TO}", IDS[1]), stop).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Interrupted, "{refusal}");
    assert_eq!(room.home(), before);
}

#[tokio::test]
async fn a_plan_writes_nothing() {
    let room = Room::of("whole");
    let before = room.home();
    let (report, said) = room.run(&format!("{} {FROM} {TO} --plan", IDS[1])).await.unwrap();
    let hash = report.plan.unwrap().hash;
    assert!(said.contains("Would restore backup") && said.contains(&hash), "{said}");
    assert_eq!(room.home(), before);
}

#[tokio::test]
async fn without_an_id_there_must_be_one_backup() {
    let room = Room::of("whole");
    let line = format!("{FROM} {TO}");
    let refusal = room.order(&line).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::Usage);
    for text in ["there are 2 backups", IDS[0], IDS[1], "ID", "--latest"] {
        assert!(refusal.message.contains(text), "{text} in {refusal}");
    }
    assert_eq!(room.order(&format!("{line} --latest")).await.unwrap().task.choice, Choice::Id(IDS[1].parse().unwrap()));
    let (report, _) = room.run(&format!("{line} --latest --plan")).await.unwrap();
    assert_eq!(report.backup.as_deref(), Some(IDS[1]));

    let catalog = room.path("backups/catalog");
    fs::remove_file(catalog.join(format!("{}.json", IDS[1]))).unwrap();
    assert_eq!(room.order(&line).await.unwrap().task.choice, Choice::Id(IDS[0].parse().unwrap()));
    // A repository without its marker is one still.
    fs::remove_file(room.path("backups/mo-backup.json")).unwrap();
    assert_eq!(room.order(&line).await.unwrap().task.choice, Choice::Id(IDS[0].parse().unwrap()));

    let room = Room::of("whole");
    fs::remove_dir_all(room.path("backups/catalog")).unwrap();
    for line in [line.clone(), format!("{line} --latest"), format!("{} {line}", IDS[0])] {
        assert_eq!(room.order(&line).await.err().unwrap().ending, Ending::NotFound, "{line}");
    }
    let refusal = room.order(TO).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::Usage, "nothing is named, and the index is empty: {refusal}");
}

#[tokio::test]
async fn the_index_says_where_and_what_is_left_out() {
    let room = Room::of("whole");
    let place = room.order(&format!("{} {FROM} {TO}", IDS[0])).await.unwrap().origin.place;
    let mut index = Index::open(Some(&room.path("meta"))).unwrap();
    index.remember(&place.location).unwrap();
    assert_eq!(room.order(&format!("--id {} {TO}", IDS[0])).await.unwrap().origin.place.location, place.location);
    let newest = Choice::Id(IDS[1].parse().unwrap());
    assert_eq!(room.order(&format!("{TO} --latest")).await.unwrap().task.choice, newest);
    index.forget(IDS[1].parse().unwrap()).unwrap();
    for line in [TO.to_owned(), format!("{TO} --latest")] {
        assert_eq!(room.order(&line).await.unwrap().task.choice, Choice::Id(IDS[0].parse().unwrap()));
    }
    // Who names the place means all that is in it.
    assert_eq!(room.order(&format!("{FROM} {TO} --latest")).await.unwrap().task.choice, newest);
    index
        .remember(&room.order(&format!("{} {FROM} --restore_path @/x", IDS[0])).await.unwrap().task.target.location)
        .unwrap();
    let refusal = room.order(&format!("{TO} --latest")).await.err().unwrap();
    assert!(refusal.message.contains("knows 2 repositories"), "{refusal}");
}

const OF_4_2: &str = r#"
service-type = "TN"
[[fileservice]]
name = "SHARED"
backend = "DISK-V2"
data-dir = "./mo-data/shared2"
"#;

#[tokio::test]
async fn folders_made_without_us_are_restored() {
    let room = Room::of_samples("v4.2.0");
    room.write("mo/etc/launch/tn.toml", OF_4_2);
    let dn = format!("{TO} --dn_config_path @/mo/etc/launch/tn.toml");
    let chain = "--backup_path @/backups/full --backup_path @/backups/incr";
    let (report, said) = room.run(&format!("{chain} {dn}")).await.unwrap();
    assert_eq!((report.backup.as_deref(), report.objects), (Some("incr"), Some(122)));
    for text in [
        "Folders: full, incr\n",
        "TaePath\n    ./mo-data/shared2\n",
        "\n    v4.2.0, the version that was backed up",
        "backend DISK-V2",
    ] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert!(!said.contains("looks in ./mo-data/shared2"), "{said}");
    let home = room.home();
    let objects = home.iter().filter(|(name, _)| name.starts_with("mo-data/shared2/"));
    for (name, content) in objects.clone() {
        let name = name.replace("mo-data/shared2/", "tae/");
        let original =
            ["full", "incr"].into_iter().find_map(|kind| fs::read(room.path("backups").join(kind).join(&name)).ok());
        assert_eq!(Some(content), original.as_ref(), "{name}");
    }
    assert_eq!(objects.count(), 121);
    let ids = framing::deframed(&home["mo-data/local/hk_data"]).unwrap();
    assert_eq!(ids, fs::read(room.path("backups/incr/hakeeper/hk_data")).unwrap());
    assert!(room.run(&format!("{chain} {dn}")).await.unwrap().0.already_restored.is_some());
    // It does not start where framed files lie in a folder that it would read raw.
    let both = "[[fileservice]]\nname = \"LOCAL\"\nbackend = \"DISK-V2\"\ndata-dir = \"./mo-data/local\"\n";
    room.write("mo/etc/launch/tn.toml", &(OF_4_2.to_owned() + both));
    assert!(room.order(&format!("{chain} {dn}")).await.err().unwrap().message.contains("--log-config-path"));
}

#[tokio::test]
async fn folders_in_one_place_are_told_apart() {
    let room = Room::of_samples("v4.2.0");
    let refusal = room.order(&format!("{FROM} {TO}")).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::Usage);
    assert!(refusal.message.contains("there are 2 backups") && refusal.message.contains("full, incr"), "{refusal}");
    let order = room.order(&format!("{FROM} {TO} --latest")).await.unwrap();
    assert_eq!(order.task.choice, Choice::Paths(vec!["full".into(), "incr".into()]));
    // One folder alone: the full one is whole, of the incremental one it is said what it lacks.
    let (report, said) = room.run(&format!("--backup_path @/backups/full {TO} --plan")).await.unwrap();
    assert_eq!((report.backup.as_deref(), report.objects), (Some(""), Some(106)));
    assert!(
        said.contains(&format!("Would restore {}/backups/full, 106 objects", room.folder.path().display())),
        "{said}"
    );
    let refusal = room.run(&format!("--backup_path @/backups/incr {TO}")).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Damaged);
    assert!(
        refusal.message.contains("oldest first")
            && refusal.message.contains("a --backup-path or --backup-filepath for each"),
        "{refusal}"
    );
    let refusal = room.order(&format!("--backup_path @/mo {TO}")).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::NotFound, "{refusal}");
    for line in ["--latest", IDS[0]] {
        let line = format!("--backup_path @/backups/full --backup_path @/backups/incr {line} {TO}");
        assert_eq!(room.order(&line).await.err().unwrap().ending, Ending::Usage, "{line}");
    }
    // A BACKUP that was cut off is passed over.
    fs::remove_file(room.path("backups/incr/mo_meta")).unwrap();
    let order = room.order(&format!("{FROM} {TO} --latest")).await.unwrap();
    assert_eq!(order.task.choice, Choice::Paths(vec!["full".into()]));
    fs::remove_file(room.path("backups/full/mo_meta")).unwrap();
    let refusal = room.order(&format!("{FROM} {TO} --latest")).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::NotFound, "{refusal}");
}

#[rstest]
#[case::id(&["x", "--restore_path", "p"], true)]
#[case::named(&["--ID", "x", "--restore-path", "p"], true)]
#[case::keys(&["x", "--backup_access_key_id", "a", "--backup_secret_access_key", "b", "--restore_region", "r"], true)]
#[case::checksum(&["x", "--checksum=false"], true)]
#[case::twice(&["x", "--id", "y"], false)]
#[case::latest(&["x", "--latest"], false)]
#[case::none(&["x", "--parallelism", "0"], false)]
#[case::many(&["x", "--parallelism", "65"], false)]
#[case::other(&["x", "--restore_dir", "tape"], false)]
fn lines_are_taken_or_not(#[case] line: &[&str], #[case] taken: bool) {
    assert_eq!(parsed(line).is_ok(), taken);
}

#[test]
fn an_id_is_no_value_of_checksum() {
    let flags = parsed(&["--checksum", "x"]).unwrap();
    assert!(flags.checksum);
    assert_eq!((flags.id.as_deref(), flags.parallelism), (Some("x"), 4));
}
