use futures::StreamExt as _;
use futures::stream;
use rstest::rstest;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::memory::{Fault, Memory};

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

fn stored(framing: Framing, content: &[u8]) -> Bytes {
    let mut frames = Frames::new(framing);
    let mut stored = BytesMut::from(&frames.push(Bytes::copy_from_slice(content))[..]);
    stored.extend_from_slice(&frames.finish());
    stored.freeze()
}

fn load(name: &str, content: &[u8], (from, to): (Framing, Framing)) -> Load {
    Load {
        from: Key::placed_below("from", name),
        stored: from,
        to: Key::placed_below("to", name),
        placed: to,
        size: content.len() as u64,
        digest: Digest(Sha256::digest(content).into()),
        tag: None,
    }
}

async fn run(places: (&Memory, &Memory), loads: &[Load], resumed: bool) -> (Result<Carried, Trouble>, Moved) {
    let (source, target) = places;
    let limits = Limits { at_once: 3, budget: 1 << 20 };
    let way = Way { source, target, limits, resumed };
    let (moved, stop) = (Moved::default(), CancellationToken::new());
    let loads = stream::iter(loads.to_vec()).map(Ok);
    (carry(way, loads, &moved, &stop).await, moved)
}

fn streamed(written: u64) -> Carried {
    Carried { written, by_store: 0 }
}

/// A small object, an empty one, and one that is sent in parts.
const SIZES: [usize; 4] = [0, 1, 5000, (4 << 20) + 3000];

#[rstest]
#[tokio::test]
async fn content_goes_into_the_frames_of_its_place(
    #[values(Framing::Raw, Framing::Crc2048)] from: Framing,
    #[values(Framing::Raw, Framing::Crc2048)] to: Framing,
) {
    let (source, target) = (Memory::new(), Memory::new());
    let mut loads = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate() {
        let content = content(size);
        loads.push(load(&n.to_string(), &content, (from, to)));
        source.set(&format!("from/{n}"), stored(from, &content));
    }
    let (outcome, moved) = run((&source, &target), &loads, false).await;
    assert_eq!(outcome.unwrap(), streamed(4));
    for (n, size) in SIZES.into_iter().enumerate() {
        assert_eq!(target.get(&format!("to/{n}")).unwrap(), stored(to, &content(size)), "{size} bytes");
    }
    assert_eq!((moved.objects(), moved.bytes()), (4, SIZES.iter().sum::<usize>() as u64));
    assert!(!target.calls().iter().any(|call| call.starts_with("stat")), "a fresh place is not asked");

    // What is right is left alone; what has another content or size is written once more.
    assert!(target.flip("to/2", 4000));
    target.set("to/1", "xyz");
    let (outcome, moved) = run((&source, &target), &loads, true).await;
    assert_eq!(outcome.unwrap(), streamed(2));
    assert_eq!((moved.objects(), moved.bytes()), (4, SIZES.iter().sum::<usize>() as u64));
    assert_eq!(target.get("to/2").unwrap(), stored(to, &content(5000)));
}

#[rstest]
#[case::changed(5000, |m: &Memory| assert!(m.flip("from/x", 3)))]
#[case::changed_large(5 << 20, |m: &Memory| assert!(m.flip("from/x", 5_000_000)))]
#[case::longer(5000, |m: &Memory| m.set("from/x", content(6000)))]
#[case::shorter(5 << 20, |m: &Memory| m.set("from/x", content(5000)))]
#[case::missing(5000, |m: &Memory| assert!(m.unset("from/x")))]
#[tokio::test]
async fn what_is_wrong_never_appears(#[case] size: usize, #[case] damage: fn(&Memory)) {
    let (source, target) = (Memory::new(), Memory::new());
    let right = content(size);
    source.set("from/x", right.clone());
    damage(&source);
    let (outcome, moved) = run((&source, &target), &[load("x", &right, (Framing::Raw, Framing::Crc2048))], false).await;
    let Err(Trouble::Source(failure)) = outcome else { panic!("{outcome:?}") };
    assert!(failure.to_string().contains("from/x"), "{failure}");
    assert_eq!((target.keys(), target.unfinished(), moved.bytes()), (vec![], 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_object_is_sent_again_when_its_place_breaks() {
    let (source, target) = (Memory::new(), Memory::new());
    let right = content(5 << 20);
    source.set("from/x", right.clone());
    target.fault(3, Fault::Before, || {});
    let (outcome, moved) = run((&source, &target), &[load("x", &right, (Framing::Raw, Framing::Raw))], false).await;
    assert_eq!((outcome.unwrap(), moved.bytes(), target.unfinished()), (streamed(1), right.len() as u64, 0));
    assert_eq!(target.get("to/x").unwrap(), right);
}

#[tokio::test]
async fn a_cancelled_carry_leaves_nothing_unfinished() {
    let (source, target) = (Memory::new(), Memory::new());
    let right = content(5 << 20);
    source.set("from/x", right.clone());
    let stop = CancellationToken::new();
    let ends = stop.clone();
    target.fault(2, Fault::After, move || ends.cancel());
    let way = Way { source: &source, target: &target, limits: Limits::default(), resumed: false };
    let loads = stream::iter([Ok(load("x", &right, (Framing::Raw, Framing::Raw)))]);
    let outcome = carry(way, loads, &Moved::default(), &stop).await;
    assert!(matches!(outcome, Err(Trouble::Source(Failure::Cancelled))), "{outcome:?}");
    assert_eq!((target.keys(), target.unfinished()), (vec![], 0));
}

/// Both in one store, which says what it has copied, or does not.
fn one_store(says: bool) -> (Memory, Memory) {
    let (source, target) = (Memory::new(), Memory::new());
    target.copies_from(&source, says);
    (source, target)
}

async fn tag_of(source: &Memory, key: &str) -> Option<Tag> {
    source.read_tagged(&Key::placed(key)).await.unwrap().0
}

fn verbs(store: &Memory) -> Vec<String> {
    store.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test]
async fn a_store_copies_by_itself_what_was_read_before(#[values(true, false)] says: bool) {
    let (source, target) = one_store(says);
    let right = content(5000);
    source.set("from/x", right.clone());
    let tag = tag_of(&source, "from/x").await;
    let read = source.calls().len();
    let load = Load { tag, ..load("x", &right, (Framing::Raw, Framing::Raw)) };
    let (outcome, moved) = run((&source, &target), &[load], false).await;
    assert_eq!(outcome.unwrap(), Carried { written: 1, by_store: 1 });
    assert_eq!((target.get("to/x").unwrap(), moved.objects(), moved.bytes()), (right.into(), 1, 5000));
    assert_eq!(source.calls().len(), read, "the source is not read again");
    let expected = if says { vec!["copy"] } else { vec!["copy", "read"] };
    assert_eq!(verbs(&target), expected, "a copy of which nothing is said is read");
}

#[rstest]
#[case::in_frames_there((Framing::Crc2048, Framing::Raw), true)]
#[case::in_frames_here((Framing::Raw, Framing::Crc2048), true)]
#[case::not_read_before((Framing::Raw, Framing::Raw), false)]
#[tokio::test]
async fn what_must_change_or_was_not_read_is_streamed(#[case] framing: (Framing, Framing), #[case] tagged: bool) {
    let (source, target) = one_store(true);
    let right = content(5000);
    source.set("from/x", stored(framing.0, &right));
    let tag = tag_of(&source, "from/x").await.filter(|_| tagged);
    let (outcome, _) = run((&source, &target), &[Load { tag, ..load("x", &right, framing) }], false).await;
    assert_eq!(outcome.unwrap(), streamed(1));
    assert_eq!(target.get("to/x").unwrap(), stored(framing.1, &right));
}

/// An attempt that goes on reads first, so that nothing wrong ever appears.
#[tokio::test]
async fn an_attempt_that_goes_on_compares_before_the_store_copies() {
    let (source, target) = one_store(true);
    let right = content(5000);
    source.set("from/x", right.clone());
    let loads = [load("x", &right, (Framing::Raw, Framing::Raw))];
    let (outcome, _) = run((&source, &target), &loads, true).await;
    assert_eq!(outcome.unwrap(), Carried { written: 1, by_store: 1 });
    assert!(source.flip("from/x", 7) && target.unset("to/x"));
    let (outcome, _) = run((&source, &target), &loads, true).await;
    assert!(matches!(outcome, Err(Trouble::Source(Failure::Differs { .. }))), "{outcome:?}");
    assert!(target.keys().is_empty());
}

/// Changed between reading and copying: the store refuses, and what is read then is no longer right.
#[tokio::test]
async fn what_was_changed_since_it_was_read_is_not_copied() {
    let (source, target) = one_store(true);
    let right = content(5000);
    source.set("from/x", right.clone());
    let tag = tag_of(&source, "from/x").await;
    assert!(source.flip("from/x", 4999));
    let loads = [Load { tag, ..load("x", &right, (Framing::Raw, Framing::Raw)) }];
    let (outcome, _) = run((&source, &target), &loads, false).await;
    assert!(matches!(outcome, Err(Trouble::Source(Failure::Differs { .. }))), "{outcome:?}");
    assert!(target.keys().is_empty());
}

/// A store that refuses is not asked for every object, and what it has copied wrong is written again.
#[rstest]
#[case::refused(true)]
#[case::wrong(false)]
#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_relied_on_is_passed_over(#[case] refuses: bool) {
    let (source, target) = one_store(refuses);
    let right = content(5000);
    let mut loads = Vec::new();
    for name in ["a", "b", "c"] {
        source.set(&format!("from/{name}"), right.clone());
        let tag = tag_of(&source, &format!("from/{name}")).await;
        loads.push(Load { tag, ..load(name, &right, (Framing::Raw, Framing::Raw)) });
    }
    if refuses {
        target.fault(0, Fault::Before, || {});
    } else {
        // Right after the store has copied it.
        let spoiled = target.clone();
        target.fault(0, Fault::After, move || assert!(spoiled.flip("to/a", 3)));
    }
    let limits = Limits { at_once: 1, budget: 1 << 20 };
    let way = Way { source: &source, target: &target, limits, resumed: false };
    let carried = carry(way, stream::iter(loads).map(Ok), &Moved::default(), &CancellationToken::new()).await.unwrap();
    assert_eq!(carried, if refuses { streamed(3) } else { Carried { written: 3, by_store: 2 } });
    for name in ["a", "b", "c"] {
        assert_eq!(target.get(&format!("to/{name}")).unwrap(), right, "{name}");
    }
    let asked = verbs(&target).iter().filter(|verb| *verb == "copy").count();
    assert_eq!(asked, if refuses { 1 } else { 3 });
}
