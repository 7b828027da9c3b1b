//! The protocol of commit and removal as a model: attempts of two backups, the second based on the first or on the base of
//! both, the removal of that base, and a sweep of what was left of an older backup, with the project's own code on a store
//! that hands out turns. After every call to the store, whatever the catalogue names is there, and no backup leaves the
//! catalogue that nobody removes; at rest all backups are committed, no intent is left, and nothing that nobody needs.
//!
//! `every_schedule_with_one_deviation` tries all schedules with one deviation from "each process to its end, in this order",
//! at every call of all 24 orders in the long run, and at every fourth call of two orders in every run: another process goes
//! on, or the call never arrives, or its answer is lost, or the process dies. With two deviations there are so many that every run tries a sample, and the long one (with
//! `E2E_SWEEP` set, as in `make sweep`) a larger one. Random schedules switch, fail and crash anywhere.

mod actors;
#[allow(dead_code, reason = "other tests ask it for more")]
#[path = "../fixtures/catalog.rs"]
mod sample;
mod turns;
mod versions;
mod world;

use turns::Fate;
use world::{ROLES, Role, Step, World, copied, repository};

use mo_backup::store::memory::Memory;

/// A run takes far fewer steps.
const LONGEST: usize = 20_000;

fn is_long() -> bool {
    std::env::var_os("E2E_SWEEP").is_some()
}

/// A deterministic sequence of numbers that look random (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// All orders of the processes.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (at, first) in left.iter().enumerate() {
        let mut rest = left.to_vec();
        rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

/// What is done at a step instead of the next call.
#[derive(Clone, Copy, Debug)]
enum Deviation {
    /// Another process goes on, counted from this one.
    Switch(usize),
    Fail(Fate),
    Crash,
}

const DEVIATIONS: [Deviation; 6] = [
    Deviation::Switch(1),
    Deviation::Switch(2),
    Deviation::Switch(3),
    Deviation::Fail(Fate::Before),
    Deviation::Fail(Fate::Lost),
    Deviation::Crash,
];

/// Runs one schedule to its end; returns the number of its steps.
async fn run(memory: Memory, blind: bool, order: &[usize], deviations: &[(usize, Deviation)]) -> Result<usize, String> {
    let mut world = World::new(memory, &ROLES, blind);
    let mut current = order[0];
    for number in 0..LONGEST {
        let alive = world.alive();
        let Some(next) = order.iter().find(|at| alive.contains(at)) else {
            world.at_rest().await?;
            return Ok(number);
        };
        if !alive.contains(&current) {
            current = *next;
        }
        let mut step = Step::Call(current, Fate::Done);
        for (_, deviation) in deviations.iter().filter(|(at, _)| *at == number) {
            match deviation {
                Deviation::Switch(by) => {
                    let others: Vec<usize> = alive.iter().copied().filter(|at| *at != current).collect();
                    if !others.is_empty() {
                        current = others[(by - 1) % others.len()];
                    }
                    step = Step::Call(current, Fate::Done);
                }
                Deviation::Fail(fate) => step = Step::Call(current, *fate),
                Deviation::Crash => step = Step::Crash(current),
            }
        }
        world.step(step).await.map_err(|e| format!("{e}, after step {number}, {step:?}"))?;
    }
    Err("it does not end".into())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

#[test]
fn every_schedule_with_one_deviation() {
    let (runs, calls) = block_on(async {
        let start = repository().await;
        let (mut runs, mut calls) = (0, 0);
        // In every run one order in which an attempt comes first, and one in which a removal does.
        let every = if is_long() { 1 } else { 12 };
        for order in orders(&[0, 1, 2, 3]).into_iter().step_by(every) {
            let plain = run(copied(&start), false, &order, &[]).await.unwrap();
            for at in (0..plain).step_by(if is_long() { 1 } else { 4 }) {
                for deviation in DEVIATIONS {
                    let steps = run(copied(&start), false, &order, &[(at, deviation)]).await;
                    calls += steps.unwrap_or_else(|e| panic!("{order:?}, {at}: {deviation:?}: {e}"));
                    runs += 1;
                }
            }
        }
        (runs, calls)
    });
    println!("{runs} schedules, {calls} steps");
    assert!(runs > if is_long() { 10_000 } else { 200 }, "{runs}");
}

#[test]
fn schedules_with_two_deviations() {
    let every = if is_long() { 97 } else { 80_021 };
    let runs = block_on(async {
        let start = repository().await;
        let (mut runs, mut number) = (0_u64, 0_u64);
        for order in orders(&[0, 1, 2, 3]) {
            let plain = run(copied(&start), false, &order, &[]).await.unwrap();
            for first in 0..plain {
                for second in first..plain {
                    for pair in 0..DEVIATIONS.len() * DEVIATIONS.len() {
                        number += 1;
                        if !number.is_multiple_of(every) {
                            continue;
                        }
                        let [one, two] = [pair / DEVIATIONS.len(), pair % DEVIATIONS.len()].map(|n| DEVIATIONS[n]);
                        let deviations = [(first, one), (second, two)];
                        let done = run(copied(&start), false, &order, &deviations).await;
                        done.unwrap_or_else(|e| panic!("{order:?}, {deviations:?}: {e}"));
                        runs += 1;
                    }
                }
            }
        }
        runs
    });
    println!("{runs} schedules");
}

#[test]
fn random_schedules() {
    let seeds = if is_long() { 100_000 } else { 100 };
    block_on(async {
        let start = repository().await;
        for seed in 0..seeds {
            at_random(copied(&start), &ROLES, seed).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
    });
}

/// One random schedule. How often it switches, fails and crashes is random, too.
async fn at_random(memory: Memory, roles: &[Role], seed: u64) -> Result<(), String> {
    let mut state = seed;
    let (switch, fail) = (1 + random(&mut state) % 12, 8_u64 << (random(&mut state) % 6));
    let mut world = World::new(memory, roles, false);
    let (mut current, mut troubles) = (0, 0);
    for number in 0..LONGEST {
        let alive = world.alive();
        if alive.is_empty() {
            return world.at_rest().await;
        }
        if !alive.contains(&current) || random(&mut state).is_multiple_of(switch) {
            current = alive[usize::try_from(random(&mut state)).unwrap_or(0) % alive.len()];
        }
        let mut step = Step::Call(current, Fate::Done);
        // Each process has more tries than there are troubles.
        if troubles < 5 && random(&mut state).is_multiple_of(fail) {
            troubles += 1;
            step = match random(&mut state) % 3 {
                0 => Step::Call(current, Fate::Before),
                1 => Step::Call(current, Fate::Lost),
                _ => Step::Crash(current),
            };
        }
        world.step(step).await.map_err(|e| format!("{e}, after step {number}, {step:?}"))?;
    }
    Err("it does not end".into())
}

/// The model finds the loss of an earlier release: a removal that does not know of attempts under way.
#[test]
fn a_removal_that_does_not_see_intents_is_found() {
    let found = block_on(async {
        let start = repository().await;
        for order in orders(&[0, 1, 2, 3]).into_iter().filter(|order| order[..2] == [0, 2]) {
            let plain = run(copied(&start), false, &order, &[]).await.unwrap();
            for at in 0..plain {
                for deviation in &DEVIATIONS[..3] {
                    let lost = run(copied(&start), true, &order, &[(at, *deviation)]).await;
                    if lost.is_err_and(|e| e.contains("is committed, and")) {
                        return true;
                    }
                }
            }
        }
        false
    });
    assert!(found, "it was not found");
}
