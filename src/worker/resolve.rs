//! What a BACKUP has left behind: its small files checked against their companions, its list joined with the base.

use std::path::Path;

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::{Failure, Place, backup::Attempt, trouble::Trouble};
use crate::{
    api::Reason,
    plan::{
        self, AttemptDir, Catalog, Digest, Entry, Framing, MoMeta, TaeList, TaeListReader, TaeSum,
        resolve::{Resolved, Resolver},
        server_files::SMALL_MAX,
    },
    store::{
        self, Key, Objects, Prefix, Problem, catalog,
        framing::{self, BadFrame, Deframer},
    },
};

/// A finished BACKUP, as its files say.
pub(super) struct Left {
    /// How the bytes below `tae/` and `hakeeper/` lie there.
    pub framing: Framing,
    /// The sums, with the consistency point.
    pub sum: TaeSum,
    /// The rows, each with its place.
    pub resolved: Resolved,
    /// `mo_meta`, `config/…`, `hakeeper/hk_data`, `tae/tae_list`, `tae/tae_sum`, with digests that their companions
    /// confirm.
    pub files: Vec<Entry>,
}

struct Small {
    content: Vec<u8>,
    entry: Entry,
}

/// The folder that the server has written to.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub objects: &'a dyn Objects,
    pub place: Place,
    pub attempt: &'a Attempt<'a>,
    pub dir: AttemptDir,
    /// The folder in the file system, for method Staged.
    pub local: &'a Path,
}

impl Folder<'_> {
    pub(super) fn key(&self, path: &str) -> Key {
        Key::object(self.attempt.task.id, self.dir, path)
    }

    fn prefix(&self) -> Prefix {
        Prefix::attempt(self.attempt.task.id, self.dir)
    }

    pub(super) fn failed(&self, error: &store::Error) -> Failure {
        Failure::of_store(self.place, error)
    }

    /// Whether the last file that the server writes is there.
    pub(super) async fn is_finished(&self) -> Result<bool, Failure> {
        for path in ["mo_meta", "mo_meta.sha256"] {
            if self.objects.stat(&self.key(path)).await.map_err(|e| self.failed(&e))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything is there at all.
    pub(super) async fn is_empty(&self) -> Result<bool, Failure> {
        let prefix = self.prefix();
        let first = self.objects.list(&prefix).try_next().await.map_err(|e| self.failed(&e))?;
        Ok(first.is_none())
    }

    /// Reads and resolves what was left.
    pub(super) async fn resolve(&self, base: Option<&Catalog>) -> Result<Left, Trouble> {
        let (_, framing) = self.companion("tae/tae_sum").await?;
        let meta = self.small("mo_meta", Framing::Raw).await?;
        let MoMeta { config, server_version: _ } = MoMeta::parse(&meta.content).map_err(|e| incomplete(&e))?;
        let sum = self.small("tae/tae_sum", framing).await?;
        let list_file = self.list(framing).await?;
        let keys = self.small("hakeeper/hk_data", framing).await?;
        let mut files = vec![meta.entry, sum.entry, list_file.0, keys.entry];
        for path in &config {
            files.push(self.small(path, Framing::Raw).await?.entry);
        }
        let sum = TaeSum::parse(&sum.content).map_err(|e| incomplete(&e))?;
        let list = list_file.1;
        if sum.bytes != list.bytes() {
            let detail = format!("tae/tae_list adds up to {} bytes, tae/tae_sum says {}", list.bytes(), sum.bytes);
            return Err(Failure::new(Reason::BackupIncomplete, detail).into());
        }
        let resolved = self.join(list, base).await?;
        Ok(Left { framing, sum, resolved, files })
    }

    /// The digest in a file's companion, and how the tree is framed.
    async fn companion(&self, path: &str) -> Result<(Digest, Framing), Failure> {
        let name = format!("{path}.sha256");
        let stored = self.stored(&name).await?;
        framing::digest_file(&stored)
            .map_err(|e| Failure::new(Reason::ObjectCorrupted, format!("failed to read {name}: {e}")))
    }

    /// A small file as it is stored.
    async fn stored(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let key = self.key(path);
        let size = self.objects.stat(&key).await.map_err(|e| self.failed(&e))?.ok_or_else(|| missing(path))?;
        // Frames add a five hundredth.
        if size > 2 * SMALL_MAX as u64 {
            return Err(Failure::new(Reason::BackupIncomplete, format!("{path} has {size} bytes, far too many")));
        }
        let pieces = self.objects.read(&key, None).await.map_err(|e| self.failed(&e))?;
        Ok(pieces.try_collect::<Vec<_>>().await.map_err(|e| self.failed(&e))?.concat())
    }

    /// A small file, its content as its companion says.
    async fn small(&self, path: &str, framed: Framing) -> Result<Small, Failure> {
        let stored = self.stored(path).await?;
        let corrupted = |e: BadFrame| Failure::new(Reason::ObjectCorrupted, format!("failed to read {path}: {e}"));
        let content = match framed {
            Framing::Raw => stored,
            Framing::Crc2048 => {
                let mut deframer = Deframer::default();
                let mut content = deframer.push(&stored).map_err(corrupted)?.to_vec();
                content.extend_from_slice(&deframer.finish().map_err(corrupted)?);
                content
            }
        };
        let sha256 = Digest(Sha256::digest(&content).into());
        self.confirm(path, sha256).await?;
        let entry = Entry { path: path.into(), size: content.len() as u64, sha256, from: 0 };
        Ok(Small { content, entry })
    }

    async fn confirm(&self, path: &str, found: Digest) -> Result<(), Failure> {
        let (said, _) = self.companion(path).await?;
        if said == found {
            return Ok(());
        }
        let detail = format!("the SHA-256 of {path} is {found}, its companion says {said}");
        Err(Failure::new(Reason::ObjectCorrupted, detail))
    }

    /// Reads the list in a stream: it can be large.
    async fn list(&self, framed: Framing) -> Result<(Entry, TaeList), Failure> {
        let path = "tae/tae_list";
        let corrupted = |e: BadFrame| Failure::new(Reason::ObjectCorrupted, format!("failed to read {path}: {e}"));
        let mut pieces = self
            .objects
            .read(&self.key(path), None)
            .await
            .map_err(|e| if e.problem == Problem::Missing { missing(path) } else { self.failed(&e) })?;
        let (mut reader, mut deframer) = (TaeListReader::default(), Deframer::default());
        let (mut hasher, mut size) = (Sha256::new(), 0);
        let mut take = |content: &[u8]| {
            hasher.update(content);
            size += content.len() as u64;
            reader.push(content).map_err(|e| incomplete(&e))
        };
        while let Some(piece) = pieces.try_next().await.map_err(|e| self.failed(&e))? {
            match framed {
                Framing::Raw => take(&piece)?,
                Framing::Crc2048 => take(&deframer.push(&piece).map_err(corrupted)?)?,
            }
        }
        take(&deframer.finish().map_err(corrupted)?)?;
        let sha256 = Digest(hasher.finalize().into());
        self.confirm(path, sha256).await?;
        let list = reader.finish().map_err(|e| incomplete(&e))?;
        Ok((Entry { path: path.into(), size, sha256, from: 0 }, list))
    }

    async fn join(&self, list: TaeList, base: Option<&Catalog>) -> Result<Resolved, Trouble> {
        let mut resolver = Resolver::new(list);
        if let Some(base) = base {
            let repository = &*self.attempt.ports.repository;
            let failed = |e| self.attempt.list_trouble(base, &e);
            let mut entries = catalog::entries(repository, base).await.map_err(failed)?;
            while let Some(entry) = entries.next().await.map_err(failed)? {
                resolver.base_entry(&entry);
            }
        }
        resolver.finish().map_err(|e| Trouble::Base(e.to_string()))
    }
}

/// A file that is not there though the server has finished. What `mo_meta` names has been there; of the others that cannot
/// be known.
fn missing(path: &str) -> Failure {
    let reason = if path.starts_with("config/") { Reason::ObjectMissing } else { Reason::BackupIncomplete };
    Failure::new(reason, format!("{path} is missing"))
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
