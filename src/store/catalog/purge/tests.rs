use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};

use super::*;
use crate::{
    plan::{Catalog, Digest, Entry},
    sample::{self, DIR},
    store::{
        Error, Level, Listed, ObjectWriter, Pieces,
        catalog::{
            tests::{NOW, assert_whole, id},
            write_entries,
        },
        memory::Memory,
    },
};

/// A deterministic sequence of numbers that look random (splitmix64).
pub(super) fn random(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A store that changes one bit of one answer on its way: the content of a read, or a name in a listing.
#[derive(Clone, Debug)]
struct Flipping {
    inner: Memory,
    /// Answers are numbered from 0 among those that are chosen.
    answer: u64,
    chosen: fn(&str) -> bool,
    bit: u64,
    seen: Arc<AtomicU64>,
}

impl Flipping {
    fn is_due(&self, what: &str) -> bool {
        (self.chosen)(what) && self.seen.fetch_add(1, Ordering::Relaxed) == self.answer
    }

    fn flip(&self, content: &mut [u8]) {
        let bit = usize::try_from(self.bit % (content.len() as u64 * 8)).unwrap();
        content[bit / 8] ^= 1 << (bit % 8);
    }
}

#[async_trait]
impl Objects for Flipping {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.inner.stat(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        let mut pieces = self.inner.read(key, range).await?;
        if !self.is_due(&format!("read {key}")) {
            return Ok(pieces);
        }
        let mut content = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            content.extend_from_slice(&piece);
        }
        self.flip(&mut content);
        Ok(stream::once(async { Ok(content.into()) }).boxed())
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.inner.put(key, body).await
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.inner.create(key, body).await
    }

    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.inner.writer(key, size).await
    }

    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        let what = format!("list {prefix}");
        let listed = self.inner.list(prefix).map(move |found| {
            let mut found = found?;
            if self.is_due(&what) {
                let mut name = found.key.as_str().as_bytes().to_vec();
                self.flip(&mut name);
                // What is no text has been refused by the parser of the answer.
                found.key = Key::listed(&String::from_utf8_lossy(&name));
            }
            Ok(found)
        });
        listed.boxed()
    }

    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.inner.level(folder, most).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        self.inner.delete(keys).await
    }
}

const MANY: u64 = 1600;

/// Bits that are changed, one in each removal.
const ROUNDS: u64 = 60;

fn entry(n: u64, from: u32) -> Entry {
    let (a, b) = (random(n), random(n + 1_000_000));
    let path =
        format!("tae/01a1fb92-{n:04x}-7{:03x}-8{:03x}-{:012x}_00000", a & 0xfff, a >> 20 & 0xfff, b & 0xffff_ffff_ffff);
    let mut digest = [0; 32];
    for (i, chunk) in digest.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&random(n * 31 + i as u64).to_le_bytes());
    }
    Entry { path, size: 1, sha256: Digest(digest), from }
}

/// A full backup of many objects, and an incremental one that needs three of four of them.
async fn large() -> Memory {
    let memory = Memory::new();
    let own = Entry { path: "mo_meta".into(), ..entry(0, 0) };
    let needed = (0..MANY).filter(|n| n % 4 != 0).map(|n| entry(n, 1));
    for (number, list) in [
        (1, (0..MANY).map(|n| entry(n, 0)).collect::<Vec<_>>()),
        (2, std::iter::once(own).chain(needed).collect::<Vec<_>>()),
    ] {
        let others = usize::from(number == 2);
        for entry in list.iter().filter(|entry| entry.from == 0) {
            memory.set(Key::object(id(number), DIR, &entry.path).as_str(), "x");
        }
        let stop = tokio_util::sync::CancellationToken::new();
        let written = write_entries(&memory, (id(number), DIR), 1 + others, || list.iter().cloned(), &stop);
        let written = written.await.unwrap();
        let catalog = Catalog {
            id: id(number),
            base: (number == 2).then(|| id(1)),
            chain: u32::from(number == 2),
            sources: sample::sources([id(number), id(1)], &written.sources),
            entries: written.entries,
            totals: written.totals,
            ..sample::blank()
        };
        memory.set(Key::catalog(id(number)).as_str(), serde_json::to_vec(&catalog).unwrap());
    }
    memory
}

fn copied(memory: &Memory) -> Memory {
    let copy = Memory::new();
    for key in memory.keys() {
        copy.set(&key, memory.get(&key).unwrap());
    }
    copy
}

/// Removes the full backup while one bit of one answer is wrong. What the incremental one needs stays, whatever the bit.
async fn removed_with_a_wrong_bit(original: &Memory, chosen: fn(&str) -> bool, round: u64, most: u64) -> bool {
    let memory = copied(original);
    let seen = Arc::new(AtomicU64::new(0));
    let flipping =
        Flipping { inner: memory.clone(), answer: random(round) % most, chosen, bit: random(round + 77), seen };
    let purged = purge(&flipping, id(1), NOW).await;
    assert_whole(&memory).await;
    let left = memory.keys().iter().filter(|key| key.starts_with(Prefix::backup(id(1)).as_str())).count() as u64;
    assert!(left >= MANY - MANY / 4, "{left} are left");
    if let Ok(purged) = &purged {
        assert_eq!((purged.kept, left), (MANY - MANY / 4, MANY - MANY / 4), "{round}");
    }
    purged.is_ok()
}

#[tokio::test]
async fn a_wrong_bit_in_any_answer_costs_no_needed_object() {
    let original = large().await;
    // Two readings of two entries, the list, and the names of entries and records.
    let mut removed = 0_u64;
    for round in 0..ROUNDS {
        removed +=
            u64::from(removed_with_a_wrong_bit(&original, |what| !what.starts_with("list data/"), round, 12).await);
    }
    assert!(removed > ROUNDS * 3 / 4, "only {removed} of {ROUNDS} removals went through");
    for round in 0..8 {
        removed_with_a_wrong_bit(&original, |what| what.starts_with("list data/"), round, MANY).await;
    }
}

#[tokio::test]
async fn a_wrong_bit_in_a_list_costs_no_object_and_no_removal() {
    let original = large().await;
    for round in 0..ROUNDS {
        let list = |what: &str| what.starts_with("read data/");
        assert!(removed_with_a_wrong_bit(&original, list, round, 2).await, "{round}");
    }
}
