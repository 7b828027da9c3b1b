//! A file of objects: a head that says where the description lies, and the columns of blocks, each compressed by itself
//! (src: pkg/objectio/{meta,metav2,metav3,writer}.go of v1.1.0 to v1.2.4).

use std::cell::Cell;

use super::{
    Unreadable,
    vector::{Bytes, Vector},
};

/// What the file begins with.
const MAGIC: u64 = 0xFFFF_FFFF;
/// Where the head says where the description lies.
const DESCRIPTION: usize = 10;
/// What the description and a column begin with: kind and version.
const DESCRIBES: (u16, u16) = (1, 3);
const COLUMN: (u16, u16) = (2, 1);
/// How an extent can be compressed.
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// Largest content that is unpacked, bytes.
const MOST: usize = 32 << 20;
/// Bytes that are unpacked of one file: whoever writes to a bucket can let many columns lie in one place.
const ALTOGETHER: usize = 8 * MOST;

/// The description's own head: the data's blocks and their place, and behind it the other kinds of blocks.
const KINDS: usize = 32;
/// A block's head, with its number and how many columns it has.
const HEAD: usize = 179;
const NUMBER: usize = 34;
const COLUMNS: usize = 140;
/// What is said of a column, and where it says where it lies.
const OF_COLUMN: usize = 124;
const LIES: usize = 11;

/// A file whose description is unpacked.
pub(super) struct Object<'a> {
    file: &'a [u8],
    description: Vec<u8>,
    unpacked: Cell<usize>,
}

/// A block: what is said about it.
pub(super) struct Block<'a> {
    object: &'a Object<'a>,
    head: &'a [u8],
}

impl<'a> Object<'a> {
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Unreadable> {
        if Bytes(file).u64(0)? != MAGIC {
            return Err(Unreadable("a file that is none of objects"));
        }
        let description = entry(unpacked(file, file, DESCRIPTION)?, DESCRIBES)?;
        Ok(Self { file, description, unpacked: Cell::new(0) })
    }

    /// The blocks with data.
    pub(super) fn data(&'a self) -> Result<Vec<Block<'a>>, Unreadable> {
        let bytes = Bytes(&self.description);
        self.described(usize::from(bytes.u16(0)?), bytes.size(2)?)
    }

    /// The blocks of a kind.
    pub(super) fn blocks(&'a self, kind: u16) -> Result<Vec<Block<'a>>, Unreadable> {
        let bytes = Bytes(&self.description);
        for n in 0..usize::from(bytes.u16(KINDS)?) {
            let at = KINDS + 2 + 8 * n;
            if bytes.u16(at)? == kind {
                return self.described(usize::from(bytes.u16(at + 2)?), bytes.size(at + 4)?);
            }
        }
        Ok(Vec::new())
    }

    /// Blocks that are described from here on: a head with what is said of all of them, and where each is described.
    fn described(&'a self, count: usize, at: usize) -> Result<Vec<Block<'a>>, Unreadable> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let all = self.description.get(at..).ok_or(Unreadable("a description that is cut"))?;
        let all = Bytes(all);
        let index = HEAD + usize::from(all.u16(COLUMNS)?) * OF_COLUMN;
        let block = |n: usize| {
            let place = index + 4 + 8 * n;
            Ok(Block { object: self, head: all.get(all.size(place)?, all.size(place + 4)?)? })
        };
        if all.size(index)? != count {
            return Err(Unreadable("another number of blocks than there should be"));
        }
        (0..count).map(block).collect()
    }
}

impl Block<'_> {
    /// Its number in the file.
    pub(super) fn number(&self) -> Result<u16, Unreadable> {
        Bytes(self.head).u16(NUMBER)
    }

    pub(super) fn column(&self, n: u16) -> Result<Vector, Unreadable> {
        let Object { file, unpacked: altogether, .. } = self.object;
        let content = unpacked(file, self.head, HEAD + usize::from(n) * OF_COLUMN + LIES)?;
        altogether.set(altogether.get() + content.len());
        if altogether.get() > ALTOGETHER {
            return Err(Unreadable("parts that are too large together"));
        }
        Vector::parse(&entry(content, COLUMN)?)
    }
}

/// A content without what it begins with.
fn entry(mut content: Vec<u8>, kind: (u16, u16)) -> Result<Vec<u8>, Unreadable> {
    let bytes = Bytes(&content);
    if (bytes.u16(0)?, bytes.u16(2)?) != kind {
        return Err(Unreadable("a part of another version"));
    }
    content.drain(..4);
    Ok(content)
}

/// The content of the extent that is written here: how it is compressed, where it lies, its stored and its own size.
fn unpacked(file: &[u8], from: &[u8], at: usize) -> Result<Vec<u8>, Unreadable> {
    let from = Bytes(from);
    let stored = Bytes(file).get(from.size(at + 1)?, from.size(at + 5)?)?;
    let size = from.size(at + 9)?;
    if size > MOST {
        return Err(Unreadable("a part that is too large"));
    }
    match from.get(at, 1)? {
        [PLAIN] => Ok(stored.to_vec()),
        [LZ4] => lz4_flex::block::decompress(stored, size).map_err(|_| Unreadable("a part that cannot be unpacked")),
        _ => Err(Unreadable("a compression that is not known")),
    }
}
