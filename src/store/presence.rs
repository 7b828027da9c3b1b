//! Looking whether every object of a backup is where its list says, by listings alone.

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream, Peekable},
};
use std::pin::pin;

use super::{Error, Failure, Key, Listed, Objects, Prefix, framing};
use crate::plan::{Entry, Source};

/// Faults that are told of all.
pub const NAMED: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Objects that are there with the right size.
    pub objects: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// How many are not.
    pub faults: u64,
    /// The first of them.
    pub first: Vec<Fault>,
    /// The first of those that are in another listing than the first: their objects lie under an earlier backup.
    pub of_earlier: Option<Fault>,
}

/// An object that is not as its entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing(Key),
    /// It has another size.
    Size {
        /// Its key.
        key: Key,
        /// Bytes it should take, frames included.
        expected: u64,
        /// Bytes it takes.
        found: u64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "{key} is missing"),
            Self::Size { key, expected, found } => write!(f, "{key} has {found} bytes instead of {expected}"),
        }
    }
}

/// An object that is looked for in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub key: Key,
    /// The listing that has it, by its number. Those of one listing ascend by their keys.
    pub listing: usize,
    /// Bytes that it takes, frames included, if that is known.
    pub stored: Option<u64>,
    /// Bytes of its content.
    pub size: u64,
}

/// Compares the entries (ascending by path) with the listings of all folders that hold their bytes. Constant memory.
pub async fn present(
    objects: &dyn Objects,
    sources: &[Source],
    entries: impl Stream<Item = Result<Entry, Failure>>,
) -> Result<Presence, Failure> {
    let folders: Vec<_> = sources.iter().map(|s| Prefix::attempt(s.backup, s.attempt)).collect();
    let wanted = entries.map(|entry| entry.and_then(|entry| of_entry(sources, &entry)));
    // On the heap: it holds the caller's entries, and whoever waits for it holds it.
    Box::pin(compare(objects, &folders, wanted)).await
}

fn of_entry(sources: &[Source], entry: &Entry) -> Result<Wanted, Failure> {
    let no = || Failure::Differs { what: entry.path.clone(), detail: "it lies in no source".into() };
    let listing = usize::try_from(entry.from).map_err(|_| no())?;
    let source = sources.get(listing).ok_or_else(no)?;
    let stored = framing::stored_size(framing::of_path(source.framing, &entry.path), entry.size);
    let key = Key::object(source.backup, source.attempt, &entry.path);
    Ok(Wanted { key, listing, stored: Some(stored), size: entry.size })
}

/// Compares what is wanted with the listings of these folders. Constant memory, and one request for many objects.
pub async fn compare(
    objects: &dyn Objects,
    folders: &[Prefix],
    wanted: impl Stream<Item = Result<Wanted, Failure>>,
) -> Result<Presence, Failure> {
    let mut listings: Vec<Listing<'_>> = folders.iter().map(|folder| objects.list(folder).peekable()).collect();
    let mut presence = Presence::default();
    let mut wanted = pin!(wanted);
    while let Some(Wanted { key, listing: at, stored, size }) = wanted.try_next().await? {
        let Some(listing) = listings.get_mut(at) else {
            return Err(Failure::Differs { what: key.to_string(), detail: "it lies in no folder".into() });
        };
        let fault = match (find(listing, &key).await?, stored) {
            (Some(found), Some(expected)) if found != expected => Fault::Size { key, expected, found },
            (Some(_), _) => {
                presence.objects += 1;
                presence.bytes = presence.bytes.saturating_add(size);
                continue;
            }
            (None, _) => Fault::Missing(key),
        };
        presence.faults += 1;
        if at > 0 && presence.of_earlier.is_none() {
            presence.of_earlier = Some(fault.clone());
        }
        if presence.first.len() < NAMED {
            presence.first.push(fault);
        }
    }
    Ok(presence)
}

/// The entries of a list in memory, for [`present`].
pub fn of_iter(entries: impl Iterator<Item = Entry>) -> impl Stream<Item = Result<Entry, Failure>> {
    stream::iter(entries.map(Ok))
}

/// The entries of a stored list, for [`present`].
pub fn of_list(entries: super::catalog::Entries) -> impl Stream<Item = Result<Entry, Failure>> {
    stream::try_unfold(entries, |mut entries| async move { Ok(entries.next().await?.map(|entry| (entry, entries))) })
}

type Listing<'a> = Peekable<BoxStream<'a, Result<Listed, Error>>>;

/// Size of an object, from a listing that is read up to it.
async fn find(listing: &mut Listing<'_>, key: &Key) -> Result<Option<u64>, Error> {
    let mut listing = std::pin::Pin::new(listing);
    loop {
        let before = |found: &Result<Listed, Error>| found.as_ref().map_or(true, |listed| listed.key <= *key);
        match listing.as_mut().next_if(before).await {
            None => return Ok(None),
            Some(Err(e)) => return Err(e),
            Some(Ok(found)) if found.key == *key => return Ok(Some(found.size)),
            Some(Ok(_)) => {}
        }
    }
}
