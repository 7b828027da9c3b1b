//! The table of backups, as `mo_br` draws it. Its widths are known before its first row, so that a row is forgotten as
//! soon as it is written, however many there are.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use jiff::{Timestamp, tz::TimeZone};

use super::words;
use crate::{
    plan::{Catalog, Kind},
    task::Location,
    worker::{FolderContent, FoundFolder, plain},
};

/// The columns and their widths; that of the path depends on the places.
const COLUMNS: [(&str, usize); 8] = [
    ("ID", 36),
    ("SIZE", 7),
    ("PATH", PATH),
    ("AT TIME", 25),
    ("DURATION", 12),
    ("COMPLETE TIME", 25),
    ("BACKUPTS", 21),
    ("BACKUPTYPE", 11),
];

/// Least width of a path: that of its first line, `BackupDir: filesystem  Path:`.
const PATH: usize = 28;

/// Width of the longest head, before a value in a block.
const HEAD: usize = 13;

/// What stands for what is not known.
const UNKNOWN: &str = "-";

/// A backup in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// ID.
    pub id: String,
    /// SIZE.
    pub size: String,
    /// PATH, in lines.
    pub path: Vec<String>,
    /// AT TIME.
    pub at: String,
    /// DURATION.
    pub took: String,
    /// COMPLETE TIME.
    pub completed: String,
    /// BACKUPTS.
    pub backup_ts: String,
    /// BACKUPTYPE.
    pub kind: String,
}

impl Row {
    /// A folder that was made without us: it has no id, and does not say when its BACKUP began and ended.
    #[must_use]
    pub fn of_folder(folder: &FoundFolder, location: &Location, zone: &TimeZone) -> Self {
        let [id, took, completed] = std::array::from_fn(|_| UNKNOWN.to_owned());
        let content = folder.content.as_ref().ok();
        Self {
            id,
            size: or_unknown(content.map(|content| words::size(content.bytes))),
            path: path(location, &folder.path),
            at: or_unknown(content.and_then(|c| at(c.backup_ts.physical)).map(|at| words::local(at, zone))),
            took,
            completed,
            backup_ts: or_unknown(content.map(|content| content.backup_ts.to_string())),
            kind: or_unknown(content.map(|content| kind(kind_of(content)).into())),
        }
    }

    /// A backup of a repository, with times of this zone.
    #[must_use]
    pub fn of(catalog: &Catalog, location: &Location, zone: &TimeZone) -> Self {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let (began, ended) = (time(&catalog.started_at), time(&catalog.completed_at));
        let took = began.zip(ended).and_then(|(began, ended)| ended.duration_since(began).try_into().ok());
        Self {
            id: catalog.id.to_string(),
            size: words::size(catalog.totals.bytes),
            path: path(location, ""),
            at: or_unknown(at(catalog.backup_ts.physical).map(|at| words::local(at, zone))),
            took: or_unknown(took.map(words::took)),
            completed: or_unknown(ended.map(|ended| words::local(ended, zone))),
            backup_ts: catalog.backup_ts.to_string(),
            kind: kind(catalog.kind).into(),
        }
    }
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.into())
}

/// The time of a consistency point, in nanoseconds since 1970.
#[must_use]
pub fn at(physical: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(physical)).ok()
}

/// What was taken, in the word of `mo_br`.
#[must_use]
pub const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
    }
}

/// What a folder made without us is.
#[must_use]
pub const fn kind_of(content: &FolderContent) -> Kind {
    if content.is_full() { Kind::Full } else { Kind::Incremental }
}

/// A place, or a folder below it, in the lines of a cell.
#[must_use]
pub fn path(location: &Location, folder: &str) -> Vec<String> {
    let below = |place: &str| {
        if place.is_empty() || folder.is_empty() { place.to_owned() + folder } else { format!("{place}/{folder}") }
    };
    let mut lines = Vec::new();
    match location {
        Location::S3(s3) => {
            let mut begin = "BackupDir: s3";
            if let Some(endpoint) = &s3.endpoint {
                lines.extend([format!("{begin}  Endpoint:"), endpoint.clone()]);
                begin = "";
            }
            lines.extend([format!("{begin}  Bucket: {}  Path:", s3.bucket).trim_start().to_owned(), below(&s3.prefix)]);
        }
        Location::Volume(volume) => {
            lines.extend(["BackupDir: filesystem  Path:".to_owned(), format!("/{}", below(&volume.path))]);
        }
    }
    lines.iter().map(|line| plain(line, usize::MAX)).collect()
}

/// How backups are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table whose paths have this width.
    Table(usize),
    /// A block of lines for each, on a terminal that is too narrow for a table. Its width.
    Blocks(usize),
}

impl Form {
    /// The form for paths of at most this width, on a terminal of this width. Without a terminal nothing is wrapped.
    #[must_use]
    pub fn of(widest: usize, terminal: Option<usize>) -> Self {
        let path = widest.max(PATH);
        let others: usize = COLUMNS.iter().map(|(_, width)| width + 3).sum::<usize>() + 1 - PATH;
        match terminal.map(|width| (width, width.saturating_sub(others))) {
            None => Self::Table(path),
            Some((_, room)) if room >= PATH => Self::Table(path.min(room)),
            Some((width, _)) => Self::Blocks(width),
        }
    }
}

/// The width of this terminal, if the result goes to one.
#[must_use]
pub fn terminal() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}

/// A table that is being written.
#[derive(Debug)]
pub struct Table {
    form: Form,
    begun: bool,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self { form, begun: false }
    }

    /// Writes a row, and the head before the first one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, out: &mut dyn Write, row: &Row) -> io::Result<()> {
        let Row { id, size, path, at, took, completed, backup_ts, kind } = row;
        match self.form {
            Form::Table(width) => {
                self.head(out, width)?;
                let wrapped: Vec<_> = path.iter().flat_map(|line| wrap(line, width)).collect();
                let first = wrapped.first().map(Cow::as_ref).unwrap_or_default();
                line(out, width, [id, size, first, at, took, completed, backup_ts, kind])?;
                wrapped.iter().skip(1).try_for_each(|more| line(out, width, ["", "", more, "", "", "", "", ""]))
            }
            Form::Blocks(width) => {
                if std::mem::replace(&mut self.begun, true) {
                    writeln!(out)?;
                }
                let path = path.join(" ");
                let cells = [id, size, &path, at, took, completed, backup_ts, kind];
                COLUMNS.iter().zip(cells).try_for_each(|((head, _), cell)| labelled(out, width, head, cell))
            }
        }
    }

    /// Ends it. A table without rows is its head.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self.form {
            Form::Table(width) => {
                self.head(out, width)?;
                border(out, width)
            }
            Form::Blocks(_) => Ok(()),
        }
    }

    fn head(&mut self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        border(out, width)?;
        line(out, width, COLUMNS.map(|(head, _)| head))?;
        border(out, width)
    }
}

fn widths(path: usize) -> impl Iterator<Item = usize> {
    COLUMNS.iter().map(move |(head, width)| if *head == "PATH" { path } else { *width })
}

fn border(out: &mut dyn Write, path: usize) -> io::Result<()> {
    let dashes: Vec<_> = widths(path).map(|width| "-".repeat(width + 2)).collect();
    writeln!(out, "+{}+", dashes.join("+"))
}

/// One line of cells. A value wider than its column is written whole: half of an id or a time is worth nothing.
fn line(out: &mut dyn Write, path: usize, cells: [&str; 8]) -> io::Result<()> {
    let cells: Vec<_> = cells.iter().zip(widths(path)).map(|(cell, width)| format!(" {cell:^width$} ")).collect();
    writeln!(out, "|{}|", cells.join("|"))
}

/// A value after its head, or below it where both do not fit into a line.
fn labelled(out: &mut dyn Write, width: usize, head: &str, cell: &str) -> io::Result<()> {
    let begin = format!("{:<1$}", format!("{head}:"), HEAD + 2);
    let whole = begin.len() + cell.chars().count();
    if whole <= width || (head == "PATH" && width >= 2 * begin.len()) {
        let mut begin = begin;
        for part in wrap(cell, width - begin.len()) {
            writeln!(out, "{begin}{part}")?;
            begin = " ".repeat(begin.len());
        }
        return Ok(());
    }
    writeln!(out, "{head}:")?;
    let parts = if head == "PATH" { wrap(cell, width) } else { vec![cell.into()] };
    parts.iter().try_for_each(|part| writeln!(out, "{part}"))
}

/// The text in parts of at most this width, which end where a word or a folder ends if they can.
fn wrap(text: &str, width: usize) -> Vec<Cow<'_, str>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((end, _)) = rest.char_indices().nth(width.max(1)) {
        let fits = &rest[..end];
        let good = if rest[end..].starts_with(' ') { Some(end) } else { fits.rfind([' ', '/']).map(|at| at + 1) };
        let (part, more) = rest.split_at(good.filter(|at| *at > 1).unwrap_or(end));
        parts.push(part.trim_end().into());
        rest = more.trim_start();
    }
    parts.push(rest.into());
    parts
}

#[cfg(test)]
mod tests;
