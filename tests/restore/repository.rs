//! Repositories made small: backups with real entry lists, committed as a worker commits them.

use std::collections::BTreeMap;

use bytes::Bytes;
use mo_backup::{
    plan::{
        BackupId, Catalog, Digest, Entry, Framing, Kind, Marker, Owner, RepositoryId, Source, Timestamp,
        manifest::FORMAT,
    },
    store::{
        Key, catalog,
        framing::{self, Framer},
        memory::Memory,
    },
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sample::{DIR, blank};

#[path = "../fixtures/checkpoint.rs"]
#[allow(dead_code, reason = "other tests make more")]
pub mod made;

/// Paths and contents of a backup's own folder.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Some content that is unlike that of other seeds.
pub fn content(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from((n * 7 + n / 251 + usize::from(seed) * 13) % 251).unwrap()).collect()
}

pub fn name(n: u8) -> String {
    format!("tae/01a1fb9e-18cd-70d1-b5d7-3c23979186{n:02x}_00000")
}

/// The file of the checkpoint of a backup.
pub fn checkpoint(at: u8) -> String {
    format!("01a1fb9e-18cd-70d1-b5d7-3c23979187{at:02x}_00000")
}

/// What every backup has of its own: checkpoints, ids, and words about itself.
pub fn own(at: u8) -> Tree {
    let small = |path: &str, size| (path.to_owned(), content(at, size));
    let checkpoint = checkpoint(at);
    Tree::from([
        (format!("tae/ckp/meta_0-0_{at}-1.ckp"), made::list(&[(0, at.into(), 2, 13, &checkpoint)])),
        (format!("tae/{checkpoint}"), made::checkpoint(&[])),
        small(&format!("tae/gc/gc_{at}.ckp"), 17),
        small("tae/tae_list", 500),
        small("tae/tae_sum", 50),
        small("hakeeper/hk_data", 149),
        small("mo_meta", 90),
        small("config/cn.toml_01a1fb9e-2560-7b91-9479-9d72d684aabd", 30),
    ])
}

/// Content in its frames.
pub fn stored(framing: Framing, content: &[u8]) -> Bytes {
    match framing {
        Framing::Raw => Bytes::copy_from_slice(content),
        Framing::Crc2048 => {
            let mut framer = Framer::default();
            let mut stored = framer.push(content);
            stored.extend_from_slice(&framer.finish());
            stored.freeze()
        }
    }
}

pub fn marker(repository: RepositoryId) -> Marker {
    let owner = Owner { namespace: "ns".into(), name: "main".into(), uid: "storage-uid".into() };
    Marker { format: FORMAT, repository, owner, created_at: "2026-11-21T00:00:00Z".into() }
}

/// An empty repository.
pub fn repository() -> (Memory, RepositoryId) {
    let (memory, id) = (Memory::new(), RepositoryId(Uuid::new_v4()));
    memory.set("mo-backup.json", serde_json::to_vec(&marker(id)).unwrap());
    (memory, id)
}

fn totals(sources: &[Source], bytes: &[(u64, u64)]) -> Vec<Source> {
    sources
        .iter()
        .zip(bytes)
        .map(|(s, (objects, bytes))| Source { objects: *objects, bytes: *bytes, ..s.clone() })
        .collect()
}

/// Commits a backup: its own files in these frames, and the named ones of its base.
pub async fn take(
    memory: &Memory,
    repository: RepositoryId,
    (at, framing): (i64, Framing),
    tree: &Tree,
    base: Option<(&Catalog, &Tree)>,
) -> Catalog {
    let id = BackupId::fresh();
    let entry = |(path, content): (&String, &Vec<u8>), from| {
        let sha256 = Digest(Sha256::digest(content).into());
        Entry { path: path.clone(), size: content.len() as u64, sha256, from }
    };
    let mut entries: Vec<_> = tree.iter().map(|own| entry(own, 0)).collect();
    entries.extend(base.iter().flat_map(|(_, reused)| reused.iter()).map(|reused| entry(reused, 1)));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    for (path, content) in tree {
        let key = Key::object(id, DIR, path);
        memory.set(key.as_str(), stored(framing::of_path(framing, path), content));
    }
    let mut sources = vec![Source { backup: id, attempt: DIR, framing, objects: 0, bytes: 0 }];
    sources.extend(base.map(|(base, _)| base.sources[0].clone()));
    let written =
        catalog::write_entries(memory, (id, DIR), sources.len(), || entries.iter().cloned(), &CancellationToken::new())
            .await
            .unwrap();
    let catalog = Catalog {
        id,
        repository,
        kind: if base.is_some() { Kind::Incremental } else { Kind::Full },
        base: base.map(|(base, _)| base.id),
        chain: u32::from(base.is_some()),
        backup_ts: Timestamp { physical: at * 1_000_000_000, logical: 1 },
        exact_until: Timestamp { physical: at * 1_000_000_000, logical: 0 },
        sources: totals(&sources, &written.sources),
        entries: written.entries,
        totals: written.totals,
        ..blank()
    };
    memory.set(Key::catalog(id).as_str(), serde_json::to_vec(&catalog).unwrap());
    catalog
}
