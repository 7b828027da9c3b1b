//! `mo-backup list`.

pub(super) mod sheet;

use std::{
    io::{self, Write},
    sync::Arc,
};

use clap::Args;
use jiff::tz::TimeZone;
use tokio::time::timeout;
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
    plan::{BackupId, Catalog, Marker},
    store::{self, Objects, Patience, Retrying, catalog},
    worker::{self, Depth, Failure, Folders, SOON, plain},
};
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
    let index = Index::open(flags.common.meta_path.as_deref())?;
    let places = known::places(&flags.place, &index)?;
    match id {
        Some(id) => one(flags, places, id, &stop).await,
        None => {
            // Whoever names a place wants to see what is in it.
            let all = flags.place.names_a_place();
            let hidden = |id| !all && index.is_forgotten(id);
            until(&stop, list(flags.common.output, &places, &hidden, &stop)).await
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

/// A place that has answered.
pub(super) struct Asked<'a> {
    pub place: &'a Place,
    /// Its calls are repeated while their trouble may pass.
    pub objects: Arc<dyn Objects>,
    /// What makes it a repository.
    pub marker: Option<Marker>,
    /// What was made there without us, if it is none.
    pub folders: Folders,
}

/// Asks a place what it is. What is wrong with it from the start is said soon.
pub(super) async fn ask<'a>(place: &'a Place, stop: &CancellationToken) -> Result<Asked<'a>, Refusal> {
    let kind = place.kind();
    let failed = |failure: Failure| Refusal::of(&failure, NAMES);
    let asking = Retrying::new(place.open().map_err(failed)?, Patience::soon(), stop.clone());
    let silent = || Failure::new(Reason::StorageUnreachable, format!("no answer within {} s", SOON.as_secs()));
    let marker = match timeout(SOON, catalog::marker(&asking)).await {
        Ok(asked) => asked.map_err(|e| failed(Failure::of_repository(kind, &e)))?,
        Err(_) => return Err(failed(silent())),
    };
    let objects = known::open(place, stop)?;
    let folders = match marker {
        Some(_) => Folders::default(),
        None => worker::folders(&*objects, kind).await.map_err(failed)?,
    };
    Ok(Asked { place, objects, marker, folders })
}

/// What is told beside a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notes {
    warnings: Vec<String>,
    /// The first that is not good, and the exit code that it makes.
    cause: Option<usize>,
    ending: Ending,
}

impl Default for Notes {
    fn default() -> Self {
        Self { warnings: Vec::new(), cause: None, ending: Ending::Done }
    }
}

impl Notes {
    pub(super) fn warn(&mut self, ending: Ending, text: &str) {
        if self.ending == Ending::Done && ending != Ending::Done {
            (self.cause, self.ending) = (Some(self.warnings.len()), ending);
        }
        self.warnings.push(plain(text, TEXT));
    }

    /// Says them.
    pub(super) fn say(self) -> Ending {
        for (n, text) in self.warnings.iter().enumerate() {
            if self.cause == Some(n) { screen::error(text) } else { screen::warn(text) }
        }
        self.ending
    }
}

/// The name of a place in one line.
pub(super) fn name(place: &Place) -> String {
    plain(&place.lines().join(" "), TEXT)
}

/// What is said of a place without any backup.
pub(super) fn nothing(place: &Place) -> String {
    format!("{}: there is no repository, and nothing that mo_br or a BACKUP statement made", name(place))
}

/// Asks all places. One that does not answer is told, and does not hide the others.
pub(super) async fn ask_all<'a>(
    places: &'a [Place],
    notes: &mut Notes,
    stop: &CancellationToken,
) -> Result<Vec<Asked<'a>>, Refusal> {
    let mut asked = Vec::new();
    for place in places {
        match ask(place, stop).await {
            Ok(answer) => asked.push(answer),
            Err(refusal) if places.len() == 1 || refusal.ending == Ending::Interrupted => return Err(refusal),
            Err(refusal) => notes.warn(refusal.ending, &format!("{}: {}", name(place), refusal.message)),
        }
    }
    Ok(asked)
}

async fn list(
    output: Output,
    places: &[Place],
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
    stop: &CancellationToken,
) -> Result<Ending, Refusal> {
    let mut notes = Notes::default();
    let asked = ask_all(places, &mut notes, stop).await?;
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
    if sheet.rows() == 0 && notes.warnings.is_empty() && !enough.is_cancelled() {
        notes.warn(Ending::Done, "there are no backups");
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
    let Asked { place, objects, marker, folders } = one;
    let (mut damaged, mut seen) = (Faults::default(), false);
    let show = |found: Result<Catalog, store::Failure>| {
        seen = true;
        match found {
            Ok(catalog) if marker.as_ref().is_some_and(|marker| marker.repository != catalog.repository) => {
                damaged.add(|| format!("{}: backup {} was written for another repository", name(place), catalog.id));
            }
            Ok(catalog) if hidden(catalog.id) => {}
            Ok(catalog) => sheet.backup(&catalog, &place.location),
            Err(failure) => damaged.add(|| format!("{}: {failure}", name(place))),
        }
    };
    let looked = catalog::each(&**objects, show).await;
    damaged.told(notes, "more files of its catalogue cannot be used");
    looked.map_err(|e| Refusal::of(&Failure::of_repository(place.kind(), &e), NAMES))?;
    if !folders.found.is_empty() {
        write_folders(sheet, place, folders, notes);
    } else if marker.is_none() && !seen {
        notes.warn(Ending::NotFound, &nothing(place));
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
    notes.warnings.push(format!(
        "{}: what has no id ({count} folders) was made by mo_br or a BACKUP statement; it is checked and restored by its folder",
        name(place)
    ));
    if folders.left_out > 0 {
        notes.warnings.push(format!("{}: {} folders more are left out", name(place), folders.left_out));
    }
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
        return check::one(&Subject::of(&place, id), how, &mut io::stdout(), stop).await;
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
