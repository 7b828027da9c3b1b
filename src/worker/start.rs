//! Whether a server starts on a backup: reads what it reads at its first start, and compares it with what the backup has. See
//! [`crate::plan::checkpoint`].

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use futures::TryStreamExt as _;

use super::{
    merged::{LARGEST, Lost, Trouble},
    server_files::ServerFiles,
};
use crate::{
    api::Reason,
    plan::{
        Framing,
        checkpoint::{self, Entry, Extent, FOLDER, Form, Kinds, Missing, Names, Needed, NewestLists, Unreadable},
    },
    store::{
        Key, Objects, Prefix,
        framing::{self, BadFrame},
    },
};

/// Files up to this size, in bytes as they are stored, are read at once.
const AT_ONCE: u64 = 1 << 20;

/// What a server reads at its first start.
pub(super) struct Start {
    /// The lists, paths below the backup, and whether the backup has them.
    lists: BTreeMap<String, bool>,
    needed: Needed,
    /// The first thing that could not be read.
    unread: Option<String>,
}

impl Start {
    /// Takes a path of the backup.
    pub(super) fn has(&mut self, path: &str) {
        if let Some(found) = self.lists.get_mut(path) {
            *found = true;
        }
        self.needed.has(path);
    }

    /// What is missing, once every path of the backup was taken; or why it is not known.
    pub(super) fn missing(self) -> Result<Option<Lost>, String> {
        let Missing { at_start, of_tables, tables } = self.needed.missing();
        if at_start.count > 0 {
            return Ok(Some(does_not_start(&at_start)));
        }
        if of_tables.count > 0 {
            return Ok(Some(cannot_be_read(&of_tables, &tables)));
        }
        if let Some((path, _)) = self.lists.iter().find(|(_, found)| !**found) {
            return Err(format!("MatrixOne's list does not name {path}"));
        }
        self.unread.map_or(Ok(None), Err)
    }
}

fn does_not_start(Names { count, first }: &Names) -> Lost {
    let why = format!(
        "a MatrixOne that is restored from this backup does not start: {count} objects that its checkpoints name are not in \
         the backup, first {}. So it is when MatrixOne takes a global checkpoint just as BACKUP takes its own",
        first.join(", ")
    );
    Lost { reason: Reason::BackupIncomplete, why }
}

fn cannot_be_read(Names { count, first }: &Names, tables: &BTreeSet<u64>) -> Lost {
    let ids: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let why = format!(
        "MatrixOne left {count} objects of tables out of this backup, first {}: restored, the tables with the rel_id {} (in \
         mo_catalog.mo_tables) cannot be read",
        first.join(", "),
        ids.join(", ")
    );
    Lost { reason: Reason::TablesLost, why }
}

impl<K: Fn(&str) -> Key + Sync> ServerFiles<'_, K> {
    /// The names of the lists of checkpoints in the folder that count.
    pub(super) async fn newest_lists(&self) -> Result<NewestLists, Trouble> {
        let below = Prefix::placed((self.key)(FOLDER).as_str());
        let mut newest = NewestLists::default();
        let mut lists = self.objects.list(&below);
        while let Some(found) = lists.try_next().await.map_err(Trouble::of)? {
            newest.add(found.key.below(&below).unwrap_or_default());
        }
        if newest.last.is_empty() {
            return Err(Trouble::Unknown(format!("{below} has no list of checkpoints")));
        }
        Ok(newest)
    }

    /// Reads what a server reads at its first start, in constant memory but for the names of the objects.
    pub(super) async fn start(&self, newest: &NewestLists, framed: Framing) -> Result<Start, Trouble> {
        let mut start = Start { lists: BTreeMap::new(), needed: Needed::default(), unread: None };
        let mut entries = Vec::new();
        for name in &newest.last {
            entries.extend(self.entries(&mut start, name, framed).await?);
        }
        if entries.iter().any(|entry| entry.form == Form::Ranges)
            && let Some(name) = newest.global()
        {
            entries.extend(self.entries(&mut start, name, framed).await?);
        }
        let (mut kinds, mut bytes) = (Kinds::default(), 0);
        let (mut read, needed) = (BTreeSet::new(), &mut start.needed);
        for entry in checkpoint::replayed(entries) {
            let reading = self.of_entry(&entry, framed, &mut read, (&mut *needed, &mut kinds, &mut bytes)).await;
            match reading {
                Ok(()) => {}
                Err(Trouble::Unknown(why)) => {
                    start.unread.get_or_insert(why);
                }
                Err(trouble @ Trouble::Store(_)) => return Err(trouble),
            }
        }
        let folder = (self.key)(FOLDER);
        kinds.settle(needed).map_err(|e| Trouble::Unknown(format!("{folder}: {e}")))?;
        Ok(start)
    }

    async fn entries(&self, start: &mut Start, name: &str, framed: Framing) -> Result<Vec<Entry>, Trouble> {
        let path = format!("{FOLDER}/{name}");
        let list = self.content(&path, framed).await?;
        let entries = checkpoint::entries(&list).map_err(|e| self.unreadable(&path, &e))?;
        start.lists.insert(path, false);
        Ok(entries)
    }

    /// Reads a checkpoint: its file, and its parts.
    async fn of_entry(
        &self,
        entry: &Entry,
        framed: Framing,
        read: &mut BTreeSet<String>,
        (needed, kinds, bytes): (&mut Needed, &mut Kinds, &mut u64),
    ) -> Result<(), Trouble> {
        let path = format!("tae/{}", entry.file);
        let failed = |e: Unreadable| self.unreadable(&path, &e);
        needed.file(&entry.file).map_err(failed)?;
        let file = self.content(&path, framed).await?;
        let parts = match entry.form {
            Form::Kinds => Kinds::parts(&file),
            Form::Ranges => checkpoint::parts(&file),
        };
        drop(file);
        let parts = parts.map_err(failed)?;
        for part in &parts {
            needed.file(part).map_err(failed)?;
        }
        for part in parts.into_iter().filter(|part| entry.form == Form::Kinds || read.insert(part.clone())) {
            let path = format!("tae/{part}");
            let failed = |e: Unreadable| self.unreadable(&path, &e);
            match entry.form {
                Form::Kinds => {
                    let content = self.content(&path, framed).await?;
                    *bytes = (*bytes).saturating_add(content.len() as u64);
                    kinds.part(&content, needed).map_err(failed)?;
                }
                Form::Ranges => self.of_part(&path, framed, (needed, bytes)).await?,
            }
        }
        Ok(())
    }

    /// Reads the rows of a part, block by block.
    async fn of_part(
        &self,
        path: &str,
        framed: Framing,
        (needed, bytes): (&mut Needed, &mut u64),
    ) -> Result<(), Trouble> {
        let failed = |e: Unreadable| self.unreadable(path, &e);
        let file = Stored::open(self.objects, (self.key)(path), framed).await?;
        let described = checkpoint::description(&file.get(0, checkpoint::HEAD).await?).map_err(failed)?;
        let (at, length) = described.place();
        let columns = checkpoint::columns(described, &file.get(at, length).await?).map_err(failed)?;
        for block in columns {
            let size = |extent: &Extent| extent.size().saturating_add(extent.place().1);
            *bytes = block.iter().map(size).fold(*bytes, u64::saturating_add);
            if *bytes > checkpoint::ALTOGETHER {
                return Err(Trouble::Unknown(format!("{}: the checkpoints are too large", file.key)));
            }
            let mut stored = Vec::with_capacity(block.len());
            for extent in &block {
                let (at, length) = extent.place();
                stored.push(file.get(at, length).await?);
            }
            let [tables, objects, deleted] = &stored[..] else { continue };
            checkpoint::block(&block, [tables, objects, deleted], needed).map_err(failed)?;
        }
        Ok(())
    }
}

/// A file of which parts are read.
struct Stored<'a> {
    objects: &'a dyn Objects,
    key: Key,
    framed: Framing,
    size: u64,
    /// The content of a small one.
    whole: Option<Vec<u8>>,
}

impl<'a> Stored<'a> {
    /// A block with its checksum as it is stored, and its content.
    const BLOCK: (u64, u64) = (2048, 2044);

    async fn open(objects: &'a dyn Objects, key: Key, framed: Framing) -> Result<Self, Trouble> {
        let size = objects.stat(&key).await.map_err(Trouble::of)?;
        let size = size.ok_or_else(|| Trouble::Unknown(format!("{key} is missing")))?;
        let mut file = Self { objects, key, framed, size, whole: None };
        if size <= AT_ONCE {
            file.whole = Some(file.read(0, size).await?);
        }
        Ok(file)
    }

    /// Bytes of the content.
    async fn get(&self, at: u64, length: u64) -> Result<Vec<u8>, Trouble> {
        if length > LARGEST {
            return Err(Trouble::Unknown(format!("{} has a part of {length} bytes", self.key)));
        }
        let end = at.saturating_add(length);
        let (from, content) = match (&self.whole, self.framed) {
            (Some(whole), _) => (0, Cow::Borrowed(whole.as_slice())),
            (None, Framing::Raw) => (at, Cow::Owned(self.read(at, end).await?)),
            (None, Framing::Crc2048) => {
                let (stored, payload) = Self::BLOCK;
                let first = at / payload;
                let last = end.div_ceil(payload).saturating_mul(stored).min(self.size);
                (first * payload, Cow::Owned(self.read(first.saturating_mul(stored), last).await?))
            }
        };
        let slice = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
        let found = content.get(slice(at)..slice(end));
        found.map(<[u8]>::to_vec).ok_or_else(|| Trouble::Unknown(format!("{} is cut", self.key)))
    }

    /// The content of what is stored from here up to there.
    async fn read(&self, from: u64, to: u64) -> Result<Vec<u8>, Trouble> {
        if from >= to || to > self.size {
            return if from == to { Ok(Vec::new()) } else { Err(Trouble::Unknown(format!("{} is cut", self.key))) };
        }
        let pieces = self.objects.read(&self.key, Some(from..to)).await.map_err(Trouble::of)?;
        let stored = pieces.try_collect::<Vec<_>>().await.map_err(Trouble::of)?.concat();
        let frames = |e: BadFrame| Trouble::Unknown(format!("{}: {e}", self.key));
        match self.framed {
            Framing::Raw => Ok(stored),
            Framing::Crc2048 => framing::deframed(&stored).map_err(frames),
        }
    }
}
