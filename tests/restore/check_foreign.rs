//! A check of folders that `mo_br` or a plain BACKUP made, as MatrixOne v1.2.4, v3.0.18 and v4.2.0 wrote them.

use std::collections::BTreeSet;

use mo_backup::{
    api::{Format, Reason},
    plan::Framing,
    store::memory::{Fault, Memory},
    task::Choice,
    worker::Depth,
};
use rstest::rstest;

use super::{
    check::run,
    foreign::{FOLDERS, content, files, folder, rig},
    rig::Rig,
};

const DEPTHS: [Depth; 2] = [Depth::Presence, Depth::Content];

fn paths(folders: &[&str]) -> Choice {
    Choice::Paths(folders.iter().map(ToString::to_string).collect())
}

/// Rows of a sample's list, as `path,size,sha256,needCopy,timestamp`.
fn rows(version: &str, kind: &str) -> Vec<String> {
    let list = String::from_utf8(content(version, kind, "tae/tae_list")).unwrap();
    list.lines().map(str::to_owned).collect()
}

/// The name in a row that has a SHA-256.
fn known(row: &str) -> Option<String> {
    let fields: Vec<_> = row.split(',').collect();
    (!fields[2].is_empty()).then(|| fields[0].to_owned())
}

/// Keys of the last folder that begin like this below it.
fn keys(rig: &Rig, begin: &str) -> Vec<String> {
    let begin = format!("{}/{begin}", FOLDERS[1]);
    rig.source.keys().into_iter().filter(|key| key.starts_with(&begin) && !key.ends_with(".sha256")).collect()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn folders_are_looked_at_as_a_whole(#[values("v1.2.4", "v3.0.18", "v4.2.0")] version: &'static str) {
    for (folders, kind) in [(&FOLDERS[..1], "full"), (&FOLDERS[..], "incr")] {
        let rig = rig(version, Format::Raw).await;
        let list = rows(version, kind);
        let listed: usize = list.iter().map(|row| row.split(',').nth(1).unwrap().parse::<usize>().unwrap()).sum();
        let words: usize = ["mo_meta", "tae/tae_list", "tae/tae_sum", "hakeeper/hk_data"]
            .iter()
            .map(|path| match *path {
                "mo_meta" => std::fs::read(super::foreign::folder(version, kind).join(path)).unwrap().len(),
                path => content(version, kind, path).len(),
            })
            .sum();
        // Of what lies in the first folder, its list says the SHA-256.
        let of_first: BTreeSet<_> = rows(version, "full").iter().filter_map(|row| known(row)).collect();
        let copied = |row: &str| row.contains(",true,");
        let digests = list
            .iter()
            .filter(|row| known(row).is_some() || !copied(row) && of_first.contains(row.split(',').next().unwrap()))
            .count();
        for depth in DEPTHS {
            let checked = run(&rig, paths(folders), depth).await.unwrap();
            // The rows, what was read to choose, and four files of the configuration.
            assert_eq!(
                (checked.objects, checked.faults),
                (list.len() as u64 + 4 + 4, 0),
                "{version} {kind} {checked:?}"
            );
            assert_eq!(checked.bytes, (listed + words) as u64, "{version} {kind}");
            let hashed = if depth == Depth::Content { digests + 4 + 4 } else { 4 };
            assert_eq!(checked.hashed, hashed as u64, "{version} {kind} {depth:?}");
            assert_eq!((checked.name.as_str(), checked.catalog), (*folders.last().unwrap(), None));
        }
    }
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn all_faults_of_folders_are_counted(#[values("v1.2.4", "v4.2.0")] version: &'static str) {
    let rig = rig(version, Format::Raw).await;
    let (objects, config) = (keys(&rig, "tae/01a1fb"), keys(&rig, "config/"));
    // One that the last folder needs of the first.
    let needed = rows(version, "incr").into_iter().find(|row| row.contains(",false,")).unwrap();
    let needed = format!("{}/tae/{}", FOLDERS[0], needed.split(',').next().unwrap());
    let gone = [&objects[0], &config[0], &needed];
    for key in gone {
        assert!(rig.source.unset(key), "{key}");
    }
    let whole = rig.source.get(&objects[1]).unwrap();
    rig.source.set(&objects[1], whole.slice(..whole.len() - 5));
    for key in [&objects[2], &config[1]] {
        assert!(rig.source.flip(key, 9), "{key}");
    }
    for (depth, faults) in [(Depth::Presence, 4), (Depth::Content, 6)] {
        let checked = run(&rig, paths(&FOLDERS), depth).await.unwrap();
        assert_eq!((checked.faults, checked.first.len()), (faults, faults.try_into().unwrap()), "{:#?}", checked.first);
        for key in gone {
            assert!(checked.first.contains(&format!("{key} is missing")), "{key}: {:#?}", checked.first);
        }
        let others = [&objects[1], &objects[2], &config[1]].into_iter().take(if faults == 4 { 1 } else { 3 });
        for key in others {
            assert!(checked.first.iter().any(|said| said.contains(key)), "{key}: {:#?}", checked.first);
        }
    }
    // What the first folder has besides is none of the incremental one's business, but its own.
    assert_eq!(run(&rig, paths(&FOLDERS[..1]), Depth::Content).await.unwrap().faults, 1);
}

#[rstest]
#[case("mo_meta", true, Reason::ObjectCorrupted)]
#[case("mo_meta", false, Reason::BackupIncomplete)]
#[case("tae/tae_list", true, Reason::ObjectCorrupted)]
#[case("tae/tae_sum", false, Reason::BackupIncomplete)]
#[case("hakeeper/hk_data", true, Reason::ObjectCorrupted)]
#[tokio::test(start_paused = true)]
async fn what_says_everything_else_ends_the_check(#[case] path: &str, #[case] flip: bool, #[case] expected: Reason) {
    for depth in DEPTHS {
        let rig = rig("v4.2.0", Format::Raw).await;
        let key = format!("{}/{path}", FOLDERS[1]);
        assert!(if flip { rig.source.flip(&key, 9) } else { rig.source.unset(&key) });
        let failure = run(&rig, paths(&FOLDERS), depth).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (expected, false), "{failure}");
        assert!(failure.detail.contains(&key), "{failure}");
    }
}

/// What lies in folders that were not named is counted, and is no damage: nothing is known of it. Damage beside it is.
#[rstest]
#[tokio::test(start_paused = true)]
async fn an_incremental_folder_alone_is_looked_at_as_far_as_it_is_there(
    #[values("v1.2.4", "v3.0.18", "v4.2.0")] version: &'static str,
) {
    let rig = rig(version, Format::Raw).await;
    let list = rows(version, "incr");
    let own = list.iter().filter(|row| row.contains(",true,")).count() as u64;
    for depth in DEPTHS {
        let checked = run(&rig, paths(&FOLDERS[1..]), depth).await.unwrap();
        let expected = (own + 4 + 4, list.len() as u64 - own, 0);
        assert_eq!((checked.objects, checked.elsewhere, checked.faults), expected, "{depth:?} {checked:?}");
        assert_eq!(run(&rig, paths(&FOLDERS), depth).await.unwrap().elsewhere, 0);
    }
    let gone = &keys(&rig, "tae/01a1fb")[0];
    assert!(rig.source.unset(gone));
    for depth in DEPTHS {
        let checked = run(&rig, paths(&FOLDERS[1..]), depth).await.unwrap();
        assert_eq!(checked.first, [format!("{gone} is missing")]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_place_itself_can_be_checked() {
    let rig = Rig { source: Memory::new(), ..Rig::new(Framing::Raw, Format::Raw).await };
    for (path, content) in files(&folder("v1.2.4", "full")) {
        rig.source.set(&path, content);
    }
    for depth in DEPTHS {
        let checked = run(&rig, paths(&[""]), depth).await.unwrap();
        assert_eq!((checked.name.as_str(), checked.objects, checked.faults), ("", 89, 0), "{:#?}", checked.first);
    }
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_midway_is_no_damage(#[values(Depth::Presence, Depth::Content)] depth: Depth) {
    let whole = rig("v4.2.0", Format::Raw).await;
    run(&whole, paths(&FOLDERS), depth).await.unwrap();
    for from in (0..whole.source.calls().len()).step_by(5) {
        let rig = whole.fresh();
        for call in from..from + 400 {
            rig.source.fault(call, Fault::Before, || {});
        }
        let failure = run(&rig, paths(&FOLDERS), depth).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::StorageUnreachable, true), "call {from}: {failure}");
    }
}
