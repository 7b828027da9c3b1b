//! Writing the entry list of an attempt.

use tokio_util::sync::CancellationToken;

use super::damaged;
use crate::{
    plan::{AttemptDir, BackupId, EntriesWriter, Entry, Written},
    store::{Failure, Key, ObjectWriter, Objects, retry::from_the_beginning},
};

/// Entry lists up to this size are sent at once, in bytes.
const AT_ONCE: u64 = 4 << 20;

/// Bytes of a larger list that are sent together.
const PART: usize = 256 * 1024;

/// Writes the entry list of an attempt. The entries are asked for more than once, because a large list is sent with its
/// size known beforehand, and sent again when the connection breaks; each time they must be the same. When the token is
/// cancelled, a large list that is under way is given up cleanly.
pub async fn write_entries<I: Iterator<Item = Entry> + Send>(
    objects: &dyn Objects,
    (id, attempt): (BackupId, AttemptDir),
    sources: usize,
    entries: impl Fn() -> I,
    stop: &CancellationToken,
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
    let sending = Sending { objects, key: &key, bytes, sources, stop };
    from_the_beginning(&key, stop, || sending.once(entries(), &written)).await?;
    Ok(written)
}

/// A list whose size is known, to be sent in parts.
struct Sending<'a> {
    objects: &'a dyn Objects,
    key: &'a Key,
    bytes: u64,
    sources: usize,
    stop: &'a CancellationToken,
}

impl Sending<'_> {
    /// Sends it once. What was sent of one that does not arrive is given up.
    async fn once(&self, entries: impl Iterator<Item = Entry> + Send, expected: &Written) -> Result<(), Failure> {
        let mut sent = self.objects.writer(self.key, self.bytes).await?;
        let failure = match self.fill(&mut *sent, entries).await {
            Ok(written) if written == *expected => return Ok(sent.close().await?),
            Ok(_) => damaged(self.key, "it was not the same when it was made twice"),
            Err(e) => e,
        };
        sent.abort().await;
        Err(failure)
    }

    async fn fill(
        &self,
        sent: &mut dyn ObjectWriter,
        entries: impl Iterator<Item = Entry> + Send,
    ) -> Result<Written, Failure> {
        let mut writer = EntriesWriter::new(self.sources)?;
        let mut part = Vec::new();
        for entry in entries {
            writer.push(&entry)?;
            part.extend_from_slice(&writer.take());
            if part.len() > PART {
                self.write(sent, std::mem::take(&mut part)).await?;
            }
        }
        let (rest, written) = writer.finish()?;
        part.extend_from_slice(&rest);
        self.write(sent, part).await?;
        Ok(written)
    }

    async fn write(&self, sent: &mut dyn ObjectWriter, part: Vec<u8>) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Cancelled),
            written = sent.write(part.into()) => Ok(written?),
        }
    }
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
