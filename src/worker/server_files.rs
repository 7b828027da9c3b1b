//! MatrixOne's own files in a folder that it has written to, each compared with its companion.

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::Failure;
use crate::{
    api::Reason,
    plan::{self, Digest, Entry, Framing, TaeList, TaeListReader, server_files::SMALL_MAX},
    store::{
        self, Key, Objects, Problem,
        framing::{self, BadFrame, Deframer},
    },
};

/// The file with the ids.
pub(super) const HK_DATA: &str = "hakeeper/hk_data";
/// MatrixOne's list.
const LIST: &str = "tae/tae_list";
/// Largest small file as it is stored, in bytes: frames add a five hundredth.
const STORED_MAX: u64 = 2 * SMALL_MAX as u64;

/// Where a folder lies: the place, and the key of a path below the folder.
pub(super) struct ServerFiles<'a, K> {
    /// The place.
    pub objects: &'a dyn Objects,
    /// The key of a path.
    pub key: K,
}

/// A small file, its content as its companion says.
pub(super) struct Small {
    /// The content, without frames.
    pub content: Vec<u8>,
    /// What there is to say of it; it lies in the first source.
    pub entry: Entry,
}

/// Why a file cannot be used. Files are named by their keys.
#[derive(Debug)]
pub(super) enum Flaw {
    /// The store is the trouble.
    Store(store::Error),
    /// It is not there.
    Missing(Key),
    /// It has far too many bytes.
    Large(Key, u64),
    /// Its frames are broken, or it is no digest.
    Frames(Key, BadFrame),
    /// Its companion says another digest than the first, which was found.
    Other(Key, Digest, Digest),
    /// What it says makes no sense.
    Content(plan::Error),
}

impl Flaw {
    /// In the words of a report: how the files are named, what the store's trouble means, and what a missing file.
    pub(super) fn told(
        &self,
        name: impl Fn(&Key) -> String,
        store: impl Fn(&store::Error) -> Failure,
        missing: impl Fn(&Key) -> Failure,
    ) -> Failure {
        match self {
            Self::Store(error) => store(error),
            Self::Missing(key) => missing(key),
            Self::Large(key, size) => {
                let detail = format!("{} has {size} bytes, far too many", name(key));
                Failure::new(Reason::BackupIncomplete, detail)
            }
            Self::Frames(key, why) => {
                Failure::new(Reason::ObjectCorrupted, format!("failed to read {}: {why}", name(key)))
            }
            Self::Other(key, found, said) => {
                let detail = format!("the SHA-256 of {0} is {found}, {0}.sha256 says {said}", name(key));
                Failure::new(Reason::ObjectCorrupted, detail)
            }
            Self::Content(error) => incomplete(error),
        }
    }
}

impl From<store::Error> for Flaw {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<plan::Error> for Flaw {
    fn from(error: plan::Error) -> Self {
        Self::Content(error)
    }
}

impl<K: Fn(&str) -> Key + Sync> ServerFiles<'_, K> {
    /// The digest in a file's companion, and how the tree is framed.
    pub(super) async fn companion(&self, path: &str) -> Result<(Digest, Framing), Flaw> {
        let key = (self.key)(&format!("{path}.sha256"));
        let stored = self.stored(&key, STORED_MAX).await?;
        framing::digest_file(&stored).map_err(|e| Flaw::Frames(key, e))
    }

    /// A file as it is stored, if it has no more bytes than these.
    async fn stored(&self, key: &Key, most: u64) -> Result<Vec<u8>, Flaw> {
        match self.objects.stat(key).await? {
            None => Err(Flaw::Missing(key.clone())),
            Some(size) if size > most => Err(Flaw::Large(key.clone(), size)),
            Some(_) => Ok(self.objects.read(key, None).await?.try_collect::<Vec<_>>().await?.concat()),
        }
    }

    /// The content of a file that is framed like this, if it is stored in no more bytes than these.
    pub(super) async fn whole(&self, path: &str, framed: Framing, most: u64) -> Result<Vec<u8>, Flaw> {
        let key = (self.key)(path);
        let stored = self.stored(&key, most).await?;
        match framed {
            Framing::Raw => Ok(stored),
            Framing::Crc2048 => framing::deframed(&stored).map_err(|e| Flaw::Frames(key, e)),
        }
    }

    /// A small file that is framed like this.
    pub(super) async fn small(&self, path: &str, framed: Framing) -> Result<Small, Flaw> {
        let content = self.whole(path, framed, STORED_MAX).await?;
        let sha256 = Digest(Sha256::digest(&content).into());
        self.confirm(path, sha256).await?;
        let entry = Entry { path: path.into(), size: content.len() as u64, sha256, from: 0 };
        Ok(Small { content, entry })
    }

    async fn confirm(&self, path: &str, found: Digest) -> Result<(), Flaw> {
        let (said, _) = self.companion(path).await?;
        if said == found { Ok(()) } else { Err(Flaw::Other((self.key)(path), found, said)) }
    }

    /// Reads the list in a stream: it can be large.
    pub(super) async fn list(&self, framed: Framing) -> Result<(Entry, TaeList), Flaw> {
        let key = (self.key)(LIST);
        let frames = |e| Flaw::Frames(key.clone(), e);
        let absent =
            |e: store::Error| if e.problem == Problem::Missing { Flaw::Missing(key.clone()) } else { Flaw::Store(e) };
        let mut pieces = self.objects.read(&key, None).await.map_err(absent)?;
        let (mut reader, mut deframer) = (TaeListReader::default(), Deframer::default());
        let (mut hasher, mut size) = (Sha256::new(), 0);
        let mut take = |content: &[u8]| {
            hasher.update(content);
            size += content.len() as u64;
            reader.push(content)
        };
        while let Some(piece) = pieces.try_next().await? {
            match framed {
                Framing::Raw => take(&piece)?,
                Framing::Crc2048 => take(&deframer.push(&piece).map_err(frames)?)?,
            }
        }
        take(&deframer.finish().map_err(frames)?)?;
        let sha256 = Digest(hasher.finalize().into());
        self.confirm(LIST, sha256).await?;
        Ok((Entry { path: LIST.into(), size, sha256, from: 0 }, reader.finish()?))
    }
}

/// What a damaged file of the server means.
pub(super) fn incomplete(error: &plan::Error) -> Failure {
    let reason = match error {
        plan::Error::Damaged { .. } => Reason::BackupIncomplete,
        plan::Error::Differs { .. } => Reason::ObjectCorrupted,
        plan::Error::Unwritable { .. } => Reason::Internal,
    };
    Failure::new(reason, error.to_string())
}
