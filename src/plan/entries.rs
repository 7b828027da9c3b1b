//! The entry list: JSON lines in canonical form, sorted strictly ascending by path bytes, compressed with zstd.
//!
//! Both sides work step by step in constant memory, so that they fit any stream.

mod reader;
mod writer;

pub use reader::EntriesReader;
pub use writer::{EntriesWriter, Written};

use super::{Catalog, Digest, EntriesRef, Entry, Totals, error::Error, path};

/// Longest line, in bytes, without its end.
pub const LINE_MAX: usize = 4096;

/// Largest zstd window, as a power of two: 8 MiB.
pub const WINDOW_LOG_MAX: u32 = 23;

/// zstd level. Higher ones are slower and no smaller: digests do not compress.
const LEVEL: i32 = 1;

const FILE: &str = "the entry list";

/// Checks what must hold between an entry and the one before it.
fn check_order(before: &str, entry: &Entry, sources: usize) -> Result<(), String> {
    path::check(&entry.path).map_err(|e| format!("{:?}: {e}", shorten(&entry.path)))?;
    if entry.path.as_str() <= before {
        return Err(format!("{:?} does not come after {:?}", shorten(&entry.path), shorten(before)));
    }
    if usize::try_from(entry.from).ok().is_none_or(|from| from >= sources) {
        return Err(format!("{:?} lies in source {} of {sources}", shorten(&entry.path), entry.from));
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

fn digest(hasher: sha2::Sha256) -> Digest {
    use sha2::Digest as _;
    Digest(hasher.finalize().into())
}

/// Objects and bytes of each source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sums(Vec<(u64, u64)>);

impl Sums {
    fn new(sources: usize) -> Self {
        Self(vec![(0, 0); sources])
    }

    /// The entry has been checked by [`check_order`].
    fn add(&mut self, entry: &Entry) -> Result<(), String> {
        let sum = usize::try_from(entry.from).ok().and_then(|from| self.0.get_mut(from)).ok_or("no such source")?;
        sum.0 += 1;
        sum.1 = sum.1.checked_add(entry.size).ok_or("sizes add up to more than 2^64")?;
        Ok(())
    }

    fn totals(&self) -> Result<Totals, String> {
        let (copied_objects, copied_bytes) = self.0.first().copied().unwrap_or_default();
        let bytes =
            self.0.iter().try_fold(0_u64, |sum, s| sum.checked_add(s.1)).ok_or("sizes add up to more than 2^64")?;
        Ok(Totals { objects: self.0.iter().map(|s| s.0).sum(), bytes, copied_objects, copied_bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{plan::EntriesRef, sample};

    fn entry(n: u64, from: u32) -> Entry {
        let path = format!("tae/01a1fb92-a5a1-7a9e-bffc-{n:012x}_00000");
        Entry { path, size: n * 17, sha256: Digest([u8::try_from(n % 251).unwrap(); 32]), from }
    }

    fn write(entries: &[Entry], sources: usize) -> Result<(Vec<u8>, Written), Error> {
        let mut writer = EntriesWriter::new(sources)?;
        let mut stored = Vec::new();
        for entry in entries {
            writer.push(entry)?;
            stored.extend_from_slice(&writer.take());
        }
        let (rest, written) = writer.finish()?;
        stored.extend_from_slice(&rest);
        Ok((stored, written))
    }

    fn catalog(written: &Written) -> Catalog {
        let blank = sample::blank();
        Catalog {
            sources: sample::sources(std::iter::repeat(blank.id), &written.sources),
            entries: written.entries.clone(),
            totals: written.totals,
            ..blank
        }
    }

    fn read(catalog: &Catalog, stored: &[u8], piece: usize) -> Result<Vec<Entry>, Error> {
        let mut reader = EntriesReader::new(catalog)?;
        let mut found = Vec::new();
        for chunk in stored.chunks(piece) {
            reader.push(bytes::Bytes::copy_from_slice(chunk))?;
            while let Some(entry) = reader.next_entry()? {
                found.push(entry);
            }
        }
        reader.finish().map(|()| found)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(count in 0_u64..150, piece in 1_usize..5000) {
            let entries: Vec<_> = (0..count).map(|n| entry(n, u32::try_from(n % 3).unwrap())).collect();
            let (stored, written) = write(&entries, 3).unwrap();
            prop_assert_eq!(written.totals.objects, count);
            prop_assert_eq!(read(&catalog(&written), &stored, piece).unwrap(), entries);
        }

        #[test]
        fn a_changed_byte_never_passes(at in 0_usize..1000, bit in 0_u8..8) {
            let entries: Vec<_> = (0..50).map(|n| entry(n, 0)).collect();
            let (mut stored, written) = write(&entries, 1).unwrap();
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            prop_assert!(read(&catalog(&written), &stored, 4096).is_err());
        }

        #[test]
        fn a_cut_never_passes(keep in 0_usize..1000) {
            let entries: Vec<_> = (0..50).map(|n| entry(n, 0)).collect();
            let (stored, written) = write(&entries, 1).unwrap();
            let keep = keep % stored.len();
            prop_assert!(read(&catalog(&written), &stored[..keep], 4096).is_err());
        }
    }

    #[test]
    fn lines_are_canonical() {
        let lines =
            br#"{"path":"mo_meta","size":5,"sha256":"0000000000000000000000000000000000000000000000000000000000000000"}
{"path":"tae/x","size":6,"sha256":"0101010101010101010101010101010101010101010101010101010101010101","from":1}
"#;
        let mut entries = vec![Entry { path: "mo_meta".into(), size: 5, sha256: Digest([0; 32]), from: 0 }];
        entries.push(Entry { path: "tae/x".into(), size: 6, sha256: Digest([1; 32]), from: 1 });
        let (stored, written) = write(&entries, 2).unwrap();
        assert_eq!(zstd::decode_all(&stored[..]).unwrap(), lines);
        assert_eq!(written.sources, [(1, 5), (1, 6)]);
        assert_eq!(written.entries.bytes, stored.len() as u64);
    }

    #[test]
    fn the_writer_refuses_disorder() {
        let mut writer = EntriesWriter::new(1).unwrap();
        writer.push(&entry(2, 0)).unwrap();
        assert!(writer.push(&entry(1, 0)).is_err(), "out of order");
        assert!(writer.push(&entry(2, 0)).is_err(), "twice");
        assert!(writer.push(&entry(3, 1)).is_err(), "no such source");
        assert!(writer.push(&Entry { path: "../x".into(), ..entry(3, 0) }).is_err(), "bad path");
    }

    fn forged(lines: &str) -> (Catalog, Vec<u8>) {
        forged_as(lines, zstd::encode_all(lines.as_bytes(), 1).unwrap())
    }

    fn forged_as(lines: &str, stored: Vec<u8>) -> (Catalog, Vec<u8>) {
        let entries = EntriesRef {
            bytes: stored.len() as u64,
            sha256: digest(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &stored)),
            lines: lines.lines().count() as u64,
            lines_sha256: digest(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), lines)),
        };
        let (_, written) = write(&[], 1).unwrap();
        (Catalog { entries, ..catalog(&written) }, stored)
    }

    #[rstest::rstest]
    #[case::space(&format!("{{\"path\":\"mo_meta\", \"size\":0,\"sha256\":\"{:064}\"}}\n", 0), "canonical")]
    #[case::zero_from(&format!("{{\"path\":\"mo_meta\",\"size\":0,\"sha256\":\"{:064}\",\"from\":0}}\n", 0), "canonical")]
    #[case::unknown_field(&format!("{{\"path\":\"mo_meta\",\"size\":0,\"sha256\":\"{:064}\",\"key\":1}}\n", 0), "unknown field")]
    #[case::traversal(&format!("{{\"path\":\"tae/../x\",\"size\":0,\"sha256\":\"{:064}\"}}\n", 0), "relative part")]
    #[case::source(&format!("{{\"path\":\"tae/x\",\"size\":0,\"sha256\":\"{:064}\",\"from\":7}}\n", 0), "source 7 of 1")]
    #[case::no_json("rubbish\n", "line 1")]
    #[case::long_line(&format!("{}\n", "x".repeat(LINE_MAX + 1)), "longer than")]
    #[case::endless(&"x".repeat(100_000), "longer than")]
    #[case::no_end("{}", "ends within a line")]
    fn forged_lists_are_refused(#[case] lines: &str, #[case] why: &str) {
        let (catalog, stored) = forged(lines);
        let text = read(&catalog, &stored, 4096).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn sums_must_match_the_catalogue() {
        let (stored, written) = write(&[entry(1, 0)], 1).unwrap();
        let mut catalog = catalog(&written);
        catalog.totals.bytes += 1;
        assert!(read(&catalog, &stored, 100).unwrap_err().to_string().contains("totals"));
        catalog.totals.bytes -= 1;
        catalog.sources[0].objects += 1;
        assert!(read(&catalog, &stored, 100).unwrap_err().to_string().contains("sources"));
    }

    #[test]
    fn a_large_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, &[b'x'; 100]).unwrap();
        let stored = encoder.finish().unwrap();
        let (catalog, stored) = forged_as("", stored);
        assert!(read(&catalog, &stored, 4096).unwrap_err().to_string().contains("decompress"));
    }
}
