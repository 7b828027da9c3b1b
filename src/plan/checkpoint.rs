//! The checkpoint that a BACKUP of MatrixOne before 2.0 writes, and which tables it loses.
//!
//! BACKUP takes a checkpoint, writes down what was deleted while it did so, and takes that back in the copy. Objects that a
//! merge replaces in just that moment are taken back wrongly (src: pkg/vm/engine/tae/logtail/backup.go of v1.2.4). Where
//! nothing else was deleted the deletions stay, and the restored table is empty. Else the rows go, while the table still says
//! where they lay, and other tables' objects are read there. Both were seen on v1.2.4: BACKUP says OK, and every file is what
//! it must be. 2.0.0 and newer write the list of objects anew.

mod object;
mod vector;

use std::collections::{BTreeMap, BTreeSet};

use object::{Block, Object};
use vector::{Bytes, Vector};

/// The folder below `tae/` that the lists of checkpoints lie in.
pub const FOLDER: &str = "tae/ckp";

/// Columns that every block of a checkpoint begins with.
const BASE: u16 = 2;
/// Kinds of blocks in a checkpoint's files.
const TABLES: u16 = 0;
const OBJECTS: u16 = 26;
/// A list's column with the place of a checkpoint, and the one with its kind.
const PLACE: u16 = 2;
const KIND: u16 = 8;
/// The kind of BACKUP's own checkpoint.
const OF_BACKUP: u8 = 2;

/// Something that is not in the form in which releases before 2.0 write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not in the form of MatrixOne before 2.0: {0}")]
pub struct Unreadable(&'static str);

/// The moment at which a list of checkpoints ends, from its name, `meta_<start>_<end>.ckp`. The newest list counts.
#[must_use]
pub fn ends(name: &str) -> Option<super::Timestamp> {
    let (_, end) = name.strip_suffix(".ckp")?.strip_prefix("meta_")?.split_once('_')?;
    end.parse().ok()
}

/// The file with BACKUP's own checkpoint, a name below `tae/`, from the newest list.
///
/// # Errors
/// When it is no such list, or names none.
pub fn of_backup(list: &[u8]) -> Result<String, Unreadable> {
    let object = Object::open(list)?;
    let block = object.data()?.into_iter().next().ok_or(Unreadable("a list without rows"))?;
    let (places, kinds) = (block.column(PLACE)?, block.column(KIND)?);
    let last = places.rows().checked_sub(1).ok_or(Unreadable("a list without rows"))?;
    if kinds.byte(last)? != Some(OF_BACKUP) {
        return Err(Unreadable("the last checkpoint is not that of BACKUP"));
    }
    Place::parse(places.text(last)?).map(|place| place.file)
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
            // The row of no table names the files.
            if table == 0 {
                for part in files.text(row)?.chunks(Place::RANGE) {
                    parts.insert(Place::parse(part)?.file);
                }
                continue;
            }
            for range in objects.text(row)?.chunks(Place::RANGE) {
                ranges.push(Place::range(table, range)?);
            }
        }
        Ok(Self { parts, ranges })
    }

    /// The tables that are empty or unreadable when this is restored, by id (`rel_id` in `mo_catalog.mo_tables`), from the
    /// contents of its parts.
    ///
    /// # Errors
    /// When a part is missing, or is none.
    pub fn lost(&self, parts: &BTreeMap<String, Vec<u8>>) -> Result<BTreeSet<u64>, Unreadable> {
        let (mut rows, mut lost) = (BTreeMap::new(), BTreeSet::new());
        for name in &self.parts {
            let file = parts.get(name).ok_or(Unreadable("a checkpoint without one of its parts"))?;
            for block in Object::open(file)?.blocks(OBJECTS)? {
                rows.insert((name.clone(), block.number()?), Row::all(&block)?);
            }
        }
        lost.extend(rows.values().flatten().filter(|row| row.deleted).map(|row| row.table));
        for range in &self.ranges {
            let rows = rows.get(&range.block).ok_or(Unreadable("a table whose rows are nowhere"))?;
            let bound = |at: u64| usize::try_from(at).map_err(|_| Unreadable("a table with too many rows"));
            let own = rows.get(bound(range.from)?..bound(range.to)?);
            let own = own.ok_or(Unreadable("a table with more rows than there are"))?;
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
        let name = text.get(Self::NAME..Self::NAME + Self::NAME_LEN).ok_or(Unreadable("a place that is cut"))?;
        let name = std::str::from_utf8(name).map_err(|_| Unreadable("a name that is no text"))?;
        // It becomes a part of a key.
        if !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_') {
            return Err(Unreadable("a name that is none of an object"));
        }
        Ok(Self { file: name.to_owned(), block: Bytes(text).u16(Self::BLOCK)? })
    }

    fn range(table: u64, text: &[u8]) -> Result<Range, Unreadable> {
        let Self { file, block } = Self::parse(text)?;
        let (from, to) = (Bytes(text).u64(Self::LEN)?, Bytes(text).u64(Self::LEN + 8)?);
        Ok(Range { table, block: (file, block), from, to })
    }
}

#[cfg(test)]
mod tests;
