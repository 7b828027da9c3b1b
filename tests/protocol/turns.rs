//! A store that lets its users do one call at a time, and only when they are told to.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    ops::Range,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mo_backup::store::{Error, Key, Level, Listed, ObjectWriter, Objects, Pieces, Prefix, Problem, memory::Memory};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Done,
    /// It never reaches the store.
    Before,
    /// It is carried out, and the answer is lost.
    Lost,
}

#[derive(Default)]
struct Slot {
    fate: Option<Fate>,
    waker: Option<Waker>,
}

/// Calls of one process that wait for their turn, in order.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<VecDeque<Arc<Mutex<Slot>>>>>);

impl Gate {
    /// Lets the first call that waits go on. Says whether there was one.
    pub fn open(&self, fate: Fate) -> bool {
        let mut waiting = self.0.lock().unwrap();
        while let Some(slot) = waiting.pop_front() {
            // Given up meanwhile.
            if Arc::strong_count(&slot) == 1 {
                continue;
            }
            let mut slot = slot.lock().unwrap();
            slot.fate = Some(fate);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
            return true;
        }
        false
    }

    async fn pass(&self) -> Fate {
        let slot = Arc::new(Mutex::new(Slot::default()));
        self.0.lock().unwrap().push_back(slot.clone());
        poll_fn(|context| {
            let mut slot = slot.lock().unwrap();
            match slot.fate {
                Some(fate) => Poll::Ready(fate),
                None => {
                    slot.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// The store as one process sees it.
#[derive(Clone)]
pub struct Turns {
    pub inner: Memory,
    pub gate: Gate,
    /// Intents are hidden from this process.
    pub blind: bool,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

impl Turns {
    async fn call<T>(
        &self,
        verb: &'static str,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let broken = || Error {
            problem: Problem::Unreachable,
            verb,
            what: what.into(),
            detail: "connection reset".into(),
            temporary: true,
        };
        match self.gate.pass().await {
            Fate::Done => call.await,
            Fate::Before => Err(broken()),
            Fate::Lost => call.await.and_then(|_| Err(broken())),
        }
    }
}

#[async_trait]
impl Objects for Turns {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.call("stat", key.as_str(), self.inner.stat(key)).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        self.call("read", key.as_str(), self.inner.read(key, range)).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.call("put", key.as_str(), self.inner.put(key, body)).await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.call("create", key.as_str(), self.inner.create(key, body)).await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.call("begin", key.as_str(), self.inner.writer(key, size)).await
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let prefix = prefix.clone();
        let hidden = self.blind && prefix == Prefix::intents();
        let listed = async move {
            let listed = async { Ok(self.inner.list(&prefix).collect::<Vec<_>>().await) };
            match self.call("list", prefix.as_str(), listed).await {
                Ok(_) if hidden => stream::iter(Vec::new()),
                Ok(found) => stream::iter(found),
                Err(e) => stream::iter(vec![Err(e)]),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.call("level", folder.as_str(), self.inner.level(folder, most)).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        self.call("delete", "keys", self.inner.delete(keys)).await
    }
}
