//! The objects that a server needs, as its checkpoints name them, compared with those that a backup has.

use std::collections::BTreeSet;

use super::Unreadable;

/// A row: the name, whether the object is deleted, whether the backup has it, and the table.
type Row = [u8; LEN];

/// Where what is in a row. A name is a UUID, and a number.
const NAME: usize = 18;
const DELETED: usize = NAME;
const FOUND: usize = NAME + 1;
const TABLE: usize = NAME + 2;
const LEN: usize = TABLE + 8;
/// The length of a name as text: `<uuid>_<five digits>`.
const TEXT: usize = 42;
/// Names that are told of those that are missing.
const NAMED: usize = 5;
/// Tables that are told.
const TABLES: usize = 20;
/// The first tables are those that the server keeps its own catalogue in: `mo_database`, `mo_tables`, `mo_columns`.
const OF_CATALOG: u64 = 3;

/// Most rows that are held: 28 bytes each, 56 MiB.
pub const ROWS: usize = 1 << 21;

/// What a server needs. It takes 28 bytes of memory a row of the checkpoints, and at most [`ROWS`] rows.
#[derive(Debug, Default)]
pub struct Needed {
    rows: Vec<Row>,
}

/// What of it a backup does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Files of checkpoints and objects of the catalogue: without them no server starts.
    pub at_start: Names,
    /// Objects of other tables: their rows cannot be read.
    pub of_tables: Names,
    /// The ids of these tables, at most 20.
    pub tables: BTreeSet<u64>,
}

/// Names of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// How many there are.
    pub count: u64,
    /// The first of them, at most five.
    pub first: Vec<String>,
}

impl Names {
    fn add(&mut self, row: &Row) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(text(row));
        }
    }
}

impl Needed {
    /// Takes a file of a checkpoint.
    ///
    /// # Errors
    /// When its name is none of an object, or there are too many rows.
    pub fn file(&mut self, name: &str) -> Result<(), Unreadable> {
        self.add(name, 0, false)
    }

    /// Takes an object of a table, or that it is deleted: then nothing that is said elsewhere makes it needed.
    pub(super) fn add(&mut self, name: &str, table: u64, deleted: bool) -> Result<(), Unreadable> {
        let mut row = [0; LEN];
        row[..NAME].copy_from_slice(&parse(name).ok_or(Unreadable("a name that is none of an object"))?);
        // Those that are deleted come first of their name.
        row[DELETED] = u8::from(!deleted);
        row[TABLE..].copy_from_slice(&table.to_le_bytes());
        if self.rows.len() >= ROWS {
            self.order();
            if self.rows.len() > ROWS / 2 {
                return Err(Unreadable("checkpoints with too many objects"));
            }
        }
        self.rows.push(row);
        Ok(())
    }

    /// Every name once.
    fn order(&mut self) {
        self.rows.sort_unstable();
        self.rows.dedup_by(|later, first| later[..NAME] == first[..NAME]);
    }

    /// Leaves only what is needed. Nothing is taken after it.
    pub fn settle(&mut self) {
        self.order();
        self.rows.retain(|row| row[DELETED] != 0);
        self.rows.shrink_to_fit();
    }

    /// The table of an object that is needed, once it is settled.
    pub(super) fn table(&self, uuid: [u8; 16], number: u16) -> Option<u64> {
        let mut name = [0; NAME];
        name[..16].copy_from_slice(&uuid);
        name[16..].copy_from_slice(&number.to_be_bytes());
        let row = self.rows.get(self.rows.binary_search_by(|row| row[..NAME].cmp(&name)).ok()?)?;
        row[TABLE..].try_into().map(u64::from_le_bytes).ok()
    }

    /// How many objects are needed, once it is settled.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Takes a path of the backup. Those that are none of an object do not matter.
    pub fn has(&mut self, path: &str) {
        let Some(name) = path.strip_prefix("tae/").and_then(parse) else { return };
        if let Ok(at) = self.rows.binary_search_by(|row| row[..NAME].cmp(&name))
            && let Some(row) = self.rows.get_mut(at)
        {
            row[FOUND] = 1;
        }
    }

    /// What the backup does not have, once every path of it was taken.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for row in self.rows.iter().filter(|row| row[FOUND] == 0) {
            let table = row[TABLE..].try_into().map(u64::from_le_bytes).unwrap_or_default();
            if table <= OF_CATALOG {
                missing.at_start.add(row);
                continue;
            }
            missing.of_tables.add(row);
            if missing.tables.len() < TABLES {
                missing.tables.insert(table);
            }
        }
        missing
    }
}

/// Reads a name.
fn parse(name: &str) -> Option<[u8; NAME]> {
    let (uuid, number) = name.split_once('_').filter(|(_, number)| name.len() == TEXT && number.len() == TEXT - 37)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) || uuid.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut row = [0; NAME];
    row[..16].copy_from_slice(uuid::Uuid::try_parse(uuid).ok()?.as_bytes());
    row[16..].copy_from_slice(&number.parse::<u16>().ok()?.to_be_bytes());
    Some(row)
}

fn text(row: &Row) -> String {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&row[..16]);
    format!("{}_{:05}", uuid::Uuid::from_bytes(uuid), u16::from_be_bytes([row[16], row[17]]))
}
