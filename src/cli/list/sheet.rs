//! A list that is being written: a table for people, an array for programs. No row of it is kept.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        Output,
        table::{self, Form, Row, Table},
    },
    plan::{BackupId, Catalog},
    task::Location,
    worker::{FolderContent, FoundFolder, plain},
};

/// Longest text of a repository that is shown: whoever writes to it chooses them.
const TEXT: usize = 200;

/// A backup for programs. What is not known is null.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told<'a> {
    id: Option<BackupId>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    base: Option<BackupId>,
    backup_ts: Option<String>,
    at_time: Option<Timestamp>,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    objects: Option<u64>,
    bytes: Option<u64>,
    copied_bytes: Option<u64>,
    location: Option<&'a Location>,
    /// Of one made without us, below the location.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a str>,
    matrixone: Option<String>,
    object: Option<String>,
    /// Why one made without us cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
    /// What a check has found, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Value>,
}

impl<'a> Told<'a> {
    /// A backup of a repository.
    pub fn of(catalog: &Catalog, location: &'a Location) -> Self {
        let time = |text: &str| text.parse().ok();
        Self {
            id: Some(catalog.id),
            kind: Some(table::kind(catalog.kind)),
            base: catalog.base,
            backup_ts: Some(catalog.backup_ts.to_string()),
            at_time: table::at(catalog.backup_ts.physical),
            started_at: time(&catalog.started_at),
            completed_at: time(&catalog.completed_at),
            objects: Some(catalog.totals.objects),
            bytes: Some(catalog.totals.bytes),
            copied_bytes: Some(catalog.totals.copied_bytes),
            location: Some(location),
            folder: None,
            matrixone: Some(plain(&catalog.cluster.matrixone, TEXT)),
            object: Some(plain(&catalog.object, TEXT)),
            unusable: None,
            check: None,
        }
    }

    /// One of which nothing but its name is known.
    pub fn named(id: Option<BackupId>, folder: Option<&'a str>, location: &'a Location) -> Self {
        Self { id, folder, location: Some(location), ..Self::default() }
    }

    /// A folder that was made without us.
    pub fn of_folder(folder: &'a FoundFolder, location: &'a Location) -> Self {
        let nothing = Self::named(None, Some(&folder.path), location);
        let content = match &folder.content {
            Ok(content) => content,
            Err(why) => return Self { unusable: Some(plain(why, TEXT)), ..nothing },
        };
        let FolderContent { backup_ts, objects, bytes, copied: _, elsewhere: _, server_version } = content;
        Self {
            kind: Some(table::kind(table::kind_of(content))),
            backup_ts: Some(backup_ts.to_string()),
            at_time: table::at(backup_ts.physical),
            objects: Some(*objects),
            bytes: Some(*bytes),
            matrixone: server_version.as_ref().map(|version| plain(version, TEXT)),
            ..nothing
        }
    }

    /// The same, with what a check has found, as one line.
    pub fn checked(self, check: Value) -> io::Result<String> {
        Self { check: Some(check), ..self }.line()
    }

    /// One line.
    pub fn line(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// A list that is being written.
pub struct Sheet<'a> {
    out: &'a mut (dyn Write + Send),
    drawn: Drawn,
    zone: TimeZone,
    rows: u64,
    failed: Option<io::Error>,
    enough: CancellationToken,
}

enum Drawn {
    Table(Table),
    Array,
}

impl<'a> Sheet<'a> {
    /// A list without rows, with times of this zone.
    pub fn new(out: &'a mut (dyn Write + Send), output: Output, form: Form, zone: TimeZone) -> Self {
        let drawn = match output {
            Output::Table => Drawn::Table(Table::new(form)),
            Output::Json => Drawn::Array,
        };
        Self { out, drawn, zone, rows: 0, failed: None, enough: CancellationToken::new() }
    }

    /// Cancelled when nobody reads on.
    pub fn enough(&self) -> CancellationToken {
        self.enough.clone()
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes a backup of a repository.
    pub fn backup(&mut self, catalog: &Catalog, location: &Location) {
        self.write(|zone| Row::of(catalog, location, zone), || Told::of(catalog, location));
    }

    /// Writes a folder that was made without us.
    pub fn folder(&mut self, folder: &FoundFolder, location: &Location) {
        self.write(|zone| Row::of_folder(folder, location, zone), || Told::of_folder(folder, location));
    }

    fn write<'t>(&mut self, row: impl FnOnce(&TimeZone) -> Row, told: impl FnOnce() -> Told<'t>) {
        if self.failed.is_some() {
            return;
        }
        let written = match &mut self.drawn {
            Drawn::Table(table) => table.row(self.out, &row(&self.zone)),
            Drawn::Array => {
                let begin: &[u8] = if self.rows == 0 { b"[\n  " } else { b",\n  " };
                self.out.write_all(begin).and_then(|()| Ok(serde_json::to_writer(&mut *self.out, &told())?))
            }
        };
        self.rows += 1;
        if let Err(e) = written {
            self.failed = Some(e);
            self.enough.cancel();
        }
    }

    /// Ends the list.
    ///
    /// # Errors
    /// When something of it could not be written.
    pub fn end(mut self) -> io::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        match &mut self.drawn {
            Drawn::Table(table) => table.end(self.out)?,
            Drawn::Array => self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
        }
        self.out.flush()
    }
}
