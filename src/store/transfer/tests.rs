use std::sync::{Arc, atomic::AtomicUsize};

use rstest::rstest;

use super::*;
use crate::store::memory::{Fault, Memory};

const LARGE: usize = 9 << 20;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sha(content: &[u8]) -> Digest {
    Digest(Sha256::digest(content).into())
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut framer = framing::Framer::default();
    let mut stored = framer.push(content).to_vec();
    stored.extend_from_slice(&framer.finish());
    stored
}

fn item(folder: &Path, name: &str, framing: Framing, stored: &[u8]) -> Item<String> {
    std::fs::write(folder.join(name), stored).unwrap();
    Item {
        tag: name.into(),
        folder: Volume::open(folder, "").unwrap(),
        file: name.into(),
        framing,
        key: Key::probe(name),
        size: None,
        digest: None,
    }
}

async fn run(
    memory: &Memory,
    items: Vec<Item<String>>,
    stop: &CancellationToken,
) -> (Result<(), Failure>, Vec<Copied<String>>, Moved) {
    let moved = Moved::default();
    let mut copied = Vec::new();
    let limits = Limits { at_once: 4, budget: 20 << 20 };
    let outcome = copy(memory, items.into_iter(), limits, &moved, stop, |c| {
        copied.push(c);
        Ok(())
    })
    .await;
    copied.sort_by(|a, b| a.tag.cmp(&b.tag));
    (outcome, copied, moved)
}

#[tokio::test]
async fn files_arrive_without_frames() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let sizes = [0, 1, 2044, 2045, 100_000, LARGE];
    let mut items = Vec::new();
    for size in sizes {
        items.push(item(folder.path(), &format!("f{size:08}"), Framing::Crc2048, &framed(&content(size))));
        items.push(item(folder.path(), &format!("r{size:08}"), Framing::Raw, &content(size)));
    }
    let (outcome, copied, moved) = run(&memory, items, &CancellationToken::new()).await;
    outcome.unwrap();
    let expected: Vec<_> = ["f", "r"]
        .iter()
        .flat_map(|kind| {
            sizes.map(|size| Copied { tag: format!("{kind}{size:08}"), size: size as u64, digest: sha(&content(size)) })
        })
        .collect();
    assert_eq!(copied, expected);
    for copied in &copied {
        assert_eq!(memory.get(&format!("probe/{}", copied.tag)).unwrap().len() as u64, copied.size);
        let (size, digest) =
            hash(&memory, &Key::probe(&copied.tag), Framing::Raw, &moved, &CancellationToken::new()).await.unwrap();
        assert_eq!((size, digest), (copied.size, copied.digest));
    }
    let bytes: usize = sizes.iter().sum();
    assert_eq!((moved.objects(), moved.bytes()), (24, 4 * bytes as u64));
    assert!(
        memory.calls().iter().any(|c| c == "close probe/r09437184")
            && !memory.calls().iter().any(|c| c == "put probe/r09437184")
    );
}

#[tokio::test]
async fn a_framed_object_is_hashed_without_frames() {
    let memory = Memory::new();
    memory.set("probe/x", framed(&content(5000)));
    let (moved, stop) = (Moved::default(), CancellationToken::new());
    let found = hash(&memory, &Key::probe("x"), Framing::Crc2048, &moved, &stop).await.unwrap();
    assert_eq!(found, (5000, sha(&content(5000))));
    memory.flip("probe/x", 3000);
    let said = hash(&memory, &Key::probe("x"), Framing::Crc2048, &moved, &stop).await.unwrap_err().to_string();
    assert!(said.contains("probe/x") && said.contains("block 1"), "{said}");
}

#[rstest]
#[case::size(100, Some(101), None, "100 bytes instead of 101")]
#[case::digest(100, None, Some(Digest([0; 32])), "SHA-256")]
#[case::large_digest(LARGE, None, Some(Digest([0; 32])), "SHA-256")]
#[tokio::test]
async fn wrong_content_never_becomes_visible(
    #[case] bytes: usize,
    #[case] size: Option<u64>,
    #[case] digest: Option<Digest>,
    #[case] why: &str,
) {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let wrong = Item { size, digest, ..item(folder.path(), "x", Framing::Raw, &content(bytes)) };
    let (outcome, copied, moved) = run(&memory, vec![wrong], &CancellationToken::new()).await;
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains(why) && said.contains("/x"), "{said}");
    assert_eq!((memory.keys().len(), memory.unfinished(), copied.len(), moved.bytes()), (0, 0, 0, 0));
}

#[rstest]
#[case::cut(&framed(&content(5000))[..4098], "cut")]
#[case::flipped(&[&framed(&content(100))[..50], &[0; 54]].concat(), "block 0")]
#[tokio::test]
async fn damaged_frames_are_found(#[case] stored: &[u8], #[case] why: &str) {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let damaged = item(folder.path(), "x", Framing::Crc2048, stored);
    let said = run(&memory, vec![damaged], &CancellationToken::new()).await.0.unwrap_err().to_string();
    assert!(said.contains(why), "{said}");
    assert!(memory.keys().is_empty());
}

#[tokio::test]
async fn missing_files_and_links_are_refused() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let real = item(folder.path(), "real", Framing::Raw, b"secret");
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    let link = Item { file: "link".into(), ..real.clone() };
    assert!(matches!(run(&memory, vec![link], &CancellationToken::new()).await.0, Err(Failure::Differs { .. })));
    // Whoever writes the folder must not choose from where we read.
    let outside = tempfile::tempdir().unwrap();
    let _secret = item(outside.path(), "key", Framing::Raw, b"canary");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("gc")).unwrap();
    let beyond = Item { file: "gc/key".into(), ..real.clone() };
    assert!(matches!(run(&memory, vec![beyond], &CancellationToken::new()).await.0, Err(Failure::Differs { .. })));
    assert_eq!(memory.keys(), Vec::<String>::new());
    let missing = Item { file: "none".into(), ..real };
    assert!(matches!(run(&memory, vec![missing], &CancellationToken::new()).await.0, Err(Failure::Local { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_large_object_is_sent_again_from_its_beginning() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let large = item(folder.path(), "x", Framing::Raw, &content(LARGE));
    memory.fault(5, Fault::Before, || {});
    memory.fault(9, Fault::Lost, || {});
    let (outcome, copied, moved) = run(&memory, vec![large], &CancellationToken::new()).await;
    outcome.unwrap();
    assert_eq!(copied[0].digest, sha(&content(LARGE)));
    assert_eq!((moved.bytes(), memory.unfinished()), (LARGE as u64, 0));
    assert_eq!(memory.get("probe/x").unwrap(), content(LARGE));
}

#[tokio::test]
async fn the_first_failure_ends_it_and_leaves_nothing_unfinished() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let mut items: Vec<_> =
        (0..3).map(|n| item(folder.path(), &format!("large{n}"), Framing::Raw, &content(LARGE))).collect();
    items.push(Item { size: Some(1), ..item(folder.path(), "wrong", Framing::Raw, b"22") });
    items.extend((0..50).map(|n| item(folder.path(), &format!("later{n:02}"), Framing::Raw, b"x")));
    let (outcome, copied, _) = run(&memory, items, &CancellationToken::new()).await;
    assert!(matches!(outcome, Err(Failure::Differs { .. })), "{outcome:?}");
    assert_eq!(memory.unfinished(), 0);
    assert!(copied.len() < 40, "{} were copied after the failure", copied.len());
}

#[tokio::test]
async fn a_cancelled_copy_gives_up_cleanly() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
    let stop = CancellationToken::new();
    let (calls, cancel) = (Arc::new(AtomicUsize::new(0)), stop.clone());
    let seen = calls.clone();
    memory.fault(6, Fault::After, move || {
        seen.fetch_add(1, Ordering::SeqCst);
        cancel.cancel();
    });
    let items: Vec<_> = (0..4).map(|n| item(folder.path(), &format!("{n}"), Framing::Raw, &content(LARGE))).collect();
    let (outcome, _, _) = run(&memory, items, &stop).await;
    assert!(matches!(outcome, Err(Failure::Cancelled)), "{outcome:?}");
    assert_eq!((calls.load(Ordering::SeqCst), memory.unfinished()), (1, 0));
}

#[rstest]
#[case::nothing_held(0, 48 << 20)]
#[case::a_list(8 << 20, 40 << 20)]
#[case::a_list_larger_than_the_budget(64 << 20, 15 << 20)]
fn what_is_held_beside_comes_off_the_budget(#[case] held: u64, #[case] budget: u64) {
    assert_eq!(Limits::default().beside(held).budget, budget);
}
