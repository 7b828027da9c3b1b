//! A folder of a volume.
//!
//! Files appear whole: they are written under a temporary name, flushed, and renamed, or linked when they must not
//! replace another. The temporary names have a `~`, which no path of a backup has, and lie in one folder that is never
//! listed. Symbolic links below the volume are neither followed nor listed.

mod unlisted;
mod walk;

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use uuid::Uuid;

use super::{Error, Key, Level, Listed, ObjectWriter, Objects, Prefix, Problem, below};
use walk::Walk;

/// Content is read in pieces of this size.
const PIECE: u64 = 256 * 1024;

/// Folder of files that are being written.
const UNFINISHED: &str = "unfinished~";

/// Unfinished files older than this belong to nobody.
const ABANDONED: Duration = Duration::from_hours(48);

/// Everything that begins in a folder can be removed in the same moment by somebody else, as it became empty.
const TRIES: usize = 5;

/// A folder of a volume.
#[derive(Clone, Debug)]
pub struct Volume(Arc<Places>);

#[derive(Debug)]
struct Places {
    /// Where the volume is mounted. It must exist.
    mount: PathBuf,
    /// The folder that keys are relative to. It is made with the first file.
    base: PathBuf,
}

impl Volume {
    /// A folder below a mount point; without slashes at its ends, empty for the whole volume. Nothing is read yet.
    pub fn open(mount: &Path, folder: &str) -> Result<Self, Error> {
        let bad = || Error::permanent(Problem::Unsupported, "open", "volume", "its path has an empty or relative part");
        if !folder.is_empty() && folder.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad());
        }
        Ok(Self(Arc::new(Places { mount: mount.to_owned(), base: mount.join(folder) })))
    }

    /// Runs a call to the operating system where it may block.
    async fn call<T: Send + 'static>(
        &self,
        verb: &'static str,
        what: &str,
        call: impl FnOnce(&Places) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let places = self.0.clone();
        let outcome = tokio::task::spawn_blocking(move || match fs::metadata(&places.mount) {
            Ok(found) if found.is_dir() => (call(&places), true),
            Ok(_) | Err(_) => (Err(io::ErrorKind::NotFound.into()), false),
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

impl Places {
    /// The file of a key. No part of it may be a link, or lead elsewhere.
    fn file(&self, key: &Key) -> io::Result<PathBuf> {
        without_links(&self.base, parts(key)?)
    }

    /// Writes a new file under a temporary name.
    fn unfinished(&self) -> io::Result<(PathBuf, File)> {
        let folder = self.base.join(UNFINISHED);
        let path = folder.join(Uuid::new_v4().simple().to_string());
        again(|| {
            fs::create_dir_all(&folder)?;
            let file = File::options().write(true).create_new(true).open(&path)?;
            Ok((path.clone(), file))
        })
    }

    /// Makes a flushed file visible under its name, durably.
    fn publish(&self, unfinished: &Path, file: &Path, replace: bool) -> io::Result<()> {
        let folder = file.parent().unwrap_or(&self.base);
        again(|| {
            fs::create_dir_all(folder)?;
            if replace { fs::rename(unfinished, file) } else { fs::hard_link(unfinished, file) }
        })
        .map_err(|e| match e.raw_os_error() {
            // EPERM, EOPNOTSUPP: file systems without hard links.
            Some(1 | 95) if !replace => io::Error::new(io::ErrorKind::Unsupported, "the file system has no hard links"),
            _ => e,
        })?;
        // The names on the way may be new as well.
        for folder in folder.ancestors().take_while(|f| f.starts_with(&self.mount)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn write(&self, key: &Key, body: &[u8], replace: bool) -> io::Result<()> {
        let file = self.file(key)?;
        let (path, mut unfinished) = self.unfinished()?;
        let written = unfinished.write_all(body).and_then(|()| unfinished.sync_all());
        let published = written.and_then(|()| self.publish(&path, &file, replace));
        if published.is_err() || !replace {
            give_up(&path);
        }
        published
    }

    fn remove(&self, key: &Key) -> io::Result<()> {
        let file = self.file(key)?;
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
        // Folders that became empty go; the first that did not stops it.
        for folder in file.ancestors().skip(1).take_while(|f| *f != self.base && f.starts_with(&self.base)) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes what writers have left behind that ended long ago.
    fn clean(&self) -> io::Result<()> {
        let Ok(found) = fs::read_dir(self.base.join(UNFINISHED)) else { return Ok(()) };
        for entry in found {
            let entry = entry?;
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
            if age.is_some_and(|age| age > ABANDONED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The parts of a key, if it can be one of ours.
fn parts(key: &Key) -> io::Result<Vec<&str>> {
    let parts: Vec<_> = key.as_str().split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.contains('~')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a key with such a part is none of ours"));
    }
    Ok(parts)
}

/// Removes an unfinished file. How its writing ended says more than whether this works: it may not be there any more,
/// and one that stays is removed in two days.
fn give_up(unfinished: &Path) {
    if let Err(error) = fs::remove_file(unfinished) {
        tracing::debug!(%error, "removing an unfinished file");
    }
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The path of these parts below a folder. None of them may be a link; they need not be there.
fn without_links<'a>(base: &Path, parts: impl IntoIterator<Item = &'a str>) -> io::Result<PathBuf> {
    let mut path = base.to_owned();
    for part in parts {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is a symbolic link in the way"));
            }
            Err(e) if !is_absent(&e) => return Err(e),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(path)
}

fn again<T>(call: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut outcome = call();
    for _ in 1..TRIES {
        match &outcome {
            Err(e) if e.kind() == io::ErrorKind::NotFound => outcome = call(),
            Ok(_) | Err(_) => break,
        }
    }
    outcome
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
        self.call("stat", &what, move |places| match fs::metadata(places.file(&key)?) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        })
        .await
    }

    async fn read(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let (of, what) = (key.clone(), key.to_string());
        let opened = self.call("read", &what, move |places| {
            let path: PathBuf = parts(&of)?.into_iter().collect();
            let mut file = below::open(&places.base, &path).map_err(|e| {
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
            places.clean()?;
            let (path, file) = places.unfinished()?;
            Ok((places.file(&of)?, path, file))
        });
        let (target, path, file) = begun.await?;
        Ok(Box::new(FileWriter {
            volume: self.clone(),
            key: key.clone(),
            target,
            path,
            file: Some(file),
            size,
            sent: 0,
        }))
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let what = prefix.to_string();
        stream::once(async move {
            let of = what.clone();
            let walk = self.call("list", &what, move |places| Walk::begin(&places.base, &of)).await?;
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
        self.call("list", "", |places| unlisted::first(&places.mount, &places.base)).await
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        let of = folder.to_string();
        self.call("list", folder.as_str(), move |places| walk::level(&places.base, &of, most)).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        for key in keys {
            let what = key.to_string();
            self.call("delete", &what, move |places| places.remove(&key)).await?;
        }
        Ok(())
    }
}

/// A file being written.
struct FileWriter {
    volume: Volume,
    key: Key,
    target: PathBuf,
    path: PathBuf,
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
        let Self { volume, key, target, path, file, size: _, sent: _ } = *self;
        let Some(file) = file else { return Err(broken(&key)) };
        let closed = volume.call("write", &what, move |places| {
            let done = file.sync_all().and_then(|()| places.publish(&path, &target, true));
            done.inspect_err(|_| give_up(&path))
        });
        closed.await
    }

    async fn abort(self: Box<Self>) {
        let Self { volume, key, path, .. } = *self;
        if let Err(e) = volume.call("abort", key.as_str(), move |_| fs::remove_file(&path)).await {
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
