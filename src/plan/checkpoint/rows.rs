//! The rows of a checkpoint: the objects of the tables, each with its deletion.
//!
//! Since 2.1 a checkpoint's file names parts, and each block of a part has one row an object (src: pkg/vm/engine/ckputil and
//! pkg/vm/engine/tae/logtail of v3.0.18 and v4.2.0). Up to 1.2 a part has blocks of many kinds; one is of the
//! objects, and one of the files with the rows that are deleted in a block (src: pkg/vm/engine/tae/logtail/{types,utils}.go of
//! v1.2.4).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BASE, Needed, OBJECTS, PARTS, Place, Unreadable,
    object::{self, Block, Description, Extent, Object},
    vector::{Bytes, Kind, Vector},
};

/// What every object says about itself: its name, where its description lies, and much more.
const STATS: usize = 154;
/// The same up to 1.2, where what an object is stands in columns of their own.
const STATS_1: usize = 153;
/// Where it says where its description lies.
const EXTENT: usize = 60;
/// The last byte: whether the object can still grow.
const GROWS: u8 = 1;

/// Bytes from which on the description of a part is found.
pub const HEAD: u64 = object::HEAD_LEN as u64;
/// Bytes that the columns of all parts of a backup have at most once they are unpacked.
pub const ALTOGETHER: u64 = 1 << 30;

/// Largest description of a part and largest column of a block that are read, in bytes. A block has 8192 rows.
const DESCRIPTION: u64 = 16 << 20;
const COLUMN: u64 = 4 << 20;
/// Kinds of blocks of 1.2: the files of a checkpoint, and the deleted rows of blocks. A block is named by its object and a number.
const FILES: u16 = 24;
const DELTAS: u16 = 15;
const BLOCK: usize = 20;
/// Files of deleted rows that are held.
const DELTAS_MOST: usize = 1 << 18;
/// Columns of a checkpoint's file, and the one with the parts.
const RANGES: u16 = 5;
const PART: u16 = 4;
/// Columns of a part.
const COLUMNS: u16 = 8;
const TABLE: u16 = 2;
const OBJECT: u16 = 4;
const DELETED: u16 = 6;

/// Reads a checkpoint's file of 2.1 to 4.2: the names of its parts.
///
/// # Errors
/// When it is none.
pub fn parts(file: &[u8]) -> Result<BTreeSet<String>, Unreadable> {
    let object = Object::open(file)?;
    let mut parts = BTreeSet::new();
    for block in object.data()? {
        if block.columns()? != RANGES {
            return Err(Unreadable("a checkpoint of another version"));
        }
        let ranges = block.column(PART)?.of(Kind::CHAR)?;
        for row in 0..ranges.rows() {
            parts.insert(Stats::parse(ranges.text(row)?, STATS)?.name()?);
        }
    }
    Ok(parts)
}

/// Where the description of a part lies: the first byte, and how many.
///
/// # Errors
/// When it is no part.
pub fn description(head: &[u8]) -> Result<Extent, Unreadable> {
    within(object::head(head)?, DESCRIPTION)
}

/// Refuses what is read at once and is larger than this.
fn within(extent: Extent, most: u64) -> Result<Extent, Unreadable> {
    if extent.size().max(extent.place().1) > most { Err(Unreadable("a part that is too large")) } else { Ok(extent) }
}

/// Where the columns of a part lie that say what is needed, block by block: the table, the object, and its deletion.
///
/// # Errors
/// When it is no part.
pub fn columns(extent: Extent, stored: &[u8]) -> Result<Vec<[Extent; 3]>, Unreadable> {
    let description = Description::parse(extent, stored)?;
    let columns = |head: object::Head<'_>| {
        if head.columns()? != COLUMNS {
            return Err(Unreadable("a part of another version"));
        }
        let column = |n: u16| within(head.column(n)?, COLUMN);
        Ok([column(TABLE)?, column(OBJECT)?, column(DELETED)?])
    };
    description.data()?.into_iter().map(columns).collect()
}

/// Takes the rows of a block of a part, from the columns that lie there.
///
/// # Errors
/// When they are none.
pub fn block(columns: &[Extent; 3], stored: [&[u8]; 3], needed: &mut Needed) -> Result<(), Unreadable> {
    let column = |n: usize, kind: Kind| columns[n].column(stored[n])?.of(kind);
    let (tables, objects, deleted) = (column(0, Kind::U64)?, column(1, Kind::CHAR)?, column(2, Kind::TIMESTAMP)?);
    if (objects.rows(), deleted.rows()) != (tables.rows(), tables.rows()) {
        return Err(Unreadable("columns of different lengths"));
    }
    for row in 0..tables.rows() {
        let object = Stats::parse(objects.text(row)?, STATS)?;
        let grows = object.0.last().is_some_and(|flags| flags & GROWS != 0);
        object.take(table(&tables, row)?, is_set(&deleted, row)?, grows, needed)?;
    }
    Ok(())
}

/// What a checkpoint of 1.2 says, part by part.
#[derive(Debug, Default)]
pub struct Kinds {
    /// The newest file with the deleted rows of a block: when it was committed, and its name.
    deltas: BTreeMap<[u8; BLOCK], ([u8; 12], String)>,
}

impl Kinds {
    /// Reads a checkpoint's file of 1.2: the names of its parts.
    ///
    /// # Errors
    /// When it is none.
    pub fn parts(file: &[u8]) -> Result<BTreeSet<String>, Unreadable> {
        let object = Object::open(file)?;
        let block = object.blocks(FILES)?.into_iter().next().ok_or(Unreadable("a checkpoint without files"))?;
        let places = block.column(BASE)?.of(Kind::VARCHAR)?;
        let mut parts = BTreeSet::new();
        for row in 0..places.rows() {
            let place = places.text(row)?;
            if !place.is_empty() {
                parts.insert(Place::parse(place)?.file);
            }
        }
        if parts.len() > PARTS { Err(Unreadable("a checkpoint of too many parts")) } else { Ok(parts) }
    }

    /// Takes the rows of a part. The parts of newer checkpoints are taken later.
    ///
    /// # Errors
    /// When it is none.
    pub fn part(&mut self, file: &[u8], needed: &mut Needed) -> Result<(), Unreadable> {
        let object = Object::open(file)?;
        for block in object.blocks(OBJECTS)? {
            let column = |n: u16, kind: Kind| block.column(BASE + n)?.of(kind);
            let (objects, grows) = (column(0, Kind::VARCHAR)?, column(1, Kind::BOOL)?);
            let (tables, deleted) = (column(4, Kind::U64)?, column(6, Kind::TIMESTAMP)?);
            for row in 0..objects.rows() {
                let grows = grows.byte(row)?.ok_or(Unreadable("an object without a state"))? != 0;
                let object = Stats::parse(objects.text(row)?, STATS_1)?;
                object.take(table(&tables, row)?, is_set(&deleted, row)?, grows, needed)?;
            }
        }
        for block in object.blocks(DELTAS)? {
            self.deltas(&block)?;
        }
        Ok(())
    }

    fn deltas(&mut self, block: &Block<'_>) -> Result<(), Unreadable> {
        let (blocks, places) = (block.column(BASE)?, block.column(BASE + 4)?.of(Kind::VARCHAR)?);
        let committed = block.column(BASE + 5)?.of(Kind::TIMESTAMP)?;
        for row in 0..places.rows() {
            let place = places.text(row)?;
            if place.is_empty() {
                continue;
            }
            let absent = Unreadable("a file of deleted rows without a block");
            let of = <[u8; BLOCK]>::try_from(blocks.value(row)?.unwrap_or_default()).map_err(|_| absent)?;
            let time = Bytes(committed.value(row)?.unwrap_or_default());
            let mut at = [0; 12];
            at[..8].copy_from_slice(&time.u64(4)?.to_be_bytes());
            at[8..].copy_from_slice(&time.u32(0)?.to_be_bytes());
            if self.deltas.get(&of).is_none_or(|(newest, _)| *newest <= at) {
                self.deltas.insert(of, (at, Place::parse(place)?.file));
            }
            if self.deltas.len() > DELTAS_MOST {
                return Err(Unreadable("a checkpoint with too many files of deleted rows"));
            }
        }
        Ok(())
    }

    /// Adds the files with deleted rows of the objects that are needed, once every part was taken.
    ///
    /// # Errors
    /// When there are too many.
    pub fn settle(self, needed: &mut Needed) -> Result<(), Unreadable> {
        needed.settle();
        for (block, (_, file)) in self.deltas {
            let (uuid, number) = (block[..16].try_into().unwrap_or_default(), [block[17], block[16]]);
            if let Some(table) = needed.table(uuid, u16::from_be_bytes(number)) {
                needed.add(&file, table, false)?;
            }
        }
        needed.settle();
        Ok(())
    }
}

/// What an object says about itself.
struct Stats<'a>(&'a [u8]);

impl<'a> Stats<'a> {
    fn parse(text: &'a [u8], length: usize) -> Result<Self, Unreadable> {
        if text.len() == length { Ok(Self(text)) } else { Err(Unreadable("an object of another version")) }
    }

    fn name(&self) -> Result<String, Unreadable> {
        Place::name(self.0)
    }

    /// Takes the object of this table. One that can still grow was not written: BACKUP writes its rows anew.
    fn take(&self, table: u64, deleted: bool, grows: bool, needed: &mut Needed) -> Result<(), Unreadable> {
        let extent = Bytes(self.0);
        let is_written = extent.u32(EXTENT + 1)? != 0 || extent.u32(EXTENT + 5)? != 0;
        if !deleted && (grows || !is_written) {
            return Ok(());
        }
        needed.add(&self.name()?, table, deleted)
    }
}

fn table(tables: &Vector, row: usize) -> Result<u64, Unreadable> {
    tables.number(row)?.ok_or(Unreadable("an object of no table"))
}

/// Whether a time is set.
fn is_set(times: &Vector, row: usize) -> Result<bool, Unreadable> {
    Ok(times.value(row)?.ok_or(Unreadable("a time that is null"))?.iter().any(|byte| *byte != 0))
}
