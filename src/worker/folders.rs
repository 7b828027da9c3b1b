//! What can be known of the folders that `mo_br` or a plain BACKUP statement made: what each says about itself, or why it
//! cannot be used, and which of them belong together.

mod search;

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::{
    Failure, Place,
    restore::folder::{self, Folder},
    server_files::{Flaw, HK_DATA},
};
use crate::{
    plan::{Chain, Timestamp},
    store::{Key, Objects},
};
use search::{Found, Signs};

/// Most folders that are told of.
const MOST: usize = 10_000;
/// Folders read at the same time.
const AT_ONCE: usize = 8;
/// From this many bytes on a list is read alone: its rows take about half as many in memory.
const LARGE: u64 = 8 << 20;
/// What could not be looked at is named up to this many times.
const NAMED: usize = 20;

/// The folders of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// The first 10 000 of them, by path.
    pub found: Vec<FoundFolder>,
    /// How many more there are, at least.
    pub left_out: u64,
    /// What was not looked at, and why, for people: there may be more folders than were found.
    pub missed: Vec<String>,
}

/// A folder that MatrixOne has written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFolder {
    /// Its path below the place; empty for the place itself. It has no control characters.
    pub path: String,
    /// What it says, or why it cannot be used: it is damaged, or its BACKUP has not finished.
    pub content: Result<FolderContent, String>,
}

/// What a folder says about itself. Its own files were compared with their companions, and the list with its sum; of the
/// objects nothing was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderContent {
    /// The consistency point.
    pub backup_ts: Timestamp,
    /// Objects that `tae/tae_list` names.
    pub objects: u64,
    /// Bytes of their content as they are listed, wherever they lie.
    pub bytes: u64,
    /// How many of the objects were copied into this folder.
    pub copied: u64,
    /// How many lie in earlier folders.
    pub elsewhere: u64,
    /// MatrixOne's version, as its build says it.
    pub server_version: Option<String>,
}

impl FolderContent {
    /// Whether the folder can be restored by itself.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.elsewhere == 0
    }
}

/// Looks for folders made without us in a place: it may be one itself, or holds them one or two levels deep. Of what lies
/// deeper nothing is listed, so that a large place costs no more than a deep look into its first levels; that look is
/// bounded too. Calls are not repeated, that is the caller's to wrap. What belongs to a repository of ours is passed over,
/// and so is what may not be looked at, which is told.
///
/// # Errors
/// When the store does not answer: what a folder says is then not known.
pub async fn folders(source: &dyn Objects, kind: Place) -> Result<Folders, Failure> {
    let Found { mut candidates, mut unreadable, cut } =
        search::search(source).await.map_err(|e| Failure::of_store(kind, &e))?;
    let rest = candidates.keys().nth(MOST).cloned().map(|first| candidates.split_off(&first));
    let left_out = rest.map_or(0, |rest| rest.len() as u64);
    let large = Semaphore::new(1);
    let reads = candidates.into_iter().map(|(path, signs)| {
        let large = &large;
        async move {
            let _alone = if signs.list > LARGE { large.acquire().await.ok() } else { None };
            describe(source, kind, path, signs).await
        }
    });
    let mut found = Vec::new();
    let mut reads = stream::iter(reads).buffered(AT_ONCE);
    while let Some(read) = reads.try_next().await? {
        match read {
            Ok(folder) => found.push(folder),
            Err(why) => unreadable.push(why),
        }
    }
    Ok(Folders { found, left_out, missed: missed(&unreadable, left_out, cut) })
}

/// What is said of all that was not looked at.
fn missed(unreadable: &[String], left_out: u64, cut: bool) -> Vec<String> {
    let mut said: Vec<_> = unreadable.iter().take(NAMED).map(|why| format!("passed over: {why}")).collect();
    match unreadable.len().saturating_sub(NAMED) {
        0 => {}
        more => said.push(format!("passed over: {more} folders more that could not be looked at")),
    }
    if left_out > 0 {
        said.push(format!(
            "{left_out} folders more than the first {MOST} are left out; name the folder that holds them"
        ));
    }
    said.extend(cut.then(search::limits));
    said
}

/// What a folder says, or why it may not be looked at.
async fn describe(
    source: &dyn Objects,
    kind: Place,
    path: String,
    signs: Signs,
) -> Result<Result<FoundFolder, String>, Failure> {
    let key = |file| Key::foreign(&path, file);
    let content = if !signs.meta {
        Err(format!(
            "its BACKUP has not finished, or was cut off: {}, which is written last, is missing",
            key("mo_meta")
        ))
    } else if !signs.hk_data {
        Err(format!("{} is missing", key(HK_DATA)))
    } else {
        match folder::read(source, &path).await {
            Err(Flaw::Store(e)) if search::is_closed(&e) => return Ok(Err(e.to_string())),
            Err(Flaw::Store(e)) => return Err(Failure::of_store(kind, &e)),
            Err(flaw) => Err(folder::told(&path, &flaw, |e| Failure::of_repository(kind, e)).detail),
            Ok((Folder { backup_ts, server_version, .. }, list)) => {
                let (objects, bytes) = (list.len() as u64, list.bytes());
                let (elsewhere, _) = Chain::new(list).nowhere();
                let copied = objects - elsewhere;
                Ok(FolderContent { backup_ts, objects, bytes, copied, elsewhere, server_version })
            }
        }
    };
    Ok(Ok(FoundFolder { path, content }))
}

/// The folders that a restore of one of them should be offered, oldest first: a full one alone; with an incremental one the
/// usable folders beside it that are older, from the last full one on. Whether they hold all that it needs only a restore or
/// a check can tell: folders of two clusters beside each other look like one chain. A path that is not among them, or cannot
/// be used, is offered as it is.
#[must_use]
pub fn chain_of(folders: &[FoundFolder], path: &str) -> Vec<String> {
    let usable = |folder: &FoundFolder| folder.content.as_ref().ok().map(|c| (c.backup_ts, c.is_full()));
    let alone = || vec![path.to_owned()];
    let Some((at, full)) = folders.iter().find(|folder| folder.path == path).and_then(usable) else { return alone() };
    if full {
        return alone();
    }
    // A copy of a folder has its time too; one of both is enough.
    let mut older = BTreeMap::new();
    for folder in folders.iter().filter(|folder| parent(&folder.path) == parent(path)) {
        if let Some((its, full)) = usable(folder).filter(|(its, _)| *its < at) {
            older.entry(its).or_insert((full, folder.path.clone()));
        }
    }
    let mut chain = Vec::new();
    for (full, path) in older.into_values() {
        if full {
            chain.clear();
        }
        chain.push(path);
    }
    chain.push(path.to_owned());
    chain
}

/// The folder that a folder lies in; the place itself lies in none of it.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None => (!path.is_empty()).then_some(""),
    }
}
