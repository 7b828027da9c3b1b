//! Content on its way: read without frames, hashed, and written elsewhere. Nothing large is ever held.

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{BoxStream, Fuse},
};
use sha2::{Digest as _, Sha256};

use crate::{
    plan::{Digest, Framing},
    store::{
        Error, Key, ObjectWriter, Objects, Problem,
        framing::{BadFrame, Deframer},
    },
};

/// Size and digest of an object's content, without frames.
pub(super) async fn digest(from: &dyn Objects, key: &Key, framed: Framing) -> Result<(u64, Digest), Error> {
    let mut content = Content::open(from, key, framed).await?;
    while content.next().await?.is_some() {}
    Ok(content.finish())
}

/// A copy that did not work, and on which side.
pub(super) enum NotCopied {
    /// Reading failed.
    From(Error),
    /// Writing failed.
    To(Error),
}

/// Copies an object without its frames. The size is that of the content. Returns what was read.
pub(super) async fn copy(
    (from, key, framed): (&dyn Objects, &Key, Framing),
    size: u64,
    (to, target): (&dyn Objects, &Key),
) -> Result<(u64, Digest), NotCopied> {
    let mut content = Content::open(from, key, framed).await.map_err(NotCopied::From)?;
    let mut writer = to.writer(target, size).await.map_err(NotCopied::To)?;
    match pour(&mut content, &mut *writer).await {
        Ok(()) => {
            // The reply to the last request can be lost though the object is there: its size tells.
            if let Err(e) = writer.close().await {
                match to.stat(target).await {
                    Ok(Some(there)) if there == size && e.problem != Problem::Corrupted => {}
                    Ok(_) | Err(_) => return Err(NotCopied::To(e)),
                }
            }
            Ok(content.finish())
        }
        Err(failed) => {
            writer.abort().await;
            Err(failed)
        }
    }
}

async fn pour(content: &mut Content, writer: &mut dyn ObjectWriter) -> Result<(), NotCopied> {
    while let Some(chunk) = content.next().await.map_err(NotCopied::From)? {
        writer.write(chunk).await.map_err(NotCopied::To)?;
    }
    Ok(())
}

/// The content of an object, chunk by chunk.
struct Content {
    pieces: Fuse<BoxStream<'static, Result<Bytes, Error>>>,
    deframer: Option<Deframer>,
    hasher: Sha256,
    size: u64,
    what: String,
}

impl Content {
    async fn open(from: &dyn Objects, key: &Key, framed: Framing) -> Result<Self, Error> {
        let pieces = from.read(key, None).await?.fuse();
        let deframer = match framed {
            Framing::Raw => None,
            Framing::Crc2048 => Some(Deframer::default()),
        };
        Ok(Self { pieces, deframer, hasher: Sha256::new(), size: 0, what: key.to_string() })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let bad = |what: &str, e: BadFrame| Error {
            problem: Problem::Corrupted,
            verb: "read",
            what: what.into(),
            detail: e.to_string(),
            temporary: false,
        };
        loop {
            let chunk = match (self.pieces.try_next().await?, &mut self.deframer) {
                (Some(piece), None) => piece,
                (Some(piece), Some(deframer)) => deframer.push(&piece).map_err(|e| bad(&self.what, e))?.freeze(),
                (None, deframer) => match deframer.take() {
                    Some(deframer) => deframer.finish().map_err(|e| bad(&self.what, e))?,
                    None => return Ok(None),
                },
            };
            if !chunk.is_empty() {
                self.size += chunk.len() as u64;
                self.hasher.update(&chunk);
                return Ok(Some(chunk));
            }
        }
    }

    fn finish(self) -> (u64, Digest) {
        (self.size, Digest(self.hasher.finalize().into()))
    }
}
