//! An object being read: out of its frames and through the hash.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{Content, Moved};
use crate::{
    plan::{Digest, Framing},
    store::{Failure, Key, Objects, Pieces, Tag, framing},
};

pub(super) struct Remote {
    what: Key,
    pieces: Pieces,
    content: Content,
    ended: bool,
}

impl Remote {
    pub(super) async fn open(objects: &dyn Objects, key: &Key, framing: Framing) -> Result<Self, Failure> {
        Ok(Self::of(key, framing, objects.read(key, None).await?))
    }

    fn of(key: &Key, framing: Framing, pieces: Pieces) -> Self {
        Self { what: key.clone(), pieces, content: Content::new(framing), ended: false }
    }

    /// The next content.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Bytes>, Failure> {
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
    pub(super) fn end(self) -> (u64, Digest) {
        (self.content.size, self.content.digest())
    }

    async fn sum(mut self, moved: &Moved, stop: &CancellationToken) -> Result<(u64, Digest), Failure> {
        while let Some(piece) = self.next(stop).await? {
            moved.add(piece.len());
        }
        moved.objects.fetch_add(1, Ordering::Relaxed);
        Ok(self.end())
    }
}

/// Reads an object back: size and SHA-256 of its content, without frames.
pub async fn hash(
    objects: &dyn Objects,
    key: &Key,
    framing: Framing,
    moved: &Moved,
    stop: &CancellationToken,
) -> Result<(u64, Digest), Failure> {
    Remote::open(objects, key, framing).await?.sum(moved, stop).await
}

/// The same, with the store's tag of what was read, if there is one.
pub async fn hash_tagged(
    objects: &dyn Objects,
    key: &Key,
    framing: Framing,
    moved: &Moved,
    stop: &CancellationToken,
) -> Result<((u64, Digest), Option<Tag>), Failure> {
    let (tag, pieces) = objects.read_tagged(key).await?;
    Ok((Remote::of(key, framing, pieces).sum(moved, stop).await?, tag))
}
