//! A backup that `mo_br` or a plain BACKUP statement made: folders as MatrixOne wrote them, and nothing of ours.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    Attempt,
    check::Read,
    choose::{Bytes, Chosen, Loads, to},
};
use crate::{
    api::Reason,
    plan::{Chain, Digest, Entry, Framing, Link, MoMeta, Placed, TaeList, TaeSum, Timestamp},
    store::{
        self, Key, Tag, framing,
        presence::Fault,
        transfer::{Load, Moved},
    },
    worker::{
        Failure,
        server_files::{self, Flaw, HK_DATA, ServerFiles},
    },
};

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
            let Entry { size, sha256: digest, .. } = self.hk_data;
            Ok(Load { from, stored: last.framing, to, placed, size, digest, tag: None })
        });
        let rows = self.chain.links().map(move |link| {
            let unknown = || store::Failure::Differs { what: link.path.clone(), detail: "it was not read".into() };
            let (from, stored) = self.key(&link).ok_or_else(unknown)?;
            let (to, placed) = place(&link.path).ok_or_else(unknown)?;
            let digest = link.digest.ok_or_else(unknown)?;
            Ok(Load { from, stored, to, placed, size: link.size, digest, tag: None })
        });
        stream::iter(ids.into_iter().chain(rows)).boxed()
    }
}

fn lasting(reason: Reason, detail: impl Into<String>) -> Failure {
    Failure { retryable: false, ..Failure::new(reason, detail) }
}

/// What the server's files say wrong, in the words of a restore.
fn damaged(folder: &str, error: &crate::plan::Error) -> Failure {
    let told = server_files::incomplete(error);
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
        let hk_data = self.files(&last.path).small(HK_DATA, last.framing).await;
        let hk_data = hk_data.map_err(|flaw| self.told(&last.path, &flaw))?.entry;
        let mut hasher = Sha256::new();
        for folder in &folders {
            hasher.update(folder.list.0);
        }
        hasher.update(hk_data.sha256.0);
        Ok(Chosen {
            name: last.path.clone(),
            list: Digest(hasher.finalize().into()),
            server_version: last.server_version.as_ref().map(|v| v.chars().take(64).collect()),
            server_identity: None,
            at: last.backup_ts.physical,
            bytes: Bytes::Foreign(Box::new(Foreign { folders, chain, hk_data })),
        })
    }

    fn files<'b>(&'b self, folder: &'b str) -> ServerFiles<'b, impl Fn(&str) -> Key + Sync + 'b> {
        ServerFiles { objects: self.source, key: move |path: &str| Key::foreign(folder, path) }
    }

    /// What is wrong with a folder stays wrong; what is wrong with the store need not.
    fn told(&self, folder: &str, flaw: &Flaw) -> Failure {
        match flaw {
            Flaw::Store(e) => self.source_failure(&e.clone().into()),
            Flaw::Content(e) => damaged(folder, e),
            Flaw::Missing(_) | Flaw::Large(..) | Flaw::Frames(..) | Flaw::Other(..) => {
                let told = flaw.told(ToString::to_string, |e| self.source_failure(&e.clone().into()), absent);
                Failure { retryable: false, ..told }
            }
        }
    }

    /// Reads what a folder says about itself.
    async fn folder(&self, path: &str) -> Result<(Folder, TaeList), Failure> {
        let (folder, sum, list) = self.parts(path).await.map_err(|flaw| self.told(path, &flaw))?;
        if sum.bytes != list.bytes() {
            let detail =
                format!("{path}/tae/tae_list adds up to {} bytes, its tae_sum says {}", list.bytes(), sum.bytes);
            return Err(lasting(Reason::BackupIncomplete, detail));
        }
        Ok((folder, list))
    }

    async fn parts(&self, path: &str) -> Result<(Folder, TaeSum, TaeList), Flaw> {
        let files = self.files(path);
        // Written last: without it the server has not finished.
        let meta = files.small("mo_meta", Framing::Raw).await?;
        let MoMeta { server_version, config: _ } = MoMeta::parse(&meta.content)?;
        let (_, framing) = files.companion("tae/tae_sum").await?;
        let sum = TaeSum::parse(&files.small("tae/tae_sum", framing).await?.content)?;
        let (entry, list) = files.list(framing).await?;
        let (path, backup_ts, list_sha256) = (path.to_owned(), sum.backup_ts, entry.sha256);
        Ok((Folder { path, framing, backup_ts, server_version, list: list_sha256 }, sum, list))
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
    pub(super) async fn read_foreign(&self, foreign: &mut Foreign, all: bool) -> Result<Read, Failure> {
        let mut tags = self.tags(foreign.totals().0, all);
        let moved = Moved::default();
        let known = |link: &Link| link.exact && link.digest.is_some();
        let reading = async {
            // The file with the ids comes before them.
            let links = (1..).zip(foreign.chain.links()).filter(|(_, link)| all || !known(link));
            let reads = links.map(|(n, link)| self.read_link(foreign, (n, link), &moved));
            let mut reads = stream::iter(reads).buffer_unordered(usize::from(self.task.parallelism));
            let mut found = Vec::new();
            while let Some((link, size, digest, (n, tag))) = reads.try_next().await? {
                tags.set(n, tag);
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
        let (objects, bytes) = foreign.totals();
        Ok(Read { objects, bytes, tags })
    }

    async fn read_link(
        &self,
        foreign: &Foreign,
        (n, link): (usize, Link),
        moved: &Moved,
    ) -> Result<(Link, u64, Digest, (usize, Option<Tag>)), Failure> {
        let no = || Failure::new(Reason::Internal, format!("{} lies in no folder", link.path));
        let (key, framing) = foreign.key(&link).ok_or_else(no)?;
        let ((size, digest), tag) =
            self.read_one((&key, framing), (link.exact.then_some(link.size), link.digest), moved).await?;
        Ok((link, size, digest, (n, tag)))
    }
}

fn absent(key: &Key) -> Failure {
    let detail = format!("{key} is missing: no BACKUP has finished there, or it is no folder of a backup");
    lasting(Reason::BackupIncomplete, detail)
}
