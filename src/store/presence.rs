//! Looking whether every object of a backup is where its list says, by listings alone.

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream, Peekable},
};
use std::pin::pin;

use super::{Error, Failure, Key, Listed, Objects, Prefix, framing};
use crate::plan::{Entry, Source};

/// Faults that are told of all.
const NAMED: usize = 5;

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
    /// The first of those whose object lies under an earlier backup.
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

/// Compares the entries (ascending by path) with the listings of all folders that hold their bytes. Constant memory.
pub async fn present(
    objects: &dyn Objects,
    sources: &[Source],
    entries: impl Stream<Item = Result<Entry, Failure>>,
) -> Result<Presence, Failure> {
    let mut listings: Vec<Listing<'_>> =
        sources.iter().map(|s| objects.list(&Prefix::attempt(s.backup, s.attempt)).peekable()).collect();
    let mut presence = Presence::default();
    let mut entries = pin!(entries);
    while let Some(entry) = entries.try_next().await? {
        let at = usize::try_from(entry.from).ok();
        let place = at.and_then(|n| Some((sources.get(n)?, listings.get_mut(n)?)));
        let Some((source, listing)) = place else {
            return Err(Failure::Differs { what: entry.path, detail: "it lies in no source".into() });
        };
        let key = Key::object(source.backup, source.attempt, &entry.path);
        let expected = framing::stored_size(framing::of_path(source.framing, &entry.path), entry.size);
        let fault = match find(listing, &key).await? {
            Some(found) if found == expected => {
                presence.objects += 1;
                presence.bytes += entry.size;
                continue;
            }
            Some(found) => Fault::Size { key, expected, found },
            None => Fault::Missing(key),
        };
        presence.faults += 1;
        if entry.from > 0 && presence.of_earlier.is_none() {
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
