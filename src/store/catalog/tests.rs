use rstest::rstest;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::{
    plan::{Entry, Held, History, Intent, Kind, Owner, RepositoryId},
    sample::{self, DIR},
    store::{
        Patience,
        memory::{Fault, Memory},
        presence,
    },
};

/// The time of day of all tests.
pub(super) const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

pub(super) fn id(n: u64) -> BackupId {
    BackupId::of_object(Uuid::from_u128(n.into()), n)
}

fn entry(path: &str, from: u32) -> Entry {
    Entry { path: path.into(), size: path.len() as u64, sha256: Digest([1; 32]), from }
}

/// Writes the objects and the list of a backup, without committing it.
pub(super) async fn prepare(memory: &Memory, number: u64, own: &[&str], others: &[(u64, &[&str])]) -> Catalog {
    let mut list: Vec<_> = own.iter().map(|path| entry(path, 0)).collect();
    for (from, (_, paths)) in (1..).zip(others) {
        list.extend(paths.iter().map(|path| entry(path, from)));
    }
    list.sort_by(|a, b| a.path.cmp(&b.path));
    for path in own {
        memory.set(Key::object(id(number), DIR, path).as_str(), path.to_string());
        memory.set(Key::object(id(number), DIR, &format!("{path}.sha256")).as_str(), "digest");
    }
    let stop = CancellationToken::new();
    let written = write_entries(memory, (id(number), DIR), others.len() + 1, || list.iter().cloned(), &stop);
    let written = written.await.unwrap();
    let backups = std::iter::once(number).chain(others.iter().map(|(other, _)| *other));
    Catalog {
        id: id(number),
        nonce: format!("nonce-{number}"),
        kind: if others.is_empty() { Kind::Full } else { Kind::Incremental },
        base: others.first().map(|(base, _)| id(*base)),
        chain: u32::try_from(others.len()).unwrap(),
        sources: sample::sources(backups.map(id), &written.sources),
        entries: written.entries,
        totals: written.totals,
        ..sample::blank()
    }
}

async fn backup(memory: &Memory, number: u64, own: &[&str], others: &[(u64, &[&str])]) -> Catalog {
    let catalog = prepare(memory, number, own, others).await;
    commit_it(memory, &catalog).await.unwrap();
    catalog
}

async fn paths(memory: &Memory, catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    let mut list = entries(memory, catalog).await.unwrap();
    while let Some(entry) = list.next().await.unwrap() {
        found.push(entry.path);
    }
    found
}

/// What the attempt of this backup may name.
pub(super) fn intent_of(catalog: &Catalog) -> Intent {
    let Catalog { id, attempt, nonce, base, sources, .. } = catalog.clone();
    let holds = sources.iter().map(|s| Held { backup: s.backup, attempt: s.attempt }).collect();
    let (object, started) = ("ns/name".into(), NOW.to_string());
    Intent { format: FORMAT, id, attempt: attempt.attempt, object, nonce, base, holds, started, lasts: 3600 }
}

/// Puts the intent of this backup, and commits it.
pub(super) async fn commit_it(memory: &Memory, catalog: &Catalog) -> Result<(), Failure> {
    let intent = intent_of(catalog);
    let key = Key::intent(intent.id, intent.attempt);
    memory.set(key.as_str(), serde_json::to_vec(&intent).unwrap());
    commit(memory, catalog, &intent, Patience::default()).await?;
    assert!(memory.unset(key.as_str()));
    Ok(())
}

/// Every committed backup has all its objects.
pub(super) async fn assert_whole(memory: &Memory) {
    let catalogue = all(memory).await.unwrap();
    assert!(catalogue.unreadable.is_empty(), "{:?}", catalogue.unreadable);
    for catalog in catalogue.catalogs {
        let list = presence::of_list(entries(memory, &catalog).await.unwrap());
        let found = presence::present(memory, &catalog.sources, list).await.unwrap();
        assert_eq!((found.faults, found.objects), (0, catalog.totals.objects), "{:?}", found.first);
    }
}

fn below(memory: &Memory, number: u64) -> Vec<String> {
    let prefix = Prefix::attempt(id(number), DIR);
    memory.keys().iter().filter_map(|k| k.strip_prefix(prefix.as_str()).map(str::to_owned)).collect()
}

/// Full 1, incremental 2 on it, incremental 3 on 2 that still needs an object of 1.
pub(super) async fn repository() -> Memory {
    let memory = Memory::new();
    backup(&memory, 1, &["mo_meta", "tae/a", "tae/b", "tae/c"], &[]).await;
    backup(&memory, 2, &["mo_meta", "tae/d"], &[(1, &["tae/a", "tae/b"])]).await;
    backup(&memory, 3, &["mo_meta", "tae/e"], &[(2, &["tae/d"]), (1, &["tae/b"])]).await;
    memory
}

#[tokio::test]
async fn what_is_committed_is_read() {
    let memory = repository().await;
    let catalogs = all(&memory).await.unwrap().catalogs;
    assert_eq!(catalogs.iter().map(|c| c.id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    assert_eq!(paths(&memory, &catalogs[2]).await, ["mo_meta", "tae/b", "tae/d", "tae/e"]);
    assert_eq!(read(&memory, id(2)).await.unwrap().as_ref(), Some(&catalogs[1]));
    assert_eq!(read(&memory, id(9)).await.unwrap(), None);
    assert_whole(&memory).await;
}

#[tokio::test]
async fn a_catalogue_is_read_without_the_history_of_each_backup() {
    let memory = Memory::new();
    let history = History { snapshots: Some(vec!["daily".into()]), ..History::default() };
    let catalog = Catalog { history, ..prepare(&memory, 1, &["mo_meta"], &[]).await };
    commit_it(&memory, &catalog).await.unwrap();
    assert_eq!(read(&memory, id(1)).await.unwrap().unwrap().history, catalog.history);
    assert_eq!(all(&memory).await.unwrap().catalogs, [Catalog { history: History::default(), ..catalog }]);
}

#[tokio::test]
async fn removal_keeps_what_others_need_until_the_last_of_them_goes() {
    let memory = repository().await;
    let purged = purge(&memory, id(1), NOW).await.unwrap();
    assert_eq!((purged.objects, purged.kept), (7, 2));
    assert_eq!(below(&memory, 1), ["tae/a", "tae/b"]);
    assert!(memory.get(Key::trash(id(1)).as_str()).is_some());
    assert_whole(&memory).await;
    purge(&memory, id(2), NOW).await.unwrap();
    assert_eq!((below(&memory, 1), below(&memory, 2)), (vec!["tae/b".into()], vec!["tae/d".into()]));
    assert_whole(&memory).await;
    purge(&memory, id(3), NOW).await.unwrap();
    assert_eq!(memory.keys(), Vec::<String>::new());
    assert_eq!(purge(&memory, id(3), NOW).await.unwrap(), Purged::default());
}

#[tokio::test]
async fn what_one_removal_cannot_finish_is_no_trouble_of_another() {
    let memory = repository().await;
    let held = Key::object(id(1), DIR, "tae/c");
    memory.lock(held.as_str());
    assert!(matches!(purge(&memory, id(1), NOW).await, Err(Failure::Store(e)) if e.problem == Problem::Locked));
    purge(&memory, id(3), NOW).await.unwrap();
    assert_eq!(below(&memory, 3), Vec::<String>::new());
    assert_eq!(below(&memory, 1), ["tae/a", "tae/b", "tae/c"], "what others need, and what is held");
    // The one that is held is looked for again.
    assert!(memory.get(Key::trash(id(1)).as_str()).is_some());
    purge(&memory, id(2), NOW).await.unwrap();
    assert_eq!(below(&memory, 1), ["tae/c"]);
    assert_whole(&memory).await;
}

#[tokio::test]
async fn a_backup_that_was_never_committed_goes_whole() {
    let memory = repository().await;
    prepare(&memory, 7, &["mo_meta", "tae/x"], &[(1, &["tae/a"])]).await;
    memory.set(&format!("data/{}/1-full/tae/y", id(7)), "y");
    memory.set(&format!("data/{}/rubbish", id(7)), "y");
    let before = memory.keys().len();
    let purged = purge(&memory, id(7), NOW).await.unwrap();
    assert_eq!((purged.objects, memory.keys().len()), (7, before - 7));
    assert_whole(&memory).await;
}

#[tokio::test]
async fn nothing_is_removed_while_a_need_is_unknown() {
    for damage in ["catalog", "entries"] {
        let memory = repository().await;
        let key = if damage == "catalog" { Key::catalog(id(2)) } else { Key::entries(id(2), DIR) };
        assert!(memory.flip(key.as_str(), 40));
        let failed = purge(&memory, id(1), NOW).await.unwrap_err();
        assert!(matches!(failed, Failure::Blocked { .. }), "{failed}");
        assert_eq!(below(&memory, 1).len(), 9);
        // The damaged one itself can go, and unblocks the other.
        purge(&memory, id(2), NOW).await.unwrap();
        purge(&memory, id(1), NOW).await.unwrap();
        assert_whole(&memory).await;
    }
}

#[tokio::test]
async fn a_removal_can_be_broken_off_anywhere() {
    let reference = repository().await;
    let begin = reference.calls().len();
    purge(&reference, id(1), NOW).await.unwrap();
    purge(&reference, id(2), NOW).await.unwrap();
    let calls = reference.calls().len() - begin;
    assert!(calls > 20);
    for at in 0..calls {
        for fault in [Fault::Before, Fault::Lost, Fault::After] {
            let memory = repository().await;
            let killed = CancellationToken::new();
            let kill = killed.clone();
            memory.fault(begin + at, fault, move || kill.cancel());
            let work = async {
                purge(&memory, id(1), NOW).await?;
                purge(&memory, id(2), NOW).await
            };
            tokio::select! { biased; () = killed.cancelled() => {}, _ = work => {} }
            assert_whole(&memory).await;
            purge(&memory, id(1), NOW).await.unwrap();
            purge(&memory, id(2), NOW).await.unwrap();
            assert_eq!(memory.keys(), reference.keys(), "call {at} {fault:?}");
        }
    }
}

fn marker_of(uid: &str) -> Marker {
    let owner = Owner { namespace: "ns".into(), name: "store".into(), uid: uid.into() };
    Marker {
        format: FORMAT,
        repository: RepositoryId(Uuid::new_v4()),
        owner,
        created_at: "2026-11-21T00:00:00Z".into(),
    }
}

#[tokio::test]
async fn a_repository_has_one_owner() {
    let memory = Memory::new();
    assert_eq!(marker(&memory).await.unwrap(), None);
    let first = claim(&memory, None, &marker_of("1")).await.unwrap();
    assert_eq!(claim(&memory, None, &marker_of("1")).await.unwrap(), first);
    // The UID tells who it is; an object that has one can have no other name.
    let mut again = marker_of("1");
    again.owner.name = "another".into();
    assert_eq!(claim(&memory, None, &again).await.unwrap(), first);
    let refused = claim(&memory, None, &marker_of("2")).await.unwrap_err();
    assert!(refused.to_string().contains("ns/store"), "{refused}");
    assert_eq!(marker(&memory).await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_lost_marker_is_written_again_for_the_backups_that_are_there() {
    let memory = repository().await;
    let known = sample::blank().repository;
    let again = claim(&memory, None, &marker_of("1")).await.unwrap();
    assert_eq!((again.repository, again.owner), (known, marker_of("1").owner));
    assert_eq!(marker(&memory).await.unwrap().map(|marker| marker.repository), Some(known));
}

#[tokio::test]
async fn whose_the_backups_are_is_never_guessed() {
    let memory = repository().await;
    let other =
        Catalog { repository: RepositoryId(Uuid::from_u128(9)), ..prepare(&memory, 9, &["mo_meta"], &[]).await };
    commit_it(&memory, &other).await.unwrap();
    let refused = claim(&memory, None, &marker_of("1")).await.unwrap_err();
    assert!(refused.to_string().contains("of 2 repositories"), "{refused}");
    let unread = Memory::new();
    unread.set(Key::catalog(id(1)).as_str(), "{");
    let refused = claim(&unread, None, &marker_of("1")).await.unwrap_err();
    assert_eq!(refused.key(), Some(Key::catalog(id(1)).as_str()), "{refused}");
    for memory in [memory, unread] {
        assert_eq!(marker(&memory).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_lost_reply_of_a_claim_does_not_matter() {
    let memory = Memory::new();
    memory.fault(1, Fault::Lost, || {});
    let wanted = marker_of("1");
    assert_eq!(claim(&memory, None, &wanted).await.unwrap(), wanted);
}

#[rstest]
#[case::newer("format", serde_json::json!(2), "use a newer mo-backup")]
#[case::unknown_field("extra", serde_json::json!(1), "unknown field")]
#[case::another("id", serde_json::json!("01a1fb92-c001-7000-8000-000000000002"), "of another backup")]
#[case::no_sources("sources", serde_json::json!([]), "first source")]
#[case::chain("chain", serde_json::json!(3), "its chain")]
#[case::traversal("attempt", serde_json::json!("../2"), "no attempt")]
#[case::no_format("format", serde_json::json!("x"), "invalid type")]
#[tokio::test]
async fn forged_entries_are_refused(#[case] field: &str, #[case] forged: serde_json::Value, #[case] why: &str) {
    let memory = Memory::new();
    let catalog = backup(&memory, 1, &["mo_meta"], &[]).await;
    let mut value = serde_json::to_value(&catalog).unwrap();
    value[field] = forged;
    memory.set(Key::catalog(id(1)).as_str(), value.to_string());
    let said = read(&memory, id(1)).await.unwrap_err().to_string();
    assert!(said.contains(why), "{said}");
    let catalogue = all(&memory).await.unwrap();
    assert_eq!((catalogue.catalogs.len(), catalogue.unreadable.len()), (0, 1));
}

#[tokio::test]
async fn caps_hold() {
    let memory = Memory::new();
    memory.set(Key::catalog(id(1)).as_str(), vec![b' '; CATALOG_MAX + 1]);
    assert!(read(&memory, id(1)).await.unwrap_err().to_string().contains("longer than"));
    assert_eq!(all(&memory).await.unwrap().unreadable.len(), 1);
}

#[tokio::test]
async fn missing_and_short_objects_are_named() {
    let memory = repository().await;
    let catalog = read(&memory, id(3)).await.unwrap().unwrap();
    memory.unset(Key::object(id(1), DIR, "tae/b").as_str());
    memory.set(Key::object(id(3), DIR, "tae/e").as_str(), "x");
    let list = presence::of_list(entries(&memory, &catalog).await.unwrap());
    let found = presence::present(&memory, &catalog.sources, list).await.unwrap();
    let missing = presence::Fault::Missing(Key::object(id(1), DIR, "tae/b"));
    let short = presence::Fault::Size { key: Key::object(id(3), DIR, "tae/e"), expected: 5, found: 1 };
    assert_eq!((found.objects, found.faults, found.first), (2, 2, vec![missing, short]));
}

/// What is here can run in a task of its own.
#[tokio::test]
async fn work_can_be_spawned() {
    let memory = repository().await;
    let work = tokio::spawn(async move {
        let catalogue = all(&memory).await?;
        for catalog in &catalogue.catalogs {
            let list = presence::of_list(entries(&memory, catalog).await?);
            presence::present(&memory, &catalog.sources, list).await?;
        }
        let empty = || std::iter::empty::<Entry>();
        write_entries(&memory, (id(9), DIR), 1, empty, &CancellationToken::new()).await?;
        let items = std::iter::empty::<crate::store::transfer::Item<()>>();
        let (moved, stop) = (crate::store::transfer::Moved::default(), CancellationToken::new());
        crate::store::transfer::copy(&memory, items, crate::store::transfer::Limits::default(), &moved, &stop, |_| {
            Ok(())
        })
        .await?;
        purge(&memory, id(1), NOW).await
    });
    assert_eq!(work.await.unwrap().unwrap().kept, 2);
}
