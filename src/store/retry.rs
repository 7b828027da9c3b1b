//! Repeating what is safe to repeat. The object store's client could do it too, but loses what is temporary on the way.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Address, Error, Failure, Key, Level, Listed, ObjectWriter, Objects, Pieces, Prefix, Problem, Tag};
use crate::plan::Digest;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// First pause; each next one is twice as long, and all are shortened or lengthened at random.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// No further try begins after this time.
    pub limit: Duration,
}

impl Patience {
    /// For the first look at a store: what is wrong from the start is said soon, a passing error is outlived all the same.
    #[must_use]
    pub fn soon() -> Self {
        Self { limit: Duration::from_secs(4), ..Self::default() }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(10), limit: Duration::from_mins(3) }
    }
}

/// Tries of something large.
const TRIES: u32 = 5;

/// Pause before the second of them; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// A failure of which it is known whether it can pass.
pub(super) trait Passing: From<Failure> + std::fmt::Debug {
    /// Whether another try can help.
    fn can_pass(&self) -> bool;
}

impl Passing for Failure {
    fn can_pass(&self) -> bool {
        matches!(self, Self::Store(e) if e.temporary)
    }
}

/// Sends something large, and sends it again from its beginning while that fails with a temporary error of the store, a few
/// times in all. When the token is cancelled it is not begun again.
pub(super) async fn from_the_beginning<T, E: Passing, F: Future<Output = Result<T, E>>>(
    key: &Key,
    stop: &CancellationToken,
    send: impl Fn() -> F,
) -> Result<T, E> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match send().await {
            Err(e) if e.can_pass() => tracing::debug!(%key, error = ?e, "sending it again"),
            outcome => return outcome,
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Failure::Cancelled.into()),
            () = sleep(pause) => pause *= 2,
        }
    }
    send().await
}

/// A place whose calls are repeated while they fail with temporary errors, until the patience ends or the token is
/// cancelled. Creates are never repeated, and neither are the writes of a large object: who sends it begins again.
#[derive(Clone, Debug)]
pub struct Retrying(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: Arc<dyn Objects>,
    patience: Patience,
    stop: CancellationToken,
}

impl Retrying {
    /// Wraps a place.
    pub fn new(objects: Arc<dyn Objects>, patience: Patience, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { objects, patience, stop }))
    }

    /// Runs a call as often as it takes.
    async fn again<T, F: Future<Output = Result<T, Error>>>(
        &self,
        verb: &'static str,
        what: &str,
        call: impl Fn() -> F,
    ) -> Result<T, Error> {
        let Patience { first, longest, limit } = self.0.patience;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build();
        let end = Instant::now() + limit;
        loop {
            let e = match self.once(verb, what, call()).await {
                Err(e) if e.temporary && Instant::now() < end => e,
                outcome => return outcome,
            };
            let pause = pauses.next().unwrap_or(longest);
            tracing::debug!(verb, what, error = %e, "trying again in {pause:?}");
            tokio::select! {
                () = self.0.stop.cancelled() => return Err(cancelled(verb, what)),
                () = sleep(pause) => {}
            }
        }
    }

    async fn once<T>(
        &self,
        verb: &'static str,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(cancelled(verb, what)),
            outcome = call => outcome,
        }
    }
}

fn cancelled(verb: &'static str, what: &str) -> Error {
    Error::permanent(Problem::Cancelled, verb, what, "the work was cancelled")
}

#[async_trait]
impl Objects for Retrying {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.again("stat", key.as_str(), || self.0.objects.stat(key)).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        let pieces = self.again("read", key.as_str(), || self.0.objects.read(key, range.clone())).await?;
        Ok(self.reading(key, range, pieces))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.again("write", key.as_str(), || self.0.objects.put(key, body.clone())).await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.once("create", key.as_str(), self.0.objects.create(key, body)).await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.again("write", key.as_str(), || self.0.objects.writer(key, size)).await
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let prefix = prefix.clone();
        let found = stream::try_unfold((None::<Key>, 0, None), move |(mut after, mut resumed, mut found)| {
            let prefix = prefix.clone();
            async move {
                loop {
                    let listed = found.get_or_insert_with(|| self.0.objects.list(&prefix));
                    match self.once("list", prefix.as_str(), listed.try_next()).await {
                        Ok(None) => return Ok(None),
                        // Those before have been returned by the listing that broke.
                        Ok(Some(next)) if after.as_ref().is_some_and(|after| next.key <= *after) => {}
                        Ok(Some(next)) => {
                            after = Some(next.key.clone());
                            return Ok(Some((next, (after, resumed, found))));
                        }
                        Err(e) => {
                            self.pause(e, &mut resumed).await?;
                            found = None;
                        }
                    }
                }
            }
        });
        found.boxed()
    }

    async fn unlisted(&self) -> Result<Option<String>, Error> {
        self.again("list", "", || self.0.objects.unlisted()).await
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.again("list", folder.as_str(), || self.0.objects.level(folder, most)).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        let what = format!("{} keys", keys.len());
        self.again("delete", &what, || self.0.objects.delete(keys.clone())).await
    }

    async fn clear_unfinished(&self) -> Result<(), Error> {
        self.again("delete", "unfinished files", || self.0.objects.clear_unfinished()).await
    }

    fn address(&self) -> Option<Address> {
        self.0.objects.address()
    }

    async fn read_tagged(&self, key: &Key) -> Result<(Option<Tag>, Pieces), Error> {
        let (tag, pieces) = self.again("read", key.as_str(), || self.0.objects.read_tagged(key)).await?;
        // What is read on after a break can be of another state: then it is not the content that is expected, or it is,
        // and the copy is compared as well.
        Ok((tag, self.reading(key, None, pieces)))
    }

    async fn copy(&self, from: (&Address, &Key), tag: &Tag, to: &Key) -> Result<Option<Digest>, Error> {
        self.again("copy to", to.as_str(), || self.0.objects.copy(from, tag, to)).await
    }
}

/// Most times that one stream is taken up again.
const RESUMES: u32 = 20;

impl Retrying {
    fn reading(&self, key: &Key, range: Option<Range<u64>>, pieces: Pieces) -> Pieces {
        let reading = Reading { place: self.clone(), key: key.clone(), range, read: 0, pieces, resumed: 0 };
        stream::try_unfold(reading, Reading::next).boxed()
    }

    /// Waits before a stream is taken up again, if that can help.
    async fn pause(&self, e: Error, resumed: &mut u32) -> Result<(), Error> {
        if !e.temporary || *resumed >= RESUMES {
            return Err(e);
        }
        let Patience { first, longest, limit: _ } = self.0.patience;
        let pause = first.saturating_mul(1 << (*resumed).min(10)).min(longest);
        *resumed += 1;
        self.once("read", &e.what, async {
            sleep(pause).await;
            Ok(())
        })
        .await
    }
}

/// Content that is read on from where its stream broke.
struct Reading {
    place: Retrying,
    key: Key,
    range: Option<Range<u64>>,
    read: u64,
    pieces: Pieces,
    resumed: u32,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        loop {
            match self.place.once("read", self.key.as_str(), self.pieces.try_next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(piece)) => {
                    self.read += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                Err(e) => {
                    self.place.pause(e, &mut self.resumed).await?;
                    self.reopen().await?;
                }
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        let Inner { objects, .. } = &*self.place.0;
        let whole = match &self.range {
            Some(range) => range.clone(),
            None => 0..self.place.stat(&self.key).await?.unwrap_or(0),
        };
        let rest = whole.start + self.read..whole.end;
        if rest.start > rest.end {
            let detail = "the object became shorter while it was read";
            return Err(Error::permanent(Problem::Corrupted, "read", self.key.as_str(), detail));
        }
        let key = &self.key;
        self.pieces = match rest.is_empty() {
            true => stream::empty().boxed(),
            false => self.place.again("read", key.as_str(), || objects.read(key, Some(rest.clone()))).await?,
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "retry/tests.rs"]
mod tests;
