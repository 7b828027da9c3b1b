//! Moving bytes: bounded by a budget, several objects at a time, hashed on their way.

mod carry;
mod limits;
mod remote;
mod together;

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::{
    Failure, Key, ObjectWriter, Objects, Volume, bucket,
    framing::{self, Deframer},
    retry::from_the_beginning,
};
use crate::plan::{Digest, Framing};

pub use carry::{Carried, Load, Trouble, Way, carry, share_a_store};
pub use limits::Limits;
pub use remote::{hash, hash_tagged};
use together::Together;

/// Objects up to this size are sent at once, larger ones in parts, in bytes.
pub const SMALL_MAX: u64 = 4 << 20;

/// Read from a file at a time.
const PIECE: usize = 512 * 1024;

/// A file to be copied into the store.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// The caller's own mark.
    pub tag: T,
    /// The folder that the file lies below.
    pub folder: Volume,
    /// The file's path below it. No part of it may be a link.
    pub file: PathBuf,
    /// How the file is stored. The object will be raw.
    pub framing: Framing,
    /// Where to.
    pub key: Key,
    /// Bytes that the content must have, if that is known.
    pub size: Option<u64>,
    /// What the content must be, if that is known.
    pub digest: Option<Digest>,
}

impl<T> Item<T> {
    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.file)
    }
}

/// A file that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied<T> {
    /// The caller's own mark.
    pub tag: T,
    /// Bytes of the content.
    pub size: u64,
    /// SHA-256 of the content.
    pub digest: Digest,
}

/// What has been moved so far, for whoever wants to look.
#[derive(Debug, Default)]
pub struct Moved {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Moved {
    /// Objects that are done.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Bytes of content, also of objects that are not done.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Copies files into the store and reports each as it is done, in any order. After the first failure, and when the
/// token is cancelled, nothing new begins, what is under way is given up cleanly, and the failure is returned.
pub async fn copy<T: Send>(
    objects: &dyn Objects,
    items: impl Iterator<Item = Item<T>> + Send,
    limits: Limits,
    moved: &Moved,
    stop: &CancellationToken,
    done: impl FnMut(Copied<T>) -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let together = Together::new(limits, stop);
    let sender = Sender { objects, together: &together, moved, stop: &together.stop };
    together.each(stop, stream::iter(items), |item| sender.send(item), done).await
}

struct Sender<'a> {
    objects: &'a dyn Objects,
    together: &'a Together,
    moved: &'a Moved,
    stop: &'a CancellationToken,
}

impl Sender<'_> {
    async fn send<T>(&self, item: Item<T>) -> Result<Copied<T>, Failure> {
        let (file, stored) = open(&item).await?;
        let size = content_size(item.framing, stored).ok_or_else(|| differs(&item, "its last block is cut"))?;
        if let Some(expected) = item.size.filter(|expected| *expected != size) {
            return Err(differs(&item, format!("{size} bytes instead of {expected}")));
        }
        let wanted = match size {
            0..=SMALL_MAX => stored + size,
            _ => bucket::memory_of(size),
        };
        let _held = self.together.hold(wanted).await?;
        let digest =
            if size <= SMALL_MAX { self.small(&item, file, size).await? } else { self.large(&item, size).await? };
        self.moved.objects.fetch_add(1, Ordering::Relaxed);
        Ok(Copied { tag: item.tag, size, digest })
    }

    async fn small<T>(&self, item: &Item<T>, file: File, size: u64) -> Result<Digest, Failure> {
        let mut content = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut source = Source::new(item, file);
        while let Some(piece) = source.next().await? {
            content.extend_from_slice(&piece);
        }
        let digest = source.finish(item, size)?;
        let bytes = content.len();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Failure::Cancelled),
            put = self.objects.put(&item.key, content.freeze()) => put?,
        }
        self.moved.add(bytes);
        Ok(digest)
    }

    async fn large<T>(&self, item: &Item<T>, size: u64) -> Result<Digest, Failure> {
        from_the_beginning(&item.key, self.stop, || self.parts(item, size)).await
    }

    async fn parts<T>(&self, item: &Item<T>, size: u64) -> Result<Digest, Failure> {
        let mut writer = self.objects.writer(&item.key, size).await?;
        let mut sent = 0;
        let failure = match self.pieces(item, size, &mut *writer, &mut sent).await {
            Ok(digest) => match writer.close().await {
                Ok(()) => return Ok(digest),
                Err(e) => e.into(),
            },
            Err(e) => {
                writer.abort().await;
                e
            }
        };
        self.moved.bytes.fetch_sub(sent, Ordering::Relaxed);
        Err(failure)
    }

    async fn pieces<T>(
        &self,
        item: &Item<T>,
        size: u64,
        writer: &mut dyn ObjectWriter,
        sent: &mut u64,
    ) -> Result<Digest, Failure> {
        let mut source = Source::new(item, open(item).await?.0);
        while let Some(piece) = source.next().await? {
            let bytes = piece.len();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failure::Cancelled),
                written = writer.write(piece) => written?,
            }
            *sent += bytes as u64;
            self.moved.add(bytes);
        }
        source.finish(item, size)
    }
}

fn differs<T>(item: &Item<T>, detail: impl Into<String>) -> Failure {
    Failure::Differs { what: item.path().display().to_string(), detail: detail.into() }
}

fn local(file: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
    |cause| Failure::Local { file: file.to_owned(), cause }
}

/// Opens the file, and says how many bytes it has. What is behind a link is not what the server has written.
async fn open<T>(item: &Item<T>) -> Result<(File, u64), Failure> {
    let (folder, file) = (item.folder.clone(), item.file.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let file = folder.file(&file)?;
        let size = file.metadata()?.len();
        Ok((File::from_std(file), size))
    });
    match opening.await.unwrap_or_else(|e| Err(io::Error::other(e))) {
        Ok(opened) => Ok(opened),
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory) => {
            Err(differs(item, e.to_string()))
        }
        Err(e) => Err(local(&item.path())(e)),
    }
}

/// Bytes of the content of a file that takes this many; `None` when no content takes so many.
fn content_size(framing: Framing, stored: u64) -> Option<u64> {
    let size = match framing {
        Framing::Raw => stored,
        Framing::Crc2048 => stored.checked_sub(stored.div_ceil(2048) * 4)?,
    };
    (framing::stored_size(framing, size) == stored).then_some(size)
}

/// Content on its way out of its frames and through the hash.
struct Content {
    deframer: Option<Deframer>,
    hasher: Sha256,
    size: u64,
}

impl Content {
    fn new(framing: Framing) -> Self {
        let deframer = match framing {
            Framing::Raw => None,
            Framing::Crc2048 => Some(Deframer::default()),
        };
        Self { deframer, hasher: Sha256::new(), size: 0 }
    }

    fn push(&mut self, stored: Bytes) -> Result<Bytes, framing::BadFrame> {
        let content = match &mut self.deframer {
            None => stored,
            Some(deframer) => deframer.push(&stored)?.freeze(),
        };
        self.seen(&content);
        Ok(content)
    }

    /// The content of the last block.
    fn end(&mut self) -> Result<Bytes, framing::BadFrame> {
        let content = self.deframer.take().map_or(Ok(Bytes::new()), Deframer::finish)?;
        self.seen(&content);
        Ok(content)
    }

    fn seen(&mut self, content: &[u8]) {
        self.hasher.update(content);
        self.size += content.len() as u64;
    }

    fn digest(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }
}

/// A local file being read.
struct Source {
    path: PathBuf,
    file: File,
    content: Content,
    ended: bool,
}

impl Source {
    fn new<T>(item: &Item<T>, mut file: File) -> Self {
        file.set_max_buf_size(PIECE);
        Self { path: item.path(), file, content: Content::new(item.framing), ended: false }
    }

    /// The next content.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            let mut stored = BytesMut::with_capacity(PIECE);
            let read = self.file.read_buf(&mut stored).await.map_err(local(&self.path))?;
            self.ended = read == 0;
            let content = if self.ended { self.content.end() } else { self.content.push(stored.freeze()) };
            let bad = |e: framing::BadFrame| Failure::Differs {
                what: self.path.display().to_string(),
                detail: e.to_string(),
            };
            let content = content.map_err(bad)?;
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Compares what was read with what it must be, before it is made visible.
    fn finish<T>(self, item: &Item<T>, size: u64) -> Result<Digest, Failure> {
        let read = self.content.size;
        if read != size {
            return Err(differs(item, format!("it changed while it was read: {read} bytes instead of {size}")));
        }
        let digest = self.content.digest();
        match item.digest {
            Some(expected) if expected != digest => {
                Err(differs(item, format!("its SHA-256 is {digest} instead of {expected}")))
            }
            Some(_) | None => Ok(digest),
        }
    }
}

#[cfg(test)]
#[path = "transfer/tests.rs"]
mod tests;
