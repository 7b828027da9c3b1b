//! A store in memory, for tests: creates are atomic, calls are numbered and written down, and a chosen call can fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Address, Error, Key, Level, Listed, ObjectWriter, Objects, Pieces, Prefix, Problem, Tag};
use crate::plan::Digest;

/// Content is handed out in pieces of this size.
const PIECE: usize = 64 * 1024;

/// What happens to the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call never reaches the store; the caller sees a broken connection.
    Before,
    /// The call is carried out, and the caller sees a broken connection.
    Lost,
    /// The call is carried out and its reply arrives.
    After,
    /// The call never reaches the store, and no reply ever comes.
    Hang,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    bucket: bool,
    objects: BTreeMap<String, Bytes>,
    locked: BTreeSet<String>,
    closed: BTreeSet<String>,
    written: BTreeMap<String, Timestamp>,
    unfinished: usize,
    calls: Vec<String>,
    faults: BTreeMap<usize, (Fault, Hook)>,
    shares: bool,
    neighbour: Option<(Memory, bool)>,
}

/// A store in memory. Clones share their content, so that a second process can be played.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<State>>);

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("objects", &self.state().objects.len()).finish()
    }
}

impl Memory {
    /// An empty bucket.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { bucket: true, ..State::default() })))
    }

    /// A place whose bucket does not exist.
    #[must_use]
    pub fn without_bucket() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    /// Lets this place and another be two of one store, which copies from the other into this one by itself. It says the
    /// SHA-256 of a copy, or does not.
    pub fn copies_from(&self, other: &Self, sums: bool) {
        other.state().shares = true;
        let mut state = self.state();
        (state.shares, state.neighbour) = (true, Some((other.clone(), sums)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the call with this number (from 0, over all clones) fail as said. The hook runs when it does, and the call
    /// then yields once, so that a test can stop the caller right there.
    pub fn fault(&self, call: usize, fault: Fault, hook: impl Fn() + Send + Sync + 'static) {
        self.state().faults.insert(call, (fault, Arc::new(hook)));
    }

    /// Every call so far as `<verb> <key>`, in order. Its length is the number of the next call.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// All keys, ascending.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Content of an object, uncounted.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.state().objects.get(key).cloned()
    }

    /// Puts an object under any key, uncounted.
    pub fn set(&self, key: &str, body: impl Into<Bytes>) {
        self.state().objects.insert(key.into(), body.into());
    }

    /// Removes an object, uncounted; says whether there was one.
    pub fn unset(&self, key: &str) -> bool {
        self.state().objects.remove(key).is_some()
    }

    /// Changes the lowest bit of one byte of an object, uncounted; says whether there was such a byte.
    pub fn flip(&self, key: &str, at: usize) -> bool {
        let mut state = self.state();
        let Some(body) = state.objects.get_mut(key) else { return false };
        let mut changed = BytesMut::from(&body[..]);
        let Some(byte) = changed.get_mut(at) else { return false };
        *byte ^= 1;
        *body = changed.freeze();
        true
    }

    /// Lets the store say when an object was written. Of others it does not.
    pub fn date(&self, key: &str, written: Timestamp) {
        self.state().written.insert(key.into(), written);
    }

    /// Lets the store refuse to delete this object from now on, as a bucket does with one that is held.
    pub fn lock(&self, key: &str) {
        self.state().locked.insert(key.into());
    }

    /// Lets the store refuse every call below this beginning of keys from now on.
    pub fn close(&self, beginning: &str) {
        self.state().closed.insert(beginning.into());
    }

    /// Writers that were neither closed nor aborted.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.state().unfinished
    }

    /// Carries out one call on the state, with its fault if it has one.
    async fn call<T>(
        &self,
        verb: &'static str,
        what: &str,
        apply: impl FnOnce(&mut State) -> Result<T, Problem>,
    ) -> Result<T, Error> {
        let (outcome, fault) = {
            let mut state = self.state();
            let fault = state.faults.get(&state.calls.len()).cloned();
            state.calls.push(format!("{verb} {what}"));
            let outcome = match &fault {
                Some((Fault::Before | Fault::Hang, _)) => Err(Problem::Unreachable),
                _ if !state.bucket => Err(Problem::NoBucket),
                _ if state.closed.iter().any(|beginning| what.starts_with(beginning)) => Err(Problem::Denied),
                Some((Fault::Lost, _)) => apply(&mut state).and(Err(Problem::Unreachable)),
                Some((Fault::After, _)) | None => apply(&mut state),
            };
            (outcome, fault)
        };
        if let Some((fault, hook)) = fault {
            hook();
            tokio::task::yield_now().await;
            if fault == Fault::Hang {
                std::future::pending::<()>().await;
            }
        }
        outcome.map_err(|problem| Error {
            problem,
            verb,
            what: what.into(),
            detail: detail(problem).into(),
            temporary: problem == Problem::Unreachable,
        })
    }
}

fn detail(problem: Problem) -> &'static str {
    match problem {
        Problem::Missing => "NoSuchKey",
        Problem::NoBucket => "NoSuchBucket",
        Problem::Taken => "PreconditionFailed",
        Problem::Unreachable => "connection reset",
        Problem::Corrupted => "InvalidRange",
        Problem::Locked => "AccessDenied: the object is locked",
        Problem::Denied => "AccessDenied",
        Problem::NoCredentials
        | Problem::Region
        | Problem::Clock
        | Problem::Throttled
        | Problem::Tls
        | Problem::Full
        | Problem::Unsupported
        | Problem::Setting
        | Problem::Cancelled
        | Problem::Other => "not made by this store",
    }
}

#[async_trait]
impl Objects for Memory {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.call("stat", key.as_str(), |s| Ok(s.objects.get(key.as_str()).map(|b| b.len() as u64))).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        let body = self
            .call("read", key.as_str(), |s| {
                let body = s.objects.get(key.as_str()).ok_or(Problem::Missing)?;
                let Some(range) = range else { return Ok(body.clone()) };
                let within = range.start <= range.end && range.end <= body.len() as u64;
                let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).filter(|_| within);
                bounds.map(|(start, end)| body.slice(start..end)).ok_or(Problem::Corrupted)
            })
            .await?;
        let pieces = stream::unfold(body, |mut rest| async {
            if rest.is_empty() {
                return None;
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            Some((Ok(piece), rest))
        });
        Ok(pieces.boxed())
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.call("put", key.as_str(), |s| {
            s.objects.insert(key.as_str().into(), body);
            Ok(())
        })
        .await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.call("create", key.as_str(), |s| {
            if s.objects.contains_key(key.as_str()) {
                return Err(Problem::Taken);
            }
            s.objects.insert(key.as_str().into(), body);
            Ok(())
        })
        .await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.call("begin", key.as_str(), |s| {
            s.unfinished += 1;
            Ok(())
        })
        .await?;
        Ok(Box::new(Writer { store: self.clone(), key: key.clone(), size, body: BytesMut::new() }))
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let prefix = prefix.as_str().to_owned();
        stream::once(async move {
            self.call("list", &prefix, |s| {
                let found = s.objects.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix));
                let listed = |(k, b): (&String, &Bytes)| Listed {
                    key: Key::listed(k),
                    size: b.len() as u64,
                    modified: s.written.get(k).copied(),
                };
                Ok(found.map(listed).collect::<Vec<_>>())
            })
            .await
        })
        .flat_map(|page| match page {
            Ok(found) => stream::iter(found.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(e) => stream::iter(vec![Err(e)]),
        })
        .boxed()
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        let folder = folder.as_str();
        self.call("level", folder, |s| {
            let (mut level, mut last) = (Level::default(), "");
            let below = s.objects.range(folder.to_owned()..).map_while(|(key, _)| key.strip_prefix(folder));
            for name in below.filter_map(|rest| rest.split_inclusive('/').next()) {
                if std::mem::replace(&mut last, name) != name && !level.take(name, most) {
                    break;
                }
            }
            Ok(level)
        })
        .await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        let what = match &keys[..] {
            [one] => one.to_string(),
            more => format!("{} keys", more.len()),
        };
        self.call("delete", &what, |s| {
            let (kept, gone): (Vec<_>, Vec<_>) = keys.iter().partition(|key| s.locked.contains(key.as_str()));
            for key in gone {
                s.objects.remove(key.as_str());
            }
            if kept.is_empty() { Ok(()) } else { Err(Problem::Locked) }
        })
        .await
    }

    fn address(&self) -> Option<Address> {
        let one = || Address { store: "memory".into(), bucket: String::new(), prefix: String::new() };
        self.state().shares.then(one)
    }

    async fn read_tagged(&self, key: &Key) -> Result<(Option<Tag>, Pieces), Error> {
        let pieces = self.read(key, None).await?;
        let tag = self.state().objects.get(key.as_str()).and_then(|body| tag(body));
        Ok((tag, pieces))
    }

    async fn copy(&self, (_, from): (&Address, &Key), wanted: &Tag, to: &Key) -> Result<Option<Digest>, Error> {
        let neighbour = self.state().neighbour.clone();
        let body = neighbour.as_ref().and_then(|(other, _)| other.get(from.as_str()));
        let sums = neighbour.is_some_and(|(_, sums)| sums);
        self.call("copy", to.as_str(), |s| {
            let body = body.ok_or(Problem::Missing)?;
            if tag(&body).as_ref() != Some(wanted) {
                return Err(Problem::Taken);
            }
            let sum = Digest(Sha256::digest(&body).into());
            s.objects.insert(to.as_str().into(), body);
            Ok(sums.then_some(sum))
        })
        .await
    }
}

/// As long as the tags of other stores.
fn tag(body: &[u8]) -> Option<Tag> {
    let sum: String = Sha256::digest(body).iter().take(16).map(|b| format!("{b:02x}")).collect();
    Tag::read(&format!("\"{sum}\""))
}

struct Writer {
    store: Memory,
    key: Key,
    size: u64,
    body: BytesMut,
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.store.call("append", self.key.as_str(), |_| Ok(())).await?;
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        let Self { store, key, size, body } = *self;
        // Closed or not: what cannot be made visible is freed, as every store does.
        store.state().unfinished -= 1;
        store
            .call("close", key.as_str(), |s| {
                if body.len() as u64 != size {
                    return Err(Problem::Corrupted);
                }
                s.objects.insert(key.as_str().into(), body.freeze());
                Ok(())
            })
            .await
    }

    async fn abort(self: Box<Self>) {
        self.store.state().unfinished -= 1;
    }
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
