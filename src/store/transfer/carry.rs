//! From one place to another: out of the frames of the one, into those of the other, and checked on the way.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt as _, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use super::{Content, Limits, Moved, SMALL_MAX, together::Together};
use crate::{
    plan::{Digest, Framing},
    store::{
        Error, Failure, Key, ObjectWriter, Objects, bucket,
        framing::{self, Framer},
        retry::{Passing, from_the_beginning},
    },
};

/// An object to be carried.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where it lies.
    pub from: Key,
    /// How it is stored there.
    pub stored: Framing,
    /// Where to.
    pub to: Key,
    /// How it is to be stored there.
    pub placed: Framing,
    /// Bytes of its content.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// Which of the two places is the trouble.
#[derive(Debug)]
pub enum Trouble {
    /// The one that is read.
    Source(Failure),
    /// The one that is written.
    Target(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Source(failure)
    }
}

impl Passing for Trouble {
    fn can_pass(&self) -> bool {
        match self {
            Self::Source(failure) | Self::Target(failure) => failure.can_pass(),
        }
    }
}

fn source(e: impl Into<Failure>) -> Trouble {
    Trouble::Source(e.into())
}

fn target(e: impl Into<Failure>) -> Trouble {
    Trouble::Target(e.into())
}

fn cancelled() -> Trouble {
    Trouble::Source(Failure::Cancelled)
}

/// Two places, and how much is carried between them at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Where objects are read.
    pub source: &'a dyn Objects,
    /// Where they are written.
    pub target: &'a dyn Objects,
    /// Bounds.
    pub limits: Limits,
    /// An earlier try may have written some: what is right already is read and left alone.
    pub resumed: bool,
}

/// Carries objects; returns how many were written. After the first failure, and when the token is cancelled, nothing new
/// begins, what is under way is given up cleanly, and the failure is returned. An object appears in the target only when
/// its content was what it must be.
pub async fn carry(
    way: Way<'_>,
    loads: impl Stream<Item = Result<Load, Trouble>> + Send,
    moved: &Moved,
    stop: &CancellationToken,
) -> Result<u64, Trouble> {
    let together = Together::new(way.limits, stop);
    let carrier = Carrier { way, together: &together, moved, stop: &together.stop };
    let mut written = 0;
    let work = |load: Result<Load, Trouble>| async { carrier.one(load?).await };
    let count = |is_written| {
        written += u64::from(is_written);
        Ok(())
    };
    together.each(stop, loads, work, count).await?;
    Ok(written)
}

struct Carrier<'a> {
    way: Way<'a>,
    together: &'a Together,
    moved: &'a Moved,
    stop: &'a CancellationToken,
}

impl Carrier<'_> {
    /// Whether it was written; else it was right already.
    async fn one(&self, load: Load) -> Result<bool, Trouble> {
        let placed = framing::stored_size(load.placed, load.size);
        let wanted = match load.size {
            0..=SMALL_MAX => framing::stored_size(load.stored, load.size) + load.size + placed,
            _ => bucket::memory_of(placed),
        };
        let _held = self.together.hold(wanted).await?;
        if self.way.resumed && self.is_there(&load, placed).await? {
            return Ok(false);
        }
        if load.size <= SMALL_MAX {
            self.small(&load, placed).await?;
        } else {
            self.large(&load, placed).await?;
        }
        self.moved.objects.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether an earlier try has written it. After a crash its size alone would say so; its content says so always.
    async fn is_there(&self, load: &Load, placed: u64) -> Result<bool, Trouble> {
        if self.way.target.stat(&load.to).await.map_err(target)? != Some(placed) {
            return Ok(false);
        }
        let mut read = 0;
        match self.sum(load, &mut read).await {
            Ok(found) if found == (load.size, load.digest) => {
                self.moved.objects.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            // It is written anew.
            Ok(_) | Err(Failure::Differs { .. }) => {
                self.moved.bytes.fetch_sub(read, Ordering::Relaxed);
                Ok(false)
            }
            Err(e) => Err(target(e)),
        }
    }

    async fn sum(&self, load: &Load, read: &mut u64) -> Result<(u64, Digest), Failure> {
        let mut found = Remote::open(self.way.target, &load.to, load.placed).await?;
        while let Some(piece) = found.next(self.stop).await? {
            *read += piece.len() as u64;
            self.moved.add(piece.len());
        }
        Ok(found.end())
    }

    async fn small(&self, load: &Load, placed: u64) -> Result<(), Trouble> {
        let capacity = usize::try_from(placed).unwrap_or_default();
        let mut frames = Frames::new(load.placed);
        let mut body = BytesMut::with_capacity(capacity);
        let mut content = Remote::open(self.way.source, &load.from, load.stored).await.map_err(source)?;
        let mut bytes = 0;
        while let Some(piece) = content.next(self.stop).await.map_err(source)? {
            bytes += piece.len();
            if bytes as u64 > load.size {
                break;
            }
            body.extend_from_slice(&frames.push(piece));
        }
        check(load, content.end()).map_err(source)?;
        body.extend_from_slice(&frames.finish());
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(cancelled()),
            put = self.way.target.put(&load.to, body.freeze()) => put.map_err(target)?,
        }
        self.moved.add(bytes);
        Ok(())
    }

    async fn large(&self, load: &Load, placed: u64) -> Result<(), Trouble> {
        from_the_beginning(&load.to, self.stop, || self.parts(load, placed)).await
    }

    async fn parts(&self, load: &Load, placed: u64) -> Result<(), Trouble> {
        let mut writer = self.way.target.writer(&load.to, placed).await.map_err(target)?;
        let mut sent = 0;
        let failure = match self.pieces(load, &mut *writer, &mut sent).await {
            Ok(()) => match writer.close().await {
                Ok(()) => return Ok(()),
                Err(e) => target(e),
            },
            Err(e) => {
                writer.abort().await;
                e
            }
        };
        self.moved.bytes.fetch_sub(sent, Ordering::Relaxed);
        Err(failure)
    }

    async fn pieces(&self, load: &Load, writer: &mut dyn ObjectWriter, sent: &mut u64) -> Result<(), Trouble> {
        let mut frames = Frames::new(load.placed);
        let mut content = Remote::open(self.way.source, &load.from, load.stored).await.map_err(source)?;
        while let Some(piece) = content.next(self.stop).await.map_err(source)? {
            let bytes = piece.len();
            self.send(writer, frames.push(piece)).await?;
            *sent += bytes as u64;
            self.moved.add(bytes);
        }
        // Before it is made visible.
        check(load, content.end()).map_err(source)?;
        self.send(writer, frames.finish()).await
    }

    async fn send(&self, writer: &mut dyn ObjectWriter, stored: Bytes) -> Result<(), Trouble> {
        if stored.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(cancelled()),
            written = writer.write(stored) => written.map_err(target),
        }
    }
}

/// Compares what was read with what it must be.
fn check(load: &Load, (size, digest): (u64, Digest)) -> Result<(), Failure> {
    let detail = if size != load.size {
        format!("{size} bytes instead of {}", load.size)
    } else if digest != load.digest {
        format!("its SHA-256 is {digest} instead of {}", load.digest)
    } else {
        return Ok(());
    };
    Err(Failure::Differs { what: load.from.to_string(), detail })
}

/// An object being read.
struct Remote {
    what: Key,
    pieces: BoxStream<'static, Result<Bytes, Error>>,
    content: Content,
    ended: bool,
}

impl Remote {
    async fn open(objects: &dyn Objects, key: &Key, framing: Framing) -> Result<Self, Failure> {
        let pieces = objects.read(key, None).await?;
        Ok(Self { what: key.clone(), pieces, content: Content::new(framing), ended: false })
    }

    /// The next content.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            let stored = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Failure::Cancelled),
                piece = self.pieces.try_next() => piece?,
            };
            self.ended = stored.is_none();
            let content = match stored {
                Some(stored) => self.content.push(stored),
                None => self.content.end(),
            };
            let bad = |e: framing::BadFrame| Failure::Differs { what: self.what.to_string(), detail: e.to_string() };
            let content = content.map_err(bad)?;
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Size and SHA-256 of what was read.
    fn end(self) -> (u64, Digest) {
        (self.content.size, self.content.digest())
    }
}

/// Content on its way into its frames.
enum Frames {
    Raw,
    Framed(Framer),
}

impl Frames {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Raw => Self::Raw,
            Framing::Crc2048 => Self::Framed(Framer::default()),
        }
    }

    fn push(&mut self, content: Bytes) -> Bytes {
        match self {
            Self::Raw => content,
            Self::Framed(framer) => framer.push(&content).freeze(),
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Raw => Bytes::new(),
            Self::Framed(framer) => framer.finish(),
        }
    }
}

#[cfg(test)]
#[path = "carry/tests.rs"]
mod tests;
