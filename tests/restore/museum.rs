//! A museum of damaged repositories. Each is refused by the name of the damaged thing, and its target stays empty.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::Framing,
    task::{Choice, RestoreTask},
};
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    repository::name,
    rig::{Rig, assert_done},
};

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

/// Keys of the incremental backup and of its base.
fn entry(rig: &Rig) -> String {
    format!("catalog/{}.json", rig.incremental.id)
}

fn list(rig: &Rig) -> String {
    format!("data/{}/1/entries.jsonl.zst", rig.incremental.id)
}

fn object(rig: &Rig, n: u8) -> String {
    let id = if n < 5 { rig.full.id } else { rig.incremental.id };
    format!("data/{id}/1/{}", name(n))
}

fn hk_data(rig: &Rig) -> String {
    format!("data/{}/1/hakeeper/hk_data", rig.incremental.id)
}

/// In the middle.
fn flip(rig: &Rig, key: &str) {
    let at = rig.source.get(key).unwrap().len() / 2;
    assert!(rig.source.flip(key, at), "{key}");
}

fn unset(rig: &Rig, key: &str) {
    assert!(rig.source.unset(key), "{key}");
}

fn cut(rig: &Rig, key: &str) {
    let whole = rig.source.get(key).unwrap();
    rig.source.set(key, whole.slice(..whole.len() - 1));
}

/// Changes the catalogue entry.
fn edit(rig: &Rig, change: impl FnOnce(&mut Value)) {
    let mut catalog = serde_json::from_slice(&rig.source.get(&entry(rig)).unwrap()).unwrap();
    change(&mut catalog);
    rig.source.set(&entry(rig), catalog.to_string());
}

/// Changes the lines of the entry list, and lets the catalogue entry agree.
fn forge(rig: &Rig, change: impl Fn(&str) -> Option<String>) {
    let lines = zstd::decode_all(&rig.source.get(&list(rig)).unwrap()[..]).unwrap();
    let lines: Vec<_> = std::str::from_utf8(&lines).unwrap().lines().filter_map(change).collect();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let stored = zstd::encode_all(text.as_bytes(), 1).unwrap();
    edit(rig, |catalog| {
        catalog["entries"] = json!({
            "bytes": stored.len(), "sha256": hex(&stored), "lines": lines.len(), "linesSha256": hex(text.as_bytes()),
        });
    });
    rig.source.set(&list(rig), stored);
}

/// Replaces a text in the lines.
fn replace(rig: &Rig, old: &str, new: &str) {
    forge(rig, |line| Some(line.replace(old, new)));
}

/// Does one damage; returns what must be named.
pub fn damage(rig: &Rig, what: &str) -> String {
    match what {
        "object is missing" => (unset(rig, &object(rig, 6)), object(rig, 6)).1,
        "object of the base is missing" => (unset(rig, &object(rig, 3)), object(rig, 3)).1,
        "object is short" => (cut(rig, &object(rig, 6)), object(rig, 6)).1,
        "bit in an object" => (flip(rig, &object(rig, 6)), object(rig, 6)).1,
        "bit in an object of the base" => (flip(rig, &object(rig, 4)), object(rig, 4)).1,
        "bit in hk_data" => (flip(rig, &hk_data(rig)), hk_data(rig)).1,
        "hk_data is missing" => (unset(rig, &hk_data(rig)), hk_data(rig)).1,
        "hk_data is not listed" => {
            forge(rig, |line| (!line.contains("hk_data")).then(|| line.to_owned()));
            edit(rig, |catalog| {
                for (sum, objects, bytes) in
                    [("totals", "objects", "bytes"), ("totals", "copiedObjects", "copiedBytes")]
                {
                    catalog[sum][objects] = (catalog[sum][objects].as_u64().unwrap() - 1).into();
                    catalog[sum][bytes] = (catalog[sum][bytes].as_u64().unwrap() - 149).into();
                }
                catalog["sources"][0]["objects"] = catalog["totals"]["copiedObjects"].clone();
                catalog["sources"][0]["bytes"] = catalog["totals"]["copiedBytes"].clone();
            });
            "hk_data".into()
        }
        "list is cut" => (cut(rig, &list(rig)), list(rig)).1,
        "list is missing" => (unset(rig, &list(rig)), list(rig)).1,
        "bit in the list" => (flip(rig, &list(rig)), list(rig)).1,
        "upwards" => (replace(rig, "tae/gc/", "tae/../../gc/"), "../".into()).1,
        "absolute" => (replace(rig, "\"mo_meta\"", "\"/etc/passwd\""), "/etc/passwd".into()).1,
        "wrong digest" => {
            let right = hex(&rig.trees[1][&name(6)]);
            replace(rig, &right, &"0".repeat(64));
            object(rig, 6)
        }
        "entry is cut" => (cut(rig, &entry(rig)), entry(rig)).1,
        "entry has more" => (edit(rig, |c| c["hmac"] = "x".into()), entry(rig)).1,
        "entry is of another" => (edit(rig, |c| c["id"] = rig.full.id.to_string().into()), entry(rig)).1,
        "other repository" => {
            let other = "01a1fb90-0000-7000-8000-000000000001";
            (edit(rig, |c| c["repository"] = other.into()), other.into()).1
        }
        "unknown format" => (edit(rig, |c| c["format"] = 2.into()), format!("{}: it has format 2", entry(rig))).1,
        "a million claimed" => {
            edit(rig, |c| (c["entries"]["lines"], c["totals"]["objects"]) = (1_000_000.into(), 1_000_000.into()));
            list(rig)
        }
        "ten million gigabytes claimed" => (edit(rig, |c| c["totals"]["bytes"] = u64::MAX.into()), "totals".into()).1,
        other => panic!("{other}"),
    }
}

#[rstest]
#[case("object is missing", Reason::ObjectMissing)]
#[case("object of the base is missing", Reason::ObjectMissing)]
#[case("object is short", Reason::ObjectCorrupted)]
#[case("bit in an object", Reason::ObjectCorrupted)]
#[case("bit in an object of the base", Reason::ObjectCorrupted)]
#[case("bit in hk_data", Reason::ObjectCorrupted)]
#[case("hk_data is missing", Reason::ObjectMissing)]
#[case("hk_data is not listed", Reason::RepositoryDamaged)]
#[case("list is cut", Reason::RepositoryDamaged)]
#[case("list is missing", Reason::RepositoryDamaged)]
#[case("bit in the list", Reason::RepositoryDamaged)]
#[case("upwards", Reason::RepositoryDamaged)]
#[case("absolute", Reason::RepositoryDamaged)]
#[case("wrong digest", Reason::ObjectCorrupted)]
#[case("entry is cut", Reason::RepositoryDamaged)]
#[case("entry has more", Reason::RepositoryDamaged)]
#[case("entry is of another", Reason::RepositoryDamaged)]
#[case("other repository", Reason::BackupForeign)]
#[case("unknown format", Reason::RepositoryTooNew)]
#[case("a million claimed", Reason::RepositoryDamaged)]
#[case("ten million gigabytes claimed", Reason::RepositoryDamaged)]
#[tokio::test(start_paused = true)]
async fn what_is_damaged_is_named_and_the_target_stays_empty(
    #[case] what: &str,
    #[case] expected: Reason,
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
) {
    let rig = Rig::new(framing, Format::Raw).await;
    let named = damage(&rig, what);
    let report = rig.run(&rig.task(Choice::Id(rig.incremental.id))).await;
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{what}: {report:#?}");
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{what}");
    let message = report.said.message.unwrap();
    assert!(message.contains(&named), "{what}: {message} does not name {named}");
    assert!(rig.target.keys().is_empty(), "{what}: {:?}", rig.target.keys());
    let touched: Vec<_> = rig.target.calls().into_iter().filter(|call| !call.starts_with(['r', 's', 'l'])).collect();
    assert_eq!(touched, Vec::<String>::new(), "{what}");
}

/// A plan reads no content, but everything else is looked at.
#[tokio::test(start_paused = true)]
async fn a_plan_of_a_damaged_backup_is_refused() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let named = damage(&rig, "object of the base is missing");
    let task = RestoreTask { plan_only: true, ..rig.task(Choice::Latest) };
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some(Reason::ObjectMissing.as_str()), "{report:#?}");
    assert!(report.said.message.unwrap().contains(&named));
}

/// What is not restored is not missed.
#[tokio::test(start_paused = true)]
async fn words_about_a_backup_may_be_missing() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    for path in ["mo_meta", "tae/tae_list", "config/cn.toml_01a1fb9e-2560-7b91-9479-9d72d684aabd"] {
        unset(&rig, &format!("data/{}/1/{path}", rig.incremental.id));
    }
    unset(&rig, "mo-backup.json");
    let report = rig.run(&rig.task(Choice::Latest)).await;
    assert_done(&report);
    assert_eq!(rig.placed(), rig.expected(1));
    assert!(report.warnings[0].message.contains("mo-backup.json"), "{report:#?}");
}
