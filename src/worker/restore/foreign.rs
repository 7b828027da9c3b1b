//! A backup that `mo_br` or a plain BACKUP statement made: folders as MatrixOne wrote them, and nothing of ours.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    check::Tags,
    choose::{Bytes, Chosen, Loads, to},
    folder::{self, Folder, damaged, lasting, shown},
    reading::{Expected, Reading},
};
use crate::{
    api::Reason,
    plan::{Chain, Digest, Entry, Framing, Link, Placed},
    store::{
        self, Key, Prefix, Tag, framing,
        presence::{self, Presence, Wanted},
        transfer::{Load, Moved},
    },
    worker::{
        Failure,
        server_files::{Flaw, HK_DATA},
    },
};

/// Files of the last folder that are read and compared when the backup is chosen: its three lists, and the ids.
const OWN: u64 = 4;

/// A chain of folders.
pub(in crate::worker) struct Foreign {
    /// The last one first.
    folders: Vec<Folder>,
    chain: Chain,
    hk_data: Entry,
}

/// A row of the last folder's list, and where its bytes lie.
pub(in crate::worker) struct Row {
    /// Its key.
    pub key: Key,
    /// How it is stored.
    pub framing: Framing,
    /// What is known of it.
    pub expected: Expected,
    /// Bytes of its content as they are listed.
    pub listed: u64,
    /// Number of its folder; 0 is the last one.
    folder: usize,
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

    /// The folder that is restored.
    pub(super) fn last(&self) -> Option<&Folder> {
        self.folders.first()
    }

    /// Objects and bytes that are restored: those that lie in one of the folders.
    pub(in crate::worker) fn totals(&self) -> (u64, u64) {
        self.chain.links().fold((1, self.hk_data.size), |(n, bytes), link| (n + 1, bytes.saturating_add(link.size)))
    }

    /// Objects that were read and compared with their companions when the backup was chosen, and the bytes of those that
    /// are not restored.
    pub(in crate::worker) fn own(&self) -> (u64, u64) {
        (OWN, self.last().map_or(0, |last| last.words))
    }

    /// The paths of the last folder's list.
    pub(in crate::worker) fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.chain.paths()
    }

    /// Objects that lie in none of the folders.
    pub(in crate::worker) fn elsewhere(&self) -> u64 {
        self.chain.nowhere().0
    }

    /// The rows of the last folder's list that lie in one of the folders, ascending by path.
    pub(in crate::worker) fn rows(&self) -> impl Iterator<Item = Result<Row, Failure>> + '_ {
        self.chain.links().map(|link| {
            let (key, framing) = self.key(&link).ok_or_else(|| nowhere(&link))?;
            let Link { id: _, path: _, folder, size, digest, exact } = link;
            let expected = Expected { size: exact.then_some(size), digest };
            Ok(Row { key, framing, expected, listed: size, folder })
        })
    }

    /// What is to be restored. Everything about it must have been found out before.
    pub(super) fn loads(&self, (data, hk_data): (Placed, Placed)) -> Loads<'_> {
        let place = move |path: &str| to(path, (&data, &hk_data));
        let ids = self.last().zip(place(HK_DATA)).map(|(last, (to, placed))| {
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

fn nowhere(link: &Link) -> Failure {
    Failure::new(Reason::Internal, format!("{} lies in no folder", link.path))
}

impl Reading<'_> {
    /// Reads the lists of a chain of folders, oldest first, and finds out where every object of the last one lies. An
    /// object that lies in none of them is refused: nothing can be restored without it.
    pub(super) async fn foreign(&self, paths: &[String]) -> Result<Chosen, Failure> {
        let chosen = self.named_folders(paths).await?;
        if let Bytes::Foreign(foreign) = &chosen.bytes
            && let (nowhere @ 1.., first) = foreign.chain.nowhere()
        {
            let detail = format!(
                "{nowhere} objects that {} needs were copied into none of the folders, first {}; give the full backup and \
                 every incremental one up to it, oldest first",
                shown(&chosen.name),
                first.join(", ")
            );
            return Err(lasting(Reason::ObjectMissing, detail));
        }
        Ok(chosen)
    }

    /// The same, of whatever folders were named: objects of the last one may lie in none of them.
    pub(in crate::worker) async fn named_folders(&self, paths: &[String]) -> Result<Chosen, Failure> {
        let mut folders: Vec<Folder> = Vec::new();
        let mut chain = None;
        for path in paths.iter().rev() {
            let read = folder::read(self.source, path).await;
            let (folder, list) = read.map_err(|flaw| self.told(path, &flaw))?;
            if let Some(later) = folders.last().filter(|later| later.backup_ts <= folder.backup_ts) {
                let (path, later) = (shown(path), shown(&later.path));
                let detail = format!("{path} is not older than {later}; give the folders oldest first");
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
        let hk_data = folder::files(self.source, &last.path).small(HK_DATA, last.framing).await;
        let hk_data = hk_data.map_err(|flaw| self.told(&last.path, &flaw))?.entry;
        let mut hasher = Sha256::new();
        for folder in &folders {
            hasher.update(folder.list.0);
        }
        hasher.update(hk_data.sha256.0);
        Ok(Chosen {
            name: last.path.clone(),
            list: Digest(hasher.finalize().into()),
            server_version: last.server_version.clone(),
            server_identity: None,
            at: last.backup_ts.physical,
            bytes: Bytes::Foreign(Box::new(Foreign { folders, chain, hk_data })),
        })
    }

    fn told(&self, folder: &str, flaw: &Flaw) -> Failure {
        folder::told(folder, flaw, |e| self.source_failure(e))
    }

    /// Looks by listings alone where every object is, or only those that a restore needs.
    pub(in crate::worker) async fn present_foreign(&self, foreign: &Foreign, every: bool) -> Result<Presence, Failure> {
        let below = |folder: &Folder, part| Prefix::placed(Key::foreign(&folder.path, part).as_str());
        let mut listings: Vec<_> = foreign.folders.iter().map(|folder| below(folder, "tae")).collect();
        let mut wanted = Vec::new();
        if let Some(last) = foreign.folders.first().filter(|_| every) {
            let listing = listings.len();
            listings.push(below(last, "config"));
            let mut keys: Vec<_> = last.config.iter().map(|path| Key::foreign(&last.path, path)).collect();
            keys.sort();
            wanted.extend(keys.into_iter().map(|key| Ok(Wanted { key, listing, stored: None, size: 0 })));
        }
        let rows = foreign.rows().map(|row| {
            let no = |failure: Failure| store::Failure::Differs { what: failure.detail, detail: "no folder".into() };
            let Row { key, framing, expected, listed, folder } = row.map_err(no)?;
            self.watch.done(1, listed);
            let stored = expected.size.map(|size| framing::stored_size(framing, size));
            Ok(Wanted { key, listing: folder, stored, size: listed })
        });
        let found = presence::compare(self.source, &listings, stream::iter(wanted.into_iter().chain(rows))).await;
        found.map_err(|e| self.source_failure(&e))
    }

    /// Reads the configuration files of the last folder, and compares each with its companion: of each what is wrong, if
    /// anything is.
    pub(in crate::worker) async fn configuration(&self, foreign: &Foreign) -> Result<Vec<Option<String>>, Failure> {
        let mut found = Vec::new();
        let Some(last) = foreign.folders.first() else { return Ok(found) };
        let files = folder::files(self.source, &last.path);
        for path in &last.config {
            found.push(match files.small(path, Framing::Raw).await {
                Ok(_) => None,
                Err(Flaw::Store(e)) => return Err(self.source_failure(&e.into())),
                Err(Flaw::Missing(key)) => Some(format!("{key} is missing")),
                Err(flaw) => Some(self.told(&last.path, &flaw).detail),
            });
        }
        Ok(found)
    }

    /// Reads the objects: all, or those of which the lists do not say everything. What is found is remembered.
    pub(super) async fn read_foreign(&self, foreign: &mut Foreign, all: bool, tags: &mut Tags) -> Result<(), Failure> {
        let moved = Moved::default();
        let known = |link: &Link| link.exact && link.digest.is_some();
        let reading = async {
            // The file with the ids comes before them.
            let links = (1..).zip(foreign.chain.links()).filter(|(_, link)| all || !known(link));
            let reads = links.map(|(n, link)| self.read_link(foreign, (n, link), &moved));
            let mut reads = stream::iter(reads).buffer_unordered(self.at_once());
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
        Ok(())
    }

    async fn read_link(
        &self,
        foreign: &Foreign,
        (n, link): (usize, Link),
        moved: &Moved,
    ) -> Result<(Link, u64, Digest, (usize, Option<Tag>)), Failure> {
        let (key, framing) = foreign.key(&link).ok_or_else(|| nowhere(&link))?;
        let expected = Expected { size: link.exact.then_some(link.size), digest: link.digest };
        let ((size, digest), tag) = self.read_one((&key, framing), expected, moved).await?;
        Ok((link, size, digest, (n, tag)))
    }
}
