//! The lists of checkpoints: which of them a server reads at its start, and which of their checkpoints.
//!
//! Up to 1.2 it reads the list that ends last. Newer releases read that one and the newest list of a global checkpoint, and
//! take the checkpoints of both. Either way a checkpoint that ends before the newest global one is left out (src:
//! pkg/vm/engine/tae/db/checkpoint/replay.go of v1.2.4, v3.0.18 and v4.2.0).

use std::collections::BTreeMap;

use super::{
    Place, Span, Unreadable,
    object::{Block, Object},
    vector::{Bytes, Kind, Vector},
};
use crate::plan::Timestamp;

/// Columns of a list.
const START: u16 = 0;
const END: u16 = 1;
const PLACE: u16 = 2;
const VERSION: u16 = 4;
const OF_TN: u16 = 5;
const KIND: u16 = 8;
/// Columns that a list has: 1.2 to 3.0 write nine, 4.2 writes ten.
const COLUMNS: std::ops::RangeInclusive<u16> = 9..=10;
/// The kinds of checkpoints, as MatrixOne numbers them: global, incremental, of BACKUP, compacted.
const GLOBAL: u8 = 0;
const COMPACTED: u8 = 3;
/// Checkpoints that the lists of a backup name at most.
const MOST: usize = 1 << 12;

/// How the files of a checkpoint are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As 1.2 writes them.
    Kinds,
    /// As 2.1 to 4.2 write them.
    Ranges,
}

/// A checkpoint of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    start: Timestamp,
    end: Timestamp,
    global: bool,
    /// How its files are written.
    pub form: Form,
    /// Its file, a name below `tae/`.
    pub file: String,
}

/// The lists that end last among these: their names, and the newest that a global checkpoint has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    end: Option<Timestamp>,
    /// The names of those that end last; a server takes any one of them.
    pub last: Vec<String>,
    global: Option<(Timestamp, String)>,
}

impl Newest {
    /// Takes the name of another list.
    pub fn add(&mut self, name: &str) {
        let Some(span) = Span::parse(name) else { return };
        if self.end.is_none_or(|end| end < span.end) {
            (self.end, self.last) = (Some(span.end), Vec::new());
        }
        if self.end == Some(span.end) {
            self.last.push(name.to_owned());
        }
        if span.is_global() && self.global.as_ref().is_none_or(|(end, _)| *end < span.end) {
            self.global = Some((span.end, name.to_owned()));
        }
    }

    /// The newest list of a global checkpoint, if it is another one.
    #[must_use]
    pub fn global(&self) -> Option<&str> {
        self.global.as_ref().map(|(_, name)| name.as_str()).filter(|name| !self.last.iter().any(|last| last == name))
    }
}

/// Reads the checkpoints of a list.
///
/// # Errors
/// When it is none, or of a release that is not known.
pub fn entries(list: &[u8]) -> Result<Vec<Entry>, Unreadable> {
    let object = Object::open(list)?;
    let mut found = Vec::new();
    for block in object.data()? {
        of_block(&block, &mut found)?;
    }
    if found.is_empty() { Err(Unreadable("a list without rows")) } else { Ok(found) }
}

fn of_block(block: &Block<'_>, found: &mut Vec<Entry>) -> Result<(), Unreadable> {
    if !COLUMNS.contains(&block.columns()?) {
        return Err(Unreadable("a list of another version"));
    }
    let column = |n: u16, kind: Kind| block.column(n)?.of(kind);
    let (starts, ends) = (column(START, Kind::TIMESTAMP)?, column(END, Kind::TIMESTAMP)?);
    let (places, of_tn) = (column(PLACE, Kind::VARCHAR)?, column(OF_TN, Kind::VARCHAR)?);
    let (versions, kinds) = (column(VERSION, Kind::U32)?, column(KIND, Kind::BYTE)?);
    if found.len() + starts.rows() > MOST {
        return Err(Unreadable("a list of too many checkpoints"));
    }
    for row in 0..starts.rows() {
        let version = versions.value(row)?.map(|version| Bytes(version).u32(0)).transpose()?;
        let form = match version {
            Some(11) => Form::Kinds,
            Some(13) => Form::Ranges,
            Some(_) | None => return Err(Unreadable("a list of another version")),
        };
        let kind = kinds.byte(row)?.filter(|kind| *kind <= COMPACTED);
        let global = kind.ok_or(Unreadable("a checkpoint of another kind"))? == GLOBAL;
        // The server that keeps the data reads its own place.
        let place = match form {
            Form::Kinds => of_tn.text(row)?,
            Form::Ranges => places.text(row)?,
        };
        let file = Place::parse(place)?.file;
        found.push(Entry { start: moment(&starts, row)?, end: moment(&ends, row)?, global, form, file });
    }
    Ok(())
}

fn moment(column: &Vector, row: usize) -> Result<Timestamp, Unreadable> {
    let value = Bytes(column.value(row)?.ok_or(Unreadable("a checkpoint without a time"))?);
    Ok(Timestamp { logical: value.u32(0)?, physical: value.u64(4)?.cast_signed() })
}

/// The checkpoints that a server reads, of all that its lists name; each once.
#[must_use]
pub fn replayed(entries: Vec<Entry>) -> Vec<Entry> {
    let newest = entries.iter().filter(|entry| entry.global).map(|entry| entry.end).max();
    let mut each = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| newest.is_none_or(|newest| entry.end >= newest)) {
        // Two of the same time in two lists can be two checkpoints; one of them is read.
        each.entry((entry.end, entry.start, entry.file.clone())).or_insert(entry);
    }
    each.into_values().collect()
}
