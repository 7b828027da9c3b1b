//! Reading the entry list of an attempt.

use bytes::Bytes;
use futures::{TryStreamExt as _, stream::BoxStream};

use super::damaged;
use crate::{
    plan::{self, Catalog, EntriesReader, Entry},
    store::{Error, Failure, Key, Objects, Problem},
};

/// The entries of a backup, one after the other. They count only when `next` has returned `None`: the digests are
/// compared at the end.
pub struct Entries {
    key: Key,
    pieces: BoxStream<'static, Result<Bytes, Error>>,
    reader: Option<EntriesReader>,
}

/// Begins to read the entry list of a backup.
pub async fn entries(objects: &dyn Objects, catalog: &Catalog) -> Result<Entries, Failure> {
    let key = Key::entries(catalog.id, catalog.attempt);
    let reader = EntriesReader::new(catalog).map_err(|e| of_file(&key, e))?;
    let pieces = match objects.read(&key, None).await {
        Ok(pieces) => pieces,
        Err(e) if e.problem == Problem::Missing => return Err(damaged(&key, "it is missing")),
        Err(e) => return Err(e.into()),
    };
    Ok(Entries { key, pieces, reader: Some(reader) })
}

/// What is wrong with a file, under the name that it has in the repository.
fn of_file(key: &Key, error: plan::Error) -> Failure {
    match error {
        plan::Error::Damaged { file: _, detail } => damaged(key, detail),
        plan::Error::Unwritable { .. } | plan::Error::Differs { .. } => error.into(),
    }
}

impl Entries {
    /// The next entry; `None` when the list has ended and is what its catalogue says.
    pub async fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if let Some(entry) = reader.next_entry().map_err(|e| of_file(&self.key, e))? {
                return Ok(Some(entry));
            }
            match self.pieces.try_next().await? {
                Some(piece) => reader.push(piece).map_err(|e| of_file(&self.key, e))?,
                None => {
                    if let Some(reader) = self.reader.take() {
                        reader.finish().map_err(|e| of_file(&self.key, e))?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Reads to the end.
    pub async fn verify(mut self) -> Result<(), Failure> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
