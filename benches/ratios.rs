//! What guides the design, side by side in one run: what a byte, an object, an entry and a decision cost.

#[path = "../tests/fixtures/catalog.rs"]
mod sample;

use bytes::{Bytes, BytesMut};
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use mo_backup::{
    api::{Backup, BackupStorage},
    controller::{
        backup::{Base, Observed, decide},
        job::WorkerImage,
        queue::Ticket,
        seen::{Named, Workers},
    },
    plan::{Catalog, Digest, EntriesReader, EntriesWriter, Entry, Framing, TaeListReader, Written},
    store::{
        Key, Volume,
        framing::{Deframer, Framer},
        transfer::{self, Item, Limits, Moved},
    },
};
use serde_json::json;
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

fn main() {
    divan::main();
}

/// What happens to every byte that is copied.
#[divan::bench_group(sample_count = 20)]
mod a_byte {
    use super::*;

    const SIZE: usize = 16 << 20;

    fn content() -> Vec<u8> {
        (0..SIZE).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn framed() -> Vec<u8> {
        let mut framer = Framer::default();
        let mut stored = framer.push(&content()).to_vec();
        stored.extend_from_slice(&framer.finish());
        stored
    }

    fn deframe(stored: &[u8]) -> BytesMut {
        let mut deframer = Deframer::default();
        let mut content = deframer.push(stored).unwrap();
        content.extend_from_slice(&deframer.finish().unwrap());
        content
    }

    #[divan::bench]
    fn copied_in_memory(bencher: Bencher) {
        let content = content();
        bencher.counter(BytesCount::new(SIZE)).bench_local(|| BytesMut::from(black_box(&content[..])));
    }

    #[divan::bench]
    fn out_of_its_frame(bencher: Bencher) {
        let stored = framed();
        bencher.counter(BytesCount::new(SIZE)).bench_local(|| deframe(black_box(&stored)));
    }

    #[divan::bench]
    fn hashed(bencher: Bencher) {
        let content = content();
        bencher.counter(BytesCount::new(SIZE)).bench_local(|| sha2::Sha256::digest(black_box(&content)));
    }

    #[divan::bench]
    fn out_of_its_frame_and_hashed(bencher: Bencher) {
        let stored = framed();
        bencher.counter(BytesCount::new(SIZE)).bench_local(|| sha2::Sha256::digest(deframe(black_box(&stored))));
    }
}

/// From a staging folder to a volume, several at the same time.
#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod an_object {
    use super::*;

    const OBJECTS: usize = 256;
    const SIZE: usize = 64 << 10;

    #[divan::bench(args = [1, 4, 16])]
    fn copied_with_others(bencher: Bencher, at_once: usize) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        let volume = Volume::open(&to, "").unwrap();
        let source = Volume::open(&from, "").unwrap();
        let items: Vec<Item<()>> = (0..OBJECTS)
            .map(|n| {
                let (folder, file) = (source.clone(), n.to_string().into());
                std::fs::write(from.join(&file), vec![n as u8; SIZE]).unwrap();
                let key = Key::probe(&n.to_string());
                Item { tag: (), folder, file, framing: Framing::Raw, key, size: Some(SIZE as u64), digest: None }
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let limits = Limits { at_once, ..Limits::default() };
        bencher.counter(ItemsCount::new(OBJECTS)).bench_local(|| {
            let (moved, stop) = (Moved::default(), CancellationToken::new());
            let items = items.clone().into_iter();
            runtime.block_on(transfer::copy(&volume, items, limits, &moved, &stop, |_| Ok(()))).unwrap();
            assert_eq!(moved.objects(), OBJECTS as u64);
        });
    }
}

/// The lists of a backup of very many objects.
#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod an_entry {
    use super::*;

    const ENTRIES: usize = 100_000;

    fn entries() -> Vec<Entry> {
        let entry = |n: usize| Entry {
            path: format!("tae/01a1fb92-a5a1-7a9e-bffc-{n:012x}_00000"),
            size: n as u64,
            sha256: Digest(sha2::Sha256::digest(n.to_le_bytes()).into()),
            from: 0,
        };
        (0..ENTRIES).map(entry).collect()
    }

    fn write(entries: &[Entry]) -> (Vec<u8>, Written) {
        let (mut writer, mut stored) = (EntriesWriter::new(1).unwrap(), Vec::new());
        for entry in entries {
            writer.push(entry).unwrap();
            stored.extend_from_slice(&writer.take());
        }
        let (rest, written) = writer.finish().unwrap();
        stored.extend_from_slice(&rest);
        (stored, written)
    }

    fn catalog(written: &Written) -> Catalog {
        let blank = sample::blank();
        Catalog {
            sources: sample::sources([blank.id], &written.sources),
            entries: written.entries.clone(),
            totals: written.totals,
            ..blank
        }
    }

    #[divan::bench]
    fn of_the_server_parsed_and_sorted(bencher: Bencher) {
        let row = |n: usize| {
            let sha256: String = sha2::Sha256::digest(n.to_le_bytes()).iter().map(|b| format!("{b:02x}")).collect();
            format!(
                "01a1fb92-a5a1-7a9e-bffc-{:012x}_00000,{n},{sha256},true,1795220000000000000-1\n",
                n * 7919 % ENTRIES
            )
        };
        let list: String = (0..ENTRIES).map(row).collect();
        bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
            let mut reader = TaeListReader::default();
            reader.push(black_box(list.as_bytes())).unwrap();
            assert_eq!(reader.finish().unwrap().len(), ENTRIES);
        });
    }

    #[divan::bench]
    fn written(bencher: Bencher) {
        let entries = entries();
        bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| write(black_box(&entries)));
    }

    #[divan::bench]
    fn read_and_checked(bencher: Bencher) {
        let (stored, written) = write(&entries());
        let (catalog, stored) = (catalog(&written), Bytes::from(stored));
        bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
            let mut reader = EntriesReader::new(&catalog).unwrap();
            reader.push(stored.clone()).unwrap();
            let mut read = 0;
            while reader.next_entry().unwrap().is_some() {
                read += 1;
            }
            reader.finish().unwrap();
            assert_eq!(read, ENTRIES);
        });
    }
}

/// What the operator thinks of a thousand Backups.
#[divan::bench_group(sample_count = 20)]
mod a_decision {
    use super::*;

    const BACKUPS: usize = 1000;

    fn backup(n: usize, status: serde_json::Value) -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": format!("b-{n}"), "namespace": "ns", "uid": format!("00000000-0000-4000-8000-{n:012}"),
                "generation": 1, "creationTimestamp": "2027-01-01T00:00:00Z", "finalizers": ["mo-backup.io/data"]},
            "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}}, "storage": "st"},
            "status": status,
        }))
        .unwrap()
    }

    fn seen(backup: Backup, others: Vec<Ticket>) -> Observed {
        let storage: BackupStorage = serde_json::from_value(json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
            "metadata": {"name": "st", "namespace": "ns", "uid": "u", "generation": 1},
            "spec": {"type": "S3", "s3": {"bucket": "bucket", "region": "us-east-1"}},
            "status": {"phase": "Ready", "attempt": 1, "conditions": [{"type": "Ready", "status": "True",
                "reason": "StorageReady", "message": "", "observedGeneration": 1, "lastTransitionTime": "2027-01-01T00:00:00Z"}]},
        }))
        .unwrap();
        let (workers, image) = (Workers::default(), WorkerImage::default());
        Observed {
            backup,
            storage: Some(storage),
            base: Base::NotNamed,
            named: Named::NotLookedAt,
            others,
            workers,
            kept_by: Vec::new(),
            terminating: false,
            image,
        }
    }

    fn thousand(bencher: Bencher, status: serde_json::Value, tickets: usize) {
        let tickets: Vec<Ticket> =
            (0..tickets).filter_map(|n| Ticket::of(&backup(n, json!({"phase": "Completed"})))).collect();
        let worlds: Vec<Observed> = (0..BACKUPS).map(|n| seen(backup(n, status.clone()), tickets.clone())).collect();
        let now: jiff::Timestamp = "2027-01-01T01:00:00Z".parse().unwrap();
        bencher.counter(ItemsCount::new(BACKUPS)).bench_local(|| {
            for seen in &worlds {
                black_box(decide(black_box(seen), now));
            }
        });
    }

    #[divan::bench]
    fn of_one_at_rest(bencher: Bencher) {
        let done = json!({"phase": "Completed", "attempt": 1, "endTime": "2027-01-01T00:01:00Z"});
        thousand(bencher, done, 0);
    }

    #[divan::bench]
    fn of_one_that_starts(bencher: Bencher) {
        thousand(bencher, json!({}), 0);
    }

    #[divan::bench]
    fn of_one_that_starts_among_a_thousand(bencher: Bencher) {
        thousand(bencher, json!({}), BACKUPS);
    }
}
