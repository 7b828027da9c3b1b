//! Finding out where every object of a backup lies: the server's list joined with the entries of the base.

use std::fmt;

use super::{
    AttemptDir, BackupId, Catalog, Digest, Entry, Framing, Source, Totals,
    error::Error,
    tae_list::{Cursor, RowId, TaeList},
};

/// Names that are told of those that make a base unusable.
const NAMED: usize = 5;

/// Why an incremental backup cannot stand on its base: some objects that the server did not copy are not in the base.
/// That is so when the history of the server is not the one the base was taken from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to resolve {count} objects in the base, first {}", list(.first))]
pub struct BaseNotUsable {
    /// How many objects are the trouble.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Unresolved>,
}

/// An object that the base does not have as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The base has no such path.
    Absent(String),
    /// The base has it with another size.
    Size {
        /// The path.
        path: String,
        /// As the server lists it.
        listed: u64,
        /// As the base has it.
        base: u64,
    },
    /// The server copied it again, and its content is not that of the base.
    Content(String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(f, "{path} (not in the base)"),
            Self::Size { path, listed, base } => write!(f, "{path} ({listed} bytes, in the base {base})"),
            Self::Content(path) => write!(f, "{path} (other content than in the base)"),
        }
    }
}

fn list(first: &[Unresolved]) -> String {
    first.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Joins the rows of a server's list with the entries of the base, both ascending. Without a base: feed nothing.
#[derive(Debug)]
pub struct Resolver {
    list: TaeList,
    cursor: Cursor,
    count: u64,
    first: Vec<Unresolved>,
}

impl Resolver {
    /// Begins with the server's list.
    #[must_use]
    pub fn new(list: TaeList) -> Self {
        Self { list, cursor: Cursor::default(), count: 0, first: Vec::new() }
    }

    /// Takes the next entry of the base.
    pub fn base_entry(&mut self, entry: &Entry) {
        while let Some(id) = self.cursor.peek(&self.list) {
            let path = self.list.path(id);
            if path.as_str() > entry.path.as_str() {
                return;
            }
            self.cursor.advance(id);
            if path == entry.path {
                return self.join(id, entry);
            }
            self.absent(id, path);
        }
    }

    fn join(&mut self, id: RowId, entry: &Entry) {
        let Some(row) = self.list.row_mut(id) else { return };
        if !row.is_copied() {
            if row.size != entry.size {
                let (path, listed, base) = (entry.path.clone(), row.size, entry.size);
                return self.trouble(Unresolved::Size { path, listed, base });
            }
            row.from = entry.from.saturating_add(1);
            row.set_digest(entry.sha256);
            return;
        }
        // Checkpoint and GC files are always copied and may be rewritten under their name; objects never change.
        let other = row.size != entry.size || row.digest().is_some_and(|d| d != entry.sha256);
        if id.is_object() && other {
            self.trouble(Unresolved::Content(entry.path.clone()));
        }
    }

    fn absent(&mut self, id: RowId, path: String) {
        if self.list.row(id).is_some_and(|row| !row.is_copied()) {
            self.trouble(Unresolved::Absent(path));
        }
    }

    fn trouble(&mut self, what: Unresolved) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(what);
        }
    }

    /// The outcome, when the base's entries have ended and been found whole.
    pub fn finish(mut self) -> Result<Resolved, BaseNotUsable> {
        while let Some(id) = self.cursor.peek(&self.list) {
            self.cursor.advance(id);
            let path = self.list.path(id);
            self.absent(id, path);
        }
        let Self { list, cursor: _, count, first } = self;
        if count > 0 { Err(BaseNotUsable { count, first }) } else { Ok(Resolved { list }) }
    }
}

/// A list of which every row has its place.
#[derive(Debug)]
pub struct Resolved {
    list: TaeList,
}

/// A row whose bytes lie in the backup's own folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRow {
    /// The row, for [`Resolved::found`].
    pub id: RowId,
    /// Path below the attempt's folder.
    pub path: String,
    /// Bytes of the content, as the server lists them.
    pub size: u64,
    /// As the server lists it. Without one the content must be read to get it.
    pub digest: Option<Digest>,
}

impl CopiedRow {
    /// Whether the listed size is that of the content. Servers before 4.2 list the files below `gc/` with others.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        is_exact(&self.path)
    }

    /// Whether something about it is only known by reading.
    #[must_use]
    pub fn must_be_read(&self) -> bool {
        self.digest.is_none() || !self.is_exact()
    }
}

/// Whether the server lists this path with the size of its content.
pub(super) fn is_exact(path: &str) -> bool {
    !path.starts_with("tae/gc/")
}

impl TaeList {
    /// Records what was found by reading a row's content: it must be what the server lists.
    pub(super) fn found(&mut self, id: RowId, size: u64, digest: Digest) -> Result<(), Error> {
        let path = self.path(id);
        let Some(row) = self.row_mut(id) else {
            return Err(Error::Differs { path, detail: "it is not in the list".into() });
        };
        if row.size != size && is_exact(&path) {
            let detail = format!("{size} bytes instead of {}", row.size);
            return Err(Error::Differs { path, detail });
        }
        match row.digest() {
            Some(listed) if listed != digest => {
                Err(Error::Differs { path, detail: format!("its SHA-256 is {digest} instead of {listed}") })
            }
            Some(_) | None => {
                row.size = size;
                row.set_digest(digest);
                Ok(())
            }
        }
    }
}

impl Resolved {
    /// Bytes that they take in memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.list.memory()
    }

    /// The paths of all rows, ascending.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.list.ids().map(|id| self.list.path(id))
    }

    /// What lies in the backup's own folder, ascending by path.
    pub fn copied(&self) -> impl Iterator<Item = CopiedRow> + '_ {
        self.list.ids().filter_map(|id| {
            let row = self.list.row(id).filter(|row| row.is_copied())?;
            Some(CopiedRow { id, path: self.list.path(id), size: row.size, digest: row.digest() })
        })
    }

    /// Those of [`copied`](Self::copied) whose content must be read, because the server does not list all about it.
    pub fn unread(&self) -> impl Iterator<Item = CopiedRow> + '_ {
        self.copied().filter(CopiedRow::must_be_read)
    }

    /// Records what was found by reading a row's content: it must be what the server lists. Sizes that are not exact are
    /// taken as found.
    pub fn found(&mut self, id: RowId, size: u64, digest: Digest) -> Result<(), Error> {
        self.list.found(id, size, digest)
    }

    /// Puts the backup together: its rows, its other files (`mo_meta`, `config/…`, `hakeeper/hk_data`,
    /// `tae/tae_list`, `tae/tae_sum`; their `from` is 0), and where the bytes lie. Every row must have a digest.
    pub fn assemble(
        self,
        mut own_files: Vec<Entry>,
        own: (BackupId, AttemptDir, Framing),
        base: Option<&Catalog>,
    ) -> Result<Assembled, Error> {
        let no = |detail: String| Error::Unwritable { file: "the entry list", detail };
        own_files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let base_sources = base.map(|b| &b.sources[..]).unwrap_or_default();
        let mut sums = vec![(0_u64, 0_u64); base_sources.len() + 1];
        for id in self.list.ids() {
            let Some(row) = self.list.row(id) else { continue };
            if row.digest().is_none() {
                return Err(no(format!("{} has no digest yet", self.list.path(id))));
            }
            let sum = usize::try_from(row.from).ok().and_then(|n| sums.get_mut(n));
            add(sum.ok_or_else(|| no(format!("{} lies in no source", self.list.path(id))))?, row.size).map_err(no)?;
        }
        for entry in &own_files {
            add(&mut sums[0], entry.size).map_err(no)?;
        }
        let (backup, attempt, framing) = own;
        let mut sources = vec![Source { backup, attempt, framing, objects: sums[0].0, bytes: sums[0].1 }];
        let mut place = vec![0; sums.len()];
        for (n, (source, (objects, bytes))) in base_sources.iter().zip(&sums[1..]).enumerate() {
            if *objects > 0 {
                place[n + 1] = u32::try_from(sources.len()).map_err(|e| no(e.to_string()))?;
                sources.push(Source { objects: *objects, bytes: *bytes, ..source.clone() });
            }
        }
        Ok(Assembled { list: self.list, own_files, place, sources })
    }
}

fn add(sum: &mut (u64, u64), size: u64) -> Result<(), String> {
    sum.0 += 1;
    sum.1 = sum.1.checked_add(size).ok_or("sizes add up to more than 2^64")?;
    Ok(())
}

/// All of a backup, ready to be written down.
#[derive(Debug)]
pub struct Assembled {
    list: TaeList,
    own_files: Vec<Entry>,
    /// Index of a source by a row's `from`.
    place: Vec<u32>,
    /// The attempts that hold the bytes; the first is the backup's own.
    pub sources: Vec<Source>,
}

impl Assembled {
    /// All entries, ascending by path. A path that occurs twice comes out twice; the writer refuses it.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let mut own = self.own_files.iter().peekable();
        let mut cursor = Cursor::default();
        std::iter::from_fn(move || {
            let Some(id) = cursor.peek(&self.list) else { return own.next().cloned() };
            let path = self.list.path(id);
            if let Some(entry) = own.next_if(|entry| entry.path <= path) {
                return Some(entry.clone());
            }
            cursor.advance(id);
            let row = self.list.row(id)?;
            let from = usize::try_from(row.from).ok().and_then(|n| self.place.get(n)).copied()?;
            Some(Entry { path, size: row.size, sha256: row.digest()?, from })
        })
    }

    /// Sums over all sources.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |f: fn(&Source) -> u64| self.sources.iter().map(f).fold(0, u64::saturating_add);
        let own = self.sources.first();
        Totals {
            objects: sum(|s| s.objects),
            bytes: sum(|s| s.bytes),
            copied_objects: own.map_or(0, |s| s.objects),
            copied_bytes: own.map_or(0, |s| s.bytes),
        }
    }
}

#[cfg(test)]
#[path = "resolve/tests.rs"]
mod tests;
