//! `tae/tae_list`: MatrixOne's list of the files that a backup needs, one CSV row
//! `path,size,sha256,needCopy,timestamp` per file, without quotes, unsorted.
//!
//! Rows are kept in 64 bytes each, because a server with a million objects must fit into a worker's memory: nearly all
//! names are `<uuid>_<five digits>`; the others go to a side table.

use std::cmp::Ordering;

use uuid::Uuid;

use super::{Digest, Timestamp, error::Error, path};

const FILE: &str = "tae/tae_list";

/// Most rows that are taken.
pub const ROWS_MAX: usize = 8_000_000;

/// Longest row, in bytes.
const ROW_MAX: usize = path::PATH_MAX + 200;

const COPIED: u32 = 1 << 31;
const DIGEST: u32 = 1 << 30;
const SEQUENCE: u32 = 0x1ffff;

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    uuid: u128,
    /// Number of an object name, and the flags.
    bits: u32,
    /// Where the bytes lie: 0 here, else 1 + source of the base.
    pub(super) from: u32,
    pub(super) size: u64,
    sha256: [u8; 32],
}

impl Row {
    /// Whether the bytes are in this backup's own folder.
    pub(super) fn is_copied(&self) -> bool {
        self.bits & COPIED != 0
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        (self.bits & DIGEST != 0).then_some(Digest(self.sha256))
    }

    pub(super) fn set_digest(&mut self, digest: Digest) {
        self.bits |= DIGEST;
        self.sha256 = digest.0;
    }
}

/// A row of the list, as an index into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowId(At);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Object(usize),
    Named(usize),
}

/// The rows, sorted by path, each path once.
#[derive(Debug, Default)]
pub struct TaeList {
    objects: Vec<Row>,
    named: Vec<(Box<str>, Row)>,
    bytes: u64,
}

impl TaeList {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len() + self.named.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the rows take in memory, without the names of the side table.
    #[must_use]
    pub fn memory(&self) -> u64 {
        (self.len() * size_of::<Row>()) as u64
    }

    /// Sum of the sizes as the server lists them; `tae_sum` says the same.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All rows by path bytes.
    pub fn ids(&self) -> impl Iterator<Item = RowId> + '_ {
        let mut cursor = Cursor::default();
        std::iter::from_fn(move || {
            let id = cursor.peek(self)?;
            cursor.advance(id);
            Some(id)
        })
    }

    /// Path below the attempt's folder, such as `tae/<name>`.
    #[must_use]
    pub fn path(&self, id: RowId) -> String {
        match id.0 {
            At::Object(n) => self.objects.get(n).map(object_path).unwrap_or_default(),
            At::Named(n) => self.named.get(n).map(|(name, _)| format!("tae/{name}")).unwrap_or_default(),
        }
    }

    pub(super) fn row(&self, id: RowId) -> Option<&Row> {
        match id.0 {
            At::Object(n) => self.objects.get(n),
            At::Named(n) => self.named.get(n).map(|(_, row)| row),
        }
    }

    pub(super) fn row_mut(&mut self, id: RowId) -> Option<&mut Row> {
        match id.0 {
            At::Object(n) => self.objects.get_mut(n),
            At::Named(n) => self.named.get_mut(n).map(|(_, row)| row),
        }
    }
}

impl RowId {
    /// Whether the name is that of an immutable object: the same name is always the same content.
    #[must_use]
    pub fn is_object(self) -> bool {
        match self.0 {
            At::Object(_) => true,
            At::Named(_) => false,
        }
    }
}

fn object_path(row: &Row) -> String {
    format!("tae/{}_{:05}", Uuid::from_u128(row.uuid).hyphenated(), row.bits & SEQUENCE)
}

/// A place in the sorted rows that does not borrow them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    object: usize,
    named: usize,
}

impl Cursor {
    pub(super) fn peek(&self, list: &TaeList) -> Option<RowId> {
        let object = list.objects.get(self.object);
        let named = list.named.get(self.named);
        let at = match (object, named) {
            (None, None) => return None,
            (Some(_), None) => At::Object(self.object),
            (None, Some(_)) => At::Named(self.named),
            (Some(row), Some((name, _))) => match object_path(row).as_str()["tae/".len()..].cmp(name) {
                Ordering::Less => At::Object(self.object),
                Ordering::Equal | Ordering::Greater => At::Named(self.named),
            },
        };
        Some(RowId(at))
    }

    pub(super) fn advance(&mut self, id: RowId) {
        match id.0 {
            At::Object(n) => self.object = n + 1,
            At::Named(n) => self.named = n + 1,
        }
    }
}

/// Reads a list step by step. The bytes are those of the content, without frames.
#[derive(Debug, Default)]
pub struct TaeListReader {
    list: TaeList,
    line: Vec<u8>,
    lines: u64,
}

impl TaeListReader {
    /// Takes the next bytes.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), Error> {
        while let Some(end) = chunk.iter().position(|b| *b == b'\n') {
            let (head, rest) = (&chunk[..end], &chunk[end + 1..]);
            self.lines += 1;
            if self.line.is_empty() {
                self.row(head)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.row(&line)?;
                line.clear();
                self.line = line;
            }
            chunk = rest;
        }
        self.line.extend_from_slice(chunk);
        if self.line.len() > ROW_MAX {
            return Err(Error::line(FILE, self.lines + 1, format!("longer than {ROW_MAX} bytes")));
        }
        Ok(())
    }

    fn row(&mut self, line: &[u8]) -> Result<(), Error> {
        let no = |detail: String| Error::line(FILE, self.lines, detail);
        if self.list.len() >= ROWS_MAX {
            return Err(Error::damaged(FILE, format!("more than {ROWS_MAX} rows")));
        }
        if line.len() > ROW_MAX {
            return Err(no(format!("longer than {ROW_MAX} bytes")));
        }
        let text = std::str::from_utf8(line).map_err(|_| no("no UTF-8".into()))?;
        let fields: Vec<&str> = text.split(',').collect();
        let &[name, size, sha256, need_copy, timestamp] = &fields[..] else {
            return Err(no(format!("{} fields instead of 5", fields.len())));
        };
        let shown = || name.chars().take(120).collect::<String>();
        path::check(&format!("tae/{name}")).map_err(|e| no(format!("{:?}: {e}", shown())))?;
        if matches!(name, "tae_list" | "tae_sum") || name.ends_with(".sha256") {
            return Err(no(format!("{:?} is none of the files it lists", shown())));
        }
        let size: u64 = number(size).ok_or_else(|| no(format!("{size:?} is no size")))?;
        let mut bits = match need_copy {
            "true" => COPIED,
            "false" => 0,
            other => return Err(no(format!("{other:?} is neither true nor false"))),
        };
        let digest = match sha256 {
            "" => None,
            some => Some(some.parse::<Digest>().map_err(|e| no(e.to_string()))?),
        };
        timestamp.parse::<Timestamp>().map_err(|e| no(e.to_string()))?;
        bits |= if digest.is_some() { DIGEST } else { 0 };
        let sum = self.list.bytes.checked_add(size).ok_or_else(|| no("sizes add up to more than 2^64".into()))?;
        let row = Row { uuid: 0, bits, from: 0, size, sha256: digest.map_or([0; 32], |d| d.0) };
        match object_name(name) {
            Some((uuid, sequence)) => self.list.objects.push(Row { uuid, bits: bits | sequence, ..row }),
            None => self.list.named.push((name.into(), row)),
        }
        self.list.bytes = sum;
        Ok(())
    }

    /// The list, when the bytes have ended.
    pub fn finish(self) -> Result<TaeList, Error> {
        let Self { mut list, line, lines } = self;
        if !line.is_empty() {
            return Err(Error::line(FILE, lines + 1, "it ends within a row"));
        }
        if list.is_empty() {
            return Err(Error::damaged(FILE, "it has no rows"));
        }
        list.objects.sort_unstable_by_key(|row| (row.uuid, row.bits & SEQUENCE));
        list.named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let key = |row: &Row| (row.uuid, row.bits & SEQUENCE);
        let twice = list.objects.windows(2).find(|w| key(&w[0]) == key(&w[1])).map(|w| object_path(&w[0]));
        let twice =
            twice.or_else(|| list.named.windows(2).find(|w| w[0].0 == w[1].0).map(|w| format!("tae/{}", w[0].0)));
        twice.map_or(Ok(list), |path| Err(Error::damaged(FILE, format!("{path} is listed twice"))))
    }
}

/// A decimal number as the server writes it: digits alone.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `<uuid in lower case>_<five digits>`: exactly the names whose order is that of their numbers.
fn object_name(name: &str) -> Option<(u128, u32)> {
    let (uuid, sequence) = name.split_once('_')?;
    if uuid.len() != 36 || sequence.len() != 5 || uuid.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let parsed = Uuid::try_parse(uuid).ok()?;
    Some((parsed.as_u128(), number(sequence)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn read(text: &str, piece: usize) -> Result<TaeList, Error> {
        let mut reader = TaeListReader::default();
        for chunk in text.as_bytes().chunks(piece) {
            reader.push(chunk)?;
        }
        reader.finish()
    }

    const NAME: &str = "018f7a41-1881-7999-bbd6-858c3d4acc18_00000";

    #[test]
    fn a_row_is_64_bytes() {
        assert_eq!(size_of::<Row>(), 64);
    }

    #[test]
    fn rows_come_sorted() {
        let sha = "00".repeat(32);
        let text = format!(
            "gc/gc_1.ckp,7,,true,0-0\n{NAME},123,{sha},false,1715745404915410000-1\nckp/meta_0-0_1-1.ckp,2,,true,1-1\n\
             018f7a41-1881-7999-bbd6-858c3d4acc18_100000,9,,true,0-0\n018f7a41-1881-7999-bbd6-858c3d4acc18_01000,5,,true,0-0\n"
        );
        for piece in [1, 7, 10_000] {
            let list = read(&text, piece).unwrap();
            let paths: Vec<_> = list.ids().map(|id| list.path(id)).collect();
            let mut sorted = paths.clone();
            sorted.sort();
            assert_eq!((paths.len(), list.bytes()), (5, 146));
            assert_eq!(paths, sorted);
            let first = list.row(list.ids().next().unwrap()).unwrap();
            assert_eq!((first.size, first.is_copied(), first.digest()), (123, false, Some(Digest([0; 32]))));
        }
    }

    proptest! {
        #[test]
        fn any_names_come_sorted_and_whole(names in proptest::collection::btree_set(
            "([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}_[0-9]{4,6}|ckp/[a-z0-9_]{1,5}|[a-f0-9_]{1,5})", 1..30,
        )) {
            let text: String = names.iter().rev().map(|n| format!("{n},1,,true,0-0\n")).collect();
            let list = read(&text, 64).unwrap();
            let paths: Vec<_> = list.ids().map(|id| list.path(id)).collect();
            let expected: Vec<_> = names.iter().map(|n| format!("tae/{n}")).collect();
            prop_assert_eq!(paths, expected);
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = TaeListReader::default();
            let _ = reader.push(&bytes).and_then(|()| reader.finish());
        }
    }

    #[rstest]
    #[case("", "no rows")]
    #[case("a,1,,true,0-0", "ends within a row")]
    #[case("a,1,,true\n", "4 fields")]
    #[case("a,-1,,true,0-0\n", "no size")]
    #[case("a,+1,,true,0-0\n", "no size")]
    #[case("a,18446744073709551616,,true,0-0\n", "no size")]
    #[case("a,18446744073709551615,,true,0-0\nb,1,,true,0-0\n", "2^64")]
    #[case("a,1,abc,true,0-0\n", "no SHA-256")]
    #[case("a,1,,yes,0-0\n", "neither true nor false")]
    #[case("a,1,,true,now\n", "no MatrixOne timestamp")]
    #[case("../a,1,,true,0-0\n", "relative part")]
    #[case("/a,1,,true,0-0\n", "relative part")]
    #[case("\"a\",1,,true,0-0\n", "character")]
    #[case("tae_sum,1,,true,0-0\n", "none of the files")]
    #[case("x.sha256,1,,true,0-0\n", "none of the files")]
    #[case("a,1,,true,0-0\na,1,,true,0-0\n", "tae/a is listed twice")]
    fn bad_lists_are_refused(#[case] text: &str, #[case] why: &str) {
        let said = read(text, 100).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn an_object_listed_twice_is_refused() {
        let text = format!("{NAME},1,,true,0-0\nb,1,,true,0-0\n{NAME},1,,false,0-0\n");
        assert!(read(&text, 100).unwrap_err().to_string().contains("listed twice"));
        assert!(read(&"x".repeat(5000), 100).unwrap_err().to_string().contains("longer than"));
    }
}
