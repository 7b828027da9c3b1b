//! Places that are asked what they hold, and what is told beside it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::TEXT;
use crate::{
    cli::{
        ending::{Ending, Refusal},
        index::Index,
        known::{self, Answer, NAMES},
        place::Place,
        screen,
    },
    plan::Marker,
    store::{Key, Objects},
    worker::{self, Folders, plain},
};

/// Unexpected files that are named.
const NAMED: usize = 5;

/// The longest of their names: other programs choose them.
const NAME: usize = 100;

/// A place that has answered.
pub struct Asked<'a> {
    /// The place.
    pub place: &'a Place,
    /// Its calls are repeated while their trouble may pass.
    pub objects: Arc<dyn Objects>,
    /// What makes it a repository.
    pub marker: Option<Marker>,
    /// What was made there without us, if it is none.
    pub folders: Folders,
    /// What to do when it is gone, if it stands in the index.
    pub remedy: String,
}

impl Asked<'_> {
    /// What is said of it when it has no backup, and is no repository.
    pub fn nothing(&self) -> String {
        nothing(self.place) + &self.remedy
    }
}

/// Asks a place what it is. What is wrong with it from the start is said soon, and what of it could not be looked at is
/// said at once.
pub async fn ask<'a>(place: &'a Place, stop: &CancellationToken) -> Result<Asked<'a>, Refusal> {
    let marker = known::marker(place, stop).await?;
    let asked = look(place, marker, stop).await?;
    asked.folders.missed.iter().for_each(|text| screen::warn(&missed(place, text)));
    Ok(asked)
}

async fn look<'a>(place: &'a Place, marker: Option<Marker>, stop: &CancellationToken) -> Result<Asked<'a>, Refusal> {
    let objects = known::open(place, stop)?;
    let folders = match marker {
        Some(_) => Folders::default(),
        None => {
            let found = worker::folders(&*objects, place.kind()).await;
            found.map_err(|failure| Refusal::of(&failure, NAMES))?
        }
    };
    Ok(Asked { place, objects, marker, folders, remedy: String::new() })
}

/// What is told beside a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Notes {
    pub(in crate::cli) warnings: Vec<String>,
    /// The first that is not good, and the exit code that it makes.
    cause: Option<usize>,
    pub(in crate::cli) ending: Ending,
}

impl Default for Notes {
    fn default() -> Self {
        Self { warnings: Vec::new(), cause: None, ending: Ending::Done }
    }
}

impl Notes {
    /// Notes what is told in the end, and the exit code that it makes.
    pub fn warn(&mut self, ending: Ending, text: &str) {
        if self.ending == Ending::Done && ending != Ending::Done {
            (self.cause, self.ending) = (Some(self.warnings.len()), ending);
        }
        self.warnings.push(plain(text, TEXT));
    }

    /// Says them.
    pub fn say(self) -> Ending {
        for (n, text) in self.warnings.iter().enumerate() {
            if self.cause == Some(n) { screen::error(text) } else { screen::warn(text) }
        }
        self.ending
    }
}

/// Files that lie in a repository and are not of it: how many, and the first of them. They damage nothing.
#[derive(Debug, Default)]
pub struct Unexpected {
    count: u64,
    first: Vec<String>,
}

impl Unexpected {
    /// Counts a file.
    pub fn add(&mut self, key: &Key) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(plain(key.as_str(), NAME));
        }
    }

    /// Notes them once.
    pub fn told(&self, place: &Place, notes: &mut Notes) {
        let more = if self.count > NAMED as u64 { ", …" } else { "" };
        if self.count > 0 {
            let text = format!(
                "{}: unexpected files: {} ({}{more}); mo-backup did not write them, and they are not backups: remove them",
                name(place),
                self.count,
                self.first.join(", ")
            );
            notes.warn(Ending::Done, &text);
        }
    }
}

/// The name of a place in one line.
pub fn name(place: &Place) -> String {
    plain(&place.lines().join(" "), TEXT)
}

/// What is said of a place without any backup.
pub fn nothing(place: &Place) -> String {
    format!("{}: there is no repository, and nothing that mo_br or a BACKUP statement made", name(place))
}

/// What is said of a repository of which nothing is shown, though so many of its backups are left out of lists.
pub fn empty(place: &Place, left_out: usize) -> String {
    let place = name(place);
    match left_out {
        0 => format!("{place}: there are no backups in this repository"),
        1.. => format!("{place}: backups that are left out of lists: {left_out}; name the repository to see them"),
    }
}

fn missed(place: &Place, text: &str) -> String {
    format!("{}: {text}", name(place))
}

/// Asks all places; of several that are one repository the first. One that does not answer is told, and does not hide the
/// others. Those that stand in an index are told with the entry to be removed.
pub async fn ask_all<'a>(
    places: &'a [Place],
    index: Option<&Index>,
    notes: &mut Notes,
    stop: &CancellationToken,
) -> Result<Vec<Asked<'a>>, Refusal> {
    let entry = |place: &Place| index.and_then(|index| index.entry(&place.location));
    let mut asked = Vec::new();
    for Answer { place, marker, twins } in known::distinct(places, stop).await? {
        for twin in twins {
            let (twin_name, place) = (name(twin), name(place));
            let remedy = entry(twin).map(|entry| format!("; {entry} can be removed")).unwrap_or_default();
            notes.warn(Ending::Done, &format!("{twin_name}: it is the same repository as {place}{remedy}"));
        }
        let remedy = entry(place).map(|entry| format!("; if it is gone for good, remove {entry}")).unwrap_or_default();
        let looked = match marker {
            Ok(marker) => look(place, marker, stop).await,
            Err(refusal) => Err(refusal),
        };
        match looked {
            Ok(found) => {
                found.folders.missed.iter().for_each(|text| notes.warn(Ending::Final, &missed(place, text)));
                asked.push(Asked { remedy, ..found });
            }
            Err(refusal) if refusal.ending == Ending::Interrupted => return Err(refusal),
            Err(Refusal { ending, message }) if places.len() == 1 => {
                return Err(Refusal { ending, message: message + &remedy });
            }
            Err(refusal) => notes.warn(refusal.ending, &format!("{}: {}{remedy}", name(place), refusal.message)),
        }
    }
    Ok(asked)
}
