//! A file of objects: a head that says where the description lies, and the columns of blocks, each compressed by itself
//! (src: pkg/objectio/{meta,metav2,metav3,writer}.go of v1.1.0 to v4.2.0).

use std::cell::Cell;

use super::{
    Unreadable,
    vector::{Bytes, Vector},
};

/// What the file begins with.
const MAGIC: u64 = 0xFFFF_FFFF;
/// Where the head says where the description lies.
const DESCRIPTION: usize = 10;
/// Bytes of the head.
pub(super) const HEAD_LEN: usize = 64;
/// What the description and a column begin with: kind and version. 2.1 writes the rows that are null in another form.
const DESCRIBES: (u16, u16) = (1, 3);
const COLUMNS_OF: [(u16, u16); 2] = [(2, 1), (2, 2)];
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

/// Where something lies in a file, and how it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    compression: u8,
    at: u32,
    stored: u32,
    size: u32,
}

impl Extent {
    fn parse(from: &[u8], at: usize) -> Result<Self, Unreadable> {
        let bytes = Bytes(from);
        let [compression] = *bytes.get(at, 1)? else { return Err(Unreadable("a part that is cut")) };
        Ok(Self { compression, at: bytes.u32(at + 1)?, stored: bytes.u32(at + 5)?, size: bytes.u32(at + 9)? })
    }

    /// The first byte in the file, and the number of bytes there.
    #[must_use]
    pub fn place(self) -> (u64, u64) {
        (self.at.into(), self.stored.into())
    }

    /// Bytes once it is unpacked.
    #[must_use]
    pub fn size(self) -> u64 {
        self.size.into()
    }

    /// Unpacks what lies there.
    fn unpack(self, stored: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let size = length(self.size)?;
        if size > MOST {
            return Err(Unreadable("a part that is too large"));
        }
        if stored.len() != length(self.stored)? {
            return Err(Unreadable("a part that is cut"));
        }
        match self.compression {
            PLAIN => Ok(stored.to_vec()),
            LZ4 => {
                let unpacked = lz4_flex::block::decompress(stored, size);
                let unpacked = unpacked.map_err(|_| Unreadable("a part that cannot be unpacked"))?;
                if unpacked.len() == size { Ok(unpacked) } else { Err(Unreadable("a part of another size")) }
            }
            _ => Err(Unreadable("a compression that is not known")),
        }
    }

    /// The column that lies there.
    pub(super) fn column(self, stored: &[u8]) -> Result<Vector, Unreadable> {
        Vector::parse(&entry(self.unpack(stored)?, &COLUMNS_OF)?)
    }

    fn of(self, file: &[u8]) -> Result<&[u8], Unreadable> {
        Bytes(file).get(length(self.at)?, length(self.stored)?)
    }
}

fn length(bytes: u32) -> Result<usize, Unreadable> {
    usize::try_from(bytes).map_err(|_| Unreadable("a part that is too large"))
}

/// Where the description of a file lies, from its first bytes.
pub(super) fn head(file: &[u8]) -> Result<Extent, Unreadable> {
    if Bytes(file).u64(0)? != MAGIC {
        return Err(Unreadable("a file that is none of objects"));
    }
    Extent::parse(file, DESCRIPTION)
}

/// What a file says about its blocks.
pub(super) struct Description(Vec<u8>);

impl Description {
    /// Reads what lies at the place that [`head`] names.
    pub(super) fn parse(extent: Extent, stored: &[u8]) -> Result<Self, Unreadable> {
        entry(extent.unpack(stored)?, &[DESCRIBES]).map(Self)
    }

    /// The heads of the blocks with data.
    pub(super) fn data(&self) -> Result<Vec<Head<'_>>, Unreadable> {
        let bytes = Bytes(&self.0);
        self.described(usize::from(bytes.u16(0)?), bytes.size(2)?)
    }

    /// The heads of the blocks of a kind.
    fn blocks(&self, kind: u16) -> Result<Vec<Head<'_>>, Unreadable> {
        let bytes = Bytes(&self.0);
        for n in 0..usize::from(bytes.u16(KINDS)?) {
            let at = KINDS + 2 + 8 * n;
            if bytes.u16(at)? == kind {
                return self.described(usize::from(bytes.u16(at + 2)?), bytes.size(at + 4)?);
            }
        }
        Ok(Vec::new())
    }

    /// Blocks that are described from here on: a head with what is said of all of them, and where each is described.
    fn described(&self, count: usize, at: usize) -> Result<Vec<Head<'_>>, Unreadable> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let all = self.0.get(at..).ok_or(Unreadable("a description that is cut"))?;
        let all = Bytes(all);
        let index = HEAD + usize::from(all.u16(COLUMNS)?) * OF_COLUMN;
        let block = |n: usize| {
            let place = index + 4 + 8 * n;
            Ok(Head(all.get(all.size(place)?, all.size(place + 4)?)?))
        };
        if all.size(index)? != count {
            return Err(Unreadable("another number of blocks than there should be"));
        }
        (0..count).map(block).collect()
    }
}

/// What is said about a block.
#[derive(Clone, Copy)]
pub(super) struct Head<'a>(&'a [u8]);

impl Head<'_> {
    /// Its number in the file.
    fn number(self) -> Result<u16, Unreadable> {
        Bytes(self.0).u16(NUMBER)
    }

    /// How many columns it has.
    pub(super) fn columns(self) -> Result<u16, Unreadable> {
        Bytes(self.0).u16(COLUMNS)
    }

    /// Where a column lies.
    pub(super) fn column(self, n: u16) -> Result<Extent, Unreadable> {
        if n >= self.columns()? {
            return Err(Unreadable("a block with too few columns"));
        }
        Extent::parse(self.0, HEAD + usize::from(n) * OF_COLUMN + LIES)
    }
}

/// A file whose description is unpacked.
pub(super) struct Object<'a> {
    file: &'a [u8],
    description: Description,
    unpacked: Cell<usize>,
}

/// A block: what is said about it.
pub(super) struct Block<'a> {
    object: &'a Object<'a>,
    head: Head<'a>,
}

impl<'a> Object<'a> {
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Unreadable> {
        let extent = head(file)?;
        let description = Description::parse(extent, extent.of(file)?)?;
        Ok(Self { file, description, unpacked: Cell::new(0) })
    }

    /// The blocks with data.
    pub(super) fn data(&'a self) -> Result<Vec<Block<'a>>, Unreadable> {
        Ok(self.with(self.description.data()?))
    }

    /// The blocks of a kind.
    pub(super) fn blocks(&'a self, kind: u16) -> Result<Vec<Block<'a>>, Unreadable> {
        Ok(self.with(self.description.blocks(kind)?))
    }

    fn with(&'a self, heads: Vec<Head<'a>>) -> Vec<Block<'a>> {
        heads.into_iter().map(|head| Block { object: self, head }).collect()
    }
}

impl Block<'_> {
    /// Its number in the file.
    pub(super) fn number(&self) -> Result<u16, Unreadable> {
        self.head.number()
    }

    /// How many columns it has.
    pub(super) fn columns(&self) -> Result<u16, Unreadable> {
        self.head.columns()
    }

    pub(super) fn column(&self, n: u16) -> Result<Vector, Unreadable> {
        let Object { file, unpacked: altogether, .. } = self.object;
        let extent = self.head.column(n)?;
        altogether.set(altogether.get().saturating_add(length(extent.size)?));
        if altogether.get() > ALTOGETHER {
            return Err(Unreadable("parts that are too large together"));
        }
        extent.column(extent.of(file)?)
    }
}

/// A content without what it begins with.
fn entry(mut content: Vec<u8>, kinds: &[(u16, u16)]) -> Result<Vec<u8>, Unreadable> {
    let bytes = Bytes(&content);
    if !kinds.contains(&(bytes.u16(0)?, bytes.u16(2)?)) {
        return Err(Unreadable("a part of another version"));
    }
    content.drain(..4);
    Ok(content)
}
