//! The files `<name>.sha256` beside the files that MatrixOne writes about a backup. No list names them, and this program
//! restores without them, but MatrixOne's own tool reads them. So a damaged one must be found while the right one can still
//! be written again: the digest is in the entry list.

use crate::{
    plan::{Catalog, Digest, Entry, Framing},
    store::{
        Key, Objects,
        framing::{self, BadFrame},
    },
    worker::{
        restore::located,
        server_files::{Flaw, ServerFiles},
    },
};

/// Most files that are remembered; a backup has about ten of them. An entry list is hostile until it is checked.
const MOST: usize = 10_000;

/// A file that has a companion.
struct File {
    key: Key,
    framing: Framing,
    sha256: Digest,
}

/// The files of a backup that have companions.
#[derive(Default)]
pub(super) struct Companions(Vec<File>);

impl Companions {
    /// Remembers a file, if MatrixOne writes a companion beside it. Source of the names: `pkg/backup/backup.go` and `tae.go`.
    pub(super) fn note(&mut self, catalog: &Catalog, entry: &Entry) {
        let is_small = matches!(entry.path.as_str(), "mo_meta" | "tae/tae_list" | "tae/tae_sum" | "hakeeper/hk_data");
        if !(is_small || entry.path.starts_with("config/")) || self.0.len() >= MOST {
            return;
        }
        if let Ok((key, framing)) = located(catalog, entry) {
            self.0.push(File { key, framing, sha256: entry.sha256 });
        }
    }

    /// Compares them all: of each that is missing or wrong its key and what is wrong. A backup without any companion was
    /// freed of them on purpose, which is no damage.
    pub(super) async fn faults(&self, objects: &dyn Objects) -> Result<Vec<String>, crate::store::Error> {
        let files = ServerFiles { objects, key: Key::placed };
        let (mut faults, mut missing) = (Vec::new(), Vec::new());
        for File { key, framing, sha256 } in &self.0 {
            match files.companion(key.as_str()).await {
                Ok((said, framed)) if (said, framed) == (*sha256, *framing) => {}
                Ok((said, _)) if said != *sha256 => {
                    faults.push(format!("{key}.sha256 says {said}, and the SHA-256 of its file is {sha256}"));
                }
                Ok((_, framed)) => faults.push(format!("{key}.sha256 is stored {}, unlike its file", words(framed))),
                Err(Flaw::Store(e)) => return Err(e),
                Err(Flaw::Missing(key)) => missing.push(format!("{key} is missing")),
                Err(Flaw::Large(key, size)) => faults.push(format!("{key}: {}", no_digest(size))),
                Err(Flaw::Frames(key, why)) => faults.push(format!("{key}: {why}")),
                Err(Flaw::Other(..) | Flaw::Content(_)) => faults.push(format!("{key}.sha256 cannot be read")),
            }
        }
        if missing.len() < self.0.len() {
            faults.append(&mut missing);
        }
        Ok(faults)
    }
}

const fn words(framing: Framing) -> &'static str {
    match framing {
        Framing::Raw => "raw",
        Framing::Crc2048 => "in checksummed blocks",
    }
}

fn no_digest(size: u64) -> BadFrame {
    framing::BadFrame::DigestFile(usize::try_from(size).unwrap_or(usize::MAX))
}
