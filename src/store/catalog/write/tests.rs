use uuid::Uuid;

use super::*;
use crate::{
    plan::Digest,
    store::memory::{Fault, Memory},
};

const DIR: AttemptDir = AttemptDir { attempt: 1, fallback: false };

fn id(n: u64) -> BackupId {
    BackupId::of_object(Uuid::from_u128(n.into()), n)
}

/// Entries whose list does not fit into one call.
fn many() -> impl Iterator<Item = Entry> {
    (0..120_000_u64).map(|n| {
        let hash =
            Digest(std::array::from_fn(|i| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 8 * 8)) as u8 ^ i as u8));
        Entry { path: format!("tae/{n:08}"), size: n, sha256: hash, from: 0 }
    })
}

#[tokio::test]
async fn a_large_list_is_sent_in_parts() {
    let memory = Memory::new();
    let written = write_entries(&memory, (id(1), DIR), 1, many, &CancellationToken::new()).await.unwrap();
    let stored = memory.get(Key::entries(id(1), DIR).as_str()).unwrap();
    assert_eq!((stored.len() as u64, written.totals.objects), (written.entries.bytes, 120_000));
    assert!(memory.calls().iter().any(|c| c.starts_with("close")), "it was {} bytes", stored.len());
}

#[tokio::test]
async fn a_large_list_that_is_cancelled_leaves_nothing_unfinished() {
    let (memory, stop) = (Memory::new(), CancellationToken::new());
    let stopping = stop.clone();
    memory.fault(1, Fault::After, move || stopping.cancel());
    let outcome = write_entries(&memory, (id(1), DIR), 1, many, &stop).await;
    assert!(matches!(outcome, Err(Failure::Cancelled)), "{outcome:?}");
    assert_eq!((memory.keys().len(), memory.unfinished()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_list_outlives_a_broken_connection() {
    let reference = Memory::new();
    write_entries(&reference, (id(1), DIR), 1, many, &CancellationToken::new()).await.unwrap();
    let calls = reference.calls();
    assert!(calls.len() > 4, "{calls:?}");
    let memory = Memory::new();
    // The first append of the first try, and the end of the second.
    memory.fault(1, Fault::Lost, || {});
    memory.fault(1 + calls.len(), Fault::Before, || {});
    let written = write_entries(&memory, (id(1), DIR), 1, many, &CancellationToken::new()).await.unwrap();
    assert!(memory.calls()[1 + calls.len()].starts_with("close"), "{:?}", memory.calls());
    assert_eq!((written.totals.objects, memory.unfinished()), (120_000, 0));
    assert!(memory.get(Key::entries(id(1), DIR).as_str()) == reference.get(Key::entries(id(1), DIR).as_str()));
    let memory = Memory::new();
    // Every second call is the first append of a try.
    (1..200).step_by(2).for_each(|at| memory.fault(at, Fault::Before, || {}));
    assert!(matches!(
        write_entries(&memory, (id(1), DIR), 1, many, &CancellationToken::new()).await,
        Err(Failure::Store(_))
    ));
    assert_eq!((memory.keys().len(), memory.unfinished()), (0, 0));
}
