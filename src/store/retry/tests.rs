use std::sync::atomic::{AtomicU32, Ordering};

use rstest::rstest;

use super::*;
use crate::store::memory::{Fault, Memory};

fn patient(objects: impl Objects + 'static) -> (Retrying, CancellationToken) {
    let stop = CancellationToken::new();
    let patience =
        Patience { first: Duration::from_millis(10), longest: Duration::from_secs(1), limit: Duration::from_secs(20) };
    (Retrying::new(Arc::new(objects), patience, stop.clone()), stop)
}

fn key() -> Key {
    Key::probe("a")
}

fn body() -> Bytes {
    Bytes::from_static(b"body")
}

#[rstest]
#[case(Fault::Before)]
#[case(Fault::Lost)]
#[tokio::test(start_paused = true)]
async fn what_is_safe_is_repeated(#[case] fault: Fault) {
    let memory = Memory::new();
    let (place, _) = patient(memory.clone());
    for call in [0, 1, 3, 5, 7] {
        memory.fault(call, fault, || {});
    }
    place.put(&key(), body()).await.unwrap();
    assert_eq!(place.stat(&key()).await.unwrap(), Some(4));
    let pieces: Vec<_> = place.read(&key(), None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces, [body()]);
    let listed: Vec<_> = place.list(&Prefix::all()).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    place.delete(vec![key()]).await.unwrap();
    assert_eq!(memory.calls().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_create_is_never_repeated() {
    let memory = Memory::new();
    let (place, _) = patient(memory.clone());
    memory.fault(0, Fault::Before, || {});
    let e = place.create(&key(), body()).await.unwrap_err();
    assert_eq!((e.problem, e.temporary, memory.calls().len()), (Problem::Unreachable, true, 1));
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_come_at_once_and_patience_ends() {
    let (place, _) = patient(Memory::without_bucket());
    assert_eq!(place.stat(&key()).await.unwrap_err().problem, Problem::NoBucket);
    let memory = Memory::new();
    (0..1000).for_each(|call| memory.fault(call, Fault::Before, || {}));
    let (place, _) = patient(memory.clone());
    let begun = Instant::now();
    assert_eq!(place.stat(&key()).await.unwrap_err().problem, Problem::Unreachable);
    assert!((20..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!((15..60).contains(&memory.calls().len()), "{}", memory.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_does_not_wait() {
    let memory = Memory::new();
    let (place, stop) = patient(memory.clone());
    (0..1000).for_each(|call| memory.fault(call, Fault::Before, || {}));
    let cancel = async {
        sleep(Duration::from_secs(2)).await;
        stop.cancel();
    };
    let begun = Instant::now();
    let key = key();
    let (outcome, ()) = tokio::join!(place.stat(&key), cancel);
    assert_eq!(outcome.unwrap_err().problem, Problem::Cancelled);
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(place.put(&key, body()).await.unwrap_err().problem, Problem::Cancelled);
}

/// Streams that break after their first piece, a few times.
#[derive(Debug)]
struct Breaking(Memory, AtomicU32);

impl Breaking {
    fn cut<'a, T: Send + 'a>(&self, whole: BoxStream<'a, Result<T, Error>>) -> BoxStream<'a, Result<T, Error>> {
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return whole;
        }
        let e = Error { temporary: true, ..Error::permanent(Problem::Unreachable, "read", "x", "connection reset") };
        whole.take(1).chain(stream::once(async { Err(e) })).boxed()
    }
}

#[async_trait]
impl Objects for Breaking {
    async fn stat(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.0.stat(key).await
    }
    async fn read(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        Ok(self.cut(self.0.read(key, range).await?))
    }
    async fn put(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.0.put(key, body).await
    }
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.0.create(key, body).await
    }
    async fn writer(&self, key: &Key, size: u64) -> Result<Box<dyn ObjectWriter>, Error> {
        self.0.writer(key, size).await
    }
    fn list(&self, prefix: &Prefix) -> BoxStream<'_, Result<Listed, Error>> {
        self.cut(self.0.list(prefix))
    }
    async fn level(&self, folder: &Prefix, most: usize) -> Result<Level, Error> {
        self.0.level(folder, most).await
    }
    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        self.0.delete(keys).await
    }
}

#[rstest]
#[case(None)]
#[case(Some(1000..300_000))]
#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_taken_up_where_it_broke(#[case] range: Option<Range<u64>>) {
    let content: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
    let memory = Memory::new();
    memory.set(key().as_str(), content.clone());
    let (place, _) = patient(Breaking(memory, AtomicU32::new(3)));
    let pieces: Vec<_> = place.read(&key(), range.clone()).await.unwrap().try_collect().await.unwrap();
    let bounds = range.map_or(0..content.len(), |r| usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap());
    assert_eq!(pieces.concat(), content[bounds]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_listing_goes_on_after_what_it_said() {
    let memory = Memory::new();
    (0..5).for_each(|n| memory.set(&format!("data/{n}"), "x"));
    let (place, _) = patient(Breaking(memory, AtomicU32::new(1)));
    let keys: Vec<_> = place.list(&Prefix::data()).map_ok(|l| l.key.to_string()).try_collect().await.unwrap();
    assert_eq!(keys, ["data/0", "data/1", "data/2", "data/3", "data/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_level_is_asked_for_again() {
    let memory = Memory::new();
    memory.set("a/b/c", "x");
    memory.set("a/d", "x");
    (0..3).for_each(|call| memory.fault(call, Fault::Before, || {}));
    let (place, _) = patient(memory.clone());
    let level = place.level(&Prefix::placed("a"), 10).await.unwrap();
    assert_eq!(level, Level { objects: vec!["d".into()], folders: vec!["b".into()], more: false });
    assert_eq!(memory.calls(), ["level a/"; 4], "nothing below it is listed");
}
