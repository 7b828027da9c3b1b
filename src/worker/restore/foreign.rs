//! A backup that `mo_br` or a plain BACKUP statement made: folders as MatrixOne wrote them, and nothing of ours.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    Attempt,
    choose::{Bytes, Chosen, Loads, to},
};
use crate::{
    api::Reason,
    plan::{Chain, Digest, Entry, Framing, Link, MoMeta, Placed, TaeList, TaeListReader, TaeSum, Timestamp},
    store::{
        self, Key, Problem, framing,
        framing::{BadFrame, Deframer},
        presence::Fault,
        transfer::{Load, Moved},
    },
    worker::{Failure, resolve},
};

/// The file with the ids.
const HK_DATA: &str = "hakeeper/hk_data";
/// MatrixOne's list.
const LIST: &str = "tae/tae_list";
/// Largest small file as it is stored, in bytes: frames add a five hundredth.
const STORED_MAX: u64 = 2 * crate::plan::server_files::SMALL_MAX as u64;
/// Faults that are told of all.
const NAMED: usize = 5;

/// A chain of folders.
pub(super) struct Foreign {
    /// The last one first.
    folders: Vec<Folder>,
    chain: Chain,
    hk_data: Entry,
}

/// A folder as MatrixOne left it.
struct Folder {
    path: String,
    framing: Framing,
    backup_ts: Timestamp,
    server_version: Option<String>,
    list: Digest,
}

impl Foreign {
    /// Bytes that are held in memory.
    pub(super) fn memory(&self) -> u64 {
        self.chain.memory()
    }

    fn key(&self, link: &Link) -> Option<(Key, Framing)> {
        let folder = self.folders.get(link.folder)?;
        Some((Key::foreign(&folder.path, &link.path), folder.framing))
    }

    /// Objects and bytes that are restored.
    fn totals(&self) -> (u64, u64) {
        self.chain.links().fold((1, self.hk_data.size), |(n, bytes), link| (n + 1, bytes.saturating_add(link.size)))
    }

    /// What is to be restored. Everything about it must have been found out before.
    pub(super) fn loads(&self, (data, hk_data): (Placed, Placed)) -> Loads<'_> {
        let place = move |path: &str| to(path, (&data, &hk_data));
        let ids = self.folders.first().zip(place(HK_DATA)).map(|(last, (to, placed))| {
            let from = Key::foreign(&last.path, HK_DATA);
            Ok(Load { from, stored: last.framing, to, placed, size: self.hk_data.size, digest: self.hk_data.sha256 })
        });
        let rows = self.chain.links().map(move |link| {
            let unknown = || store::Failure::Differs { what: link.path.clone(), detail: "it was not read".into() };
            let (from, stored) = self.key(&link).ok_or_else(unknown)?;
            let (to, placed) = place(&link.path).ok_or_else(unknown)?;
            let digest = link.digest.ok_or_else(unknown)?;
            Ok(Load { from, stored, to, placed, size: link.size, digest })
        });
        stream::iter(ids.into_iter().chain(rows)).boxed()
    }
}

fn lasting(reason: Reason, detail: impl Into<String>) -> Failure {
    Failure { retryable: false, ..Failure::new(reason, detail) }
}

/// What the server's files say wrong, in the words of a restore.
fn damaged(folder: &str, error: &crate::plan::Error) -> Failure {
    let told = resolve::incomplete(error);
    lasting(told.reason, format!("{} (folder {folder})", told.detail))
}

impl Attempt<'_> {
    /// Reads the lists of a chain of folders, oldest first, and finds out where every object of the last one lies.
    pub(super) async fn foreign(&self, paths: &[String]) -> Result<Chosen, Failure> {
        let mut folders: Vec<Folder> = Vec::new();
        let mut chain = None;
        for path in paths.iter().rev() {
            let (folder, list) = self.folder(path).await?;
            if let Some(later) = folders.last().filter(|later| later.backup_ts <= folder.backup_ts) {
                let detail = format!("{path} is not older than {}; give the folders oldest first", later.path);
                return Err(Failure::new(Reason::InvalidSpec, detail));
            }
            match &mut chain {
                None => chain = Some(Chain::new(list)),
                Some(chain) => chain.earlier(&list).map_err(|e| damaged(path, &e))?,
            }
            folders.push(folder);
        }
        let (Some(chain), Some(last)) = (chain, folders.first()) else {
            return Err(Failure::new(Reason::InvalidSpec, "no folder is given"));
        };
        let (nowhere, first) = chain.nowhere();
        if nowhere > 0 {
            let detail = format!(
                "{nowhere} objects that {} needs were copied into none of the folders, first {}; give the full backup and \
                 every incremental one up to it, oldest first",
                last.path,
                first.join(", ")
            );
            return Err(lasting(Reason::ObjectMissing, detail));
        }
        let (content, sha256) = self.small(&last.path, HK_DATA, last.framing).await?;
        let hk_data = Entry { path: HK_DATA.into(), size: content.len() as u64, sha256, from: 0 };
        let mut hasher = Sha256::new();
        for folder in &folders {
            hasher.update(folder.list.0);
        }
        hasher.update(sha256.0);
        Ok(Chosen {
            name: last.path.clone(),
            list: Digest(hasher.finalize().into()),
            server_version: last.server_version.as_ref().map(|v| v.chars().take(64).collect()),
            at: last.backup_ts.physical,
            bytes: Bytes::Foreign(Box::new(Foreign { folders, chain, hk_data })),
        })
    }

    /// Reads what a folder says about itself.
    async fn folder(&self, path: &str) -> Result<(Folder, TaeList), Failure> {
        // Written last: without it the server has not finished.
        let (meta, _) = self.small(path, "mo_meta", Framing::Raw).await?;
        let meta = MoMeta::parse(&meta).map_err(|e| damaged(path, &e))?;
        let (_, framing) = self.companion(path, "tae/tae_sum").await?;
        let (sum, _) = self.small(path, "tae/tae_sum", framing).await?;
        let sum = TaeSum::parse(&sum).map_err(|e| damaged(path, &e))?;
        let (list, sha256) = self.list(path, framing).await?;
        if sum.bytes != list.bytes() {
            let detail = format!("{path}/{LIST} adds up to {} bytes, its tae_sum says {}", list.bytes(), sum.bytes);
            return Err(lasting(Reason::BackupIncomplete, detail));
        }
        let MoMeta { server_version, config: _ } = meta;
        let (path, backup_ts) = (path.to_owned(), sum.backup_ts);
        Ok((Folder { path, framing, backup_ts, server_version, list: sha256 }, list))
    }

    /// The digest in a file's companion, and how the tree is framed.
    async fn companion(&self, folder: &str, path: &str) -> Result<(Digest, Framing), Failure> {
        let key = Key::foreign(folder, &format!("{path}.sha256"));
        let stored = self.stored(&key).await?;
        framing::digest_file(&stored)
            .map_err(|e| lasting(Reason::ObjectCorrupted, format!("failed to read {key}: {e}")))
    }

    /// A small file as it is stored.
    async fn stored(&self, key: &Key) -> Result<Vec<u8>, Failure> {
        let failed = |e: store::Error| self.source_failure(&e.into());
        match self.source.stat(key).await.map_err(failed)? {
            None => Err(absent(key)),
            Some(size) if size > STORED_MAX => {
                Err(lasting(Reason::BackupIncomplete, format!("{key} has {size} bytes, far too many")))
            }
            Some(_) => {
                let pieces = self.source.read(key, None).await.map_err(failed)?;
                Ok(pieces.try_collect::<Vec<_>>().await.map_err(failed)?.concat())
            }
        }
    }

    /// A small file, its content as its companion says.
    async fn small(&self, folder: &str, path: &str, framed: Framing) -> Result<(Vec<u8>, Digest), Failure> {
        let key = Key::foreign(folder, path);
        let stored = self.stored(&key).await?;
        let content = match framed {
            Framing::Raw => stored,
            Framing::Crc2048 => {
                let mut deframer = Deframer::default();
                let mut content = deframer.push(&stored).map_err(bad(&key))?.to_vec();
                content.extend_from_slice(&deframer.finish().map_err(bad(&key))?);
                content
            }
        };
        let sha256 = Digest(Sha256::digest(&content).into());
        self.confirm(folder, path, sha256).await?;
        Ok((content, sha256))
    }

    async fn confirm(&self, folder: &str, path: &str, found: Digest) -> Result<(), Failure> {
        let (said, _) = self.companion(folder, path).await?;
        if said == found {
            return Ok(());
        }
        let detail = format!("the SHA-256 of {} is {found}, its companion says {said}", Key::foreign(folder, path));
        Err(lasting(Reason::ObjectCorrupted, detail))
    }

    /// Reads the list in a stream: it can be large.
    async fn list(&self, folder: &str, framed: Framing) -> Result<(TaeList, Digest), Failure> {
        let key = Key::foreign(folder, LIST);
        let failed = |e: store::Error| {
            if e.problem == Problem::Missing { absent(&key) } else { self.source_failure(&e.into()) }
        };
        let mut pieces = self.source.read(&key, None).await.map_err(failed)?;
        let (mut reader, mut deframer, mut hasher) = (TaeListReader::default(), Deframer::default(), Sha256::new());
        let mut take = |content: &[u8]| {
            hasher.update(content);
            reader.push(content).map_err(|e| damaged(folder, &e))
        };
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            match framed {
                Framing::Raw => take(&piece)?,
                Framing::Crc2048 => take(&deframer.push(&piece).map_err(bad(&key))?)?,
            }
        }
        take(&deframer.finish().map_err(bad(&key))?)?;
        let sha256 = Digest(hasher.finalize().into());
        self.confirm(folder, LIST, sha256).await?;
        Ok((reader.finish().map_err(|e| damaged(folder, &e))?, sha256))
    }

    /// Whether every object is in its folder with its size.
    pub(super) async fn present_foreign(&self, foreign: &Foreign) -> Result<(u64, u64), Failure> {
        let looks = foreign.chain.links().map(|link| self.fault(foreign, link));
        let mut faults = stream::iter(looks).buffered(usize::from(self.task.parallelism));
        let (mut count, mut first) = (0, Vec::new());
        while let Some(fault) = faults.try_next().await? {
            count += u64::from(fault.is_some());
            first.extend(fault.filter(|_| first.len() < NAMED));
        }
        super::check::judge(&first, count)?;
        Ok(foreign.totals())
    }

    async fn fault(&self, foreign: &Foreign, link: Link) -> Result<Option<Fault>, Failure> {
        let no = || Failure::new(Reason::Internal, format!("{} lies in no folder", link.path));
        let (key, framing) = foreign.key(&link).ok_or_else(no)?;
        let found = self.source.stat(&key).await.map_err(|e| self.source_failure(&e.into()))?;
        self.watch.done(1, link.size);
        let expected = framing::stored_size(framing, link.size);
        Ok(match found {
            None => Some(Fault::Missing(key)),
            Some(found) if link.exact && found != expected => Some(Fault::Size { key, expected, found }),
            Some(_) => None,
        })
    }

    /// Reads the objects: all, or those of which the lists do not say everything. What is found is remembered.
    pub(super) async fn read_foreign(&self, foreign: &mut Foreign, all: bool) -> Result<(u64, u64), Failure> {
        let moved = Moved::default();
        let known = |link: &Link| link.exact && link.digest.is_some();
        let reading = async {
            let links = foreign.chain.links().filter(|link| all || !known(link));
            let reads = links.map(|link| self.read_link(foreign, link, &moved));
            let mut reads = stream::iter(reads).buffer_unordered(usize::from(self.task.parallelism));
            let mut found = Vec::new();
            while let Some((link, size, digest)) = reads.try_next().await? {
                // What was listed was compared; only what was not need be remembered.
                found.extend((!known(&link)).then_some((link, size, digest)));
            }
            Ok::<_, Failure>(found)
        };
        let found = tokio::select! {
            found = reading => found?,
            never = self.follow(&moved) => match never {},
        };
        for (link, size, digest) in found {
            let folder = foreign.folders.get(link.folder).map(|f| f.path.clone()).unwrap_or_default();
            foreign.chain.found(&link, size, digest).map_err(|e| damaged(&folder, &e))?;
        }
        Ok(foreign.totals())
    }

    async fn read_link(&self, foreign: &Foreign, link: Link, moved: &Moved) -> Result<(Link, u64, Digest), Failure> {
        let no = || Failure::new(Reason::Internal, format!("{} lies in no folder", link.path));
        let (key, framing) = foreign.key(&link).ok_or_else(no)?;
        let (size, digest) =
            self.read_one((&key, framing), (link.exact.then_some(link.size), link.digest), moved).await?;
        Ok((link, size, digest))
    }
}

fn absent(key: &Key) -> Failure {
    let detail = format!("{key} is missing: no BACKUP has finished there, or it is no folder of a backup");
    lasting(Reason::BackupIncomplete, detail)
}

fn bad(key: &Key) -> impl Fn(BadFrame) -> Failure + '_ {
    move |e| lasting(Reason::ObjectCorrupted, format!("failed to read {key}: {e}"))
}
