//! Which backup to restore, and where it lies.

use tokio_util::sync::CancellationToken;

use super::RestoreFlags;
use crate::{
    cli::{
        check,
        ending::Refusal,
        index::Index,
        known, list,
        place::{self, Place},
        screen,
    },
    plan::BackupId,
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
    let [place] = &places[..] else {
        let text =
            "give the ID of the backup, or the repository with --backup-dir and --backup-path or --backup-bucket";
        return Err(Refusal::usage(format!("the index knows {} repositories; {text}", places.len())));
    };
    let found = async {
        let asked = list::ask(place, stop).await?;
        let (ids, _) = check::ids(&asked).await?;
        // Without its marker it is a repository still.
        if asked.marker.is_none() && ids.is_empty() {
            return of_folders(place, &asked.folders, flags.latest);
        }
        // Who names a place means all that is in it.
        let hidden = |id: &BackupId| !flags.source.names_a_place() && index.is_forgotten(*id);
        let (left_out, visible): (Vec<_>, Vec<_>) = ids.into_iter().partition(hidden);
        of_repository(place, &visible, flags.latest, left_out.is_empty())
    };
    let choice = list::until(stop, found).await?;
    Ok(Origin { place: place.clone(), choice })
}

fn of_repository(place: &Place, ids: &[BackupId], latest: bool, all: bool) -> Result<Choice, Refusal> {
    match ids {
        [] => Err(Refusal::not_found(format!("there is no backup in {}", list::name(place)))),
        [..] if latest && all => Ok(Choice::Latest),
        [id] => Ok(Choice::Id(*id)),
        // Ids ascend with time.
        [.., id] if latest => Ok(Choice::Id(*id)),
        [..] => {
            Err(many(place, ids.len(), ids.iter().rev().map(ToString::to_string), "give the ID of one, or --latest"))
        }
    }
}

fn many(place: &Place, count: usize, names: impl Iterator<Item = String>, remedy: &str) -> Refusal {
    let names: Vec<_> = names.take(NAMED).collect();
    let more = if count > names.len() { ", …" } else { "" };
    let place = list::name(place);
    Refusal::usage(format!("there are {count} backups in {place} ({}{more}); {remedy}", names.join(", ")))
}

/// Which of the folders of a place that is no repository.
fn of_folders(place: &Place, Folders { found, left_out }: &Folders, latest: bool) -> Result<Choice, Refusal> {
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
