//! Where backups are looked for: the place that the flags name, or every repository of the index.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    ending::{Names, Refusal},
    flags::{PlaceFlags, Side},
    index::Index,
    place::Place,
    screen,
};
use crate::{
    plan::BackupId,
    store::{Key, Objects, Patience, Retrying},
    worker::Failure,
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
            "no repository is known: {} knows none; name one with --{} and {}, or the index with --meta-path",
            index.path().display(),
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
pub fn open(place: &Place, stop: &tokio_util::sync::CancellationToken) -> Result<Arc<dyn Objects>, Refusal> {
    let opened = place.open().map_err(|failure| Refusal::of(&failure, NAMES))?;
    Ok(Arc::new(Retrying::new(opened, Patience::default(), stop.clone())))
}

/// The id of a backup.
///
/// # Errors
/// When it is none.
pub fn id(text: &str) -> Result<BackupId, Refusal> {
    let text = text.trim();
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
    stop: &tokio_util::sync::CancellationToken,
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
            "there is no backup {id} in the {looked} repositories looked at; see what there is with mo-backup list"
        ))),
    }
}
