//! A backup beside a removal of its base, with workers that die, sleep or fail at any call.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use mo_backup::{
    api::{BackupReport, BackupType, Outcome, VerifyLevel},
    store::{
        Error, Key, Level, Listed, ObjectWriter, Objects, Pieces, Prefix,
        catalog::Purged,
        memory::{Fault, Memory},
    },
    task::{BackupTask, PurgeTask},
    worker::{Failure, Place, Places, Ports, backup, purge},
};
use rstest::rstest;
use tokio::{sync::Semaphore, task::LocalSet};
use tokio_util::sync::CancellationToken;

use super::{
    assert_whole,
    keep::subject,
    rig::{Rig, storage},
};

type Chosen = Arc<dyn Fn(usize, &str) -> bool + Send + Sync>;

/// A store whose chosen calls wait before they are sent.
#[derive(Clone)]
struct Held {
    inner: Memory,
    chosen: Chosen,
    calls: Arc<AtomicUsize>,
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl Held {
    fn new(inner: &Memory, chosen: impl Fn(usize, &str) -> bool + Send + Sync + 'static) -> Self {
        let none = || Arc::new(Semaphore::new(0));
        Self { inner: inner.clone(), chosen: Arc::new(chosen), calls: Arc::default(), reached: none(), open: none() }
    }

    async fn pass(&self, verb: &str, key: &str) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if (self.chosen)(number, &format!("{verb} {key}")) {
            self.reached.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
    }

    async fn is_reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    fn let_pass(&self) {
        self.open.add_permits(1000);
    }
}

#[async_trait]
impl Objects for Held {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.pass("stat", key.as_str()).await;
        self.inner.stat(key).await
    }
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Pieces, Error> {
        self.pass("read", key.as_str()).await;
        self.inner.read(key, range).await
    }
    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.pass("put", key.as_str()).await;
        self.inner.put(key, body).await
    }
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.pass("create", key.as_str()).await;
        self.inner.create(key, body).await
    }
    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.pass("begin", key.as_str()).await;
        self.inner.writer(key, size).await
    }
    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        self.inner.list(prefix)
    }
    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.inner.level(folder, most).await
    }
    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        let first = keys.first().map(ToString::to_string).unwrap_or_default();
        self.pass("delete", &first).await;
        self.inner.delete(keys).await
    }
}

/// The time of day of the workers of a rig.
fn now() -> Timestamp {
    Timestamp::from_second(1_795_220_000).unwrap()
}

async fn removed(rig: &Rig, repository: impl Objects + 'static) -> Result<Purged, Failure> {
    let task = PurgeTask { subject: subject(), id: rig.id, storage: storage(), known: None, staging: None };
    let places = Places { repository: Arc::new(repository), kind: Place::Bucket, staging: None };
    purge(&task, &places, now()).await
}

/// One copy at a time, so that calls have the same numbers every time.
fn task(rig: &Rig, attempt: u32) -> BackupTask {
    let mut task = rig.task(attempt, BackupType::Auto);
    (task.verify, task.parallelism) = (VerifyLevel::Manifest, 1);
    task
}

/// Begins an attempt whose chosen calls wait.
fn begun(rig: &Rig, attempt: u32, held: &Held) -> tokio::task::JoinHandle<BackupReport> {
    let ports = Ports { repository: Arc::new(held.clone()), ..rig.ports() };
    let (task, rig) = (task(rig, attempt), rig.clone());
    tokio::task::spawn_local(async move {
        let watch = rig.watch(&task, CancellationToken::new());
        backup(&task, &ports, &watch).await
    })
}

async fn base() -> Rig {
    let base = Rig::new("v4.2.0");
    assert_eq!(base.run(&task(&base, 1)).await.said.outcome, Outcome::Succeeded);
    base
}

fn keys_with(rig: &Rig, part: &str) -> Vec<String> {
    rig.repository.keys().into_iter().filter(|key| key.contains(part)).collect()
}

/// The base is removed before any call of the attempt, and then the attempt goes on, or its worker dies there and another
/// Backup comes before its next attempt.
#[rstest]
#[tokio::test(start_paused = true)]
async fn a_base_may_be_removed_before_any_call(#[values(false, true)] dies: bool) {
    let original = base().await;
    let work = async {
        for call in 0.. {
            let base = original.copied();
            let rig = base.next();
            let held = Held::new(&rig.repository, move |number, _| number == call);
            let mut worker = begun(&rig, 1, &held);
            let reached = tokio::select! {
                biased;
                () = held.is_reached() => true,
                ended = &mut worker => { assert_eq!(ended.unwrap().said.outcome, Outcome::Succeeded); false }
            };
            if !reached {
                assert!(call > 30, "only {call} calls were made");
                break;
            }
            removed(&base, rig.repository.clone()).await.unwrap();
            let what = format!("before call {call}");
            if dies {
                worker.abort();
                let next = rig.next();
                let report = next.run(&task(&next, 1)).await;
                assert_eq!(report.said.outcome, Outcome::Succeeded, "{what}: {report:#?}");
                removed(&base, rig.repository.clone()).await.unwrap();
                let report = rig.run(&task(&rig, 2)).await;
                assert_eq!(report.said.outcome, Outcome::Succeeded, "{what}: {report:#?}");
                assert_whole(&next);
            } else {
                held.let_pass();
                let report = worker.await.unwrap();
                assert_eq!(report.said.outcome, Outcome::Succeeded, "{what}: {report:#?}");
            }
            removed(&base, rig.repository.clone()).await.unwrap();
            assert_whole(&rig);
            assert_eq!(keys_with(&rig, "intents/"), Vec::<String>::new(), "{what}");
        }
    };
    LocalSet::new().run_until(work).await;
}

/// A backup is taken whole before any call of the removal of its base.
#[tokio::test(start_paused = true)]
async fn a_backup_may_be_taken_before_any_call_of_the_removal() {
    let original = base().await;
    let work = async {
        for call in 0.. {
            let base = original.copied();
            let rig = base.next();
            let held = Held::new(&rig.repository, move |number, _| number == call);
            let (of, store) = (base.clone(), held.clone());
            let mut removal = tokio::task::spawn_local(async move { removed(&of, store).await });
            let reached = tokio::select! {
                biased;
                () = held.is_reached() => true,
                ended = &mut removal => { ended.unwrap().unwrap(); false }
            };
            if !reached {
                assert!(call > 5, "only {call} calls were made");
                break;
            }
            let report = rig.run(&task(&rig, 1)).await;
            assert_eq!(report.said.outcome, Outcome::Succeeded, "before call {call}: {report:#?}");
            held.let_pass();
            removal.await.unwrap().unwrap();
            assert_whole(&rig);
        }
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_names_the_backup_under_way_that_may_need_its_objects() {
    let work = async {
        let base = base().await;
        let rig = base.next();
        let held = Held::new(&rig.repository, |_, call| call.starts_with("create catalog/"));
        let worker = begun(&rig, 1, &held);
        held.is_reached().await;
        let before = keys_with(&rig, &format!("data/{}/", base.id));
        let purged = removed(&base, rig.repository.clone()).await.unwrap();
        let all = u64::try_from(before.len()).unwrap();
        assert_eq!((purged.objects, purged.kept, purged.under_way), (0, all, Some(rig.id)));
        assert_eq!(keys_with(&rig, &format!("data/{}/", base.id)), before);
        held.let_pass();
        assert_eq!(worker.await.unwrap().said.outcome, Outcome::Succeeded);
        // The next removal sweeps what the backup does not need.
        removed(&base, rig.repository.clone()).await.unwrap();
        assert!(keys_with(&rig, &format!("data/{}/", base.id)).len() < before.len());
        assert_whole(&rig);
    };
    LocalSet::new().run_until(work).await;
}

/// A worker that was believed dead wakes up in the middle of its commit, after its replacement's.
#[tokio::test(start_paused = true)]
async fn a_late_worker_leaves_the_commit_of_its_replacement() {
    let work = async {
        let base = base().await;
        let rig = base.next();
        let held = Held::new(&rig.repository, |_, call| call.starts_with("create catalog/"));
        let worker = begun(&rig, 1, &held);
        held.is_reached().await;
        removed(&base, rig.repository.clone()).await.unwrap();
        let report = rig.run(&task(&rig, 2)).await;
        assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
        let committed = rig.catalog();
        held.let_pass();
        worker.await.unwrap();
        assert_eq!(rig.catalog(), committed);
        assert_whole(&rig);
    };
    LocalSet::new().run_until(work).await;
}

/// What a killed attempt has written is removed before the next one writes.
#[tokio::test(start_paused = true)]
async fn what_a_killed_attempt_left_is_gone_before_the_next_one_writes() {
    let work = async {
        let rig = Rig::new("v4.2.0");
        let held = Held::new(&rig.repository, |_, call| call.starts_with("create catalog/"));
        let worker = begun(&rig, 1, &held);
        held.is_reached().await;
        worker.abort();
        let first = format!("data/{}/1/", rig.id);
        assert!(!keys_with(&rig, &first).is_empty() && !keys_with(&rig, "intents/").is_empty());
        let held = Held::new(&rig.repository, |_, call| call.starts_with("put data/"));
        let worker = begun(&rig, 2, &held);
        held.is_reached().await;
        assert_eq!(keys_with(&rig, &first), Vec::<String>::new());
        assert_eq!(keys_with(&rig, "intents/"), [format!("intents/{}/2.json", rig.id)]);
        held.let_pass();
        assert_eq!(worker.await.unwrap().said.outcome, Outcome::Succeeded);
        assert_whole(&rig);
    };
    LocalSet::new().run_until(work).await;
}

/// A worker that fails before its commit leaves nothing of its own; one that may have committed leaves everything.
#[rstest]
#[case::the_list("put data/", "zst", true)]
#[case::the_commit("create catalog/", "", false)]
#[tokio::test(start_paused = true)]
async fn a_failed_attempt_leaves_nothing_unless_it_may_be_committed(
    #[case] beginning: &str,
    #[case] ending: &str,
    #[case] empty: bool,
) {
    let reference = Rig::new("v4.2.0");
    reference.run(&task(&reference, 1)).await;
    let calls = reference.repository.calls();
    let at = calls.iter().position(|c| c.starts_with(beginning) && c.ends_with(ending)).unwrap();
    let patience = mo_backup::store::Patience { limit: std::time::Duration::ZERO, ..Default::default() };
    let rig = Rig { patience, ..Rig::new("v4.2.0") };
    rig.repository.fault(at, Fault::Before, || {});
    let report = rig.run(&task(&rig, 1)).await;
    assert_eq!(report.said.reason.as_deref(), Some("StorageUnreachable"), "{report:#?}");
    assert_eq!(keys_with(&rig, "data/").is_empty(), empty, "{:?}", rig.repository.keys());
    assert_eq!(keys_with(&rig, "intents/").is_empty(), empty);
    assert_eq!(rig.run(&task(&rig, 2)).await.said.outcome, Outcome::Succeeded);
    assert_eq!(keys_with(&rig, &format!("data/{}/1/", rig.id)), Vec::<String>::new());
    assert_whole(&rig);
}
