//! What works on a repository at the same time: attempts of two backups, a removal and a sweep, each a process that can
//! end anywhere and is begun again.

use jiff::Timestamp;
use mo_backup::{
    plan::{AttemptDir, BackupId, Catalog, Digest, Entry, Held, Intent, Kind, Source, manifest::FORMAT},
    store::{
        Failure, Key, Objects, Patience, Prefix,
        catalog::{self, intents},
        presence,
    },
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sample;

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// The backups of the model.
pub fn id(n: u64) -> BackupId {
    BackupId::of_object(Uuid::from_u128(u128::from(n)), n)
}

/// A full backup that was removed, and of which an object is needed yet.
pub const A: u64 = 1;
/// An incremental one on it, which is removed.
pub const P: u64 = 2;
/// Incremental ones that are taken meanwhile.
pub const Q: u64 = 3;
pub const R: u64 = 4;

fn entry(path: &str, from: u32) -> Entry {
    Entry { path: path.into(), size: path.len() as u64, sha256: Digest([1; 32]), from }
}

/// Everything of a backup but its commit: its own objects, and what it takes from the base, if that has a name in `takes`.
pub async fn prepared(
    objects: &dyn Objects,
    number: u64,
    attempt: u32,
    base: Option<&Catalog>,
    takes: impl Fn(&str) -> bool,
) -> Result<Catalog, Failure> {
    let (id, dir) = (id(number), AttemptDir { attempt, fallback: false });
    let own = ["mo_meta".to_owned(), format!("tae/{number}")];
    let mut list: Vec<_> = own.iter().map(|path| entry(path, 0)).collect();
    let mut sources = vec![(id, dir)];
    if let Some(base) = base {
        let mut of_base = catalog::entries(objects, base).await?;
        while let Some(found) = of_base.next().await? {
            let source = &base.sources[found.from as usize];
            let place = (source.backup, source.attempt);
            if takes(&found.path) {
                let from = sources.iter().position(|s| *s == place).unwrap_or_else(|| {
                    sources.push(place);
                    sources.len() - 1
                });
                list.push(entry(&found.path, u32::try_from(from).unwrap()));
            }
        }
    }
    list.sort_by(|a, b| a.path.cmp(&b.path));
    for path in &own {
        objects.put(&Key::object(id, dir, path), path.clone().into_bytes().into()).await?;
    }
    let stop = CancellationToken::new();
    let written = catalog::write_entries(objects, (id, dir), sources.len(), || list.iter().cloned(), &stop).await?;
    let blank = sample::sources(sources.iter().map(|s| s.0), &written.sources);
    let sources = sources.iter().zip(blank).map(|((_, attempt), s)| Source { attempt: *attempt, ..s }).collect();
    Ok(Catalog {
        id,
        attempt: dir,
        kind: if base.is_some() { Kind::Incremental } else { Kind::Full },
        base: base.map(|base| base.id),
        chain: base.map_or(0, |base| base.chain + 1),
        sources,
        entries: written.entries,
        totals: written.totals,
        ..sample::blank()
    })
}

/// One attempt, in the worker's order.
pub async fn attempt(objects: &dyn Objects, number: u64, attempt: u32, bases: &[u64]) -> Result<(), Failure> {
    if let Some(found) = catalog::read(objects, id(number)).await? {
        whole(objects, &found).await?;
        intents::end_all(objects, id(number), None).await?;
        return Ok(());
    }
    if intents::end_all(objects, id(number), Some(attempt)).await? {
        tokio::time::sleep(intents::SETTLE).await;
    }
    let mut base = None;
    for number in bases {
        if base.is_none() {
            base = catalog::read(objects, id(*number)).await?;
        }
    }
    let held = |backup, attempt| Held { backup, attempt };
    let own = [false, true].map(|fallback| held(id(number), AttemptDir { attempt, fallback }));
    let of_base = base.iter().flat_map(|base| &base.sources).map(|s| held(s.backup, s.attempt));
    let intent = Intent {
        format: FORMAT,
        id: id(number),
        attempt,
        object: "ns/name".into(),
        nonce: Uuid::now_v7().to_string(),
        base: base.as_ref().map(|base| base.id),
        holds: own.into_iter().chain(of_base).collect(),
        started: NOW.to_string(),
        lasts: 3600,
    };
    let mut unsettled = false;
    let done = taken(objects, &intent, base, &mut unsettled).await;
    if done.is_err() && !unsettled {
        for fallback in [false, true] {
            let folder = Prefix::attempt(id(number), AttemptDir { attempt, fallback });
            emptied(objects, |key| key.below(&folder).is_some(), id(number)).await?;
        }
    }
    if !unsettled {
        intents::end(objects, &intent).await?;
    }
    done
}

async fn taken(
    objects: &dyn Objects,
    intent: &Intent,
    base: Option<Catalog>,
    unsettled: &mut bool,
) -> Result<(), Failure> {
    let is_there = intents::begin(objects, intent, base.as_ref(), Patience::soon()).await?;
    let base = base.filter(|_| is_there);
    if intent.attempt > 1 && catalog::read(objects, intent.id).await?.is_none() {
        let earlier = |key: &Key| key.attempt_path(intent.id).is_some_and(|(dir, _)| dir.attempt < intent.attempt);
        emptied(objects, earlier, intent.id).await?;
    }
    let number = (1..9).find(|n| id(*n) == intent.id).unwrap();
    let catalog = prepared(objects, number, intent.attempt, base.as_ref(), |path| path.starts_with("tae/")).await?;
    whole(objects, &catalog).await?;
    *unsettled = true;
    let committed = catalog::commit(objects, &catalog, intent, Patience::soon()).await;
    *unsettled = !matches!(committed, Ok(()) | Err(Failure::Conflict(_)));
    committed
}

async fn emptied(objects: &dyn Objects, chosen: impl Fn(&Key) -> bool, id: BackupId) -> Result<(), Failure> {
    use futures::TryStreamExt as _;
    let found: Vec<_> = objects.list(&Prefix::backup(id)).try_collect().await?;
    let keys: Vec<_> = found.into_iter().map(|listed| listed.key).filter(|key| chosen(key)).collect();
    if !keys.is_empty() {
        objects.delete(keys).await?;
    }
    Ok(())
}

/// Whether everything that a backup names is there, as a worker looks.
async fn whole(objects: &dyn Objects, catalog: &Catalog) -> Result<(), Failure> {
    let list = presence::of_list(catalog::entries(objects, catalog).await?);
    let found = presence::present(objects, &catalog.sources, list).await?;
    match found.first.first() {
        None => Ok(()),
        Some(fault) => Err(Failure::Differs { what: catalog.id.to_string(), detail: fault.to_string() }),
    }
}
