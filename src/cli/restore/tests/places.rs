//! Where to restore to.

use std::path::Path;

use rstest::rstest;

use super::*;
use crate::{api::Format, task::Location};

fn service(folder: &str) -> String {
    format!("[[fileservice]]\nname = \"SHARED\"\nbackend = \"DISK\"\ndata-dir = \"{folder}\"")
}

#[rstest]
#[case::beside("./store/shared", "", "store/shared", "mo-data/local/hk_data")]
#[case::in_mo_data("./mo-data/a/b", "mo-data", "a/b", "local/hk_data")]
#[case::below_local("mo-data/local/objects", "mo-data/local", "objects", "hk_data")]
#[tokio::test]
async fn the_deepest_folder_that_holds_both_must_be_empty(
    #[case] folder: &str,
    #[case] target: &str,
    #[case] data: &str,
    #[case] hk_data: &str,
) {
    let room = Room::of("whole");
    room.write("tn.toml", &service(folder));
    let order = room.order(&format!("{} {FROM} {TO} --dn-config-path @/tn.toml", IDS[0])).await.unwrap();
    let task = order.task.target;
    let Location::Volume(volume) = &task.location else { panic!("{task:?}") };
    assert_eq!(Path::new("/").join(&volume.path), room.path("mo").join(target));
    assert_eq!((task.data.path.as_str(), task.hk_data.path.as_str()), (data, hk_data));
    assert_eq!((task.data.format, task.hk_data.format), (Format::Framed, Format::Framed));
    assert_eq!(order.goal.objects, format!("./{}", folder.trim_start_matches("./")));
}

#[rstest]
#[case::nowhere("", "--restore-dir is missing")]
#[case::no_path("--restore_dir filesystem", "--restore-path")]
#[case::both("--restore_dir s3 --restore_bucket bucket --restore_path @/mo", "--restore-path")]
#[case::bucket("--restore_dir s3 --restore_bucket bucket --dn_config_path @/outside.toml", "--dn-config-path")]
#[case::outside("--restore_path @/mo --dn_config_path @/outside.toml", "not below --restore-path")]
#[case::itself("--restore_path @/mo --dn_config_path @/itself.toml", "not below --restore-path")]
#[case::in_it("--restore_path @/mo --dn_config_path @/local.toml", "beside each other")]
#[case::moved("--restore_path @/mo --dn_config_path @/moved.toml", "--log-config-path")]
#[case::tilde("--restore_path @/mo --dn_config_path @/tilde.toml", "'~'")]
#[case::no_toml("--restore_path @/mo --dn_config_path @/none.toml", "@/none.toml")]
#[tokio::test]
async fn what_is_no_place_is_refused(#[case] line: &str, #[case] named: &str) {
    let room = Room::of("whole");
    for (file, folder) in
        [("outside", "/elsewhere/shared"), ("itself", "."), ("local", "mo-data/local"), ("tilde", "mo-data/~x")]
    {
        room.write(&format!("{file}.toml"), &service(folder));
    }
    room.write("moved.toml", "data-dir = \"./data\"");
    let before = room.home();
    let refusal = room.order(&format!("{} {FROM} {line}", IDS[0])).await.err().unwrap();
    assert_eq!(refusal.ending, Ending::Usage, "{refusal}");
    let named = named.replace('@', room.folder.path().to_str().unwrap());
    assert!(refusal.message.contains(&named), "{refusal}");
    assert_eq!(room.home(), before);
}

#[tokio::test]
async fn a_bucket_has_the_layout_that_an_operator_boots_from() {
    let room = Room::of("whole");
    let keys = "--restore_access_key_id id --restore_secret_access_key_file @/key";
    room.write("key", "canary");
    let line = format!(
        "{} {FROM} --restore_dir s3 --restore_endpoint http://127.0.0.1:1 --restore_bucket bucket \
         --restore_filepath /mo/c1 --restore_is_minio {keys}",
        IDS[1]
    );
    let order = room.order(&line).await.unwrap();
    let task = &order.task.target;
    assert_eq!((task.data.path.as_str(), task.data.format), ("data", Format::Raw));
    assert_eq!((task.hk_data.path.as_str(), task.hk_data.format), ("hk_data", Format::Raw));
    let report = RestoreReport { server_version: Some("v4.2.0".into()), ..RestoreReport::default() };
    let said = said::head(&order) + &said::done(&order, &report);
    for text in [
        "Path: mo/c1\n",
        "TaePath\n    ./data\n",
        "key-prefix \"mo/c1/data\"",
        "key-prefix \"mo/c1\",\n",
        "BACKUP:hk_data",
    ] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert!(!format!("{:?} {said}", order.task).contains("canary"));
}

#[tokio::test]
async fn a_folder_of_the_repository_is_no_target() {
    let room = Room::of("whole");
    let before = files(&room.path("backups"));
    let refusal = room.run(&format!("{} {FROM} --restore_path @/backups/data", IDS[0])).await.unwrap_err();
    assert_eq!(refusal.ending, Ending::Usage, "{refusal}");
    assert!(refusal.message.contains("Name another --restore-path"), "{refusal}");
    assert_eq!(files(&room.path("backups")), before);
}

/// The configuration that 4.2 comes with looks elsewhere than that of all earlier versions.
#[tokio::test]
async fn who_restores_4_2_by_default_is_told_where_its_own_configuration_looks() {
    for (version, told) in [("v4.2.0", true), ("v3.0.18", false)] {
        let room = Room::of_samples(version);
        let (_, said) = room.run(&format!("--backup_path @/backups/full {TO}")).await.unwrap();
        assert_eq!(said.contains("looks in ./mo-data/shared2"), told, "{said}");
        let object = room.home().into_iter().find(|(name, _)| name.starts_with("mo-data/shared/")).unwrap().1;
        assert!(framing::Deframer::default().push(&object).is_ok(), "framed, whatever it was");
    }
}
