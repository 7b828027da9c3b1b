//! The files that make a prefix a repository and a folder a backup: read with caps and checks, written once.

mod commit;
mod dependents;
pub mod intents;
mod list;
mod purge;
mod write;

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::{Error, Failure, Key, Listed, Objects, Prefix, Problem};
use crate::plan::{BackupId, Catalog, Digest, History, Marker, Owner, RepositoryId, manifest::FORMAT};

pub use commit::commit;
pub use dependents::{Dependents, dependents};
pub use list::{Entries, entries};
pub use purge::{Purged, purge};
pub use write::write_entries;

/// Largest catalogue entry or marker, in bytes.
pub const CATALOG_MAX: usize = 1 << 20;

/// Catalogue entries read at the same time.
const AT_ONCE: usize = 8;

/// Reads a small object whole.
pub(super) async fn small(objects: &dyn Objects, key: &Key, most: usize) -> Result<Option<Bytes>, Failure> {
    let mut pieces = match objects.read(key, None).await {
        Ok(pieces) => pieces,
        Err(e) if e.problem == Problem::Missing => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut content = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        if content.len() + piece.len() > most {
            return Err(damaged(key, format!("it is longer than {most} bytes")));
        }
        content.extend_from_slice(&piece);
    }
    Ok(Some(content.into()))
}

pub(super) fn damaged(key: &Key, detail: impl Into<String>) -> Failure {
    Failure::Damaged { key: key.to_string(), detail: detail.into() }
}

/// Parses a file that says its format. A later one is told apart from a damaged one before its fields are judged.
pub(super) fn parse<T: DeserializeOwned>(key: &Key, content: &[u8]) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let Versioned { format } = serde_json::from_slice(content).map_err(|e| damaged(key, e.to_string()))?;
    if format > FORMAT {
        return Err(Failure::TooNew { key: key.to_string(), format });
    }
    serde_json::from_slice(content).map_err(|e| damaged(key, e.to_string()))
}

/// The repository's marker, if it has one.
pub async fn marker(objects: &dyn Objects) -> Result<Option<Marker>, Failure> {
    let key = Key::marker();
    let Some(content) = small(objects, &key, CATALOG_MAX).await? else { return Ok(None) };
    match parse(&key, &content) {
        Err(Failure::Damaged { key, detail }) => {
            let why =
                "; it belongs to no backup: remove it, and the next backup writes it again for those that are there";
            Err(Failure::Damaged { key, detail: format!("{detail}{why}") })
        }
        parsed => parsed.map(Some),
    }
}

/// Refuses the repository of another owner. The UID tells who it is: names can be given again.
pub fn own(marker: &Marker, uid: &str) -> Result<(), Failure> {
    if marker.owner.uid == uid {
        return Ok(());
    }
    let Owner { namespace, name, uid } = marker.owner.clone();
    Err(Failure::OtherOwner { namespace, name, uid })
}

/// Makes the prefix a repository of this owner, or finds that it is one, given the marker that was seen there. The answer
/// is the marker that is there; its repository id can be another than the wanted one.
pub async fn claim(objects: &dyn Objects, seen: Option<Marker>, wanted: &Marker) -> Result<Marker, Failure> {
    let found = match seen {
        Some(found) => found,
        None => {
            let repository = orphaned(objects).await?.unwrap_or(wanted.repository);
            let body = serde_json::to_vec(&Marker { repository, ..wanted.clone() })
                .map_err(|e| damaged(&Key::marker(), e.to_string()))?;
            let created = objects.create(&Key::marker(), body.into()).await;
            // Whatever the reply was, the marker that is there now counts.
            match (marker(objects).await?, created) {
                (Some(found), _) => found,
                (None, Err(e)) if e.problem == Problem::Taken => again(objects, wanted, repository).await?,
                (None, Err(e)) => return Err(e.into()),
                (None, Ok(())) => return Err(damaged(&Key::marker(), "it vanished after it was written")),
            }
        }
    };
    own(&found, &wanted.owner.uid)?;
    Ok(found)
}

/// Tries of a create that is refused though nothing is there, before the marker is put without a condition.
const REFUSED: u32 = 3;
/// Time between two of them, and until a marker of somebody else must have arrived.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// Writes a marker where one was removed. A store that keeps versions can refuse to create a key that was deleted, for ever.
/// To delete the mark that hides the old versions would bring the last of them back, with its owner; so the marker is put
/// without a condition, once nothing has been there for a while. Of two that do so, the later one counts: the other
/// finds it here after a pause, and every worker reads the marker before it writes anything.
async fn again(objects: &dyn Objects, wanted: &Marker, repository: RepositoryId) -> Result<Marker, Failure> {
    let key = Key::marker();
    let body =
        serde_json::to_vec(&Marker { repository, ..wanted.clone() }).map_err(|e| damaged(&key, e.to_string()))?;
    for _ in 0..REFUSED {
        sleep(REFUSED_PAUSE).await;
        let created = objects.create(&key, body.clone().into()).await;
        match (marker(objects).await?, created) {
            (Some(found), _) => return Ok(found),
            (None, Err(e)) if e.problem == Problem::Taken => {}
            (None, Err(e)) => return Err(e.into()),
            (None, Ok(())) => return Err(damaged(&key, "it vanished after it was written")),
        }
    }
    tracing::warn!("the store keeps a removed marker hidden; writing another over it");
    objects.put(&key, body.into()).await?;
    sleep(REFUSED_PAUSE).await;
    marker(objects).await?.ok_or_else(|| damaged(&key, "it vanished after it was written"))
}

/// The repository of the backups in a place that has lost its marker. A new marker must name the same one: backups of
/// another repository are not believed.
async fn orphaned(objects: &dyn Objects) -> Result<Option<RepositoryId>, Failure> {
    let (mut named, mut unreadable) = (Vec::new(), None);
    let look = |found: Result<Catalog, Failure>| match found {
        Ok(catalog) if named.contains(&catalog.repository) => {}
        Ok(catalog) => named.push(catalog.repository),
        Err(failure) => {
            unreadable.get_or_insert(failure);
        }
    };
    each(objects, look).await?;
    match (&named[..], unreadable) {
        ([repository], _) => Ok(Some(*repository)),
        ([], None) => Ok(None),
        ([], Some(failure)) => Err(failure),
        ([..], _) => {
            let why = format!("it is missing, and the backups there are of {} repositories", named.len());
            Err(damaged(&Key::marker(), why))
        }
    }
}

/// Whether the store overwrites where it should refuse: tried out with the marker that is there, and its own bytes, so
/// that nothing is lost. No answer is no proof.
pub async fn overwrites(objects: &dyn Objects, marker: &Marker) -> Result<bool, Failure> {
    let body = serde_json::to_vec(marker).map_err(|e| damaged(&Key::marker(), e.to_string()))?;
    Ok(objects.create(&Key::marker(), body.into()).await.is_ok())
}

/// The catalogue entry of a backup, if it is committed.
pub async fn read(objects: &dyn Objects, id: BackupId) -> Result<Option<Catalog>, Failure> {
    let key = Key::catalog(id);
    small(objects, &key, CATALOG_MAX).await?.map(|content| check(&key, id, &content)).transpose()
}

/// The same, with the SHA-256 of the stored file.
pub async fn stored(objects: &dyn Objects, id: BackupId) -> Result<Option<(Catalog, Digest)>, Failure> {
    let key = Key::catalog(id);
    let Some(content) = small(objects, &key, CATALOG_MAX).await? else { return Ok(None) };
    Ok(Some((check(&key, id, &content)?, Digest(Sha256::digest(&content).into()))))
}

/// Parses a catalogue entry and checks that its parts fit together.
fn check(key: &Key, id: BackupId, content: &[u8]) -> Result<Catalog, Failure> {
    let catalog: Catalog = parse(key, content)?;
    let own = catalog.sources.first().is_some_and(|s| s.backup == catalog.id && s.attempt == catalog.attempt);
    let fault = if catalog.id != id {
        "it is of another backup"
    } else if !own {
        "its first source is not its own attempt"
    } else if catalog.sources.iter().skip(1).any(|s| s.backup == id) {
        "it has two sources of its own"
    } else if catalog.base == Some(id) || catalog.base.is_some() != (catalog.chain > 0) {
        "its base and the length of its chain do not fit"
    } else {
        return Ok(catalog);
    };
    Err(damaged(key, fault))
}

/// The catalogue entries of a repository, and those that cannot be read.
#[derive(Debug, Default)]
pub struct All {
    /// Ascending by id, which is by age. Each without its history, which is most of it and of no use to others.
    pub catalogs: Vec<Catalog>,
    /// Entries that are damaged or too new.
    pub unreadable: Vec<Failure>,
}

/// Reads the whole catalogue.
pub async fn all(objects: &dyn Objects) -> Result<All, Failure> {
    let mut all = All::default();
    let keep = |found: Result<Catalog, Failure>| match found {
        Ok(catalog) => all.catalogs.push(Catalog { history: History::default(), ..catalog }),
        Err(failure) => all.unreadable.push(failure),
    };
    each(objects, keep).await?;
    Ok(all)
}

/// Shows every entry of the catalogue, ascending by id, and why one cannot be read. A few are held at a time, however many
/// there are. Files whose name cannot be an entry's are passed over.
pub async fn each(objects: &dyn Objects, show: impl FnMut(Result<Catalog, Failure>)) -> Result<(), Failure> {
    each_file(objects, show, |_| {}).await
}

/// The same, and every other file that lies there: what a desktop, a network file system or a person has left. Its name
/// cannot be an entry's, so that it says nothing about any backup.
pub async fn each_file(
    objects: &dyn Objects,
    mut show: impl FnMut(Result<Catalog, Failure>),
    mut unexpected: impl FnMut(&Key),
) -> Result<(), Failure> {
    let read_one = |listed: Result<Listed, Error>| async move {
        let key = listed?.key;
        match key.backup() {
            Some(id) => Ok(File::Entry(read(objects, id).await)),
            None => Ok(File::Unexpected(key)),
        }
    };
    let mut found = objects.list(&Prefix::catalog()).map(read_one).buffered(AT_ONCE);
    while let Some(file) = found.next().await {
        match file {
            Ok(File::Entry(Ok(Some(catalog)))) => show(Ok(catalog)),
            // Deleted since it was listed.
            Ok(File::Entry(Ok(None))) => {}
            Ok(File::Entry(Err(Failure::Store(e)))) | Err(e) => return Err(e.into()),
            Ok(File::Entry(Err(e))) => show(Err(e)),
            Ok(File::Unexpected(key)) => unexpected(&key),
        }
    }
    Ok(())
}

/// A file of the catalogue.
enum File {
    /// By its name an entry, and what came of reading it.
    Entry(Result<Option<Catalog>, Failure>),
    /// Anything else.
    Unexpected(Key),
}

#[cfg(test)]
mod tests;
