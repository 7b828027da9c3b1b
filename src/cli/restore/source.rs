//! Which backup to restore, and where it lies.

use tokio_util::sync::CancellationToken;

use super::RestoreFlags;
use crate::{
    cli::{
        check,
        ending::Refusal,
        index::Index,
        known,
        list::{self, Asked},
        place::{self, Place},
        screen,
    },
    plan::{BackupId, newest::Whose},
    task::Choice,
    worker::{self, Folders, FoundFolder},
};

/// Folders and backups that are named of many.
const NAMED: usize = 3;

/// A backup that was asked for.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it lies.
    pub place: Place,
    /// Which one it is.
    pub choice: Choice,
}

impl Origin {
    /// Where it lies, in lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.place.lines();
        match &self.choice {
            Choice::Paths(paths) if paths.iter().any(|path| !path.is_empty()) => {
                lines.push(format!("Folders: {}", paths.iter().map(|p| shown(p)).collect::<Vec<_>>().join(", ")));
            }
            Choice::Paths(_) | Choice::Id(_) | Choice::Latest | Choice::Before(_) => {}
        }
        lines
    }
}

/// Finds the backup that the flags name.
///
/// # Errors
/// When there is none, or more than one.
pub async fn of(flags: &RestoreFlags, index: &Index, stop: &CancellationToken) -> Result<Origin, Refusal> {
    let id = known::either(flags.id.as_ref(), flags.named.as_ref())?;
    if flags.source.name_a_chain() {
        if id.is_some() || flags.latest {
            let text = "--backup-path or --backup-filepath more than once is a chain of folders, oldest first; it goes with \
                        no ID and no --latest";
            return Err(Refusal::usage(text));
        }
        let (place, paths) = place::chain(&flags.source)?;
        return Ok(Origin { place, choice: Choice::Paths(paths) });
    }
    let places = known::places(&flags.source, index)?;
    if let Some(id) = id {
        let (place, _) = list::until(stop, known::holder(places, id, stop)).await?;
        return Ok(Origin { place, choice: Choice::Id(id) });
    }
    let places: Vec<&Place> = match &places[..] {
        [place] => vec![place],
        // One that stands in the index under two names is one.
        places => known::distinct(places, stop).await?.into_iter().map(|answer| answer.place).collect(),
    };
    let [place] = places[..] else {
        let text =
            "give the ID of the backup, or the repository with --backup-dir and --backup-path or --backup-bucket";
        return Err(Refusal::usage(format!("the index knows {} repositories; {text}", places.len())));
    };
    let found = async {
        let asked = list::ask(place, stop).await?;
        let (mut ids, _) = check::ids(&asked).await?;
        // Without its marker it is a repository still.
        if asked.marker.is_none() && ids.is_empty() {
            return of_folders(place, &asked.folders, flags.latest);
        }
        // Who names a place means all that is in it.
        let hidden = |id| !flags.source.names_a_place() && index.is_forgotten(id);
        ids.retain(|id| !hidden(*id));
        match &ids[..] {
            [] => Err(Refusal::not_found(format!("there is no backup in {}", list::name(place)))),
            [..] if flags.latest => latest(flags, &asked, &hidden).await,
            [id] => Ok(Choice::Id(*id)),
            [..] => {
                let names = ids.iter().rev().map(ToString::to_string);
                Err(many(place, ids.len(), names, "give the ID of one, or --latest"))
            }
        }
    };
    let choice = list::until(stop, found).await?;
    Ok(Origin { place: place.clone(), choice })
}

/// The backup with the newest data, by its id: every command line has the same name, so only the id tells whether it is the
/// one that the target has. What is passed over is said before anything is restored.
async fn latest(
    flags: &RestoreFlags,
    asked: &Asked<'_>,
    hidden: &(dyn Fn(BackupId) -> bool + Sync),
) -> Result<Choice, Refusal> {
    let repository = asked.marker.as_ref().map(|marker| marker.repository);
    let whose = Whose { identity: flags.identity.as_deref(), address: flags.address.as_deref() };
    let of = (repository, whose, worker::wall()());
    let found = worker::latest(&*asked.objects, asked.place.kind(), of, hidden).await;
    let (id, warnings) = found.map_err(|failure| super::failed(&failure))?;
    warnings.iter().for_each(super::warn);
    Ok(Choice::Id(id))
}

fn many(place: &Place, count: usize, names: impl Iterator<Item = String>, remedy: &str) -> Refusal {
    let names: Vec<_> = names.take(NAMED).collect();
    let more = if count > names.len() { ", …" } else { "" };
    let place = list::name(place);
    Refusal::usage(format!("there are {count} backups in {place} ({}{more}); {remedy}", names.join(", ")))
}

/// Which of the folders of a place that is no repository.
fn of_folders(place: &Place, Folders { found, left_out, .. }: &Folders, latest: bool) -> Result<Choice, Refusal> {
    let itself = found.iter().find(|folder| folder.path.is_empty());
    let path = match (itself, &found[..]) {
        // What is wrong with it, a restore says better.
        (Some(only), _) | (None, [only]) => only.path.as_str(),
        (None, []) => return Err(Refusal::not_found(list::nothing(place))),
        (None, [..]) if latest => newest(place, found)?,
        (None, [..]) => {
            let count = found.len() + usize::try_from(*left_out).unwrap_or_default();
            let names = found.iter().map(|folder| folder.path.clone());
            return Err(many(place, count, names, "name one of the folders, or give --latest"));
        }
    };
    Ok(Choice::Paths(worker::chain_of(found, path)))
}

fn newest<'a>(place: &Place, folders: &'a [FoundFolder]) -> Result<&'a str, Refusal> {
    let mut newest = None;
    for folder in folders {
        match &folder.content {
            Ok(content) => newest = newest.max(Some((content.backup_ts, folder.path.as_str()))),
            Err(why) => screen::warn(&format!("passed over {}: {why}", shown(&folder.path))),
        }
    }
    newest
        .map(|(_, path)| path)
        .ok_or_else(|| Refusal::not_found(format!("there is no backup in {} that can be restored", list::name(place))))
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}
