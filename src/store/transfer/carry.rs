//! From one place to another: out of the frames of the one, into those of the other, and checked on the way.

mod duplicate;

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio_util::sync::CancellationToken;

use duplicate::Duplicator;
pub use duplicate::share_a_store;

use super::{Limits, Moved, SMALL_MAX, remote::Remote, together::Together};
use crate::{
    plan::{Digest, Framing},
    store::{
        Failure, Key, ObjectWriter, Objects, Tag, bucket,
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
    /// The source's tag of this content, if it was read and compared before.
    pub tag: Option<Tag>,
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

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Objects that were written; the others were right already.
    pub written: u64,
    /// Those of them that the store has copied by itself.
    pub by_store: u64,
}

/// How an object got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It was right already.
    WasThere,
    /// The store has copied it.
    ByStore,
    /// By way of us.
    Streamed,
}

/// Carries objects. Those that need no other frames are copied by the store itself where both places lie in the same one
/// and it can. After the first failure, and when the token is cancelled, nothing new begins, what is under way is given up
/// cleanly, and the failure is returned. An object appears in the target only when its content was what it must be.
pub async fn carry(
    way: Way<'_>,
    loads: impl Stream<Item = Result<Load, Trouble>> + Send,
    moved: &Moved,
    stop: &CancellationToken,
) -> Result<Carried, Trouble> {
    let together = Together::new(way.limits, stop);
    let duplicator = Duplicator::between(way.source, way.target);
    let carrier = Carrier { way, duplicator: &duplicator, together: &together, moved, stop: &together.stop };
    let mut carried = Carried::default();
    let work = |load: Result<Load, Trouble>| async { carrier.one(load?).await };
    let count = |how: How| {
        carried.written += u64::from(how != How::WasThere);
        carried.by_store += u64::from(how == How::ByStore);
        Ok(())
    };
    together.each(stop, loads, work, count).await?;
    Ok(carried)
}

struct Carrier<'a> {
    way: Way<'a>,
    duplicator: &'a Duplicator,
    together: &'a Together,
    moved: &'a Moved,
    stop: &'a CancellationToken,
}

impl Carrier<'_> {
    async fn one(&self, load: Load) -> Result<How, Trouble> {
        let placed = framing::stored_size(load.placed, load.size);
        if self.way.resumed && self.is_there(&load, placed).await? {
            return Ok(How::WasThere);
        }
        if self.duplicated(&load).await? {
            self.moved.objects.fetch_add(1, Ordering::Relaxed);
            return Ok(How::ByStore);
        }
        let wanted = match load.size {
            0..=SMALL_MAX => framing::stored_size(load.stored, load.size) + load.size + placed,
            _ => bucket::memory_of(placed),
        };
        let _held = self.together.hold(wanted).await?;
        if load.size <= SMALL_MAX {
            self.small(&load, placed).await?;
        } else {
            self.large(&load, placed).await?;
        }
        self.moved.objects.fetch_add(1, Ordering::Relaxed);
        Ok(How::Streamed)
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
