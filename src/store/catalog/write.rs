//! Writing the entry list of an attempt.

use std::time::Duration;

use tokio::time::sleep;

use super::damaged;
use crate::{
    plan::{AttemptDir, BackupId, EntriesWriter, Entry, Written},
    store::{Failure, Key, ObjectWriter, Objects},
};

/// Entry lists up to this size are sent at once, in bytes.
const AT_ONCE: u64 = 4 << 20;

/// Bytes of a larger list that are sent together.
const PART: usize = 256 * 1024;

/// Tries of a larger list. It is sent from its beginning each time.
const TRIES: u32 = 5;

/// Pause before the second try; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes the entry list of an attempt. The entries are asked for more than once, because a large list is sent with its
/// size known beforehand, and sent again when the connection breaks; each time they must be the same.
pub async fn write_entries<I: Iterator<Item = Entry> + Send>(
    objects: &dyn Objects,
    (id, attempt): (BackupId, AttemptDir),
    sources: usize,
    entries: impl Fn() -> I,
) -> Result<Written, Failure> {
    let key = Key::entries(id, attempt);
    let mut writer = EntriesWriter::new(sources)?;
    let mut stored = Vec::new();
    let mut bytes = 0;
    for entry in entries() {
        writer.push(&entry)?;
        hold(&mut stored, &mut bytes, &writer.take());
    }
    let (rest, written) = writer.finish()?;
    hold(&mut stored, &mut bytes, &rest);
    if bytes <= AT_ONCE {
        objects.put(&key, stored.into()).await?;
        return Ok(written);
    }
    drop(stored);
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match send(objects, &key, bytes, sources, entries(), &written).await {
            Err(Failure::Store(e)) if e.temporary => tracing::debug!(%key, error = %e, "sending it again"),
            outcome => return outcome.map(|()| written),
        }
        sleep(pause).await;
        pause *= 2;
    }
    send(objects, &key, bytes, sources, entries(), &written).await.map(|()| written)
}

/// Sends a list whose size is known, once. What was sent of one that does not arrive is given up.
async fn send(
    objects: &dyn Objects,
    key: &Key,
    bytes: u64,
    sources: usize,
    entries: impl Iterator<Item = Entry> + Send,
    expected: &Written,
) -> Result<(), Failure> {
    let mut sent = objects.writer(key, bytes).await?;
    match fill(&mut *sent, sources, entries).await {
        Ok(written) if written == *expected => Ok(sent.close().await?),
        Ok(_) => {
            sent.abort().await;
            Err(damaged(key, "it was not the same when it was made twice"))
        }
        Err(e) => {
            sent.abort().await;
            Err(e)
        }
    }
}

async fn fill(
    sent: &mut dyn ObjectWriter,
    sources: usize,
    entries: impl Iterator<Item = Entry> + Send,
) -> Result<Written, Failure> {
    let mut writer = EntriesWriter::new(sources)?;
    let mut part = Vec::new();
    for entry in entries {
        writer.push(&entry)?;
        part.extend_from_slice(&writer.take());
        if part.len() > PART {
            sent.write(std::mem::take(&mut part).into()).await?;
        }
    }
    let (rest, written) = writer.finish()?;
    part.extend_from_slice(&rest);
    sent.write(part.into()).await?;
    Ok(written)
}

/// Keeps the bytes as long as they are few.
fn hold(stored: &mut Vec<u8>, bytes: &mut u64, more: &[u8]) {
    *bytes += more.len() as u64;
    if *bytes <= AT_ONCE {
        stored.extend_from_slice(more);
    }
}

#[cfg(test)]
mod tests;
