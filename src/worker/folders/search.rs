//! Finding folders that MatrixOne has written to, by what lies in the first levels of a place.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use super::AT_ONCE;
use crate::{
    store::{self, Key, Level, Objects, Prefix, Problem, layout::is_ours},
    worker::server_files::HK_DATA,
};

/// Deepest folder, in parts below the place.
const DEEPEST: usize = 2;
/// Most names that are looked at, about: folders that are looked at together do not know of each other.
const NAMES: usize = 200_000;
/// Most names that are looked at in one folder: a single large one hides no others.
const NAMES_OF_ONE: usize = 20_000;
/// Most folders that are looked into.
const FOLDERS: usize = 20_000;
/// Names of a folder's `tae` that are looked at where nothing but objects can tell it. They sort before everything else.
const OBJECTS: usize = 1000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Folders that MatrixOne has written to, by their paths.
    pub candidates: BTreeMap<String, Signs>,
    /// Those that may not be looked at, each with why.
    pub unreadable: Vec<String>,
    /// Whether there was more than is looked at.
    pub cut: bool,
}

/// What lies in a folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// The file that is written last.
    pub meta: bool,
    /// The file with the ids.
    pub hk_data: bool,
    /// Bytes of the list.
    pub list: u64,
}

/// What is said where the search was cut off.
pub(super) fn limits() -> String {
    format!(
        "only about {NAMES} names and {FOLDERS} folders of its first levels were looked at; name the folder that holds the backups"
    )
}

/// Whether this is the trouble of one folder, and none of the store.
pub(super) fn is_closed(e: &store::Error) -> bool {
    !e.temporary && matches!(e.problem, Problem::Denied | Problem::Other)
}

/// Looks for them, level by level.
pub(super) async fn search(source: &dyn Objects) -> Result<Found, store::Error> {
    // Elsewhere folders of these names are anybody's.
    let repository = source.stat(&Key::marker()).await?.is_some();
    let (mut found, looked) = (Found::default(), AtomicUsize::new(0));
    let (mut paths, mut room) = (vec![String::new()], FOLDERS);
    for depth in 0..=DEEPEST {
        let looks = std::mem::take(&mut paths).into_iter().map(|path| look(source, path, &looked));
        let mut looks = stream::iter(looks).buffered(AT_ONCE);
        while let Some(Look { path, signs, folders, more }) = looks.try_next().await? {
            let (signs, is_candidate) = match signs {
                Ok(signs) => (signs, signs.is_some()),
                Err(e) if depth == 0 => return Err(e),
                Err(e) => {
                    found.unreadable.push(e.to_string());
                    continue;
                }
            };
            found.cut |= more;
            let below = folders.into_iter().filter(|name| {
                let ours = repository && depth == 0 && is_ours(name);
                let its_own = is_candidate && ["tae", "hakeeper", "config"].contains(&name.as_str());
                depth < DEEPEST && !ours && !its_own && may_be(name)
            });
            let below: Vec<_> = below.map(|name| join(&path, &name)).collect();
            found.cut |= below.len() > room;
            let before = paths.len();
            paths.extend(below.into_iter().take(room));
            room -= paths.len() - before;
            found.candidates.extend(signs.map(|signs| (path, signs)));
            if looked.load(Ordering::Relaxed) >= NAMES {
                found.cut = true;
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// A folder that was looked into.
struct Look {
    path: String,
    /// What tells that MatrixOne has written to it, if anything does, or why it may not be looked at.
    signs: Result<Option<Signs>, store::Error>,
    folders: Vec<String>,
    more: bool,
}

async fn look(source: &dyn Objects, path: String, looked: &AtomicUsize) -> Result<Look, store::Error> {
    let room = NAMES.saturating_sub(looked.load(Ordering::Relaxed)).min(NAMES_OF_ONE);
    let folder = if path.is_empty() { Prefix::all() } else { Prefix::placed(&path) };
    let seen = async {
        let level = source.level(&folder, room).await?;
        looked.fetch_add(level.names(), Ordering::Relaxed);
        Ok((signs(source, &path, &level).await?, level))
    };
    match seen.await {
        Ok((signs, Level { folders, more, objects: _ })) => Ok(Look { path, signs: Ok(signs), folders, more }),
        Err(e) if is_closed(&e) => Ok(Look { path, signs: Err(e), folders: vec![], more: false }),
        Err(e) => Err(e),
    }
}

/// What tells that MatrixOne has written to a folder. Where a BACKUP was cut off there are nothing but objects.
async fn signs(source: &dyn Objects, path: &str, level: &Level) -> Result<Option<Signs>, store::Error> {
    // Of a level that was cut off it is not known what it has.
    let may_have = |names: &[String], name: &str| level.more || names.iter().any(|found| found == name);
    let size = async |file: &str| source.stat(&Key::foreign(path, file)).await;
    let tae = may_have(&level.folders, "tae");
    let meta = may_have(&level.objects, "mo_meta") && size("mo_meta").await?.is_some();
    let hk_data = may_have(&level.folders, "hakeeper") && size(HK_DATA).await?.is_some();
    let list = if tae { size("tae/tae_list").await? } else { None };
    let is_one = meta || hk_data || list.is_some() || tae && size("tae/tae_sum").await?.is_some();
    let is_one = is_one || tae && has_objects(source, path).await?;
    Ok(is_one.then(|| Signs { meta, hk_data, list: list.unwrap_or_default() }))
}

async fn has_objects(source: &dyn Objects, path: &str) -> Result<bool, store::Error> {
    let tae = Prefix::placed(Key::foreign(path, "tae").as_str());
    Ok(source.level(&tae, OBJECTS).await?.objects.iter().any(|name| is_object(name)))
}

/// `<uuid>_<five digits>`, as MatrixOne names objects.
fn is_object(name: &str) -> bool {
    let Some((uuid, number)) = name.split_once('_') else { return false };
    uuid.len() == 36 && number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit()) && Uuid::try_parse(uuid).is_ok()
}

/// Whether a part of a path can be given to a restore.
fn may_be(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(|c: char| c.is_control() || c == '~')
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}
