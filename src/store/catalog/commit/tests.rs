use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::*;
use crate::store::{
    catalog::{
        purge, read,
        tests::{NOW, commit_it, id, intent_of, prepare, repository},
    },
    memory::{Fault, Memory},
};

/// Puts the intent of this backup.
fn intended(memory: &Memory, catalog: &Catalog) -> Intent {
    let intent = intent_of(catalog);
    memory.set(Key::intent(intent.id, intent.attempt).as_str(), serde_json::to_vec(&intent).unwrap());
    intent
}

/// Lets so many creates of the entry fail, and none of the reads between them.
async fn commit_after(failures: usize) -> (Memory, Result<(), Failure>, std::time::Duration) {
    let memory = Memory::new();
    let catalog = prepare(&memory, 1, &["mo_meta"], &[]).await;
    let first: Arc<Mutex<Option<Instant>>> = Arc::default();
    let intent = intended(&memory, &catalog);
    let create = memory.calls().len() + 2;
    for n in 0..failures {
        let first = first.clone();
        memory.fault(create + 3 * n, Fault::Before, move || {
            first.lock().unwrap().get_or_insert_with(Instant::now);
        });
    }
    let committed = commit(&memory, &catalog, &intent, Patience::default()).await;
    assert!(memory.calls()[create].starts_with("create catalog/"), "{:?}", memory.calls());
    let took = first.lock().unwrap().unwrap().elapsed();
    (memory, committed, took)
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_as_patient_as_every_other_call() {
    let (memory, committed, took) = commit_after(20).await;
    committed.unwrap();
    assert!(read(&memory, id(1)).await.unwrap().is_some());
    assert!(took > Patience::default().limit / 2, "{took:?}");
    let (memory, committed, took) = commit_after(400).await;
    assert!(matches!(committed, Err(Failure::Store(e)) if e.temporary));
    assert_eq!(memory.get(Key::catalog(id(1)).as_str()), None);
    assert!(took >= Patience::default().limit, "{took:?}");
}

#[tokio::test]
async fn a_second_process_cannot_commit() {
    let memory = Memory::new();
    let catalog = prepare(&memory, 1, &["mo_meta"], &[]).await;
    commit_it(&memory, &catalog).await.unwrap();
    commit_it(&memory, &catalog).await.unwrap();
    let other = Catalog { nonce: "other".into(), ..catalog.clone() };
    assert!(matches!(commit_it(&memory, &other).await, Err(Failure::Conflict(_))));
    assert_eq!(read(&memory, id(1)).await.unwrap(), Some(catalog));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_commit_is_settled_by_looking() {
    for fault in [Fault::Before, Fault::Lost] {
        let memory = Memory::new();
        let catalog = prepare(&memory, 1, &["mo_meta"], &[]).await;
        let create = memory.calls().len() + 2;
        memory.fault(create, fault, || {});
        commit_it(&memory, &catalog).await.unwrap();
        assert!(memory.calls()[create].starts_with("create"));
        assert_eq!(read(&memory, id(1)).await.unwrap(), Some(catalog));
    }
}

#[tokio::test]
async fn a_commit_that_lost_the_race_says_so() {
    let memory = Memory::new();
    let catalog = prepare(&memory, 1, &["mo_meta"], &[]).await;
    let winner = serde_json::to_vec(&Catalog { nonce: "winner".into(), ..catalog.clone() }).unwrap();
    let (other, create) = (memory.clone(), memory.calls().len());
    memory.fault(create, Fault::After, move || other.set(Key::catalog(id(1)).as_str(), winner.clone()));
    assert!(matches!(commit_it(&memory, &catalog).await, Err(Failure::Conflict(_))));
    assert_eq!(read(&memory, id(1)).await.unwrap().unwrap().nonce, "winner");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_ended_commits_no_more() {
    let memory = Memory::new();
    let catalog = prepare(&memory, 5, &["mo_meta"], &[]).await;
    let intent = intended(&memory, &catalog);
    purge(&memory, id(5), NOW).await.unwrap();
    let refused = commit(&memory, &catalog, &intent, Patience::default()).await;
    assert!(matches!(refused, Err(Failure::IntentGone(of)) if of == id(5)), "{refused:?}");
    // Also when the create before has met a passing trouble.
    let catalog = prepare(&memory, 6, &["mo_meta"], &[]).await;
    let intent = intended(&memory, &catalog);
    let (other, key) = (memory.clone(), Key::intent(id(6), 1));
    memory.fault(memory.calls().len() + 2, Fault::Before, move || {
        other.unset(key.as_str());
    });
    let refused = commit(&memory, &catalog, &intent, Patience::default()).await;
    assert!(matches!(refused, Err(Failure::IntentGone(_))), "{refused:?}");
    assert_eq!(memory.keys().iter().filter(|key| key.starts_with("catalog/")).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_on_a_removed_base_is_whole() {
    let memory = repository().await;
    let catalog = prepare(&memory, 4, &["mo_meta"], &[(3, &["tae/e"]), (2, &["tae/d"]), (1, &["tae/b"])]).await;
    let base = read(&memory, id(3)).await.unwrap().unwrap();
    let intent = intent_of(&catalog);
    assert!(intents::begin(&memory, &intent, Some(&base), Patience::default()).await.unwrap());
    let purged = purge(&memory, id(3), NOW).await.unwrap();
    assert_eq!((purged.objects, purged.under_way), (0, Some(id(4))), "{purged:?}");
    commit(&memory, &catalog, &intent, Patience::default()).await.unwrap();
    intents::end(&memory, &intent).await.unwrap();
    crate::store::catalog::tests::assert_whole(&memory).await;
    // What it does not name goes with the next removal.
    purge(&memory, id(2), NOW).await.unwrap();
    let left: Vec<_> = memory.keys().into_iter().filter(|key| key.contains(&id(3).to_string())).collect();
    assert_eq!(left, [Key::object(id(3), crate::sample::DIR, "tae/e"), Key::trash(id(3))].map(|key| key.to_string()));
    crate::store::catalog::tests::assert_whole(&memory).await;
    // An attempt that begins after the base was removed is told so.
    let late = intent_of(&prepare(&memory, 7, &["mo_meta"], &[(3, &["tae/e"])]).await);
    assert!(!intents::begin(&memory, &late, Some(&base), Patience::default()).await.unwrap());
}
