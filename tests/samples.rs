//! Real backups, as MatrixOne v1.2.4 (framed) and v4.2.0 (raw) wrote them: a full one and an incremental one on it each,
//! staged into a store in memory, resolved, committed, read back and removed.

#[allow(dead_code, reason = "other tests ask it for more")]
#[path = "fixtures/catalog.rs"]
mod sample;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mo_backup::{
    plan::{
        BackupId, Catalog, Entry, Framing, Kind, MoMeta, Resolved, Resolver, RowId, TaeList, TaeListReader, TaeSum,
        base,
    },
    store::{
        Key, Volume, catalog, framing,
        memory::Memory,
        presence::{self, Presence},
        transfer::{self, Item, Limits, Moved},
    },
};
use rstest::rstest;
use sample::{DIR, blank};
use tokio_util::sync::CancellationToken;

/// A backup directory as the server left it.
struct Tree {
    root: PathBuf,
    framing: Framing,
}

impl Tree {
    fn open(version: &str, kind: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples").join(version).join(kind);
        let companion = std::fs::read(root.join("tae/tae_sum.sha256")).unwrap();
        Self { framing: framing::digest_file(&companion).unwrap().1, root }
    }

    fn content(&self, path: &str) -> Vec<u8> {
        let stored = std::fs::read(self.root.join(path)).unwrap();
        match framing::of_path(self.framing, path) {
            Framing::Raw => stored,
            Framing::Crc2048 => framing::deframed(&stored).unwrap(),
        }
    }

    fn list(&self) -> TaeList {
        let mut reader = TaeListReader::default();
        reader.push(&self.content("tae/tae_list")).unwrap();
        reader.finish().unwrap()
    }

    fn sum(&self) -> TaeSum {
        TaeSum::parse(&self.content("tae/tae_sum")).unwrap()
    }

    /// The files that the server's list does not name.
    fn own_files(&self) -> Vec<String> {
        let mut files = self.configuration();
        files.extend(["hakeeper/hk_data", "mo_meta", "tae/tae_list", "tae/tae_sum"].map(str::to_owned));
        files
    }

    fn configuration(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.root.join("config")).unwrap();
        let found = found.map(|e| format!("config/{}", e.unwrap().file_name().into_string().unwrap()));
        let mut files: Vec<_> = found.filter(|name| !name.ends_with(".sha256")).collect();
        files.sort();
        files
    }

    fn item<T>(&self, id: BackupId, tag: T, path: &str) -> Item<T> {
        Item {
            tag,
            folder: Volume::open(&self.root, "").unwrap(),
            file: path.into(),
            framing: framing::of_path(self.framing, path),
            key: Key::object(id, DIR, path),
            size: None,
            digest: None,
        }
    }
}

async fn copy_in<T: Send>(memory: &Memory, items: Vec<Item<T>>) -> Vec<(T, u64, mo_backup::plan::Digest)> {
    let mut copied = Vec::new();
    let stop = CancellationToken::new();
    transfer::copy(memory, items.into_iter(), Limits::default(), &Moved::default(), &stop, |c| {
        copied.push((c.tag, c.size, c.digest));
        Ok(())
    })
    .await
    .unwrap();
    copied
}

/// Copies what the server has copied, and records what was found.
async fn stage(memory: &Memory, tree: &Tree, id: BackupId, resolved: &mut Resolved) -> Vec<Entry> {
    let rows: Vec<Item<RowId>> = resolved
        .copied()
        .map(|row| Item { size: Some(row.size), digest: row.digest, ..tree.item(id, row.id, &row.path) })
        .collect();
    for (row, size, digest) in copy_in(memory, rows).await {
        resolved.found(row, size, digest).unwrap();
    }
    let own: Vec<_> = tree.own_files().into_iter().map(|path| tree.item(id, path.clone(), &path)).collect();
    let own = copy_in(memory, own).await;
    own.into_iter().map(|(path, size, sha256)| Entry { path, size, sha256, from: 0 }).collect()
}

async fn take(memory: &Memory, tree: &Tree, on: Option<&Catalog>, framing: Framing) -> Catalog {
    let id = BackupId::fresh();
    let mut resolver = Resolver::new(tree.list());
    if let Some(on) = on {
        let mut list = catalog::entries(memory, on).await.unwrap();
        while let Some(entry) = list.next().await.unwrap() {
            resolver.base_entry(&entry);
        }
    }
    let mut resolved = resolver.finish().unwrap();
    let own = stage(memory, tree, id, &mut resolved).await;
    let assembled = resolved.assemble(own, (id, DIR, framing), on).unwrap();
    let (stop, sources) = (CancellationToken::new(), assembled.sources.len());
    let written = catalog::write_entries(memory, (id, DIR), sources, || assembled.entries(), &stop);
    let written = written.await.unwrap();
    assert_eq!(written.totals, assembled.totals());
    let sum = tree.sum();
    let MoMeta { mut config, server_version } = MoMeta::parse(&tree.content("mo_meta")).unwrap();
    assert!(server_version.is_some_and(|version| tree.root.to_string_lossy().contains(&version)));
    config.sort();
    assert_eq!(config, tree.configuration(), "mo_meta names what lies there");
    let catalog = Catalog {
        id,
        kind: if on.is_some() { Kind::Incremental } else { Kind::Full },
        base: on.map(|on| on.id),
        chain: on.map_or(0, |on| on.chain + 1),
        backup_ts: sum.backup_ts,
        exact_until: sum.backup_ts,
        sources: assembled.sources,
        entries: written.entries,
        totals: written.totals,
        ..blank()
    };
    memory.set(Key::catalog(id).as_str(), serde_json::to_vec(&catalog).unwrap());
    catalog
}

async fn look(memory: &Memory, catalog: &Catalog) -> Presence {
    let list = presence::of_list(catalog::entries(memory, catalog).await.unwrap());
    presence::present(memory, &catalog.sources, list).await.unwrap()
}

async fn entries(memory: &Memory, of: &Catalog) -> Vec<Entry> {
    let mut list = catalog::entries(memory, of).await.unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = list.next().await.unwrap() {
        entries.push(entry);
    }
    entries
}

struct Expected {
    version: &'static str,
    framing: Framing,
    /// Rows of the lists, and rows of the full one without a digest.
    rows: [usize; 2],
    unread: usize,
    entries: [u64; 2],
    reused: u64,
    bytes: [u64; 2],
}

#[rstest]
#[case(Expected { version: "v1.2.4", framing: Framing::Crc2048, rows: [81, 91], unread: 1, entries: [89, 99], reused: 72, bytes: [379_033, 429_513] })]
#[case(Expected { version: "v4.2.0", framing: Framing::Raw, rows: [105, 121], unread: 2, entries: [113, 129], reused: 96, bytes: [735_537, 770_938] })]
#[tokio::test]
async fn real_backups_are_staged_resolved_and_removed(#[case] expected: Expected) {
    let memory = Memory::new();
    let trees = ["full", "incr"].map(|kind| Tree::open(expected.version, kind));
    for (n, tree) in trees.iter().enumerate() {
        let list = tree.list();
        assert_eq!((tree.framing, list.len(), list.bytes()), (expected.framing, expected.rows[n], expected.bytes[n]));
        assert_eq!(tree.sum().bytes, expected.bytes[n]);
        for path in ["tae/tae_list", "tae/tae_sum", "hakeeper/hk_data", "mo_meta"] {
            let companion = std::fs::read(tree.root.join(format!("{path}.sha256"))).unwrap();
            let (digest, framing) = framing::digest_file(&companion).unwrap();
            assert_eq!(framing, framing::of_path(tree.framing, path));
            assert_eq!(digest, sha256(&tree.content(path)), "{path}");
        }
    }
    assert_eq!(Resolver::new(trees[0].list()).finish().unwrap().unread().count(), expected.unread);
    assert!(Resolver::new(trees[1].list()).finish().is_err(), "an incremental one needs its base");

    let full = take(&memory, &trees[0], None, Framing::Raw).await;
    let now = trees[1].sum().backup_ts;
    let wanted =
        base::Wanted { identity: "prod", repository: full.repository, now, named: None, own: BackupId::fresh() };
    assert_eq!(base::choose([&full], &wanted).base, Some(full.id));
    let incremental = take(&memory, &trees[1], Some(&full), Framing::Raw).await;

    for (catalog, entries) in [(&full, expected.entries[0]), (&incremental, expected.entries[1])] {
        assert_eq!(catalog.totals.objects, entries);
        let found = look(&memory, catalog).await;
        assert_eq!((found.objects, found.faults, found.bytes), (entries, 0, catalog.totals.bytes));
    }
    let objects: Vec<_> = incremental.sources.iter().map(|s| s.objects).collect();
    assert_eq!(objects, [expected.entries[1] - expected.reused, expected.reused]);

    every_object_reads_back(&memory, &incremental).await;
    removal_leaves_what_is_needed(&memory, &full, &incremental).await;
}

fn sha256(content: &[u8]) -> mo_backup::plan::Digest {
    use sha2::Digest as _;
    mo_backup::plan::Digest(sha2::Sha256::digest(content).into())
}

async fn every_object_reads_back(memory: &Memory, catalog: &Catalog) {
    let (moved, stop) = (Moved::default(), CancellationToken::new());
    for entry in entries(memory, catalog).await {
        let source = &catalog.sources[entry.from as usize];
        let key = Key::object(source.backup, source.attempt, &entry.path);
        let found = transfer::hash(memory, &key, Framing::Raw, &moved, &stop).await.unwrap();
        assert_eq!(found, (entry.size, entry.sha256), "{}", entry.path);
    }
    assert_eq!((moved.objects(), moved.bytes()), (catalog.totals.objects, catalog.totals.bytes));
}

async fn removal_leaves_what_is_needed(memory: &Memory, full: &Catalog, incremental: &Catalog) {
    let before = entries(memory, incremental).await;
    let purged = catalog::purge(memory, full.id, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let kept = incremental.sources[1].objects;
    assert_eq!((purged.kept, purged.objects), (kept, full.totals.objects + 1 - kept));
    assert_eq!(look(memory, incremental).await.faults, 0);
    assert_eq!(entries(memory, incremental).await, before);
    catalog::purge(memory, incremental.id, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(memory.keys().is_empty(), "{:?}", memory.keys());
}

/// A server that writes into the repository itself leaves its frames on; sizes and digests are those of the content.
#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test]
async fn a_tree_as_the_server_wrote_it_is_checked_in_place(#[case] version: &str) {
    let tree = Tree::open(version, "full");
    let memory = Memory::new();
    let catalog = take(&memory, &tree, None, tree.framing).await;
    let as_written: BTreeMap<_, _> = entries(&memory, &catalog)
        .await
        .into_iter()
        .map(|entry| (Key::object(catalog.id, DIR, &entry.path), std::fs::read(tree.root.join(&entry.path)).unwrap()))
        .collect();
    for (key, stored) in as_written {
        memory.set(key.as_str(), stored);
    }
    assert_eq!(look(&memory, &catalog).await.faults, 0);
    let (moved, stop) = (Moved::default(), CancellationToken::new());
    for entry in entries(&memory, &catalog).await {
        let key = Key::object(catalog.id, DIR, &entry.path);
        let framing = framing::of_path(tree.framing, &entry.path);
        let found = transfer::hash(&memory, &key, framing, &moved, &stop).await.unwrap();
        assert_eq!(found, (entry.size, entry.sha256), "{}", entry.path);
        assert!(memory.flip(key.as_str(), usize::try_from(entry.size / 2).unwrap()));
        let changed = transfer::hash(&memory, &key, framing, &moved, &stop).await;
        assert_ne!(changed.ok(), Some((entry.size, entry.sha256)), "{}", entry.path);
    }
}

/// The base of another history does not resolve.
#[tokio::test]
async fn the_base_of_another_server_is_not_usable() {
    let memory = Memory::new();
    let other = take(&memory, &Tree::open("v1.2.4", "full"), None, Framing::Raw).await;
    let mut resolver = Resolver::new(Tree::open("v4.2.0", "incr").list());
    for entry in entries(&memory, &other).await {
        resolver.base_entry(&entry);
    }
    let no = resolver.finish().unwrap_err();
    assert_eq!((no.count, no.first.len()), (96, 5));
}
