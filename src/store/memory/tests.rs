use std::sync::atomic::{AtomicUsize, Ordering};

use futures::TryStreamExt as _;
use rstest::rstest;

use super::*;

fn key(n: u8) -> Key {
    Key::probe(&n.to_string())
}

#[rstest]
#[case(Fault::Before, false, true)]
#[case(Fault::Lost, true, true)]
#[case(Fault::After, true, false)]
#[tokio::test]
async fn the_chosen_call_fails(#[case] fault: Fault, #[case] applied: bool, #[case] error: bool) {
    let store = Memory::new();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    store.fault(1, fault, move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    store.put(&key(0), Bytes::from_static(b"a")).await.unwrap();
    let outcome = store.create(&key(1), Bytes::from_static(b"b")).await;
    assert_eq!((outcome.is_err(), store.get("probe/1").is_some()), (error, applied));
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(store.calls(), ["put probe/0", "create probe/1"]);
}

#[tokio::test]
async fn only_one_create_wins() {
    let store = Memory::new();
    store.create(&key(1), Bytes::from_static(b"a")).await.unwrap();
    let refused = store.create(&key(1), Bytes::from_static(b"b")).await.unwrap_err();
    assert_eq!((refused.problem, refused.temporary), (Problem::Taken, false));
    assert_eq!(store.get("probe/1").unwrap(), "a");
}

#[tokio::test]
async fn a_large_object_appears_when_it_is_closed() {
    let store = Memory::new();
    let body = vec![7; 3 * PIECE + 5];
    let mut writer = store.writer(&key(1), body.len() as u64).await.unwrap();
    writer.write(Bytes::from(body.clone())).await.unwrap();
    assert_eq!((store.stat(&key(1)).await.unwrap(), store.unfinished()), (None, 1));
    writer.close().await.unwrap();
    assert_eq!(store.unfinished(), 0);
    let pieces: Vec<Bytes> = store.read(&key(1), None).await.unwrap().try_collect().await.unwrap();
    assert_eq!((pieces.len(), pieces.concat()), (4, body));
    assert!(store.read(&key(1), Some(0..u64::MAX)).await.is_err());
}
