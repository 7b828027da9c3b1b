//! One run of the model: processes that take turns, what is done to them, and what must be true after every step.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use mo_backup::{
    plan::{Catalog, EntriesReader},
    store::{Failure, Key, catalog, memory::Memory},
};

use super::{
    actors::{self, A, NOW, P, Q, R, id},
    turns::{Fate, Gate, Turns},
};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This process does its next call, which ends so. Where it waits for time to pass, that passes.
    Call(usize, Fate),
    /// This process dies.
    Crash(usize),
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes a backup, on the first of these that is committed.
    Commit(u64, &'static [u64]),
    /// Removes a backup, and sweeps what earlier removals have left.
    Remove(u64),
}

/// The processes: two backups, the second on the first if that is committed by then; the removal of their base; and a
/// sweep of what was left of an older backup.
pub const ROLES: [Role; 4] = [Role::Commit(Q, &[P]), Role::Commit(R, &[Q, P]), Role::Remove(P), Role::Remove(A)];

/// How often a process is begun again after a failure.
const TIMES: u32 = 6;

type Work = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

struct Process {
    role: Role,
    gate: Gate,
    work: Option<Work>,
    times: u32,
    done: bool,
}

pub struct World {
    pub memory: Memory,
    processes: Vec<Process>,
    blind: bool,
    /// Keys that a committed backup names, by the nonce of its entry.
    names: HashMap<String, Vec<String>>,
    /// Committed backups that nobody removes.
    stay: BTreeSet<String>,
}

/// The repository before anything happens: A was removed, and P needs an object of it.
pub async fn repository() -> Memory {
    let memory = Memory::new();
    let mut base = None;
    for number in [A, P] {
        let made = actors::prepared(&memory, number, 1, base.as_ref(), |path| path == "tae/1").await.unwrap();
        memory.set(Key::catalog(id(number)).as_str(), serde_json::to_vec(&made).unwrap());
        base = Some(made);
    }
    let purged = catalog::purge(&memory, id(A), NOW).await.unwrap();
    assert_eq!(purged.kept, 1);
    memory
}

pub fn copied(memory: &Memory) -> Memory {
    let copy = Memory::new();
    for key in memory.keys() {
        copy.set(&key, memory.get(&key).unwrap());
    }
    copy
}

impl World {
    /// `blind`: the removals do not see intents, as those of earlier releases.
    pub fn new(memory: Memory, roles: &[Role], blind: bool) -> Self {
        let process = |role: &Role| Process { role: *role, gate: Gate::default(), work: None, times: 0, done: false };
        let processes = roles.iter().map(process).collect();
        Self { memory, processes, blind, names: HashMap::new(), stay: BTreeSet::new() }
    }

    /// Processes that have something to do.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|at| !self.processes[*at].done).collect()
    }

    /// Does one step, and looks whether everything is as it must be.
    pub async fn step(&mut self, step: Step) -> Result<(), String> {
        let (Step::Call(at, _) | Step::Crash(at)) = step;
        if self.processes[at].done {
            return Ok(());
        }
        if let Step::Crash(_) = step {
            let process = &mut self.processes[at];
            (process.work, process.gate) = (None, Gate::default());
            process.times += 1;
            return Ok(());
        }
        self.begin(at);
        let Step::Call(_, fate) = step else { return Ok(()) };
        let process = &mut self.processes[at];
        if !process.gate.open(fate) {
            // It waits for time to pass. Nobody's call is on its way for as long.
            tokio::time::advance(Duration::from_secs(31)).await;
            self.poll_all();
        }
        self.poll(at);
        self.check()
    }

    /// Begins the work of a process that has none, up to its first call.
    fn begin(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.work.is_some() {
            return;
        }
        let remover = matches!(process.role, Role::Remove(_));
        let store = Turns { inner: self.memory.clone(), gate: process.gate.clone(), blind: self.blind && remover };
        let (role, attempt) = (process.role, process.times + 1);
        process.work = Some(Box::pin(async move {
            match role {
                Role::Commit(number, bases) => actors::attempt(&store, number, attempt, bases).await,
                Role::Remove(number) => catalog::purge(&store, id(number), NOW).await.map(drop),
            }
        }));
        self.poll(at);
    }

    fn poll_all(&mut self) {
        for at in self.alive() {
            self.poll(at);
        }
    }

    fn poll(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(work) = &mut process.work else { return };
        if let std::task::Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            (process.work, process.gate) = (None, Gate::default());
            process.times += 1;
            process.done = done.is_ok() || process.times >= TIMES && !matches!(process.role, Role::Remove(_));
        }
    }

    /// Whatever the catalogue names is there, and no backup leaves it that nobody removes.
    fn check(&mut self) -> Result<(), String> {
        let keys: BTreeSet<String> = self.memory.keys().into_iter().collect();
        let mut committed = BTreeSet::new();
        for key in keys.iter().filter(|key| key.starts_with("catalog/")) {
            let entry: Catalog = serde_json::from_slice(&self.memory.get(key).unwrap()).unwrap();
            committed.insert(entry.id.to_string());
            if [Q, R].map(id).contains(&entry.id) {
                self.stay.insert(entry.id.to_string());
            }
            let list = Key::entries(entry.id, entry.attempt).to_string();
            if !self.names.contains_key(&entry.nonce) {
                let stored = self.memory.get(&list).ok_or_else(|| format!("{list} is missing"))?;
                self.names.insert(entry.nonce.clone(), named(&entry, stored));
            }
            let missing = self.names[&entry.nonce].iter().chain([&list]).find(|name| !keys.contains(*name));
            if let Some(missing) = missing {
                return Err(format!("{key} is committed, and {missing} is missing"));
            }
        }
        match self.stay.iter().find(|id| !committed.contains(*id)) {
            Some(gone) => Err(format!("{gone} was committed, and is not any more")),
            None => Ok(()),
        }
    }

    /// What must be true when nobody has anything to do any more.
    pub async fn at_rest(&mut self) -> Result<(), String> {
        self.check()?;
        let count = |what: &str| self.memory.keys().iter().filter(|key| key.starts_with(what)).count();
        let takers = self.processes.iter().filter(|p| matches!(p.role, Role::Commit(..))).count();
        if count("catalog/") != takers {
            return Err(format!("{} of {takers} backups are committed", count("catalog/")));
        }
        if count("intents/") > 0 {
            return Err("an intent was left".into());
        }
        // What nobody needs any more goes with the next removal, and nothing else does.
        catalog::purge(&self.memory, id(P), NOW).await.map_err(|e| e.to_string())?;
        self.check()?;
        let entries = self
            .memory
            .keys()
            .into_iter()
            .filter_map(|key| key.starts_with("catalog/").then(|| self.memory.get(&key))?);
        let nonces = entries.map(|entry| serde_json::from_slice::<Catalog>(&entry).unwrap().nonce);
        let needed: BTreeSet<&String> = nonces.flat_map(|nonce| &self.names[&nonce]).collect();
        let removed = [A, P].map(|number| format!("data/{}/", id(number)));
        let is_left = |key: &&String| removed.iter().any(|r| key.starts_with(r)) && !needed.contains(key);
        match self.memory.keys().iter().find(is_left) {
            Some(left) => Err(format!("{left} was left")),
            None => Ok(()),
        }
    }
}

fn named(entry: &Catalog, stored: bytes::Bytes) -> Vec<String> {
    let mut reader = EntriesReader::new(entry).unwrap();
    reader.push(stored).unwrap();
    let mut names = Vec::new();
    while let Some(found) = reader.next_entry().unwrap() {
        let source = &entry.sources[found.from as usize];
        names.push(Key::object(source.backup, source.attempt, &found.path).to_string());
    }
    names
}
