//! A bucket that keeps versions, on a server that never creates again what was deleted (versitygw 1.8.0 answers 412).

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mo_backup::{
    plan::{Marker, Owner, RepositoryId, manifest::FORMAT},
    store::{
        Error, Failure, Key, Level, Listed, ObjectWriter, Objects, Pieces, Prefix, Problem, catalog, memory::Memory,
    },
};
use uuid::Uuid;

#[derive(Clone, Debug, Default)]
struct Versioned {
    inner: Memory,
    deleted: Arc<Mutex<BTreeSet<Key>>>,
}

#[async_trait]
impl Objects for Versioned {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.inner.stat(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        self.inner.read(key, range).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.deleted.lock().unwrap().remove(key);
        self.inner.put(key, body).await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        if self.deleted.lock().unwrap().contains(key) {
            let (what, detail) = (key.to_string(), "PreconditionFailed".into());
            return Err(Error { problem: Problem::Taken, verb: "create", what, detail, temporary: false });
        }
        self.inner.create(key, body).await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.inner.writer(key, size).await
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        self.inner.list(prefix)
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.inner.level(folder, most).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        self.deleted.lock().unwrap().extend(keys.iter().cloned());
        self.inner.delete(keys).await
    }
}

fn marker(uid: &str) -> Marker {
    let owner = Owner { namespace: "ns".into(), name: "store".into(), uid: uid.into() };
    let (repository, created_at) = (RepositoryId(Uuid::now_v7()), "2026-11-30T00:00:00Z".into());
    Marker { format: FORMAT, repository, owner, created_at }
}

#[tokio::test(start_paused = true)]
async fn a_removed_marker_is_written_again() {
    let bucket = Versioned::default();
    let first = catalog::claim(&bucket, None, &marker("1")).await.unwrap();
    bucket.delete(vec![Key::marker()]).await.unwrap();
    let again = catalog::claim(&bucket, None, &marker("2")).await.unwrap();
    assert_ne!(again.repository, first.repository);
    assert_eq!(catalog::marker(&bucket).await.unwrap(), Some(again));
    assert!(matches!(catalog::claim(&bucket, None, &marker("1")).await, Err(Failure::OtherOwner { .. })));
}

/// Two that write it at the same time agree on whose it is.
#[tokio::test(start_paused = true)]
async fn of_two_that_write_it_again_one_owns_it() {
    for apart in 0..40 {
        let bucket = Versioned::default();
        bucket.delete(vec![Key::marker()]).await.unwrap();
        let (one, two) = (marker("1"), marker("2"));
        let late = async {
            tokio::time::sleep(Duration::from_millis(apart * 250)).await;
            catalog::claim(&bucket, None, &two).await
        };
        let (first, second) = tokio::join!(catalog::claim(&bucket, None, &one), late);
        assert!(first.is_ok() != second.is_ok(), "{apart}: {first:?} {second:?}");
        let there = catalog::marker(&bucket).await.unwrap();
        assert_eq!(there, first.or(second).ok());
    }
}
