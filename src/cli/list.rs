//! `mo-backup list`.

mod asked;
pub(super) mod sheet;

use std::io::{self, Write};

use clap::Args;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    check::{self, How, Subject},
    ending::{Ending, Refusal},
    flags::{PlaceFlags, Source},
    index::Index,
    known::{self, NAMES},
    place::Place,
    screen,
    table::{self, Form},
};
use crate::{
    api::Reason,
    plan::{BackupId, Catalog},
    store::{self, Objects, catalog},
    worker::{Depth, Failure, Folders},
};
pub(super) use asked::{Asked, Notes, Unexpected, ask, ask_all, empty, name, nothing};
use sheet::{Sheet, Told};

/// Warnings of one kind that are told of a repository.
const NAMED: u64 = 20;

/// Longest text that is told of something that somebody else has written.
const TEXT: usize = 1000;

/// The flags of `list`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ListFlags {
    /// Only this backup, and whether its data is there
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The same
    #[arg(id = "named", long = "id", alias = "ID", value_name = "ID", conflicts_with = "id")]
    named: Option<String>,
    /// Do not look whether the data of this backup is there
    #[arg(long)]
    not_check_data: bool,
    #[command(flatten)]
    place: PlaceFlags<Source>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  mo-backup list
  mo-backup list 01a1fb92-c001-7000-8000-000000000002
  mo-backup list --backup-dir filesystem --backup-path /backups --output json

Times are those of the time zone of this machine, or of TZ.
Every flag is taken with underscores too, as mo_br writes it.";

/// Lists the backups of the places, or looks at one.
///
/// # Errors
/// When nothing could be listed.
pub async fn run(flags: &ListFlags, stop: CancellationToken) -> Result<Ending, Refusal> {
    let id = known::either(flags.id.as_ref(), flags.named.as_ref())?;
    let index = Index::open_beside(flags.common.meta_path.as_deref(), flags.place.names_a_place())?;
    let places = known::places(&flags.place, &index)?;
    match id {
        Some(id) => one(flags, places, id, &stop).await,
        None => {
            // Whoever names a place wants to see what is in it.
            let all = flags.place.names_a_place();
            let hidden = |id| !all && index.is_forgotten(id);
            let known = (!all).then_some(&index);
            until(&stop, list(flags.common.output, (&places, known), &hidden, &stop)).await
        }
    }
}

/// Carries it out unless it is told to stop.
pub(super) async fn until<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            Err(Refusal::of(&Failure::interrupted(Reason::Interrupted, "it was told to stop"), NAMES))
        }
        done = work => done,
    }
}

async fn list(
    output: Output,
    (places, known): (&[Place], Option<&Index>),
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
    stop: &CancellationToken,
) -> Result<Ending, Refusal> {
    let mut notes = Notes::default();
    let asked = ask_all(places, known, &mut notes, stop).await?;
    let mut out = io::stdout();
    let written = write(&mut out, (output, table::terminal(), TimeZone::system()), &asked, hidden, &mut notes).await;
    let ending = notes.say();
    screen::written(written?)?;
    Ok(ending)
}

/// Writes the list of what these places hold. Nothing of it is kept.
async fn write(
    out: &mut (dyn Write + Send),
    (output, terminal, zone): (Output, Option<usize>, TimeZone),
    asked: &[Asked<'_>],
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
    notes: &mut Notes,
) -> Result<io::Result<()>, Refusal> {
    let mut sheet = Sheet::new(out, output, Form::of(widest(asked), terminal), zone);
    let enough = sheet.enough();
    for one in asked {
        tokio::select! {
            biased;
            () = enough.cancelled() => break,
            done = write_one(&mut sheet, one, hidden, notes) => match done {
                Ok(()) => {}
                Err(refusal) if asked.len() == 1 => return Err(refusal),
                Err(refusal) => notes.warn(refusal.ending, &format!("{}: {}", name(one.place), refusal.message)),
            },
        }
    }
    if sheet.rows() == 0 && notes.ending == Ending::NotFound && output == Output::Table {
        return Ok(Ok(()));
    }
    Ok(sheet.end())
}

/// The widest line of the paths.
fn widest(asked: &[Asked<'_>]) -> usize {
    let lines = asked.iter().flat_map(|one| {
        let location = &one.place.location;
        let folders = one.folders.found.iter().flat_map(|folder| table::path(location, &folder.path));
        table::path(location, "").into_iter().chain(folders)
    });
    lines.map(|line| line.chars().count()).max().unwrap_or_default()
}

/// Things of one kind that cannot be shown: how many, and the first of them.
#[derive(Default)]
struct Faults {
    count: u64,
    first: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= NAMED {
            self.first.push(what());
        }
    }

    fn told(self, notes: &mut Notes, more: &str) {
        self.first.iter().for_each(|text| notes.warn(Ending::Damaged, text));
        if self.count > NAMED {
            notes.warn(Ending::Damaged, &format!("{} {more}", self.count - NAMED));
        }
    }
}

async fn write_one(
    sheet: &mut Sheet<'_>,
    one: &Asked<'_>,
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let Asked { place, objects, marker, folders, .. } = one;
    let (mut damaged, mut seen, mut left_out) = (Faults::default(), 0, 0);
    let show = |found: Result<Catalog, store::Failure>| {
        seen += 1;
        match found {
            Ok(catalog) if marker.as_ref().is_some_and(|marker| marker.repository != catalog.repository) => {
                damaged.add(|| format!("{}: backup {} was written for another repository", name(place), catalog.id));
            }
            Ok(catalog) if hidden(catalog.id) => left_out += 1,
            Ok(catalog) => sheet.backup(&catalog, &place.location),
            Err(failure) => damaged.add(|| format!("{}: {failure}", name(place))),
        }
    };
    let mut unexpected = Unexpected::default();
    let looked = catalog::each_file(&**objects, show, |key| unexpected.add(key)).await;
    damaged.told(notes, "more files of its catalogue cannot be used");
    unexpected.told(place, notes);
    looked.map_err(|e| Refusal::of(&Failure::of_repository(place.kind(), &e), NAMES))?;
    if !folders.found.is_empty() {
        write_folders(sheet, place, folders, notes);
    } else if marker.is_none() && seen == 0 {
        notes.warn(Ending::NotFound, &one.nothing());
    } else if seen == left_out {
        notes.warn(Ending::Done, &empty(place, left_out));
    }
    Ok(())
}

fn write_folders(sheet: &mut Sheet<'_>, place: &Place, folders: &Folders, notes: &mut Notes) {
    let mut unusable = Faults::default();
    for folder in &folders.found {
        sheet.folder(folder, &place.location);
        if let Err(why) = &folder.content {
            unusable.add(|| format!("{}: {why}", table::path(&place.location, &folder.path).join(" ")));
        }
    }
    unusable.told(notes, "more folders cannot be used");
    let count = folders.found.len();
    let text = format!(
        "{}: folders without an id: {count}; they were made by mo_br or a BACKUP statement, and are checked and restored by name",
        name(place)
    );
    notes.warn(Ending::Done, &text);
}

/// Shows a backup, and looks whether its data is there.
async fn one(flags: &ListFlags, places: Vec<Place>, id: BackupId, stop: &CancellationToken) -> Result<Ending, Refusal> {
    let (place, objects) = known::holder(places, id, stop).await?;
    let catalog = entry(&place, &*objects, id).await?;
    let output = flags.common.output;
    if output == Output::Table {
        row(&mut io::stdout(), &place, &catalog)?;
    }
    if !flags.not_check_data {
        let how = How { depth: Depth::Presence, parallelism: check::PARALLELISM, output };
        return check::one(&Subject::of(&place, id), how, &mut io::stdout(), stop).await?.ending();
    }
    if output == Output::Json {
        screen::print(&check::json(Told::of(&catalog, &place.location).line())?)?;
    }
    Ok(Ending::Done)
}

/// The catalogue entry of a backup.
pub(super) async fn entry(place: &Place, objects: &dyn Objects, id: BackupId) -> Result<Catalog, Refusal> {
    let read = catalog::read(objects, id).await;
    let read = read.map_err(|e| Refusal::of(&Failure::of_repository(place.kind(), &e), NAMES))?;
    read.ok_or_else(|| Refusal::not_found(format!("backup {id} was just deleted from {}", name(place))))
}

/// The table of one backup, as `mo_br` shows it before a check.
pub(super) fn row(out: &mut (dyn Write + Send), place: &Place, catalog: &Catalog) -> Result<(), Refusal> {
    let widest = table::path(&place.location, "").iter().map(|line| line.chars().count()).max();
    let form = Form::of(widest.unwrap_or_default(), table::terminal());
    let mut sheet = Sheet::new(out, Output::Table, form, TimeZone::system());
    sheet.backup(catalog, &place.location);
    screen::written(sheet.end())
}

#[cfg(test)]
pub(super) mod tests;
