//! `mo-backup check`.

use std::io::{self, Write};

use clap::Args;
use futures::TryStreamExt as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    ending::{Ending, Refusal},
    flags::{PlaceFlags, Source},
    index::Index,
    known::{self, NAMES},
    list::{self, Asked, Notes, sheet::Told},
    place::{self, Place},
    progress, screen, table, words,
};
use crate::{
    plan::BackupId,
    store::{Patience, Prefix},
    task::{Choice, Location},
    worker::{self, CheckTask, Checked, Depth, Failure, FoundFolder, plain},
};

/// Objects that are read at the same time.
pub const PARALLELISM: u16 = 4;

/// Longest text that is told of something that somebody else has written.
const TEXT: usize = 1000;

/// The flags of `check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckFlags {
    /// The backup; without it all backups of the place
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The same
    #[arg(id = "named", long = "id", alias = "ID", value_name = "ID", conflicts_with = "id")]
    named: Option<String>,
    /// Objects that are read at the same time
    #[arg(long, default_value_t = PARALLELISM, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallelism: u16,
    #[command(flatten)]
    place: PlaceFlags<Source>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  mo-backup check 01a1fb92-c001-7000-8000-000000000002
  mo-backup check --backup-dir filesystem --backup-path /backups/prod
  mo-backup check --backup-path /mo_br/full --backup-path /mo_br/incremental
The last is a chain that mo_br made: the full backup first.

Every flag is taken with underscores too, as mo_br writes it.";

/// Reads backups back and compares every object.
///
/// # Errors
/// When it could not be told whether they are what they were.
pub async fn run(flags: &CheckFlags, stop: CancellationToken) -> Result<Ending, Refusal> {
    let id = known::either(flags.id.as_ref(), flags.named.as_ref())?;
    let how = How { depth: Depth::Content, parallelism: flags.parallelism, output: flags.common.output };
    let mut out = io::stdout();
    if id.is_none() && flags.place.name_a_chain() {
        let (place, paths) = place::chain(&flags.place)?;
        let last = paths.last().cloned().unwrap_or_default();
        let subject = Subject { place: &place, what: What::Path(&last), choice: Choice::Paths(paths) };
        return one(&subject, how, &mut out, &stop).await;
    }
    let index = Index::open(flags.common.meta_path.as_deref())?;
    let places = known::places(&flags.place, &index)?;
    match id {
        Some(id) => {
            let (place, objects) = known::holder(places, id, &stop).await?;
            let catalog = list::entry(&place, &*objects, id).await?;
            if how.output == Output::Table {
                list::row(&mut out, &place, &catalog)?;
            }
            one(&Subject::of(&place, id), how, &mut out, &stop).await
        }
        None => {
            let everything = flags.place.names_a_place();
            let hidden = |id| !everything && index.is_forgotten(id);
            let mut notes = Notes::default();
            let asked = list::until(&stop, list::ask_all(&places, &mut notes, &stop)).await?;
            let checked = all(&asked, &hidden, how, (&mut out, &mut notes), &stop).await;
            let noted = notes.say();
            Ok(worse(checked?, noted))
        }
    }
}

/// The first that is not good.
fn worse(one: Ending, other: Ending) -> Ending {
    if one == Ending::Done { other } else { one }
}

/// How backups are checked, and how that is told.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// How deep.
    pub depth: Depth,
    /// Objects that are read at the same time.
    pub parallelism: u16,
    /// For whom.
    pub output: Output,
}

/// A backup to be checked.
pub struct Subject<'a> {
    place: &'a Place,
    what: What<'a>,
    choice: Choice,
}

enum What<'a> {
    /// One of a repository.
    Id(BackupId),
    /// A folder that was found.
    Folder(&'a FoundFolder),
    /// A folder that was named.
    Path(&'a str),
}

impl<'a> Subject<'a> {
    /// A backup of a repository.
    pub const fn of(place: &'a Place, id: BackupId) -> Self {
        Self { place, what: What::Id(id), choice: Choice::Id(id) }
    }

    fn name(&self) -> String {
        let folder = |path: &str| table::path(&self.place.location, path).join(" ");
        match self.what {
            What::Id(id) => format!("backup {id}"),
            What::Folder(found) => folder(&found.path),
            What::Path(path) => folder(path),
        }
    }

    fn told(&self, checked: Option<&Checked>) -> Told<'_> {
        let location: &Location = &self.place.location;
        match (&self.what, checked.and_then(|checked| checked.catalog.as_ref())) {
            (_, Some(catalog)) => Told::of(catalog, location),
            (What::Id(id), None) => Told::named(Some(*id), None, location),
            (What::Folder(found), None) => Told::of_folder(found, location),
            (What::Path(path), None) => Told::named(None, Some(path), location),
        }
    }
}

/// Checks a backup, and says what came of it.
///
/// # Errors
/// When that could not be told.
pub async fn one(
    subject: &Subject<'_>,
    how: How,
    out: &mut (dyn Write + Send),
    stop: &CancellationToken,
) -> Result<Ending, Refusal> {
    let kind = subject.place.kind();
    if how.output == Output::Table {
        screen::written(writeln!(out, "Checking the backup data...").and_then(|()| out.flush()))?;
    }
    let objects = subject.place.open().map_err(|failure| Refusal::of(&failure, NAMES))?;
    let task = CheckTask { choice: subject.choice.clone(), parallelism: how.parallelism, depth: how.depth };
    let shown = progress::brisk("check", "check-1", stop.clone());
    let checked = worker::check(&task, &objects, kind, Patience::default(), &shown).await;
    drop(shown);
    let checked = checked.map_err(|failure| Refusal::of(&failure, NAMES));
    if let Ok(checked) = &checked {
        checked.warnings.iter().for_each(|warning| screen::warn(&plain(&warning.message, TEXT)));
    }
    let text = match (how.output, &checked) {
        (_, Err(refusal)) if refusal.ending != Ending::Damaged => return Err(refusal.clone()),
        (_, Err(refusal)) => untold(subject, how.output, refusal)?,
        (Output::Table, Ok(checked)) => in_words(checked, how.depth),
        (Output::Json, Ok(checked)) => json(subject.told(Some(checked)).checked(found(checked, how.depth)))?,
    };
    screen::written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(if checked.is_ok_and(|checked| checked.faults == 0) { Ending::Done } else { Ending::Damaged })
}

/// Why nothing more was found.
fn untold(subject: &Subject<'_>, output: Output, refusal: &Refusal) -> Result<String, Refusal> {
    let why = plain(&refusal.message, TEXT);
    match output {
        Output::Table => Ok(format!("fault: {why}\n")),
        Output::Json => json(subject.told(None).checked(json!({"good": false, "error": why}))),
    }
}

/// What was found, for programs.
fn found(checked: &Checked, depth: Depth) -> serde_json::Value {
    let Checked { name: _, catalog: _, objects, bytes, hashed, faults, first, warnings } = checked;
    json!({
        "good": *faults == 0,
        "depth": match depth {
            Depth::Presence => "presence",
            Depth::Content => "content",
        },
        "objects": objects,
        "bytes": bytes,
        "hashed": hashed,
        "faults": faults,
        "first": first.iter().map(|fault| plain(fault, TEXT)).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(|warning| plain(&warning.message, TEXT)).collect::<Vec<_>>(),
    })
}

/// What was found, for people.
fn in_words(checked: &Checked, depth: Depth) -> String {
    let Checked { name: _, catalog: _, objects, bytes, hashed, faults, first, warnings: _ } = checked;
    let mut text: String = first.iter().map(|fault| format!("fault: {}\n", plain(fault, TEXT))).collect();
    match faults.saturating_sub(first.len() as u64) {
        0 => {}
        more => text += &format!("and {more} more\n"),
    }
    let size = words::size(*bytes);
    text += &match (depth, *faults) {
        (Depth::Presence, 0) => format!("found {objects} objects ({size}), all that there must be\n"),
        (Depth::Presence, faults) => format!("{faults} of {objects} objects are missing or have another size\n"),
        (Depth::Content, 0) if hashed < objects => format!(
            "checked {objects} objects ({size}), all as they were written; {} have no SHA-256 on record and could only be \
             read\n",
            objects - hashed
        ),
        (Depth::Content, 0) => format!("checked {objects} objects ({size}), all as they were written\n"),
        (Depth::Content, faults) => format!("{faults} of {objects} objects are damaged or missing\n"),
    };
    text
}

/// Text for programs.
///
/// # Errors
/// When it cannot be made.
pub fn json(text: io::Result<String>) -> Result<String, Refusal> {
    text.map_err(|e| Refusal { ending: Ending::Final, message: format!("failed to write the result: {e}") })
}

/// What came of checking several backups.
#[derive(Debug, Default)]
struct Tally {
    backups: u64,
    damaged: u64,
    /// Those of which it could not be told.
    open: u64,
}

impl Tally {
    fn in_words(&self) -> String {
        match self {
            Self { backups: 0, .. } => String::new(),
            Self { backups, damaged: 0, open: 0 } => format!("\nchecked {backups} backups, all as they were written\n"),
            Self { backups, damaged, open: 0 } => format!("\n{damaged} of {backups} backups are damaged\n"),
            Self { backups, damaged, open } => {
                format!("\n{damaged} of {backups} backups are damaged, {open} could not be checked\n")
            }
        }
    }
}

/// Checks every backup of these places, one after the other.
async fn all(
    asked: &[Asked<'_>],
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
    how: How,
    (out, notes): (&mut (dyn Write + Send), &mut Notes),
    stop: &CancellationToken,
) -> Result<Ending, Refusal> {
    let mut tally = Tally::default();
    for at in asked {
        let (ids, strays) = list::until(stop, ids(at)).await?;
        let (place, folders) = (at.place, &at.folders.found);
        if strays > 0 {
            let text = format!("{}: {strays} files of its catalogue have names of none", list::name(place));
            notes.warn(Ending::Damaged, &text);
        }
        if ids.is_empty() && folders.is_empty() && at.marker.is_none() {
            notes.warn(Ending::NotFound, &list::nothing(place));
        }
        let backups = ids.into_iter().filter(|id| !hidden(*id)).map(|id| Subject::of(place, id));
        let found = folders.iter().map(|folder| {
            let choice = Choice::Paths(worker::chain_of(folders, &folder.path));
            Subject { place, what: What::Folder(folder), choice }
        });
        for subject in backups.chain(found) {
            next(&subject, how, (&mut *out, &mut *notes), &mut tally, stop).await?;
        }
    }
    if how.output == Output::Table {
        screen::written(out.write_all(tally.in_words().as_bytes()))?;
    }
    Ok(if tally.damaged == 0 { Ending::Done } else { Ending::Damaged })
}

/// Checks the next of several. What keeps one from being checked need not keep the others.
async fn next(
    subject: &Subject<'_>,
    how: How,
    (out, notes): (&mut (dyn Write + Send), &mut Notes),
    tally: &mut Tally,
    stop: &CancellationToken,
) -> Result<(), Refusal> {
    if how.output == Output::Table {
        let space = if tally.backups > 0 { "\n" } else { "" };
        screen::written(writeln!(out, "{space}{}", subject.name()))?;
    }
    let told = one(subject, how, out, stop).await;
    tally.backups += 1;
    let refusal = match told {
        Ok(ending) => {
            tally.damaged += u64::from(ending != Ending::Done);
            return Ok(());
        }
        Err(refusal) => refusal,
    };
    match refusal.ending {
        // The next one would fail in the same way.
        Ending::Interrupted | Ending::Again => return Err(refusal),
        // Deleted since it was listed.
        Ending::NotFound => tally.backups -= 1,
        Ending::Done | Ending::Usage | Ending::Damaged | Ending::Final => {
            tally.open += 1;
            notes.warn(refusal.ending, &refusal.message);
        }
    }
    screen::written(out.write_all(untold(subject, how.output, &refusal)?.as_bytes()))
}

/// The backups of a place by the names of its catalogue, the oldest first, and how many names there are none of a backup.
pub async fn ids(one: &Asked<'_>) -> Result<(Vec<BackupId>, u64), Refusal> {
    let (mut ids, mut strays) = (Vec::new(), 0);
    let prefix = Prefix::catalog();
    let mut listed = one.objects.list(&prefix);
    let failed = |e| Refusal::of(&Failure::of_store(one.place.kind(), &e), NAMES);
    while let Some(found) = listed.try_next().await.map_err(failed)? {
        match found.key.backup() {
            Some(id) => ids.push(id),
            None => strays += 1,
        }
    }
    Ok((ids, strays))
}

#[cfg(test)]
mod tests;
