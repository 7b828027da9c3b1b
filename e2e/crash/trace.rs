//! The moments at which a process is killed, and who takes which.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};

use crate::harness::fault::{Fault, Faults, Seen};

/// On which side of a request the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The request never arrives.
    Before,
    /// It is done, and the process dies before it hears so.
    Unseen,
    /// It is done and answered.
    After,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Before, Side::Unseen, Side::After];

    pub fn fault(self) -> Fault {
        match self {
            Side::Before => Fault::Drop,
            Side::Unseen => Fault::Swallow,
            Side::After => Fault::After,
        }
    }

    /// For names of objects.
    pub fn word(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::Unseen => "unseen",
            Side::After => "after",
        }
    }
}

/// What several lanes take from, one after the other.
pub struct Cases<T>(Mutex<VecDeque<T>>);

impl<T> Cases<T> {
    pub fn new(cases: impl IntoIterator<Item = T>) -> Cases<T> {
        Cases(Mutex::new(cases.into_iter().collect()))
    }

    pub fn next(&self) -> Option<T> {
        self.queue().pop_front()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().expect("cases")
    }
}

/// Whether the moment came, and what the request was.
#[derive(Clone, Default)]
pub struct Struck(Arc<Mutex<Option<Seen>>>);

impl Struck {
    pub fn at(&self) -> Option<Seen> {
        self.0.lock().expect("struck").clone()
    }
}

/// At the request with this number among those that are chosen: the fault, and the kill at that moment.
pub fn strike(
    faults: &Faults,
    chosen: impl Fn(&Seen) -> bool + Send + 'static,
    index: usize,
    side: Side,
    kill: impl Fn(&Seen) + Send + Sync + 'static,
) -> Struck {
    let struck = Struck::default();
    let (count, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let matches = move |seen: &Seen| {
        let is = !done.load(Ordering::SeqCst) && chosen(seen) && count.fetch_add(1, Ordering::SeqCst) == index;
        done.fetch_or(is, Ordering::SeqCst);
        is
    };
    let into = struck.clone();
    faults.arm(matches, side.fault(), move |seen| {
        kill(seen);
        *into.0.lock().expect("struck") = Some(seen.clone());
    });
    struck
}

/// A small generator with a seed that is printed: the same seed chooses the same moments.
pub struct Dice(u64);

impl Dice {
    /// `E2E_SEED`, or the time.
    pub fn roll_in(what: &str) -> Dice {
        let given = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
        let seed = given.unwrap_or(now);
        eprintln!("[{what}] E2E_SEED={seed}");
        Dice(seed)
    }

    /// Below `limit` (splitmix64).
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap_or_default()
    }
}
