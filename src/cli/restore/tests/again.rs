//! Places where something is, or was.

use std::os::unix::fs::symlink;

use super::*;

#[rstest]
#[case::both(&["shared", "local"], "local/hk_data is missing")]
#[case::ids(&["local"], "local/hk_data is missing")]
#[case::objects(&["shared"], "nothing is left below shared/")]
#[tokio::test]
async fn what_was_restored_and_is_gone_is_not_called_done(#[case] gone: &[&str], #[case] named: &str) {
    let room = Room::of("whole");
    let line = format!("{} {FROM} {TO}", IDS[1]);
    room.run(&line).await.unwrap();
    for folder in gone {
        fs::remove_dir_all(room.path("mo/mo-data").join(folder)).unwrap();
    }
    let before = room.home();
    let refusal = room.run(&line).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    for text in [named, IDS[1], "mo-backup-restore.json too"] {
        assert!(refusal.message.contains(text), "{text} in {refusal}");
    }
    assert_eq!(room.home(), before);
}

/// Old state of the log service, and a folder for the objects, by links that no listing shows.
#[rstest]
#[tokio::test]
async fn a_place_with_a_link_in_it_is_left_alone(#[values("logservice-data", "shared")] name: &str) {
    let room = Room::of("whole");
    let (link, elsewhere) = (room.path("mo/mo-data").join(name), room.path("elsewhere"));
    fs::create_dir_all(room.path("mo/mo-data")).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    symlink(&elsewhere, &link).unwrap();
    let refusal = room.run(&format!("{} {FROM} {TO}", IDS[1])).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    assert!(refusal.message.contains(&format!("{name} (a symbolic link) is there")), "{refusal}");
    assert!(link.is_symlink() && fs::read_dir(&elsewhere).unwrap().next().is_none());
    assert_eq!(fs::read_dir(room.path("mo/mo-data")).unwrap().count(), 1, "nothing was written beside it");
}

/// The whole folder may be a link to a larger disk.
#[tokio::test]
async fn the_place_itself_may_be_a_link() {
    let room = Room::of("whole");
    fs::create_dir_all(room.path("disk/mo-data")).unwrap();
    symlink(room.path("disk/mo-data"), room.path("mo/mo-data")).unwrap();
    let line = format!("{} {FROM} {TO}", IDS[1]);
    room.run(&line).await.unwrap();
    assert!(room.path("disk/mo-data/local/hk_data").is_file());
    assert!(room.run(&line).await.unwrap().0.already_restored.is_some());
    // One that leads nowhere can be filled by nobody.
    fs::remove_dir_all(room.path("disk")).unwrap();
    let refusal = room.run(&line).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Final, "{refusal}");
    assert!(refusal.message.contains("there is a symbolic link in the way"), "{refusal}");
}
