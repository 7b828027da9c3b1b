//! `mo-backup check`.

mod said;

use std::io::{self, Write};

use clap::Args;
use futures::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    ending::{Ending, Refusal},
    flags::{PlaceFlags, Source},
    index::Index,
    known::{self, NAMES},
    list::{self, Asked, Notes, Unexpected, sheet::Told},
    place::{self, Place},
    progress, screen, table,
};
use crate::{
    plan::BackupId,
    store::{Key, Patience, Prefix},
    task::{Choice, Location},
    worker::{self, CheckTask, Checked, Depth, Failure, FoundFolder, plain},
};

use said::Tally;

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
        return one(&subject, how, &mut out, &stop).await?.ending();
    }
    let index = Index::open_beside(flags.common.meta_path.as_deref(), flags.place.names_a_place())?;
    let places = known::places(&flags.place, &index)?;
    match id {
        Some(id) => {
            let (place, objects) = known::holder(places, id, &stop).await?;
            let catalog = list::entry(&place, &*objects, id).await?;
            if how.output == Output::Table {
                list::row(&mut out, &place, &catalog)?;
            }
            one(&Subject::of(&place, id), how, &mut out, &stop).await?.ending()
        }
        None => {
            let everything = flags.place.names_a_place();
            let hidden = |id| !everything && index.is_forgotten(id);
            let mut notes = Notes::default();
            let known = (!everything).then_some(&index);
            let asked = list::until(&stop, list::ask_all(&places, known, &mut notes, &stop)).await?;
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

    /// What is said of one that was there when it was listed.
    fn gone(&self) -> Refusal {
        let place = list::name(self.place);
        Refusal::not_found(format!("{}: {} was deleted meanwhile, and was not checked", place, self.name()))
    }

    /// What is said of one whose earlier folders were not looked at. It is no damage, and no backup that is known to be
    /// whole: the same command line can say no more.
    fn needs(&self, elsewhere: u64) -> Refusal {
        let flag = match self.place.location {
            Location::S3(_) => "--backup-filepath",
            Location::Volume(_) => "--backup-path",
        };
        let message = format!(
            "{}: {elsewhere} objects that it needs lie in earlier folders, which were not looked at; name every folder from \
             the full backup on with {flag}, oldest first, or once the one that holds them all",
            self.name()
        );
        Refusal { ending: Ending::Final, message: plain(&message, TEXT) }
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
/// When that could not be told, or the backup is not there any more.
pub async fn one(
    subject: &Subject<'_>,
    how: How,
    out: &mut (dyn Write + Send),
    stop: &CancellationToken,
) -> Result<Verdict, Refusal> {
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
    let verdict = judge(subject, &checked, stop).await?;
    if let Ok(checked) = &checked {
        checked.warnings.iter().for_each(|warning| screen::warn(&plain(&warning.message, TEXT)));
    }
    let text = match (how.output, &checked) {
        (_, Err(refusal)) => said::untold(subject, how.output, refusal)?,
        (Output::Table, Ok(checked)) => said::in_words(checked, how.depth),
        (Output::Json, Ok(checked)) => json(subject.told(Some(checked)).checked(said::found(checked, how.depth)))?,
    };
    screen::written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(verdict)
}

/// What a check has found of a backup. One that was deleted meanwhile is not damaged, though its objects are missing: its
/// entry went first.
async fn judge(
    subject: &Subject<'_>,
    checked: &Result<Checked, Refusal>,
    stop: &CancellationToken,
) -> Result<Verdict, Refusal> {
    match checked {
        Ok(Checked { faults: 0, elsewhere: 0, lost: None, .. }) => return Ok(Verdict::Whole),
        Ok(Checked { faults: 0, elsewhere, lost: None, .. }) => return Ok(Verdict::Open(subject.needs(*elsewhere))),
        Err(refusal) if refusal.ending == Ending::NotFound => return Err(subject.gone()),
        Err(refusal) if refusal.ending != Ending::Damaged => return Err(refusal.clone()),
        Ok(_) | Err(_) => {}
    }
    let id = match subject.what {
        What::Id(id) => id,
        What::Folder(_) | What::Path(_) => return Ok(Verdict::Damaged),
    };
    let entry = known::open(subject.place, stop)?.stat(&Key::catalog(id)).await;
    match entry.map_err(|e| Refusal::of(&Failure::of_store(subject.place.kind(), &e), NAMES))? {
        Some(_) => Ok(Verdict::Damaged),
        None => Err(subject.gone()),
    }
}

/// Text for programs.
///
/// # Errors
/// When it cannot be made.
pub fn json(text: io::Result<String>) -> Result<String, Refusal> {
    text.map_err(|e| Refusal { ending: Ending::Final, message: format!("failed to write the result: {e}") })
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it was when it was written.
    Whole,
    /// Something of it is not.
    Damaged,
    /// Nothing of what could be looked at is damaged, and why the rest could not be looked at.
    Open(Refusal),
}

impl Verdict {
    /// How a command ends that has checked nothing else.
    ///
    /// # Errors
    /// When it could not be told of everything.
    pub fn ending(self) -> Result<Ending, Refusal> {
        match self {
            Self::Whole => Ok(Ending::Done),
            Self::Damaged => Ok(Ending::Damaged),
            Self::Open(why) => Err(why),
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
        let (mut ids, unexpected) = list::until(stop, ids(at)).await?;
        let (place, folders) = (at.place, &at.folders.found);
        unexpected.told(place, notes);
        let there = ids.len();
        ids.retain(|id| !hidden(*id));
        if there == 0 && folders.is_empty() && at.marker.is_none() {
            notes.warn(Ending::NotFound, &at.nothing());
        } else if ids.is_empty() && folders.is_empty() {
            tally.aside.push(list::empty(place, there));
        }
        let backups = ids.into_iter().map(|id| Subject::of(place, id));
        let found = folders.iter().map(|folder| {
            let choice = Choice::Paths(worker::chain_of(folders, &folder.path));
            Subject { place, what: What::Folder(folder), choice }
        });
        for subject in backups.chain(found) {
            next(&subject, how, (&mut *out, &mut *notes), &mut tally, stop).await?;
        }
    }
    // Who has checked nothing must not take it for a success.
    let aside = if tally.backups == 0 { Ending::NotFound } else { Ending::Done };
    tally.aside.iter().for_each(|text| notes.warn(aside, text));
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
        let space = if tally.begun { "\n" } else { "" };
        screen::written(writeln!(out, "{space}{}", subject.name()))?;
    }
    tally.begun = true;
    let open = match one(subject, how, out, stop).await {
        Ok(Verdict::Whole) => None,
        Ok(Verdict::Damaged) => {
            tally.damaged += 1;
            None
        }
        Ok(Verdict::Open(why)) => Some(why),
        Err(refusal) => match refusal.ending {
            // The next one would fail in the same way.
            Ending::Interrupted | Ending::Again => return Err(refusal),
            Ending::NotFound => {
                tally.aside.push(refusal.message);
                return screen::written(out.write_all(said::gone(how.output).as_bytes()));
            }
            Ending::Done | Ending::Usage | Ending::Damaged | Ending::Final => {
                screen::written(out.write_all(said::untold(subject, how.output, &refusal)?.as_bytes()))?;
                Some(refusal)
            }
        },
    };
    tally.backups += 1;
    if let Some(why) = open {
        tally.open += 1;
        notes.warn(why.ending, &why.message);
    }
    Ok(())
}

/// The backups of a place by the names of its catalogue, the oldest first, and the files there that are not of a backup.
pub async fn ids(one: &Asked<'_>) -> Result<(Vec<BackupId>, Unexpected), Refusal> {
    let (mut ids, mut unexpected) = (Vec::new(), Unexpected::default());
    let prefix = Prefix::catalog();
    let mut listed = one.objects.list(&prefix);
    let failed = |e| Refusal::of(&Failure::of_store(one.place.kind(), &e), NAMES);
    while let Some(found) = listed.try_next().await.map_err(failed)? {
        match found.key.backup() {
            Some(id) => ids.push(id),
            None => unexpected.add(&found.key),
        }
    }
    Ok((ids, unexpected))
}

#[cfg(test)]
mod tests;
