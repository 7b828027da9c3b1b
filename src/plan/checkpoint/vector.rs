//! Bytes and columns as they are stored: little endian, a column as one vector of values of one width.

use super::Unreadable;

/// Bytes that are read at a place.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// This many of them from here.
    pub(super) fn get(self, at: usize, len: usize) -> Result<&'a [u8], Unreadable> {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or(Unreadable("a part that is cut"))
    }

    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Unreadable> {
        self.get(at, N)?.try_into().map_err(|_| Unreadable("a part that is cut"))
    }

    pub(super) fn u16(self, at: usize) -> Result<u16, Unreadable> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Result<u32, Unreadable> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// A number of bytes, or a place among them.
    pub(super) fn size(self, at: usize) -> Result<usize, Unreadable> {
        usize::try_from(self.u32(at)?).map_err(|_| Unreadable("a part that is too large"))
    }

    pub(super) fn u64(self, at: usize) -> Result<u64, Unreadable> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// What the values of a column are: MatrixOne's number of the type, and bytes of one.
#[derive(Clone, Copy)]
pub(super) struct Kind(u8, usize);

impl Kind {
    pub(super) const BYTE: Self = Self(20, 1);
    pub(super) const U32: Self = Self(27, 4);
    pub(super) const U64: Self = Self(28, 8);
    pub(super) const CHAR: Self = Self(60, 24);
    pub(super) const VARCHAR: Self = Self(61, 24);
    pub(super) const TIMESTAMP: Self = Self(100, 12);
    pub(super) const BOOL: Self = Self(10, 1);
}

/// A column: its values, and beside them texts that are too long for one.
pub(super) struct Vector {
    kind: u8,
    rows: usize,
    width: usize,
    values: Vec<u8>,
    texts: Vec<u8>,
}

impl Vector {
    /// Longest text that lies among the values.
    const SHORT: u8 = 23;
    /// Where a column says what its values are.
    const KIND: usize = 1;
    /// Where a column says how wide a value is, and where it says how many there are.
    const WIDTH: usize = 5;
    const ROWS: usize = 17;
    /// Most rows of a column; a block of a checkpoint has 10 000 unless the server is told otherwise.
    const MOST: usize = 1 << 17;

    pub(super) fn parse(content: &[u8]) -> Result<Self, Unreadable> {
        let bytes = Bytes(content);
        let (width, rows, len) = (bytes.size(Self::WIDTH)?, bytes.size(Self::ROWS)?, bytes.size(Self::ROWS + 4)?);
        // All values, or one for all, or none where all are null.
        let all = rows.saturating_mul(width);
        if rows > Self::MOST || ![0, width, all].contains(&len) {
            return Err(Unreadable("a column of another length"));
        }
        let values = bytes.get(Self::ROWS + 8, len)?.to_vec();
        let after = Self::ROWS + 8 + len;
        let texts = bytes.get(after + 4, bytes.size(after)?)?.to_vec();
        let [kind] = *bytes.get(Self::KIND, 1)? else { return Err(Unreadable("a part that is cut")) };
        Ok(Self { kind, rows, width, values, texts })
    }

    /// The same column, if its values are of this kind and width; MatrixOne numbers the kinds.
    pub(super) fn of(self, kind: Kind) -> Result<Self, Unreadable> {
        let Kind(number, width) = kind;
        if (self.kind, self.width) == (number, width) { Ok(self) } else { Err(Unreadable("a column of another kind")) }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A value; `None` where all are null. A column of one value can hold it once.
    pub(super) fn value(&self, row: usize) -> Result<Option<&[u8]>, Unreadable> {
        if row >= self.rows {
            return Err(Unreadable("a column that is too short"));
        }
        if self.values.is_empty() {
            return Ok(None);
        }
        let row = if self.values.len() == self.width { 0 } else { row };
        let at = row.checked_mul(self.width).ok_or(Unreadable("a column that is too long"))?;
        Bytes(&self.values).get(at, self.width).map(Some)
    }

    pub(super) fn number(&self, row: usize) -> Result<Option<u64>, Unreadable> {
        self.value(row)?.map(|value| Bytes(value).u64(0)).transpose()
    }

    pub(super) fn byte(&self, row: usize) -> Result<Option<u8>, Unreadable> {
        Ok(self.value(row)?.and_then(|value| value.first().copied()))
    }

    /// A text; empty where it is null.
    pub(super) fn text(&self, row: usize) -> Result<&[u8], Unreadable> {
        let Some(value) = self.value(row)? else { return Ok(&[]) };
        match value.first() {
            None => Ok(&[]),
            Some(len) if *len <= Self::SHORT => Bytes(value).get(1, usize::from(*len)),
            Some(_) => Bytes(&self.texts).get(Bytes(value).size(4)?, Bytes(value).size(8)?),
        }
    }
}
