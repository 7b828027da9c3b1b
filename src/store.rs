//! Where bytes live: a small interface over object stores and volumes, and every key ever written.

mod below;
pub mod bucket;
pub mod catalog;
pub mod conformance;
pub mod connection;
pub mod copies;
pub mod credentials;
pub mod error;
pub mod failure;
pub mod framing;
pub mod layout;
pub mod level;
pub mod memory;
pub mod presence;
pub mod restored;
pub mod retry;
pub mod sign;
mod signed;
pub mod transfer;
pub mod volume;

use std::{fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use bucket::Bucket;
pub use connection::{Encryption, Place};
pub use copies::{Address, Tag};
pub use credentials::Keys;
pub use error::{Error, Problem};
pub use failure::Failure;
pub use layout::{Key, Prefix};
pub use level::Level;
pub use retry::{Patience, Retrying};
pub use sign::{ObjectLock, Questions, Retention, Versioning};
pub use volume::Volume;

use crate::plan::Digest;

/// Content, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// One object in a listing, or the answer of a `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, relative to the repository.
    pub key: Key,
    /// Bytes stored.
    pub size: u64,
    /// When it was written, by the store's clock; a store need not say it.
    pub modified: Option<Timestamp>,
}

/// A place of objects: a prefix of a bucket or a folder of a volume. Keys are relative to it.
///
/// Every method is one try or bounded retries of what is safe to repeat; errors say whether another try can help.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// Size of an object, or `None` when there is none. A missing bucket is an error, never `None`.
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error>;

    /// Streams the content, or a part of it. A missing object is [`Problem::Missing`]; less than was asked for is an error.
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error>;

    /// Writes a small object at once, replacing what is there.
    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error>;

    /// Writes a small object if there is none under the key; else [`Problem::Taken`]. One try: after a lost reply the
    /// caller must look.
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error>;

    /// Begins a large object of known size. Nothing is visible before [`ObjectWriter::close`].
    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error>;

    /// All objects whose key begins with the prefix, ascending by key bytes, each once.
    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>>;

    /// Something that is there and that no listing shows, in words: a symbolic link, a socket, a name that no key has.
    /// Empty folders are nothing.
    async fn unlisted(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// What lies directly in a folder: at most so many names, and whether there are more. A folder that is not there has
    /// none. What lies deeper is not looked at.
    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error>;

    /// Deletes the keys; missing ones are fine. The caller judges success by listing.
    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error>;

    /// Removes what writers of this place have left behind that ended without a word, however young it is. It is for a
    /// place with one user: what another one is writing there fails.
    async fn clear_unfinished(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Where the place lies in its store, if the store can copy by itself.
    fn address(&self) -> Option<Address> {
        None
    }

    /// Streams the content, and tells the tag that the store gives to this state of it, if it has one that can be asked
    /// for again.
    async fn read_tagged(&self, key: &Key) -> Result<(Option<Tag>, Pieces), Error> {
        Ok((None, self.read(key, None).await?))
    }

    /// Lets the store copy an object of another place in it to a key of this one, replacing what is there. One that is
    /// no longer in the state of the tag is refused with [`Problem::Taken`]. Returns the SHA-256 of the copy if the store
    /// has computed it; else nothing is known of the copy.
    async fn copy(&self, from: (&Address, &Key), _tag: &Tag, to: &Key) -> Result<Option<Digest>, Error> {
        let detail = "this kind of place makes no copies by itself";
        Err(Error::permanent(Problem::Unsupported, "copy", format!("{} to {to}", from.1), detail))
    }
}

/// A large object being written.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends a chunk.
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error>;
    /// Makes the object visible.
    async fn close(self: Box<Self>) -> Result<(), Error>;
    /// Gives it up and frees what was sent.
    async fn abort(self: Box<Self>);
}
