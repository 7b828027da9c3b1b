//! Writing the entry list.

use std::io::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{EntriesRef, Entry, Error, FILE, LEVEL, LINE_MAX, Sums, Totals, check_order, digest};

/// What a catalogue says about the list that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What the list must be.
    pub entries: EntriesRef,
    /// Sums over all entries.
    pub totals: Totals,
    /// Objects and bytes by source.
    pub sources: Vec<(u64, u64)>,
}

/// Makes the stored bytes of an entry list. Entries go in by [`push`](Self::push), bytes come out of
/// [`take`](Self::take); its memory does not grow with the number of entries as long as they are taken.
pub struct EntriesWriter {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    stored: Sha256,
    stored_bytes: u64,
    lines: Sha256,
    line_count: u64,
    line: Vec<u8>,
    before: String,
    sums: Sums,
}

impl EntriesWriter {
    /// Begins a list over this number of sources.
    pub fn new(sources: usize) -> Result<Self, Error> {
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(compress)?;
        Ok(Self {
            encoder,
            stored: Sha256::new(),
            stored_bytes: 0,
            lines: Sha256::new(),
            line_count: 0,
            line: Vec::with_capacity(256),
            before: String::new(),
            sums: Sums::new(sources),
        })
    }

    /// Adds an entry. It must come after the one before, by path bytes.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        let refused = |detail| Error::Unwritable { file: FILE, detail };
        check_order(&self.before, entry, self.sums.0.len()).map_err(refused)?;
        self.sums.add(entry).map_err(refused)?;
        self.line.clear();
        serde_json::to_writer(&mut self.line, entry).map_err(|e| refused(e.to_string()))?;
        if self.line.len() > LINE_MAX {
            return Err(refused(format!("line {} is longer than {LINE_MAX} bytes", self.line_count + 1)));
        }
        self.line.push(b'\n');
        self.lines.update(&self.line);
        self.line_count += 1;
        self.before.clone_from(&entry.path);
        self.encoder.write_all(&self.line).map_err(compress)
    }

    /// The stored bytes so far, each once. They go to the store in this order.
    pub fn take(&mut self) -> Bytes {
        let bytes = std::mem::take(self.encoder.get_mut());
        self.seen(&bytes);
        Bytes::from(bytes)
    }

    fn seen(&mut self, bytes: &[u8]) {
        self.stored.update(bytes);
        self.stored_bytes += bytes.len() as u64;
    }

    /// The last stored bytes, and what the catalogue must say about the list.
    pub fn finish(mut self) -> Result<(Bytes, Written), Error> {
        self.encoder.do_finish().map_err(compress)?;
        let rest = self.take();
        let totals = self.sums.totals().map_err(|detail| Error::Unwritable { file: FILE, detail })?;
        let entries = EntriesRef {
            bytes: self.stored_bytes,
            sha256: digest(self.stored),
            lines: self.line_count,
            lines_sha256: digest(self.lines),
        };
        Ok((rest, Written { entries, totals, sources: self.sums.0 }))
    }
}

fn compress(e: std::io::Error) -> Error {
    Error::Unwritable { file: FILE, detail: format!("zstd: {e}") }
}
