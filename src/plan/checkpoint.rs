//! The checkpoint that a BACKUP of MatrixOne before 2.0 writes, and which tables it loses.
//!
//! BACKUP takes a checkpoint, writes down what was deleted while it did so, and takes that back in the copy. Objects that a
//! merge replaces in just that moment are taken back wrongly (src: pkg/vm/engine/tae/logtail/backup.go of v1.2.4). Where
//! nothing else was deleted the deletions stay, and the restored table lacks the rows of what was merged. Else the deletions
//! go, while the table still says where they stood, and the objects of other tables are read there. Both were seen on v1.2.4:
//! BACKUP says OK, and every file is what it must be. 2.0.0 and newer write the list of objects anew.
//!
//! The list of a global checkpoint that was taken while BACKUP copied is copied too, up to 3.0.4. It ends after that of BACKUP,
//! so it counts, and what it names was not copied: a restored MatrixOne ends at once (seen on v1.2.4; src: pkg/backup/tae.go).

mod lists;
mod needed;
mod object;
mod rows;
mod vector;

use std::collections::{BTreeMap, BTreeSet};

pub use lists::{Entry, Form, Newest as NewestLists, entries, replayed};
pub use needed::{Missing, Names, Needed};
pub use object::Extent;
pub use rows::{ALTOGETHER, HEAD, Kinds, block, columns, description, parts};

use super::Timestamp;
use object::{Block, Object};
use vector::{Bytes, Vector};

/// The folder below `tae/` that the lists of checkpoints lie in.
pub const FOLDER: &str = "tae/ckp";

/// Columns that every block of a checkpoint begins with.
const BASE: u16 = 2;
/// Kinds of blocks in a checkpoint's files.
const TABLES: u16 = 0;
const OBJECTS: u16 = 26;
/// A list's columns with the place of a checkpoint, the version of its form, and its kind.
const PLACE: u16 = 2;
const VERSION: u16 = 4;
const KIND: u16 = 8;
/// The last version of releases before 2.0.
const LAST: u32 = 11;
/// The kind of BACKUP's own checkpoint.
const OF_BACKUP: u8 = 2;
/// What is read at most: parts of a checkpoint (one has up to 512 MiB), ranges of its tables, and rows.
const PARTS: usize = 8;
const RANGES: usize = 1 << 17;
const ROWS: usize = 1 << 20;

/// Something that is in none of the forms that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not in a form of MatrixOne 1.2, 3.0 or 4.2: {0}")]
pub struct Unreadable(&'static str);

/// What a list of checkpoints spans, from its name, `meta_<start>_<end>.ckp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From here on. That of a global checkpoint begins at zero, that of BACKUP where the backup's data ends.
    pub start: Timestamp,
    /// Up to here. The list that ends last counts.
    pub end: Timestamp,
}

impl Span {
    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (start, end) = name.strip_suffix(".ckp")?.strip_prefix("meta_")?.split_once('_')?;
        Some(Self { start: start.parse().ok()?, end: end.parse().ok()? })
    }

    /// Whether it is that of a global checkpoint.
    #[must_use]
    pub fn is_global(self) -> bool {
        self.start == Timestamp { physical: 0, logical: 0 }
    }
}

/// What the newest list of checkpoints ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Newest {
    /// BACKUP's own checkpoint: the name of its file below `tae/`.
    OfBackup(String),
    /// Another one. It was taken while BACKUP copied, its list came along, and its files did not.
    Later,
}

/// What the newest list of checkpoints ends with.
///
/// # Errors
/// When it is no such list, or of a newer release.
pub fn newest(list: &[u8]) -> Result<Newest, Unreadable> {
    let object = Object::open(list)?;
    let block = object.data()?.into_iter().next().ok_or(Unreadable("a list without rows"))?;
    let (places, versions, kinds) = (block.column(PLACE)?, block.column(VERSION)?, block.column(KIND)?);
    let last = places.rows().checked_sub(1).ok_or(Unreadable("a list without rows"))?;
    let version = versions.value(last)?.map(|version| Bytes(version).u32(0)).transpose()?;
    if version.is_none_or(|version| version > LAST) {
        return Err(Unreadable("a list of another version"));
    }
    if kinds.byte(last)? != Some(OF_BACKUP) {
        return Ok(Newest::Later);
    }
    Ok(Newest::OfBackup(Place::parse(places.text(last)?)?.file))
}

/// What a checkpoint's file says about its parts and its tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Files with the rows, names below `tae/`.
    pub parts: BTreeSet<String>,
    ranges: Vec<Range>,
}

/// Rows that a table calls its own.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    table: u64,
    /// File, and number of the block.
    block: (String, u16),
    from: u64,
    to: u64,
}

/// A row: an object of a table.
struct Row {
    table: u64,
    /// A whole object that counts as deleted. The rows of one that can still grow are written anew by BACKUP.
    deleted: bool,
}

impl Checkpoint {
    /// Reads a checkpoint's file.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(file: &[u8]) -> Result<Self, Unreadable> {
        let object = Object::open(file)?;
        let block = object.blocks(TABLES)?.into_iter().next().ok_or(Unreadable("a checkpoint without tables"))?;
        let (tables, files, objects) = (block.column(BASE)?, block.column(BASE + 1)?, block.column(BASE + 4)?);
        let (mut parts, mut ranges) = (BTreeSet::new(), Vec::new());
        for row in 0..tables.rows() {
            let table = tables.number(row)?.ok_or(Unreadable("a table without an id"))?;
            let many = |known: usize, more: &[u8], most: usize| known + more.len() / Place::RANGE > most;
            // The row of no table names the files.
            let (text, own) = if table == 0 { (files.text(row)?, true) } else { (objects.text(row)?, false) };
            if many(ranges.len(), text, RANGES) || own && many(parts.len(), text, PARTS) {
                return Err(Unreadable("a checkpoint of too many parts"));
            }
            for place in text.chunks(Place::RANGE) {
                if own {
                    parts.insert(Place::parse(place)?.file);
                } else {
                    ranges.push(Place::range(table, place)?);
                }
            }
        }
        Ok(Self { parts, ranges })
    }

    /// Begins to look for the tables that are lost.
    #[must_use]
    pub fn judge(&self) -> Judge<'_> {
        Judge { checkpoint: self, rows: BTreeMap::new(), count: 0 }
    }
}

/// The rows of a checkpoint, part by part.
pub struct Judge<'a> {
    checkpoint: &'a Checkpoint,
    rows: BTreeMap<(String, u16), Vec<Row>>,
    count: usize,
}

impl Judge<'_> {
    /// Takes the rows of a part.
    ///
    /// # Errors
    /// When it is none.
    pub fn part(&mut self, name: &str, file: &[u8]) -> Result<(), Unreadable> {
        for block in Object::open(file)?.blocks(OBJECTS)? {
            let rows = Row::all(&block)?;
            self.count += rows.len();
            if self.count > ROWS {
                return Err(Unreadable("a checkpoint with too many rows"));
            }
            self.rows.insert((name.to_owned(), block.number()?), rows);
        }
        Ok(())
    }

    /// The tables that are lost when this is restored, by id (`rel_id` in `mo_catalog.mo_tables`), once every part was taken.
    ///
    /// # Errors
    /// When a part is missing.
    pub fn lost(self) -> Result<BTreeSet<u64>, Unreadable> {
        let deleted = self.rows.values().flatten().filter(|row| row.deleted);
        let mut lost: BTreeSet<_> = deleted.map(|row| row.table).collect();
        let mut looked = 0;
        for range in &self.checkpoint.ranges {
            let rows = self.rows.get(&range.block).ok_or(Unreadable("a table whose rows are nowhere"))?;
            let bound = |at: u64| usize::try_from(at).map_err(|_| Unreadable("a table with too many rows"));
            let own = rows.get(bound(range.from)?..bound(range.to)?);
            let own = own.ok_or(Unreadable("a table with more rows than there are"))?;
            looked += own.len();
            // A row is of one table; what another one keeps of it is twice as many at most.
            if looked > 2 * ROWS {
                return Err(Unreadable("tables with too many rows"));
            }
            if own.iter().any(|row| row.table != range.table) {
                lost.insert(range.table);
            }
        }
        Ok(lost)
    }
}

impl Row {
    fn all(block: &Block<'_>) -> Result<Vec<Self>, Unreadable> {
        let column = |n: u16| block.column(BASE + n);
        let (grows, tables, deleted): (Vector, Vector, Vector) = (column(1)?, column(4)?, column(6)?);
        let row = |n: usize| {
            let table = tables.number(n)?.ok_or(Unreadable("an object of no table"))?;
            let gone = deleted.value(n)?.is_some_and(|at| at.iter().any(|byte| *byte != 0));
            Ok(Self { table, deleted: gone && grows.byte(n)? == Some(0) })
        };
        (0..tables.rows()).map(row).collect()
    }
}

/// Where something lies: the name of a file in two forms, an extent, rows, the number of a block.
struct Place {
    file: String,
    block: u16,
}

impl Place {
    /// Where the name is text, and its length.
    const NAME: usize = 18;
    const NAME_LEN: usize = 42;
    /// Where the number of the block is.
    const BLOCK: usize = 77;
    const LEN: usize = 79;
    /// A place with the first row and the one after the last.
    const RANGE: usize = Self::LEN + 16;

    fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        Ok(Self { file: Self::name(text)?, block: Bytes(text).u16(Self::BLOCK)? })
    }

    /// The name alone.
    fn name(text: &[u8]) -> Result<String, Unreadable> {
        let name = text.get(Self::NAME..Self::NAME + Self::NAME_LEN).ok_or(Unreadable("a place that is cut"))?;
        let name = std::str::from_utf8(name).map_err(|_| Unreadable("a name that is no text"))?;
        // It becomes a part of a key.
        if !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_') {
            return Err(Unreadable("a name that is none of an object"));
        }
        Ok(name.to_owned())
    }

    fn range(table: u64, text: &[u8]) -> Result<Range, Unreadable> {
        let Self { file, block } = Self::parse(text)?;
        let (from, to) = (Bytes(text).u64(Self::LEN)?, Bytes(text).u64(Self::LEN + 8)?);
        Ok(Range { table, block: (file, block), from, to })
    }
}

#[cfg(test)]
mod tests;
