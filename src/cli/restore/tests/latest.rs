//! Which backup `--latest` is.

use super::*;

fn entry(id: &str) -> String {
    format!("backups/catalog/{id}.json")
}

/// Moves the data of the full backup behind that of the incremental one, as after a clock was set back.
fn turn(room: &Room) {
    let text = fs::read_to_string(room.path(&entry(IDS[0]))).unwrap();
    room.write(&entry(IDS[0]), &text.replace("179522", "179524"));
}

#[tokio::test]
async fn it_is_the_one_with_the_newest_data_whatever_its_id() {
    let room = Room::of("whole");
    let choice = async |line: &str| room.order(line).await.unwrap().task.choice;
    let [full, incremental] = IDS.map(|id| Choice::Id(id.parse().unwrap()));
    let named = format!("{FROM} {TO} --latest");
    assert_eq!(choice(&named).await, incremental);
    turn(&room);
    assert_eq!(choice(&named).await, full);
    // By the index it is the same, less what is left out.
    let place = room.order(&named).await.unwrap().origin.place;
    let mut index = Index::open(Some(&room.path("meta"))).unwrap();
    index.remember(&place.location).unwrap();
    assert_eq!(choice(&format!("{TO} --latest")).await, full);
    index.forget(IDS[0].parse().unwrap()).unwrap();
    assert_eq!(choice(&format!("{TO} --latest")).await, incremental);
}

/// What is left out has no part in it.
#[tokio::test]
async fn what_cannot_be_read_is_passed_over_in_every_way_of_asking() {
    let room = Room::of("whole");
    room.write(&entry(&BackupId::fresh().to_string()), "rubbish");
    let named = format!("{FROM} {TO} --latest");
    let order = room.order(&named).await.unwrap();
    assert_eq!(order.task.choice, Choice::Id(IDS[1].parse().unwrap()));
    let mut index = Index::open(Some(&room.path("meta"))).unwrap();
    index.remember(&order.origin.place.location).unwrap();
    index.forget(IDS[1].parse().unwrap()).unwrap();
    let order = room.order(&format!("{TO} --latest")).await.unwrap();
    assert_eq!(order.task.choice, Choice::Id(IDS[0].parse().unwrap()));
    for id in IDS {
        room.write(&entry(id), "rubbish");
    }
    let refusal = room.order(&named).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::NotFound, "{refusal}");
    assert!(refusal.message.contains("3 that cannot"), "{refusal}");
}

/// A drill that restores to the same place every night.
#[tokio::test]
async fn a_newer_backup_is_not_taken_for_the_one_that_was_restored() {
    let room = Room::of("whole");
    let newest = fs::read_to_string(room.path(&entry(IDS[1]))).unwrap();
    fs::remove_file(room.path(&entry(IDS[1]))).unwrap();
    let line = format!("{FROM} {TO} --latest");
    assert_eq!(room.run(&line).await.unwrap().0.backup.as_deref(), Some(IDS[0]));
    assert!(room.run(&line).await.unwrap().0.already_restored.is_some());
    room.write(&entry(IDS[1]), &newest);
    let before = room.home();
    let refusal = room.run(&line).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    let both = [
        format!("the command line has restored backup {} with data of 2026-11-21 00:13:20 UTC", IDS[0]),
        format!("backup {} is asked for", IDS[1]),
    ];
    for text in both.iter().map(String::as_str).chain(["--restore-path", room.path("mo/mo-data").to_str().unwrap()]) {
        assert!(refusal.message.contains(text), "{text} in {refusal}");
    }
    assert!(!refusal.message.contains("to go on with"), "{refusal}");
    assert_eq!(room.home(), before);
    fs::remove_dir_all(room.path("mo/mo-data")).unwrap();
    assert_eq!(room.run(&line).await.unwrap().0.backup.as_deref(), Some(IDS[1]));
}

#[tokio::test]
async fn a_half_restored_older_backup_is_gone_on_with_by_its_id() {
    let room = Room::of("whole");
    room.run(&format!("{} {FROM} {TO}", IDS[0])).await.unwrap();
    let marker = "mo/mo-data/mo-backup-restore.json";
    let mut text: Value = serde_json::from_slice(&fs::read(room.path(marker)).unwrap()).unwrap();
    text.as_object_mut().unwrap().remove("completedAt").unwrap();
    room.write(marker, &text.to_string());
    fs::remove_file(room.path("mo/mo-data/local/hk_data")).unwrap();
    let before = room.home();
    let refusal = room.run(&format!("{FROM} {TO} --latest")).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    let on = format!("or ask for {} to go on with that one", IDS[0]);
    assert!(refusal.message.contains(&on) && refusal.message.contains(IDS[1]), "{refusal}");
    assert_eq!(room.home(), before);
    let (report, _) = room.run(&format!("{} {FROM} {TO}", IDS[0])).await.unwrap();
    assert_eq!((report.already_restored.is_some(), report.written_objects), (false, Some(1)));
}

/// Folders have no ids, and those of two weeks can have the same names.
#[tokio::test]
async fn another_backup_in_folders_is_not_taken_for_the_one_that_was_restored() {
    let room = Room::new();
    for (week, version) in [("one", "v3.0.18"), ("two", "v1.2.4")] {
        for kind in ["full", "incr"] {
            let from = fixture("samples").join(version).join(kind);
            copy(&from, &room.path(&format!("backups/{week}")).join(kind));
        }
    }
    let chain = |week: &str| format!("--backup_path @/backups/{week}/full --backup_path @/backups/{week}/incr {TO}");
    let alone = |week: &str| format!("--backup_path @/backups/{week}/full {TO}");
    let latest = |week: &str| format!("--backup_path @/backups/{week} {TO} --latest");
    for (first, then) in [(chain("one"), chain("two")), (alone("one"), alone("two")), (latest("one"), latest("two"))] {
        room.run(&first).await.unwrap();
        assert!(room.run(&first).await.unwrap().0.already_restored.is_some(), "{first}");
        let before = room.home();
        let refusal = room.run(&then).await.unwrap_err();
        assert_eq!(refusal.ending, Ending::Final, "{then}: {refusal}");
        assert!(refusal.message.contains("what is to be restored now is backup"), "{refusal}");
        assert!(room.home() == before, "{then}");
        fs::remove_dir_all(room.path("mo/mo-data")).unwrap();
    }
}

#[tokio::test]
async fn of_two_matrixone_none_is_guessed() {
    let room = Room::of("whole");
    let text = fs::read_to_string(room.path(&entry(IDS[1]))).unwrap();
    let mut of_another: Value = serde_json::from_str(&text).unwrap();
    let known = of_another["cluster"]["identity"].as_str().unwrap().to_owned();
    of_another["cluster"]["identity"] = "a-test-cluster".into();
    of_another["cluster"]["address"] = "mo.testing:6001".into();
    room.write(&entry(IDS[1]), &of_another.to_string());
    let line = format!("{FROM} {TO} --latest");
    let refusal = room.order(&line).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    for part in [IDS[0], IDS[1], &known, "a-test-cluster", "mo.testing:6001", "--identity or --address"] {
        assert!(refusal.message.contains(part), "{part} in {refusal}");
    }
    for (which, id) in [
        (format!("--identity {known}"), IDS[0]),
        ("--identity a-test-cluster".into(), IDS[1]),
        ("--address mo.testing:6001".into(), IDS[1]),
    ] {
        let order = room.order(&format!("{line} {which}")).await.unwrap();
        assert_eq!(order.task.choice, Choice::Id(id.parse().unwrap()), "{which}");
    }
    assert!(parsed(&["x", "--identity", "a"]).is_err());
}
