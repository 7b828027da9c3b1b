use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::*;
use crate::store::{
    catalog::tests::{id, prepare},
    memory::{Fault, Memory},
};

/// Lets so many creates of the entry fail, and none of the reads between them.
async fn commit_after(failures: usize) -> (Memory, Result<(), Failure>, std::time::Duration) {
    let memory = Memory::new();
    let catalog = prepare(&memory, 1, &["mo_meta"], &[]).await;
    let first: Arc<Mutex<Option<Instant>>> = Arc::default();
    let create = memory.calls().len() + 1;
    for n in 0..failures {
        let first = first.clone();
        memory.fault(create + 2 * n, Fault::Before, move || {
            first.lock().unwrap().get_or_insert_with(Instant::now);
        });
    }
    let committed = commit(&memory, &catalog, Patience::default()).await;
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
    assert!(read(&memory, id(1)).await.unwrap().is_none());
    assert!(took >= Patience::default().limit, "{took:?}");
}
