//! Reading the entry list.

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::DParameter;

use super::{Catalog, Entry, Error, FILE, LINE_MAX, Sums, WINDOW_LOG_MAX, check_order, digest};

/// Decompressed at a time.
const STEP: usize = 32 * 1024;

/// Reads an entry list and checks it against its catalogue. Stored bytes go in by [`push`](Self::push), entries come
/// out of [`next_entry`](Self::next_entry) until it returns `None`, and nothing counts before
/// [`finish`](Self::finish) has agreed: it is there that the digests are compared.
pub struct EntriesReader {
    catalog: Catalog,
    decoder: Decoder<'static>,
    ended: bool,
    input: Bytes,
    stored: Sha256,
    stored_bytes: u64,
    lines: Sha256,
    line_count: u64,
    /// Decompressed and not yet returned: `text[start..]`.
    text: Vec<u8>,
    start: usize,
    before: String,
    sums: Sums,
}

impl EntriesReader {
    /// Begins to read the list of this backup.
    pub fn new(catalog: &Catalog) -> Result<Self, Error> {
        let mut decoder = Decoder::new().map_err(decompress)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(decompress)?;
        Ok(Self {
            sums: Sums::new(catalog.sources.len()),
            catalog: catalog.clone(),
            decoder,
            ended: false,
            input: Bytes::new(),
            stored: Sha256::new(),
            stored_bytes: 0,
            lines: Sha256::new(),
            line_count: 0,
            text: Vec::with_capacity(STEP + LINE_MAX + 1),
            start: 0,
            before: String::new(),
        })
    }

    /// Takes the next stored bytes. Call it when [`next_entry`](Self::next_entry) has returned `None`.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.stored.update(&chunk);
        self.stored_bytes += chunk.len() as u64;
        if self.stored_bytes > self.catalog.entries.bytes {
            return Err(Error::damaged(FILE, format!("longer than {} bytes", self.catalog.entries.bytes)));
        }
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            self.input = [&self.input[..], &chunk[..]].concat().into();
        }
        Ok(())
    }

    /// The next entry, or `None` when more bytes are needed.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            let rest = &self.text[self.start..];
            if let Some(end) = rest.iter().take(LINE_MAX + 1).position(|b| *b == b'\n') {
                let entry = self.parse(self.start, self.start + end)?;
                self.start += end + 1;
                return Ok(Some(entry));
            }
            if rest.len() > LINE_MAX {
                let detail = format!("longer than {LINE_MAX} bytes");
                return Err(Error::line(FILE, self.line_count + 1, detail));
            }
            if !self.decompress()? {
                return Ok(None);
            }
        }
    }

    /// Decompresses one step; says whether there was anything.
    fn decompress(&mut self) -> Result<bool, Error> {
        if self.ended {
            return if self.input.is_empty() { Ok(false) } else { Err(Error::damaged(FILE, "bytes follow its end")) };
        }
        self.text.drain(..self.start);
        self.start = 0;
        let before = self.text.len();
        self.text.resize(before + STEP, 0);
        let mut input = InBuffer::around(&self.input);
        let mut output = OutBuffer::around_pos(&mut self.text[..], before);
        let hint = self.decoder.run(&mut input, &mut output).map_err(decompress)?;
        let (read, after) = (input.pos(), output.pos());
        self.text.truncate(after);
        self.input.advance(read);
        self.ended = hint == 0;
        Ok(read > 0 || after > before)
    }

    fn parse(&mut self, start: usize, end: usize) -> Result<Entry, Error> {
        self.line_count += 1;
        let number = self.line_count;
        if number > self.catalog.entries.lines {
            return Err(Error::damaged(FILE, format!("more than {} lines", self.catalog.entries.lines)));
        }
        let line = &self.text[start..end];
        let entry: Entry = serde_json::from_slice(line).map_err(|e| Error::line(FILE, number, e))?;
        if serde_json::to_vec(&entry).ok().as_deref() != Some(line) {
            return Err(Error::line(FILE, number, "not in canonical form"));
        }
        check_order(&self.before, &entry, self.sums.0.len()).map_err(|e| Error::line(FILE, number, e))?;
        self.sums.add(&entry).map_err(|e| Error::line(FILE, number, e))?;
        self.lines.update(&self.text[start..=end]);
        self.before.clone_from(&entry.path);
        Ok(entry)
    }

    /// Compares all that was read with the catalogue. Call it when the stored bytes have ended.
    pub fn finish(self) -> Result<(), Error> {
        let expected = &self.catalog.entries;
        let no = |detail: String| Err(Error::damaged(FILE, detail));
        if !self.ended && self.stored_bytes < expected.bytes {
            return no(format!("{} bytes instead of {}", self.stored_bytes, expected.bytes));
        }
        if self.start < self.text.len() {
            return no("it ends within a line".into());
        }
        if !self.ended || !self.input.is_empty() {
            return no("it was not read to its end".into());
        }
        if self.stored_bytes != expected.bytes || digest(self.stored) != expected.sha256 {
            return no("the digest of its stored bytes is another".into());
        }
        if self.line_count != expected.lines || digest(self.lines) != expected.lines_sha256 {
            return no("the digest of its lines is another".into());
        }
        let totals = self.sums.totals().map_err(|e| Error::damaged(FILE, e))?;
        if totals != self.catalog.totals {
            return no("its totals are not those of the catalogue".into());
        }
        let sources = self.catalog.sources.iter().map(|s| (s.objects, s.bytes));
        if !sources.eq(self.sums.0.iter().copied()) {
            return no("its sums by sources are not those of the catalogue".into());
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is a map_err function")]
fn decompress(e: std::io::Error) -> Error {
    Error::damaged(FILE, format!("failed to decompress: {e}"))
}
