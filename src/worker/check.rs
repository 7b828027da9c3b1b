//! Checking a backup where it lies: whether everything of it is there, or also whether it is what it was. Nothing is
//! written, and one damage does not hide the next.

mod companions;

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::{
    Failure, Place, Watch,
    report::Findings,
    restore::{Bytes, Expected, Foreign, Reading, located, without_ids},
};
use companions::Companions;

use crate::{
    api::Warning,
    plan::{Catalog, Framing, newest::Whose, restored},
    store::{
        self, Key, Objects, Patience, Problem, Retrying, catalog,
        presence::{NAMED, Presence, of_list},
        transfer::Moved,
    },
    task::Choice,
};

/// What is to be checked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTask {
    /// Which backup.
    pub choice: Choice,
    /// Objects that are read at the same time; 0 is taken for 1.
    pub parallelism: u16,
    /// How deep.
    pub depth: Depth,
}

/// How deep a backup is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every object is there with its size, as listings say.
    Presence,
    /// Every object is read, and its SHA-256 compared.
    Content,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Id of the backup; of one made without us the path of its last folder, empty for the place itself.
    pub name: String,
    /// The catalogue entry of a backup of a repository.
    pub catalog: Option<Catalog>,
    /// Objects of the backup that were looked at, damaged ones too.
    pub objects: u64,
    /// Objects that it needs and that lie in earlier folders, none of which was named: nothing is known of them.
    pub elsewhere: u64,
    /// Bytes of their content as they are listed; the configuration files of a folder made without us are in no list.
    pub bytes: u64,
    /// Objects that were read and had the SHA-256 that is on record. MatrixOne's own lists lack that of a few objects: of
    /// those made without us some can only be read.
    pub hashed: u64,
    /// Objects that are not as they must be, and files `*.sha256` of MatrixOne that do not fit theirs.
    pub faults: u64,
    /// At most 20 of them, by key, each with what is wrong.
    pub first: Vec<String>,
    /// What MatrixOne has lost in it, though every object is as it was written; for people.
    pub lost: Option<String>,
    /// What is good to know.
    pub warnings: Vec<Warning>,
}

/// Checks a backup. Of one of a repository every object that its list names is looked at, in constant memory; of folders made
/// without us the last one's lists, ids, configuration and rows, wherever their bytes lie, at 64 bytes a row.
///
/// # Errors
/// When nothing, or not everything, could be told: an unknown id, a damaged catalogue entry or entry list, a store that does
/// not answer. So does what is wrong with the lists or the ids of a folder made without us (`mo_meta`, `tae/tae_list`,
/// `tae/tae_sum`, `hakeeper/hk_data`): it ends the check at the first fault. All other damage is counted.
pub async fn check(
    task: &CheckTask,
    source: &Arc<dyn Objects>,
    kind: Place,
    patience: Patience,
    watch: &Watch,
) -> Result<Checked, Failure> {
    let source = Retrying::new(source.clone(), patience, watch.token().clone());
    let CheckTask { choice, parallelism, depth } = task;
    let (whose, parallelism) = (Whose::default(), *parallelism);
    let reading = Reading { source: &source, place: kind, choice, whose, parallelism, watch };
    // In one task on purpose: when the work hangs, the heartbeat stops too.
    let checked = tokio::select! {
        biased;
        checked = Box::pin(watch.race(run(*depth, reading))) => checked,
        never = watch.beat() => match never {},
    };
    checked.and_then(|checked| checked).map_err(|failure| watch.ended(failure))
}

async fn run(depth: Depth, reading: Reading<'_>) -> Result<Checked, Failure> {
    reading.watch.step("choosing the backup");
    let mut findings = Findings::default();
    let chosen = match reading.choice {
        Choice::Paths(paths) => reading.named_folders(paths).await?,
        Choice::Id(_) | Choice::Latest | Choice::Before(_) => reading.choose(None, &mut findings).await?,
    };
    reading.watch.step(match depth {
        Depth::Presence => "checking the presence of every object",
        Depth::Content => "reading every object",
    });
    let Tally { objects, bytes, hashed, faults, mut first } = match (depth, &chosen.bytes) {
        (Depth::Presence, Bytes::Listed(catalog)) => {
            reading.watch.total(catalog.totals.objects, catalog.totals.bytes);
            Tally::of(&reading.present_listed(catalog, true).await?, catalog.totals.bytes)
        }
        (Depth::Content, Bytes::Listed(catalog)) => listed(reading, catalog).await?,
        (Depth::Presence, Bytes::Foreign(foreign)) => {
            let (objects, bytes) = foreign.totals();
            reading.watch.total(objects, bytes);
            let found = reading.present_foreign(foreign, true).await?;
            let (own, words) = foreign.own();
            let tally = Tally::of(&found, bytes.saturating_add(words));
            Tally { objects: tally.objects + own, hashed: own, ..tally }
        }
        (Depth::Content, Bytes::Foreign(foreign)) => folders(reading, foreign).await?,
    };
    first.sort();
    let lost = reading.lost(&chosen, &mut findings).await?.map(|lost| lost.why);
    let (catalog, elsewhere) = match chosen.bytes {
        Bytes::Listed(catalog) => (Some(*catalog), 0),
        Bytes::Foreign(foreign) => (None, foreign.elsewhere()),
    };
    let warnings = findings.warnings;
    Ok(Checked { name: chosen.name, catalog, objects, elsewhere, bytes, hashed, faults, first, lost, warnings })
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Tally {
    objects: u64,
    bytes: u64,
    hashed: u64,
    faults: u64,
    first: Vec<String>,
}

impl Tally {
    fn of(found: &Presence, bytes: u64) -> Self {
        let first = found.first.iter().map(ToString::to_string).collect();
        Self { objects: found.objects + found.faults, bytes, hashed: 0, faults: found.faults, first }
    }

    /// Takes an object that was read.
    fn add(&mut self, Read { bytes, digested, fault }: Read) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        match fault {
            None => self.hashed += u64::from(digested),
            Some(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, fault: String) {
        self.faults += 1;
        if self.first.len() < NAMED {
            self.first.push(fault);
        }
    }
}

/// An object to be read.
struct Subject {
    key: Key,
    framing: Framing,
    expected: Expected,
    bytes: u64,
}

/// An object that was read, as far as it could be.
struct Read {
    bytes: u64,
    digested: bool,
    fault: Option<String>,
}

/// Reads everything that the entry list of a backup names.
async fn listed(reading: Reading<'_>, catalog: &Catalog) -> Result<Tally, Failure> {
    reading.watch.total(catalog.totals.objects, catalog.totals.bytes);
    let failed = |e: store::Failure| reading.source_failure(&e);
    let entries = of_list(catalog::entries(reading.source, catalog).await.map_err(failed)?);
    let (mut hk_data, mut companions) = (false, Companions::default());
    let subjects = entries.map(|entry| {
        let entry = entry.map_err(failed)?;
        companions.note(catalog, &entry);
        hk_data |= restored::part(&entry.path) == restored::Part::HkData;
        let (key, framing) = located(catalog, &entry).map_err(failed)?;
        let expected = Expected { size: Some(entry.size), digest: Some(entry.sha256) };
        Ok(Subject { key, framing, expected, bytes: entry.size })
    });
    let mut tally = read(reading, subjects).await?;
    let faults = reading.watch.race(companions.faults(reading.source)).await?;
    for fault in faults.map_err(|e| reading.source_failure(&e.into()))? {
        tally.fault(fault);
    }
    if hk_data { Ok(tally) } else { Err(without_ids(catalog)) }
}

/// Reads everything of folders made without us that was not read when they were chosen.
async fn folders(reading: Reading<'_>, foreign: &Foreign) -> Result<Tally, Failure> {
    let (objects, bytes) = foreign.totals();
    reading.watch.total(objects, bytes);
    let subjects = foreign.rows().map(|row| {
        let row = row?;
        Ok(Subject { key: row.key, framing: row.framing, expected: row.expected, bytes: row.listed })
    });
    let mut tally = read(reading, stream::iter(subjects)).await?;
    let (own, words) = foreign.own();
    tally.objects += own;
    tally.hashed += own;
    tally.bytes = bytes.saturating_add(words);
    for fault in reading.configuration(foreign).await? {
        tally.add(Read { bytes: 0, digested: true, fault });
    }
    Ok(tally)
}

/// Reads objects, several at a time, and goes on behind what is damaged.
async fn read(reading: Reading<'_>, subjects: impl Stream<Item = Result<Subject, Failure>>) -> Result<Tally, Failure> {
    let (moved, mut tally) = (Moved::default(), Tally::default());
    let counted = &moved;
    let reads = subjects.map_ok(|subject| read_one(reading, subject, counted)).try_buffer_unordered(reading.at_once());
    let all = reads.try_for_each(|read| {
        // A row of missing objects moves no bytes, and is no standstill.
        reading.watch.alive();
        tally.add(read);
        std::future::ready(Ok(()))
    });
    tokio::select! {
        done = all => done?,
        never = reading.follow(&moved) => match never {},
    }
    reading.watch.seen(tally.objects, tally.bytes);
    Ok(tally)
}

/// Reads an object. Only what is known to be damage is; a store that does not answer leaves it unknown.
async fn read_one(reading: Reading<'_>, subject: Subject, moved: &Moved) -> Result<Read, Failure> {
    let Subject { key, framing, expected, bytes } = subject;
    let fault = match reading.compared((&key, framing), expected, moved).await {
        Ok(_) => None,
        Err(store::Failure::Differs { what, detail }) => Some(format!("{what}: {detail}")),
        Err(store::Failure::Store(e)) if e.problem == Problem::Missing => Some(format!("{key} is missing")),
        Err(store::Failure::Store(e)) if e.problem == Problem::Corrupted && !e.temporary => Some(format!("{key}: {e}")),
        Err(e) => return Err(reading.source_failure(&e)),
    };
    Ok(Read { bytes, digested: expected.digest.is_some(), fault })
}
