//! What can be known of the folders that `mo_br` or a plain BACKUP statement made: what each says about itself, or why it
//! cannot be used, and which of them belong together.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    Failure, Place,
    restore::folder::{self, Folder},
    server_files::{Flaw, HK_DATA},
};
use crate::{
    plan::{Chain, Timestamp},
    store::{self, Key, Objects, Prefix, layout::is_ours},
};

/// Most folders that are told of.
const MOST: usize = 10_000;
/// Folders read at the same time.
const AT_ONCE: usize = 8;
/// From this many bytes on a list is read alone: its rows take about half as many in memory.
const LARGE: u64 = 8 << 20;
/// Deepest folder, in parts below the place.
const DEEPEST: usize = 2;

/// The folders of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// The first 10 000 of them, by path.
    pub found: Vec<FoundFolder>,
    /// How many more there are, at least.
    pub left_out: u64,
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

/// Looks for folders made without us in a place: it may be one itself, or holds them one or two levels deep. The place is
/// listed once, in a stream; its calls are not repeated, that is the caller's to wrap. What belongs to a repository of ours
/// is passed over.
///
/// # Errors
/// When the store does not answer: what a folder says is then not known.
pub async fn folders(source: &dyn Objects, kind: Place) -> Result<Folders, Failure> {
    let (candidates, left_out) = find(source).await.map_err(|e| Failure::of_store(kind, &e))?;
    let large = Semaphore::new(1);
    let reads = candidates.into_iter().map(|(path, signs)| {
        let large = &large;
        async move {
            let _alone = if signs.list > LARGE { large.acquire().await.ok() } else { None };
            describe(source, kind, path, signs).await
        }
    });
    let found = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    Ok(Folders { found, left_out })
}

/// What a listing says of a folder.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    /// The file that is written last.
    meta: bool,
    /// The file with the ids.
    hk_data: bool,
    /// Bytes of the list.
    list: u64,
}

async fn find(source: &dyn Objects) -> Result<(BTreeMap<String, Signs>, u64), store::Error> {
    // Elsewhere folders of these names are anybody's.
    let repository = source.stat(&Key::marker()).await?.is_some();
    let (mut found, mut left_out, mut last) = (BTreeMap::<String, Signs>::new(), 0, String::new());
    let all = Prefix::all();
    let mut listed = source.list(&all);
    while let Some(object) = listed.try_next().await? {
        let key = object.key.as_str();
        let Some((folder, rest)) = split(key).filter(|(folder, _)| may_be(folder)) else { continue };
        if repository && folder.split('/').next().is_some_and(|first| !first.is_empty() && is_ours(first)) {
            continue;
        }
        if !found.contains_key(folder) && found.len() >= MOST {
            if last != folder {
                left_out += 1;
                folder.clone_into(&mut last);
            }
            continue;
        }
        let signs = found.entry(folder.to_owned()).or_default();
        signs.meta |= rest == "mo_meta";
        signs.hk_data |= rest == HK_DATA;
        signs.list = signs.list.max(if rest == "tae/tae_list" { object.size } else { 0 });
    }
    Ok((found, left_out))
}

/// Splits the key of a file that tells a folder of MatrixOne's: the folder, and the file below it. Where a BACKUP was cut off
/// there are nothing but objects.
fn split(key: &str) -> Option<(&str, &str)> {
    let (parent, name) = key.rsplit_once('/').unwrap_or(("", key));
    let below = |part: &str| {
        let folder = parent.strip_suffix(part)?;
        if folder.is_empty() { Some("") } else { folder.strip_suffix('/') }
    };
    let folder = match name {
        "mo_meta" => parent,
        "hk_data" => below("hakeeper")?,
        "tae_list" | "tae_sum" => below("tae")?,
        object if is_object(object) => below("tae")?,
        _ => return None,
    };
    Some((folder, key.get(folder.len()..)?.trim_start_matches('/')))
}

/// `<uuid>_<five digits>`, as MatrixOne names objects.
fn is_object(name: &str) -> bool {
    let Some((uuid, number)) = name.split_once('_') else { return false };
    uuid.len() == 36 && number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit()) && Uuid::try_parse(uuid).is_ok()
}

/// Whether a folder lies where we look, with a path that can be given to a restore.
fn may_be(folder: &str) -> bool {
    let parts = folder.split('/');
    let right = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '~');
    folder.is_empty() || (parts.clone().count() <= DEEPEST && parts.clone().all(right))
}

async fn describe(source: &dyn Objects, kind: Place, path: String, signs: Signs) -> Result<FoundFolder, Failure> {
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
    Ok(FoundFolder { path, content })
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
