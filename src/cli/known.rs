//! Where backups are looked for: the place that the flags name, or every repository of the index.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ending::{Ending, Names, Refusal},
    flags::{PlaceFlags, Side},
    index::Index,
    place::Place,
    screen,
};
use crate::{
    plan::{BackupId, Marker},
    store::{Key, Objects, Patience, Retrying, catalog},
    worker::{self, Asked, Failure},
};

/// The names of flags of commands that find backups.
pub const NAMES: Names = Names { repository: "backup-" };

/// Where to look.
///
/// # Errors
/// When the flags contradict each other, or nothing is named and the index knows nothing.
pub fn places<S: Side>(flags: &PlaceFlags<S>, index: &Index) -> Result<Vec<Place>, Refusal> {
    if flags.names_a_place() {
        return Ok(vec![Place::of(flags)?]);
    }
    let known: Result<Vec<_>, _> =
        index.repositories().iter().map(|location| Place::known(location.clone(), flags)).collect();
    let known = known?;
    if known.is_empty() {
        return Err(Refusal::usage(format!(
            "no repository is known: {} {}; name one with --{} and {}, or the index with --meta-path",
            index.path().display(),
            if index.path().exists() { "knows none" } else { "is not there" },
            S::DIR,
            PlaceFlags::<S>::name("path"),
        )));
    }
    Ok(known)
}

/// Opens a place, with calls that are repeated while their trouble may pass.
///
/// # Errors
/// When it cannot be opened.
pub fn open(place: &Place, stop: &CancellationToken) -> Result<Arc<dyn Objects>, Refusal> {
    let opened = place.open().map_err(|failure| Refusal::of(&failure, NAMES))?;
    Ok(Arc::new(Retrying::new(opened, Patience::default(), stop.clone())))
}

/// What makes a place a repository, if it is one. What is wrong with it from the start is said soon.
///
/// # Errors
/// When it does not say.
pub async fn marker(place: &Place, stop: &CancellationToken) -> Result<Option<Marker>, Refusal> {
    let failed = |failure: Failure| Refusal::of(&failure, NAMES);
    let asking = Retrying::new(place.open().map_err(failed)?, Patience::soon(), stop.clone());
    let asked = async { catalog::marker(&asking).await.map_err(|e| Failure::of_repository(place.kind(), &e)) };
    worker::soon(Asked::Store(place.kind()), asked).await.map_err(failed)
}

/// A place, and what it says that it is.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The place.
    pub place: &'a Place,
    /// What makes it a repository, if it is one, or why it does not say.
    pub marker: Result<Option<Marker>, Refusal>,
    /// Later places that are the same repository.
    pub twins: Vec<&'a Place>,
}

/// Asks places what they are. Those whose marker has the same id are one repository, such as by `localhost` and by
/// `127.0.0.1`, and stand here once, by the first of them; one that does not answer, or is no repository, stands for itself.
///
/// # Errors
/// When it was told to stop.
pub async fn distinct<'a>(places: &'a [Place], stop: &CancellationToken) -> Result<Vec<Answer<'a>>, Refusal> {
    let mut answers: Vec<Answer<'a>> = Vec::new();
    for place in places {
        let marker = match marker(place, stop).await {
            Err(refusal) if refusal.ending == Ending::Interrupted => return Err(refusal),
            marker => marker,
        };
        let id = |marker: &Result<Option<Marker>, Refusal>| Some(marker.as_ref().ok()?.as_ref()?.repository);
        let same = answers.iter_mut().find(|answer| id(&marker).is_some_and(|own| id(&answer.marker) == Some(own)));
        match same {
            Some(first) => first.twins.push(place),
            None => answers.push(Answer { place, marker, twins: Vec::new() }),
        }
    }
    Ok(answers)
}

/// The id of a backup.
///
/// # Errors
/// When it is none.
pub fn id(text: &str) -> Result<BackupId, Refusal> {
    let text = &text.trim().to_lowercase();
    let uuid: Result<Uuid, _> = text.parse();
    match (text.parse(), uuid.map(|uuid| uuid.get_version_num())) {
        (Ok(id), Ok(7)) => Ok(id),
        // What mo_br has made has ids of another kind, which only its own index knows.
        (_, Ok(_)) => Err(Refusal::not_found(format!(
            "{text} is no id of this program; a backup that mo_br made is named by its folder, with --backup-path or \
             --backup-filepath"
        ))),
        (_, Err(_)) => {
            Err(Refusal::usage(format!("{text:?} is no id of a backup; see what there is with mo-backup list")))
        }
    }
}

/// The id of a backup that was given in one of two ways, if it was.
///
/// # Errors
/// When it is none.
pub fn either(bare: Option<&String>, named: Option<&String>) -> Result<Option<BackupId>, Refusal> {
    bare.or(named).map(|text| id(text)).transpose()
}

/// The place that has this backup.
///
/// # Errors
/// When none has it, or one that might have it cannot be asked.
pub async fn holder(
    places: Vec<Place>,
    id: BackupId,
    stop: &CancellationToken,
) -> Result<(Place, Arc<dyn Objects>), Refusal> {
    let looked = places.len();
    let mut silent = None;
    for place in places {
        // Somebody waits: what is wrong from the start is said soon.
        let asking = place.open().map_err(|failure| Refusal::of(&failure, NAMES))?;
        let asking = Retrying::new(asking, Patience::soon(), stop.clone());
        match asking.stat(&Key::catalog(id)).await {
            Ok(Some(_)) => {
                let objects = open(&place, stop)?;
                return Ok((place, objects));
            }
            Ok(None) => {}
            Err(e) => {
                let refusal = Refusal::of(&Failure::of_store(place.kind(), &e), NAMES);
                screen::warn(&format!("{}: {}", place.lines().join(" "), refusal.message));
                silent.get_or_insert(refusal);
            }
        }
    }
    match silent {
        Some(refusal) => Err(refusal),
        None => Err(Refusal::not_found(format!(
            "there is no backup {id} (repositories looked at: {looked}); see what there is with mo-backup list"
        ))),
    }
}
