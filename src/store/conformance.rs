//! What every store must do for backups to be safe in it: one body of tests for every place of objects.

use bytes::Bytes;
use futures::{TryStreamExt as _, future};
use sha2::{Digest as _, Sha256};

use super::{Error, Key, Level, Objects, Prefix, Problem};
use crate::plan::{AttemptDir, BackupId, Digest};

/// Creates that race for one key.
const RACERS: u8 = 16;

/// Tries everything out in an empty repository, and removes what it has written. `nowhere` is the same kind of place
/// whose bucket or volume does not exist. The error says what is not as it must be.
pub async fn conformance(objects: &dyn Objects, nowhere: &dyn Objects) -> Result<(), String> {
    race(objects).await?;
    small(objects).await?;
    large(objects).await?;
    order(objects).await?;
    absent(nowhere).await?;
    let left: Vec<_> = objects.list(&Prefix::all()).try_collect().await.map_err(said)?;
    must(left.is_empty(), || format!("{} objects are left, first {:?}", left.len(), left.first()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is a map_err function")]
fn said(e: Error) -> String {
    format!("{e} ({:?})", e.problem)
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

async fn content(objects: &dyn Objects, key: &Key, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, Error> {
    let pieces: Vec<Bytes> = objects.read(key, range).await?.try_collect().await?;
    Ok(pieces.concat())
}

/// Of many creates, one wins, and its bytes stay.
async fn race(objects: &dyn Objects) -> Result<(), String> {
    for round in 0..4 {
        let key = Key::probe(&format!("race-{round}"));
        let racers: Vec<_> = (0..RACERS).map(|n| objects.create(&key, Bytes::from(vec![n; 500]))).collect();
        let outcomes = future::join_all(racers).await;
        let winners: Vec<u8> = (0..).zip(&outcomes).filter(|(_, o)| o.is_ok()).map(|(n, _)| n).collect();
        let odd = outcomes.iter().filter_map(|o| o.as_ref().err()).find(|e| e.problem != Problem::Taken);
        must(odd.is_none(), || format!("a losing create says {odd:?} instead of Taken"))?;
        let &[winner] = &winners[..] else { return Err(format!("{} of {RACERS} creates won", winners.len())) };
        let found = content(objects, &key, None).await.map_err(said)?;
        must(found == vec![winner; 500], || "the bytes are not those of the winner".into())?;
        objects.delete(vec![key]).await.map_err(said)?;
    }
    Ok(())
}

/// What a store must do that copies by itself from one place to another. The error says what is not as it must be.
pub async fn conformance_of_copies(source: &dyn Objects, target: &dyn Objects) -> Result<(), String> {
    let from = source.address().ok_or("the source has no address")?;
    let to = target.address().ok_or("the target has no address")?;
    must(from.store == to.store, || format!("{from:?} and {to:?} do not lie in one store"))?;
    let (here, there) = (Key::foreign("2026-11-21_10:00 +1", "tae/object"), Key::placed("copied/to here_1.x"));
    for size in [0, 5000, 6 << 20] {
        let body: Vec<u8> = (0..size).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut writer = source.writer(&here, body.len().max(1) as u64).await.map_err(said)?;
        if body.is_empty() {
            writer.abort().await;
            source.put(&here, Bytes::new()).await.map_err(said)?;
        } else {
            writer.write(Bytes::from(body.clone())).await.map_err(said)?;
            writer.close().await.map_err(said)?;
        }
        let (tag, pieces) = source.read_tagged(&here).await.map_err(said)?;
        let read: Vec<Bytes> = pieces.try_collect().await.map_err(said)?;
        must(read.concat() == body, || "what is read with its tag is not what was sent".into())?;
        let tag = tag.ok_or("an object that was read has no tag")?;
        let sum = target.copy((&from, &here), &tag, &there).await.map_err(said)?;
        must(content(target, &there, None).await.map_err(said)? == body, || "a copy is not what was copied".into())?;
        let right = Digest(Sha256::digest(&body).into());
        must(sum.is_none_or(|sum| sum == right), || format!("the store says {sum:?} of a copy with {right}"))?;
        source.put(&here, Bytes::from_static(b"changed")).await.map_err(said)?;
        let late = target.copy((&from, &here), &tag, &there).await.err().map(|e| e.problem);
        must(late == Some(Problem::Taken), || format!("copying what was changed says {late:?} instead of Taken"))?;
        must(content(target, &there, None).await.map_err(said)? == body, || "a refused copy has replaced one".into())?;
        source.delete(vec![here.clone()]).await.map_err(said)?;
        let gone = target.copy((&from, &here), &tag, &there).await.err().map(|e| e.problem);
        must(gone == Some(Problem::Missing), || format!("copying nothing says {gone:?} instead of Missing"))?;
    }
    target.delete(vec![there]).await.map_err(said)
}

async fn small(objects: &dyn Objects) -> Result<(), String> {
    let key = Key::probe("small");
    must(objects.stat(&key).await.map_err(said)?.is_none(), || "an object that never was has a size".into())?;
    let missing = content(objects, &key, None).await.err().map(|e| e.problem);
    must(missing == Some(Problem::Missing), || format!("reading nothing says {missing:?} instead of Missing"))?;
    objects.put(&key, Bytes::from_static(b"first")).await.map_err(said)?;
    objects.put(&key, Bytes::from_static(b"0123456789")).await.map_err(said)?;
    must(objects.stat(&key).await.map_err(said)? == Some(10), || "stat does not say the size".into())?;
    for (range, expected) in [(0..10, "0123456789"), (3..7, "3456"), (9..10, "9")] {
        let found = content(objects, &key, Some(range.clone())).await.map_err(said)?;
        must(found == expected.as_bytes(), || format!("range {range:?} is {found:?}"))?;
    }
    let past = content(objects, &key, Some(5..11)).await;
    must(past.is_err(), || format!("a range past the end is {past:?}"))?;
    objects.delete(vec![key.clone(), Key::probe("never")]).await.map_err(said)?;
    objects.delete(vec![key.clone()]).await.map_err(said)?;
    must(objects.stat(&key).await.map_err(said)?.is_none(), || "a deleted object has a size".into())?;
    objects.put(&key, Bytes::new()).await.map_err(said)?;
    must(content(objects, &key, None).await.map_err(said)?.is_empty(), || "an empty object has content".into())?;
    objects.delete(vec![key]).await.map_err(said)
}

async fn large(objects: &dyn Objects) -> Result<(), String> {
    let key = Key::probe("large");
    let body: Vec<u8> = (0..11_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = objects.writer(&key, body.len() as u64).await.map_err(said)?;
    for chunk in body.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(chunk)).await.map_err(said)?;
    }
    must(objects.stat(&key).await.map_err(said)?.is_none(), || "a large object shows before it is closed".into())?;
    writer.close().await.map_err(said)?;
    must(content(objects, &key, None).await.map_err(said)? == body, || "a large object is not what was sent".into())?;
    objects.delete(vec![key.clone()]).await.map_err(said)?;
    let mut writer = objects.writer(&key, body.len() as u64).await.map_err(said)?;
    writer.write(Bytes::from(body)).await.map_err(said)?;
    writer.abort().await;
    must(objects.stat(&key).await.map_err(said)?.is_none(), || "an aborted object is there".into())
}

async fn listed(objects: &dyn Objects, prefix: &Prefix) -> Result<Vec<Key>, String> {
    objects.list(prefix).map_ok(|l| l.key).try_collect().await.map_err(said)
}

/// More objects than fit on a page, with names whose order is easy to get wrong.
async fn order(objects: &dyn Objects) -> Result<(), String> {
    let (id, other) = (BackupId::fresh(), BackupId::fresh());
    let dir = |attempt, fallback| AttemptDir { attempt, fallback };
    let mut keys: Vec<Key> = (0..1100).map(|n| Key::object(id, dir(1, false), &format!("tae/{n:05}"))).collect();
    for dir in [dir(1, true), dir(2, false), dir(10, false)] {
        keys.extend(["mo_meta", "tae/a", "tae/a.b", "tae/ckp/meta_0-0_1-1.ckp"].map(|path| Key::object(id, dir, path)));
    }
    keys.push(Key::object(other, dir(1, false), "mo_meta"));
    for some in keys.chunks(16) {
        let writes: Vec<_> = some.iter().map(|key| objects.put(key, Bytes::from_static(b"x"))).collect();
        future::try_join_all(writes).await.map_err(said)?;
    }
    keys.sort();
    must(listed(objects, &Prefix::data()).await? == keys, || "the listing is not every key once, ascending".into())?;
    let below: Vec<_> =
        keys.iter().filter(|k| k.below(&Prefix::attempt(id, dir(1, false))).is_some()).cloned().collect();
    let found = listed(objects, &Prefix::attempt(id, dir(1, false))).await?;
    must(found == below, || "the listing of an attempt has others' objects, or not its own".into())?;
    must(listed(objects, &Prefix::probe()).await?.is_empty(), || "an empty prefix lists something".into())?;
    levels(objects, (id, other), dir(2, false)).await?;
    objects.delete(keys).await.map_err(said)
}

/// One level is what lies directly in a folder, however much lies below.
async fn levels(objects: &dyn Objects, (id, other): (BackupId, BackupId), dir: AttemptDir) -> Result<(), String> {
    let level = async |folder: Prefix, most| {
        let mut level = objects.level(&folder, most).await.map_err(said)?;
        level.objects.sort();
        level.folders.sort();
        Ok::<_, String>(level)
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut ids = names(&[&id.to_string(), &other.to_string()]);
    ids.sort();
    for (folder, most, objects, folders) in [
        (Prefix::all(), 2, vec![], names(&["data"])),
        (Prefix::data(), 2, vec![], ids),
        (Prefix::attempt(id, dir), 2, names(&["mo_meta"]), names(&["tae"])),
        (Prefix::probe(), 2, vec![], vec![]),
    ] {
        let found = level(folder.clone(), most).await?;
        let expected = Level { objects, folders, more: false };
        must(found == expected, || format!("the level of {folder} is {found:?} instead of {expected:?}"))?;
    }
    let many = Prefix::placed(Key::object(id, AttemptDir { attempt: 1, fallback: false }, "tae").as_str());
    for most in [1, 1050] {
        let found = level(many.clone(), most).await?;
        must(found.more && found.names() == most, || format!("of 1100 names {most} are {found:?}"))?;
    }
    Ok(())
}

async fn absent(nowhere: &dyn Objects) -> Result<(), String> {
    let key = Key::marker();
    let problems = [
        ("stat", nowhere.stat(&key).await.map(|_| ())),
        ("read", content(nowhere, &key, None).await.map(|_| ())),
        ("list", nowhere.list(&Prefix::all()).try_next().await.map(|_| ())),
        ("level", nowhere.level(&Prefix::all(), 1).await.map(|_| ())),
        ("put", nowhere.put(&key, Bytes::new()).await),
        ("create", nowhere.create(&key, Bytes::new()).await),
    ];
    for (verb, outcome) in problems {
        let problem = outcome.err().map(|e| e.problem);
        must(problem == Some(Problem::NoBucket), || format!("{verb} in a missing bucket says {problem:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{Volume, memory::Memory};

    #[tokio::test]
    async fn memory_conforms() {
        conformance(&Memory::new(), &Memory::without_bucket()).await.unwrap();
    }

    #[tokio::test]
    async fn copies_of_memory_conform() {
        for says in [true, false] {
            let (source, target) = (Memory::new(), Memory::new());
            target.copies_from(&source, says);
            conformance_of_copies(&source, &target).await.unwrap();
        }
        let (source, target) = (Memory::new(), Memory::new());
        assert!(conformance_of_copies(&source, &target).await.unwrap_err().contains("no address"));
    }

    #[tokio::test]
    async fn a_volume_conforms() {
        let mount = tempfile::tempdir().unwrap();
        let volume = Volume::open(mount.path(), "mo").unwrap();
        let nowhere = Volume::open(Path::new("/nonexistent/mount"), "").unwrap();
        conformance(&volume, &nowhere).await.unwrap();
    }
}
