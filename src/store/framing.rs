//! How MatrixOne's older file system backend stores content: blocks of 2048 bytes, each a CRC32C (little endian) of its
//! payload and up to 2044 bytes of payload; the last block is short. An object store always holds raw content.

use bytes::{Bytes, BytesMut};

use crate::plan::{Digest, Framing};

/// Bytes of a full block.
const BLOCK: usize = 2048;
/// Bytes of a checksum.
const CRC: usize = 4;
/// Content of a full block.
const PAYLOAD: usize = BLOCK - CRC;
/// Bytes of a SHA-256.
const SHA256: usize = 32;

/// Framed content that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// A block's checksum is not that of its payload.
    #[error("the checksum of block {0} is wrong")]
    Checksum(u64),
    /// The last block ends before its payload begins.
    #[error("block {0} is cut")]
    Cut(u64),
    /// A digest file is neither 32 bytes raw nor 36 bytes framed.
    #[error("a digest file has {0} bytes instead of 32 or 36")]
    DigestFile(usize),
}

/// Bytes that content of this size takes when it is stored.
#[must_use]
pub fn stored_size(framing: Framing, size: u64) -> u64 {
    match framing {
        Framing::Raw => size,
        Framing::Crc2048 => size.saturating_add(size.div_ceil(PAYLOAD as u64).saturating_mul(CRC as u64)),
    }
}

/// The framing of one file of an attempt: `mo_meta` and `config/` are always raw.
#[must_use]
pub fn of_path(framing: Framing, path: &str) -> Framing {
    if path.starts_with("tae/") || path.starts_with("hakeeper/") { framing } else { Framing::Raw }
}

/// Reads a digest file (`<file>.sha256`, the raw digest of the content). Its length says how the tree is framed, and
/// its checksum confirms it.
pub fn digest_file(stored: &[u8]) -> Result<(Digest, Framing), BadFrame> {
    if let Ok(raw) = <[u8; SHA256]>::try_from(stored) {
        return Ok((Digest(raw), Framing::Raw));
    }
    if stored.len() != CRC + SHA256 {
        return Err(BadFrame::DigestFile(stored.len()));
    }
    let content = deframed(stored)?;
    let digest = <[u8; SHA256]>::try_from(&content[..]).map_err(|_| BadFrame::DigestFile(stored.len()))?;
    Ok((Digest(digest), Framing::Crc2048))
}

fn check(block: &[u8], number: u64) -> Result<&[u8], BadFrame> {
    let (crc, payload) = block.split_first_chunk::<CRC>().ok_or(BadFrame::Cut(number))?;
    if payload.is_empty() {
        return Err(BadFrame::Cut(number));
    }
    if crc32c::crc32c(payload) != u32::from_le_bytes(*crc) {
        return Err(BadFrame::Checksum(number));
    }
    Ok(payload)
}

/// The content of a small file that was read whole.
pub fn deframed(stored: &[u8]) -> Result<Vec<u8>, BadFrame> {
    let mut deframer = Deframer::default();
    let mut content = deframer.push(stored)?.to_vec();
    content.extend_from_slice(&deframer.finish()?);
    Ok(content)
}

/// Takes frames off, step by step.
#[derive(Debug, Default)]
pub struct Deframer {
    /// The block that is not whole yet.
    part: BytesMut,
    blocks: u64,
}

impl Deframer {
    /// Takes the next stored bytes and returns the content of every block they complete.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<BytesMut, BadFrame> {
        let mut content = BytesMut::with_capacity(chunk.len() + PAYLOAD);
        if !self.part.is_empty() {
            let (head, rest) = chunk.split_at(chunk.len().min(BLOCK - self.part.len()));
            self.part.extend_from_slice(head);
            chunk = rest;
            if self.part.len() < BLOCK {
                return Ok(content);
            }
            content.extend_from_slice(check(&self.part, self.blocks)?);
            self.blocks += 1;
            self.part.clear();
        }
        let mut blocks = chunk.chunks_exact(BLOCK);
        for block in &mut blocks {
            content.extend_from_slice(check(block, self.blocks)?);
            self.blocks += 1;
        }
        self.part.extend_from_slice(blocks.remainder());
        Ok(content)
    }

    /// The content of the last block, when the stored bytes have ended.
    pub fn finish(self) -> Result<Bytes, BadFrame> {
        if self.part.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(Bytes::copy_from_slice(check(&self.part, self.blocks)?))
    }
}

/// Puts frames on, step by step.
#[derive(Debug, Default)]
pub struct Framer {
    /// The payload that is not a whole block yet.
    part: BytesMut,
}

impl Framer {
    /// Takes the next content and returns every block it completes.
    pub fn push(&mut self, chunk: &[u8]) -> BytesMut {
        self.part.extend_from_slice(chunk);
        let mut stored = BytesMut::with_capacity(self.part.len() / PAYLOAD * BLOCK);
        while self.part.len() >= PAYLOAD {
            put(&mut stored, &self.part.split_to(PAYLOAD));
        }
        stored
    }

    /// The last block, when the content has ended.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let mut stored = BytesMut::new();
        if !self.part.is_empty() {
            put(&mut stored, &self.part);
        }
        stored.freeze()
    }
}

fn put(stored: &mut BytesMut, payload: &[u8]) {
    stored.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    stored.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut framer = Framer::default();
        let mut stored = framer.push(content).to_vec();
        stored.extend_from_slice(&framer.finish());
        stored
    }

    fn deframe(stored: &[u8], piece: usize) -> Result<Vec<u8>, BadFrame> {
        let mut deframer = Deframer::default();
        let mut content = Vec::new();
        for chunk in stored.chunks(piece) {
            content.extend_from_slice(&deframer.push(chunk)?);
        }
        content.extend_from_slice(&deframer.finish()?);
        Ok(content)
    }

    proptest! {
        #[test]
        fn frames_go_on_and_off(content in proptest::collection::vec(any::<u8>(), 0..9000), piece in 1_usize..5000) {
            let stored = frame(&content);
            prop_assert_eq!(stored.len() as u64, stored_size(Framing::Crc2048, content.len() as u64));
            prop_assert_eq!(deframe(&stored, piece).unwrap(), content);
        }

        #[test]
        fn a_changed_bit_is_found(content in proptest::collection::vec(any::<u8>(), 1..5000), at in any::<usize>(), bit in 0_u8..8) {
            let mut stored = frame(&content);
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            prop_assert_eq!(deframe(&stored, 777), Err(BadFrame::Checksum((at / BLOCK) as u64)));
        }
    }

    #[rstest]
    #[case(0, 0)]
    #[case(1, 5)]
    #[case(2044, 2048)]
    #[case(2045, 2053)]
    #[case(4088, 4096)]
    #[case(u64::MAX, u64::MAX)]
    fn sizes_are_known_beforehand(#[case] size: u64, #[case] stored: u64) {
        assert_eq!(stored_size(Framing::Crc2048, size), stored);
        assert_eq!(stored_size(Framing::Raw, size), size);
    }

    #[test]
    fn a_cut_block_is_found() {
        let stored = frame(&[1; 3000]);
        assert_eq!(deframe(&stored[..2050], 4096), Err(BadFrame::Cut(1)));
        assert_eq!(deframe(&stored[..2052], 4096), Err(BadFrame::Cut(1)));
        assert_eq!(deframe(&stored[..2900], 4096), Err(BadFrame::Checksum(1)));
    }

    #[test]
    fn a_digest_file_tells_the_framing() {
        assert_eq!(digest_file(&[7; 32]), Ok((Digest([7; 32]), Framing::Raw)));
        assert_eq!(digest_file(&frame(&[7; 32])), Ok((Digest([7; 32]), Framing::Crc2048)));
        assert_eq!(digest_file(&[7; 36]), Err(BadFrame::Checksum(0)));
        assert_eq!(digest_file(b""), Err(BadFrame::DigestFile(0)));
    }

    #[test]
    fn only_tae_and_hakeeper_are_framed() {
        assert_eq!(of_path(Framing::Crc2048, "tae/ckp/x"), Framing::Crc2048);
        assert_eq!(of_path(Framing::Crc2048, "hakeeper/hk_data"), Framing::Crc2048);
        assert_eq!(of_path(Framing::Crc2048, "mo_meta"), Framing::Raw);
        assert_eq!(of_path(Framing::Crc2048, "config/x"), Framing::Raw);
    }
}
