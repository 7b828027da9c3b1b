//! The blocks of a file service of kind DISK: CRC32C of up to 2044 bytes in little endian, then the bytes.
//!
//! Written apart from the product's own, so that neither can hide a mistake of the other.

const PAYLOAD: usize = 2044;
const CHECKSUM: usize = 4;

/// The content in blocks.
pub fn framed(content: &[u8]) -> Vec<u8> {
    content.chunks(PAYLOAD).flat_map(|chunk| [&crc32c::crc32c(chunk).to_le_bytes()[..], chunk].concat()).collect()
}

/// The content of blocks whose checksums are taken to be right.
pub fn unframed(blocks: &[u8]) -> Vec<u8> {
    blocks.chunks(CHECKSUM + PAYLOAD).filter_map(|block| block.get(CHECKSUM..)).flatten().copied().collect()
}
