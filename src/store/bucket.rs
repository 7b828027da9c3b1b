//! A prefix of a bucket of an S3 compatible store.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use opendal::{BufferStream, Operator, Writer};

use super::{
    Address, Error, Key, Keys, Level, Listed, ObjectWriter, Objects, Pieces, Place, Prefix, Problem, Tag,
    copies::Copier,
};
use crate::plan::Digest;

/// Smallest part of a large object. S3 takes no smaller ones.
const PART: u64 = 5 << 20;
/// S3 takes at most 10 000 parts.
const PARTS_MAX: u64 = 9_000;
/// Parts of one object that are on their way at the same time.
const PARTS_AT_ONCE: usize = 2;
/// S3 deletes at most this many objects in one request.
const BATCH: usize = 1000;

/// A prefix of a bucket.
#[derive(Clone)]
pub struct Bucket {
    operator: Operator,
    name: String,
    copier: Arc<Copier>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

impl Bucket {
    /// Makes a client; nothing is sent yet. Without keys the identity of the process is used (environment, web
    /// identity, container or instance role); with keys nothing else is looked for. With certificates (PEM) no others
    /// are trusted.
    pub fn open(place: &Place, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Self, Error> {
        let copier = Arc::new(Copier::open(place, keys, ca)?);
        Ok(Self { operator: place.operator(keys, ca)?, name: place.bucket.clone(), copier })
    }

    async fn reading(&self, key: &Key, range: Option<Range<u64>>) -> Result<BufferStream, Error> {
        let failed = |e: opendal::Error| Error::from_opendal("read", key.as_str(), &e);
        let reader = self.operator.reader(key.as_str()).await.map_err(failed)?;
        let pieces = match range {
            Some(range) => reader.into_stream(range).await,
            None => reader.into_stream(..).await,
        };
        pieces.map_err(failed)
    }

    /// One object at most; tells what a HEAD request cannot, for its answers have no text.
    async fn look(&self) -> Result<(), Error> {
        let failed = |e| Error::from_opendal("list", &format!("bucket {}", self.name), &e);
        let mut found = self.operator.lister_with("").recursive(true).limit(1).await.map_err(failed)?;
        found.try_next().await.map_err(failed).map(|_| ())
    }
}

/// Size of the parts of an object of this size, in bytes.
fn part_size(size: u64) -> usize {
    let bytes = PART.max(size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Bytes that sending an object of this size holds in memory.
pub(super) fn memory_of(size: u64) -> u64 {
    (part_size(size) as u64).saturating_mul(PARTS_AT_ONCE as u64 + 1)
}

#[async_trait]
impl Objects for Bucket {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        let e = match self.operator.stat(key.as_str()).await {
            Ok(found) => return Ok(Some(found.content_length())),
            Err(e) => Error::from_opendal("stat", key.as_str(), &e),
        };
        if e.temporary || e.problem == Problem::NoCredentials {
            return Err(e);
        }
        // The answer to a HEAD request has no text: a missing bucket, an unknown key and another region look alike.
        self.look().await?;
        if e.problem == Problem::Missing { Ok(None) } else { Err(e) }
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        let reading = self.reading(key, range).await?;
        begun(reading, key).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        let written = self.operator.write(key.as_str(), body).await;
        written.map(|_| ()).map_err(|e| Error::from_opendal("write", key.as_str(), &e))
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        let written = self.operator.write_with(key.as_str(), body).if_not_exists(true).await;
        written.map(|_| ()).map_err(|e| Error::from_opendal("create", key.as_str(), &e))
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        let writer = self.operator.writer_with(key.as_str()).chunk(part_size(size)).concurrent(PARTS_AT_ONCE).await;
        let writer = writer.map_err(|e| Error::from_opendal("write", key.as_str(), &e))?;
        Ok(Box::new(Parts { bucket: self.clone(), writer, key: key.clone(), size, sent: 0 }))
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let prefix = prefix.as_str().to_owned();
        stream::once(async move {
            let failed = |e: opendal::Error| Error::from_opendal("list", &prefix, &e);
            let lister = self.operator.lister_with(&prefix).recursive(true).await.map_err(failed)?;
            let shown = prefix.clone();
            let entries = lister.map(move |e| e.map_err(|e| Error::from_opendal("list", &shown, &e)));
            Ok(ascending(entries.try_filter_map(|entry| async move {
                let (path, metadata) = entry.into_parts();
                let found = Listed {
                    key: Key::listed(&path),
                    size: metadata.content_length(),
                    modified: metadata.last_modified().map(opendal::raw::Timestamp::into_inner),
                };
                Ok((!path.ends_with('/')).then_some(found))
            })))
        })
        .try_flatten()
        .boxed()
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        let failed = |e: opendal::Error| Error::from_opendal("list", folder.as_str(), &e);
        let mut found = self.operator.lister_with(folder.as_str()).await.map_err(failed)?;
        let mut level = Level::default();
        while let Some(entry) = found.try_next().await.map_err(failed)? {
            // The folder itself may be an object, whose name begins with what divides names.
            let name = entry.path().strip_prefix(folder.as_str()).unwrap_or_default().trim_start_matches('/');
            if !level.take(name, most) {
                break;
            }
        }
        Ok(level)
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        for batch in keys.chunks(BATCH) {
            let paths: Vec<String> = batch.iter().map(ToString::to_string).collect();
            if self.operator.delete_iter(paths).await.is_ok() {
                continue;
            }
            // The reply for a batch says neither which key failed nor why.
            let mut failed = None;
            for key in batch {
                if let Err(e) = self.operator.delete(key.as_str()).await {
                    failed.get_or_insert(Error::from_opendal("delete", key.as_str(), &e));
                }
            }
            if let Some(e) = failed {
                return Err(e);
            }
        }
        Ok(())
    }

    fn address(&self) -> Option<Address> {
        Some(self.copier.address())
    }

    async fn read_tagged(&self, key: &Key) -> Result<(Option<Tag>, Pieces), Error> {
        let mut reading = self.reading(key, None).await?;
        // Of the very answer that brings the content.
        let seen = reading.metadata().await.map_err(|e| Error::from_opendal("read", key.as_str(), &e))?;
        Ok((seen.etag().and_then(Tag::read), begun(reading, key).await?))
    }

    async fn copy(&self, from: (&Address, &Key), tag: &Tag, to: &Key) -> Result<Option<Digest>, Error> {
        self.copier.copy(from, tag, to).await
    }
}

/// The request is sent with the first piece; its failure belongs to the call.
async fn begun(reading: BufferStream, key: &Key) -> Result<Pieces, Error> {
    let what = key.to_string();
    let mut pieces = reading.map(move |piece| match piece {
        Ok(buffer) => Ok(buffer.to_bytes()),
        Err(e) => Err(Error::from_opendal("read", &what, &e)),
    });
    match pieces.next().await {
        None => Ok(stream::empty().boxed()),
        Some(Err(e)) => Err(e),
        Some(Ok(first)) => Ok(stream::once(async { Ok(first) }).chain(pieces).boxed()),
    }
}

/// Drops what is repeated (some stores repeat an entry at the turn of a page) and refuses disorder.
fn ascending(
    listed: impl futures::Stream<Item = Result<Listed, Error>> + Send,
) -> impl futures::Stream<Item = Result<Listed, Error>> + Send {
    let mut before: Option<Key> = None;
    listed.try_filter_map(move |found| {
        let order = before.as_ref().map(|b| b.cmp(&found.key));
        let outcome = match order {
            Some(std::cmp::Ordering::Equal) => Ok(None),
            Some(std::cmp::Ordering::Greater) => Err(Error::permanent(
                Problem::Unsupported,
                "list",
                found.key.to_string(),
                "the store does not list in ascending order of keys",
            )),
            Some(std::cmp::Ordering::Less) | None => {
                before = Some(found.key.clone());
                Ok(Some(found))
            }
        };
        async move { outcome }
    })
}

/// A large object being sent in parts.
struct Parts {
    bucket: Bucket,
    writer: Writer,
    key: Key,
    size: u64,
    sent: u64,
}

#[async_trait]
impl ObjectWriter for Parts {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.sent += chunk.len() as u64;
        self.writer.write(chunk).await.map_err(|e| Error::from_opendal("write", self.key.as_str(), &e))
    }

    async fn close(mut self: Box<Self>) -> Result<(), Error> {
        let what = self.key.to_string();
        if self.sent != self.size {
            let detail = format!("{} bytes instead of {}", self.sent, self.size);
            self.abort().await;
            return Err(Error::permanent(Problem::Corrupted, "write", what, detail));
        }
        let Err(e) = self.writer.close().await else { return Ok(()) };
        let e = Error::from_opendal("write", &what, &e);
        // A lost reply looks like a failure, and a repeated request like a missing upload: the object itself tells.
        match self.bucket.stat(&self.key).await {
            Ok(Some(size)) if size == self.size => Ok(()),
            Ok(_) | Err(_) => {
                self.abort().await;
                Err(e)
            }
        }
    }

    async fn abort(mut self: Box<Self>) {
        if let Err(e) = self.writer.abort().await {
            let said = Error::from_opendal("abort", self.key.as_str(), &e);
            tracing::warn!(key = %self.key, error = %said, "parts of an unfinished upload may stay in the bucket");
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 5 << 20)]
    #[case(1 << 30, 5 << 20)]
    #[case(44 << 30, 6 << 20)]
    #[case(5 << 40, 583 << 20)]
    fn parts_are_few_enough(#[case] size: u64, #[case] part: usize) {
        assert_eq!(part_size(size), part);
        assert!(size.div_ceil(part as u64) <= 10_000);
    }

    fn listed(key: &str) -> Result<Listed, Error> {
        Ok(Listed { key: Key::listed(key), size: 1, modified: None })
    }

    #[tokio::test]
    async fn repeated_entries_are_dropped_and_disorder_refused() {
        let keys = |found: Vec<Listed>| found.into_iter().map(|l| l.key.to_string()).collect::<Vec<_>>();
        let found = ascending(stream::iter([listed("a"), listed("b"), listed("b"), listed("c")])).try_collect().await;
        assert_eq!(keys(found.unwrap()), ["a", "b", "c"]);
        let found: Result<Vec<_>, _> = ascending(stream::iter([listed("b"), listed("a")])).try_collect().await;
        assert_eq!(found.unwrap_err().problem, Problem::Unsupported);
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_unreachable() {
        let place = Place {
            bucket: "backups".into(),
            endpoint: Some("http://127.0.0.1:1".into()),
            region: "us-east-1".into(),
            path_style: true,
            ..Place::default()
        };
        let keys = Keys { id: "a".into(), secret: "canary".into(), session_token: None };
        let bucket = Bucket::open(&place, Some(&keys), None).unwrap();
        for e in [
            bucket.stat(&Key::marker()).await.unwrap_err(),
            bucket.read(&Key::marker(), None).await.err().unwrap(),
            bucket.list(&Prefix::all()).try_next().await.unwrap_err(),
            bucket.create(&Key::marker(), Bytes::new()).await.unwrap_err(),
        ] {
            assert_eq!((e.problem, e.temporary), (Problem::Unreachable, true), "{e}");
            assert!(!e.to_string().contains("127.0.0.1") && !e.to_string().contains("canary"), "{e}");
        }
        assert!(!format!("{bucket:?}").contains("canary"));
    }

    #[test]
    fn bad_certificates_are_refused() {
        let e = Bucket::open(&Place { bucket: "b".into(), ..Place::default() }, None, Some(b"rubbish")).unwrap_err();
        assert_eq!(e.problem, Problem::Tls);
    }
}
