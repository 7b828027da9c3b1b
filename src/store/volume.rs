//! A folder of a volume.
//!
//! Files appear whole: they are written under a temporary name, flushed, and renamed, or linked when they must not
//! replace another. The temporary names have a `~`, which no path of a backup has, and lie in one folder that is never
//! listed.
//!
//! The folder where the volume is mounted is opened once, by its path. From there on everything is reached by the handles
//! of folders, and symbolic links are neither followed nor listed, the folder of the keys itself included: see [`below`].

mod places;
mod rights;
mod unfinished;
mod unlisted;
mod walk;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

use super::{Error, Key, Level, Listed, ObjectWriter, Objects, Prefix, Problem, below};
use places::{Places, is_absent, parts};
use unfinished::Unfinished;
use walk::Walk;

/// Content is read in pieces of this size.
const PIECE: u64 = 256 * 1024;

/// A folder of a volume.
#[derive(Clone, Debug)]
pub struct Volume(Arc<Mounted>);

#[derive(Debug)]
struct Mounted {
    /// Where the volume is mounted. It must exist.
    mount: PathBuf,
    /// The folder that keys are relative to. It is made with the first file.
    base: PathBuf,
    /// The handle of the mount, from its first use on.
    opened: OnceLock<Places>,
}

impl Mounted {
    fn places(&self) -> io::Result<&Places> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = Places::open(&self.mount, &self.base)?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

impl Volume {
    /// A folder below a mount point; without slashes at its ends, empty for the whole volume. Nothing is read yet.
    ///
    /// Symbolic links are followed on the way to the mount point, and not below it.
    pub fn open(mount: &Path, folder: &str) -> Result<Self, Error> {
        let bad = || Error::permanent(Problem::Unsupported, "open", "volume", "its path has an empty or relative part");
        if !folder.is_empty() && folder.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad());
        }
        Ok(Self(Arc::new(Mounted { mount: mount.to_owned(), base: folder.into(), opened: OnceLock::new() })))
    }

    /// The path of the folder, for the words of an error.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.mount.join(&self.0.base)
    }

    /// The same folder for as long as this value lives, whatever is found under its path later; `None` if there is no such
    /// folder.
    pub async fn pinned(&self) -> Result<Option<Self>, Error> {
        let path = self.path();
        let pinned = self.call("open", "the folder", |places| match places.pinned() {
            Err(e) if is_absent(&e) => Ok(None),
            pinned => pinned.map(Some),
        });
        Ok(pinned.await?.map(|places| {
            Self(Arc::new(Mounted { mount: path, base: PathBuf::new(), opened: OnceLock::from(places) }))
        }))
    }

    /// Removes the folder of a prefix with everything in it, also what is in no listing, and the folders above it that
    /// become empty. What cannot be removed is an error, when the rest is removed.
    pub async fn remove_folder(&self, prefix: &Prefix) -> io::Result<()> {
        let (volume, prefix) = (self.clone(), prefix.clone());
        blocking(move || volume.0.places()?.remove_folder(prefix.as_str())).await
    }

    /// Makes the folder of a prefix and removes it again, with those on the way to it that are empty then.
    pub async fn try_folder(&self, prefix: &Prefix) -> io::Result<()> {
        let (volume, prefix) = (self.clone(), prefix.clone());
        blocking(move || volume.0.places()?.try_folder(prefix.as_str())).await
    }

    /// Opens a file that another program has written, by its path below the folder, for reading.
    ///
    /// Fails with [`io::ErrorKind::InvalidInput`] where there is a link of any kind, a pipe or a device, with
    /// [`io::ErrorKind::IsADirectory`] where there is a folder, and with [`io::ErrorKind::NotFound`] or
    /// [`io::ErrorKind::NotADirectory`] where there is nothing.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let file = self.0.places()?.file(path)?;
        // MatrixOne gives a file one name. Another one may belong to a file that only this process may read.
        if file.metadata()?.nlink() > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file has a second name (a hard link)"));
        }
        Ok(file)
    }

    /// Runs a call to the operating system where it may block.
    async fn call<T: Send + 'static>(
        &self,
        verb: &'static str,
        what: &str,
        call: impl FnOnce(&Places) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let mounted = self.0.clone();
        let outcome = tokio::task::spawn_blocking(move || match mounted.places() {
            Ok(places) => (call(places), true),
            Err(e) => (Err(e), false),
        })
        .await;
        match outcome {
            Ok((Ok(done), _)) => Ok(done),
            Ok((Err(_), false)) => {
                Err(Error::permanent(Problem::NoBucket, verb, what, "the volume is not mounted where it should be"))
            }
            Ok((Err(e), true)) => Err(Error::from_io(verb, what, &e)),
            Err(e) => Err(Error::permanent(Problem::Other, verb, what, e.to_string())),
        }
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Reads the next piece of an open file. The end before the expected one is an error.
fn piece(file: &mut File, left: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(left.min(PIECE)).map_err(io::Error::other)?];
    file.read_exact(&mut buffer)?;
    Ok(buffer.into())
}

#[async_trait]
impl Objects for Volume {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        let key = key.clone();
        let what = key.to_string();
        self.call("stat", &what, move |places| places.size(&key)).await
    }

    async fn read(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let (of, what) = (key.clone(), key.to_string());
        let opened = self.call("read", &what, move |places| {
            let path: PathBuf = parts(&of)?.into_iter().collect();
            let mut file = places.file(&path).map_err(|e| {
                // As in a bucket, a folder is no object.
                if e.kind() == io::ErrorKind::IsADirectory { io::ErrorKind::NotFound.into() } else { e }
            })?;
            let found = file.metadata()?;
            let range = range.unwrap_or(0..found.len());
            if range.start > range.end || range.end > found.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(range.start))?;
            Ok((file, range.end - range.start))
        });
        let opened = opened.await?;
        let volume = self.clone();
        let pieces = stream::try_unfold(opened, move |(mut file, left)| {
            let (volume, what) = (volume.clone(), what.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let read = volume.call("read", &what, move |_| piece(&mut file, left).map(|bytes| (bytes, file))).await;
                read.map(|(bytes, file)| {
                    let left = left - bytes.len() as u64;
                    Some((bytes, (file, left)))
                })
            }
        });
        Ok(pieces.boxed())
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        let key = key.clone();
        let what = key.to_string();
        self.call("write", &what, move |places| places.write(&key, &body, true)).await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        let key = key.clone();
        let what = key.to_string();
        self.call("create", &what, move |places| places.write(&key, &body, false)).await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        let of = key.clone();
        let begun = self.call("write", key.as_str(), move |places| {
            parts(&of)?;
            unfinished::clean(places)?;
            Unfinished::begin(places)
        });
        let (unfinished, file) = begun.await?;
        let (volume, key) = (self.clone(), key.clone());
        Ok(Box::new(FileWriter { volume, key, unfinished, file: Some(file), size, sent: 0 }))
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let what = prefix.to_string();
        stream::once(async move {
            let of = what.clone();
            let walk = self.call("list", &what, move |places| Walk::begin(places, &of)).await?;
            Ok(stream::try_unfold(walk, move |mut walk| {
                let what = what.clone();
                async move {
                    let step = self.call("list", &what, move |_| walk.batch().map(|batch| (batch, walk)));
                    step.await.map(|(batch, walk)| (!batch.is_empty()).then_some((batch, walk)))
                }
            }))
        })
        .try_flatten()
        .map_ok(|batch| stream::iter(batch.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
    }

    async fn unlisted(&self) -> Result<Option<String>, Error> {
        self.call("list", "", unlisted::first).await
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        let of = folder.to_string();
        self.call("list", folder.as_str(), move |places| walk::level(places, &of, most)).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        let mut last = None;
        for key in keys {
            let what = key.to_string();
            last = Some(self.call("delete", &what, move |places| places.remove(&key, last)).await?);
        }
        let Some(last) = last else { return Ok(()) };
        self.call("delete", "empty folders", move |places| {
            last.leave(places);
            Ok(())
        })
        .await
    }

    async fn clear_unfinished(&self) -> Result<(), Error> {
        self.call("delete", "unfinished files", unfinished::clear).await
    }
}

/// A file being written.
struct FileWriter {
    volume: Volume,
    key: Key,
    unfinished: Unfinished,
    /// `None` while a call has it, and after one that failed.
    file: Option<File>,
    size: u64,
    sent: u64,
}

#[async_trait]
impl ObjectWriter for FileWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        let Some(mut file) = self.file.take() else { return Err(broken(&self.key)) };
        self.sent += chunk.len() as u64;
        let written = self.volume.call("write", self.key.as_str(), move |_| file.write_all(&chunk).map(|()| file));
        self.file = Some(written.await?);
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        let what = self.key.to_string();
        if self.sent != self.size {
            let detail = format!("{} bytes instead of {}", self.sent, self.size);
            self.abort().await;
            return Err(Error::permanent(Problem::Corrupted, "write", what, detail));
        }
        let Self { volume, key, unfinished, file, size: _, sent: _ } = *self;
        let Some(file) = file else { return Err(broken(&key)) };
        let closed = volume.call("write", &what, move |places| {
            let publish = || unfinished.publish(places, &parts(&key)?, true);
            let done = file.sync_all().and_then(|()| publish());
            done.inspect_err(|_| unfinished.give_up())
        });
        closed.await
    }

    async fn abort(self: Box<Self>) {
        let Self { volume, key, unfinished, .. } = *self;
        if let Err(e) = volume.call("abort", key.as_str(), move |_| unfinished.remove()).await {
            tracing::warn!(key = %key, error = %e, "an unfinished file stays on the volume for two days");
        }
    }
}

fn broken(key: &Key) -> Error {
    Error::permanent(Problem::Other, "write", key.as_str(), "an earlier write of this file has failed")
}

#[cfg(test)]
#[path = "volume/tests.rs"]
mod tests;
