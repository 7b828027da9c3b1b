use rstest::rstest;

use super::*;
use crate::store::{
    catalog::{
        dependents, purge,
        tests::{NOW, assert_whole, id, intent_of, prepare, repository},
    },
    memory::{Fault, Memory},
};

const HOUR: Duration = Duration::from_hours(1);

/// An attempt of backup 4 on backup 3, which is to take an hour at most.
async fn under_way(memory: &Memory, started: Timestamp, lasts: Duration) -> Key {
    let catalog = prepare(memory, 4, &["mo_meta"], &[(3, &["tae/e"])]).await;
    let intent = Intent { started: started.to_string(), lasts: lasts.as_secs(), ..intent_of(&catalog) };
    let key = Key::intent(intent.id, intent.attempt);
    memory.set(key.as_str(), serde_json::to_vec(&intent).unwrap());
    key
}

#[rstest]
#[case::now(NOW, None, HOUR, true)]
#[case::in_its_time(NOW - HOUR, None, HOUR, true)]
#[case::with_another_clock(NOW - HOUR * 2, None, HOUR, true)]
#[case::over(NOW - HOUR * 2 - Duration::from_secs(1), None, HOUR, false)]
#[case::by_the_stores_clock(NOW - HOUR * 9, Some(NOW - HOUR), HOUR, true)]
#[case::over_by_the_stores_clock(NOW + HOUR * 9, Some(NOW - HOUR * 3), HOUR, false)]
#[case::for_ever(NOW, Some(NOW - HOUR * 24 * 32), HOUR * 24 * 9999, false)]
#[tokio::test(start_paused = true)]
async fn an_intent_counts_until_its_time_is_over(
    #[case] started: Timestamp,
    #[case] written: Option<Timestamp>,
    #[case] lasts: Duration,
    #[case] counts: bool,
) {
    let memory = repository().await;
    let key = under_way(&memory, started, lasts).await;
    if let Some(written) = written {
        memory.date(key.as_str(), written);
    }
    let found = dependents(&memory, NOW).await.unwrap();
    assert_eq!((found.under_way.len(), found.catalogs.len()), (usize::from(counts), 3));
    assert_eq!(memory.get(key.as_str()).is_some(), counts, "what is over is removed");
    let purged = purge(&memory, id(3), NOW).await.unwrap();
    assert_eq!((purged.kept, purged.under_way), if counts { (5, Some(id(4))) } else { (0, None) }, "{purged:?}");
    assert_whole(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_committed_is_not_under_way() {
    let memory = repository().await;
    let key = under_way(&memory, NOW, HOUR).await;
    let committed = memory.get(Key::catalog(id(3)).as_str()).unwrap();
    let committed = String::from_utf8(committed.to_vec()).unwrap().replace(&id(3).to_string(), &id(4).to_string());
    memory.set(Key::catalog(id(4)).as_str(), committed);
    let found = dependents(&memory, NOW).await.unwrap();
    assert_eq!((found.under_way.len(), found.catalogs.len()), (0, 4));
    assert!(memory.get(key.as_str()).is_some());
}

#[rstest]
#[case::damaged("{")]
#[case::newer(r#"{"format":2}"#)]
#[case::of_another(r#"{"format":1,"id":"01a1fb92-c001-7000-8000-000000000002","attempt":1,"object":"","nonce":"","holds":[],"started":"","lasts":1}"#)]
#[tokio::test(start_paused = true)]
async fn nothing_is_removed_while_an_intent_cannot_be_read(#[case] content: &str) {
    let memory = repository().await;
    let key = under_way(&memory, NOW, HOUR).await;
    memory.set(key.as_str(), content.to_owned());
    let before = memory.keys().iter().filter(|key| key.starts_with("data/")).count();
    let refused = purge(&memory, id(3), NOW).await.unwrap_err();
    assert!(matches!(&refused, Failure::Blocked { .. }) && refused.to_string().contains(key.as_str()), "{refused}");
    assert_eq!(memory.keys().iter().filter(|key| key.starts_with("data/")).count(), before);
    // The removal of its backup ends it, whatever it says.
    purge(&memory, id(4), NOW).await.unwrap();
    purge(&memory, id(3), NOW).await.unwrap();
    assert_whole(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_an_intent_by_its_name_blocks_nothing() {
    let memory = repository().await;
    for name in [
        ".DS_Store",
        "x.json",
        "01a1fb92-c001-7000-8000-000000000002/0.json",
        "01a1fb92-c001-7000-8000-000000000002/1-full.json",
    ] {
        memory.set(&format!("{}{name}", Prefix::intents()), "x");
    }
    assert!(dependents(&memory, NOW).await.unwrap().under_way.is_empty());
    purge(&memory, id(3), NOW).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_process_of_an_attempt_does_not_begin_and_ends_nothing() {
    let memory = repository().await;
    let first = intent_of(&prepare(&memory, 4, &["mo_meta"], &[]).await);
    assert!(begin(&memory, &first, None, Patience::default()).await.unwrap());
    let second = Intent { nonce: "second".into(), ..first.clone() };
    let refused = begin(&memory, &second, None, Patience::default()).await;
    assert!(matches!(refused, Err(Failure::AttemptTaken(of)) if of == id(4)), "{refused:?}");
    end(&memory, &second).await.unwrap();
    assert!(is_there(&memory, &first).await.unwrap());
    assert!(!end_all(&memory, id(4), Some(1)).await.unwrap());
    assert!(end_all(&memory, id(4), Some(2)).await.unwrap());
    assert!(!is_there(&memory, &first).await.unwrap());
}

/// A repository that changes at every reading.
#[tokio::test(start_paused = true)]
async fn nothing_is_decided_by_a_repository_that_never_stands_still() {
    let memory = repository().await;
    for call in 0..2000 {
        let other = memory.clone();
        memory.fault(memory.calls().len() + call, Fault::After, move || {
            other.set(Key::trash(id(100 + call as u64)).as_str(), "");
        });
    }
    let before = memory.keys().iter().filter(|key| key.starts_with("data/")).count();
    let refused = purge(&memory, id(3), NOW).await.unwrap_err();
    assert!(matches!(&refused, Failure::Blocked { cause, .. } if matches!(**cause, Failure::Unsettled)), "{refused}");
    assert_eq!(memory.keys().iter().filter(|key| key.starts_with("data/")).count(), before);
}
