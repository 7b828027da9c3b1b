//! Whether a BACKUP has lost something though every file is as MatrixOne wrote it: see [`crate::plan::checkpoint`].

use std::collections::BTreeSet;

use super::{
    Failure,
    report::Findings,
    restore::Foreign,
    server_files::{Flaw, ServerFiles},
};
use crate::{
    api::Reason,
    plan::{
        Catalog, Framing,
        checkpoint::{self, Checkpoint, FOLDER, Newest, NewestLists, Span, Unreadable},
        resolve::Resolved,
    },
    sql::Version,
    store::{self, Key, Objects, Problem, catalog},
};

/// Largest file of a checkpoint that is read, in bytes as it is stored.
pub(super) const LARGEST: u64 = 16 << 20;
/// Tables that are named.
const NAMED: usize = 20;

/// What the checkpoints of a backup say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    lost: Option<Lost>,
    /// What could not be seen, and why.
    unknown: Vec<(Reason, String)>,
}

/// What is lost, though every file is what MatrixOne has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Why.
    pub reason: Reason,
    /// The same for people.
    pub why: String,
}

impl Merged {
    /// What is lost; what could not be seen is a finding.
    pub(super) fn lost(self, findings: &mut Findings) -> Option<Lost> {
        if self.lost.is_none() {
            self.unknown.into_iter().for_each(|(reason, why)| findings.warn(reason, why));
        }
        self.lost
    }

    fn tables_unknown(&mut self, why: &str) {
        let why = format!("whether MatrixOne has lost tables in this backup could not be seen: {why}");
        self.unknown.push((Reason::TablesNotChecked, why));
    }

    fn start_unknown(&mut self, why: &str) {
        let why = format!("whether a MatrixOne starts on this backup could not be seen: {why}");
        self.unknown.push((Reason::CheckpointsNotChecked, why));
    }
}

impl From<Lost> for Failure {
    fn from(Lost { reason, why }: Lost) -> Self {
        Self::new(reason, why)
    }
}

/// How a backup is looked at besides what a server reads at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Not at all.
    Start,
    /// Which list of checkpoints counts, by its name.
    Lists,
    /// BACKUP's own checkpoint too.
    Contents,
}

impl Look {
    /// As a server of this version makes it necessary; one that is not known can be any.
    pub(super) fn at(version: Option<Version>) -> Self {
        match version {
            None => Self::Contents,
            Some(version) if version.loses_merged_tables() => Self::Contents,
            Some(version) if version.takes_later_checkpoints() => Self::Lists,
            Some(_) => Self::Start,
        }
    }
}

/// Where the paths of a backup stand.
pub(super) enum Paths<'a> {
    /// In a list that was just read.
    Resolved(&'a Resolved),
    /// In the entry list of a backup of this repository.
    Listed(&'a dyn Objects, &'a Catalog),
    /// In the list of a folder made without us.
    Foreign(&'a Foreign),
}

impl Paths<'_> {
    /// Shows every path. The list's digest is compared at its end.
    async fn each(&self, mut take: impl FnMut(&str) + Send) -> Result<(), store::Failure> {
        match self {
            Self::Resolved(resolved) => resolved.paths().for_each(|path| take(&path)),
            Self::Foreign(foreign) => foreign.paths().for_each(|path| take(&path)),
            Self::Listed(repository, catalog) => {
                let mut entries = catalog::entries(*repository, catalog).await?;
                while let Some(entry) = entries.next().await? {
                    take(&entry.path);
                }
            }
        }
        Ok(())
    }
}

/// Looks at a backup of a repository.
pub(super) async fn of_listed(repository: &dyn Objects, catalog: &Catalog) -> Result<Merged, store::Failure> {
    // What BACKUP itself has written lies in the first source.
    let Some(own) = catalog.sources.first() else {
        let mut merged = Merged::default();
        merged.start_unknown("it has no sources");
        return Ok(merged);
    };
    let key = |path: &str| Key::object(own.backup, own.attempt, path);
    let look = Look::at(Version::of_release(&catalog.cluster.matrixone));
    let paths = Paths::Listed(repository, catalog);
    ServerFiles { objects: repository, key }.merged(own.framing, look, paths).await
}

impl<K: Fn(&str) -> Key + Sync> ServerFiles<'_, K> {
    /// Looks at the checkpoints in a finished folder of a backup with these paths.
    pub(super) async fn merged(&self, framed: Framing, look: Look, paths: Paths<'_>) -> Result<Merged, store::Failure> {
        let mut merged = Merged::default();
        let newest = match self.newest_lists().await {
            Ok(newest) => newest,
            Err(trouble) => {
                merged.start_unknown(&trouble.unknown()?);
                return Ok(merged);
            }
        };
        match self.judged(framed, look, &newest).await {
            Ok(Some(lost)) => return Ok(Merged { lost: Some(lost), unknown: Vec::new() }),
            Ok(None) => {}
            Err(trouble) => merged.tables_unknown(&trouble.unknown()?),
        }
        match self.start(&newest, framed).await {
            Ok(mut start) => {
                paths.each(|path| start.has(path)).await?;
                match start.missing() {
                    Ok(lost) => merged.lost = lost,
                    Err(why) => merged.start_unknown(&why),
                }
            }
            Err(trouble) => merged.start_unknown(&trouble.unknown()?),
        }
        Ok(merged)
    }

    /// What releases before 3.0.5 lose.
    async fn judged(&self, framed: Framing, look: Look, newest: &NewestLists) -> Result<Option<Lost>, Trouble> {
        let last = newest.last.first().filter(|_| look != Look::Start);
        let Some((last, span)) = last.and_then(|last| Some((last, Span::parse(last)?))) else { return Ok(None) };
        if span.is_global() {
            return Ok(Some(without_its_checkpoint(last)));
        }
        match look {
            Look::Start | Look::Lists => Ok(None),
            Look::Contents => self.read(framed, last).await,
        }
    }

    /// Reads BACKUP's own checkpoint.
    async fn read(&self, framed: Framing, newest: &str) -> Result<Option<Lost>, Trouble> {
        let path = format!("{FOLDER}/{newest}");
        let list = self.content(&path, framed).await?;
        let path = match checkpoint::newest(&list).map_err(|e| self.unreadable(&path, &e))? {
            Newest::OfBackup(name) => format!("tae/{name}"),
            Newest::Later => return Ok(Some(without_its_checkpoint(newest))),
        };
        let own = self.content(&path, framed).await?;
        let own = Checkpoint::parse(&own).map_err(|e| self.unreadable(&path, &e))?;
        let mut judge = own.judge();
        for part in &own.parts {
            let path = format!("tae/{part}");
            let content = self.content(&path, framed).await?;
            judge.part(part, &content).map_err(|e| self.unreadable(&path, &e))?;
        }
        let tables = judge.lost().map_err(|e| self.unreadable(&path, &e))?;
        Ok((!tables.is_empty()).then(|| of_tables(&tables)))
    }

    pub(super) fn unreadable(&self, path: &str, why: &Unreadable) -> Trouble {
        Trouble::Unknown(format!("{}: {why}", (self.key)(path)))
    }

    /// What is missing or broken is for those to tell who look at every object.
    pub(super) async fn content(&self, path: &str, framed: Framing) -> Result<Vec<u8>, Trouble> {
        let read = self.whole(path, framed, LARGEST).await;
        read.map_err(|flaw| match flaw {
            Flaw::Store(e) => Trouble::of(e),
            Flaw::Missing(key) => Trouble::Unknown(format!("{key} is missing")),
            Flaw::Large(key, size) => Trouble::Unknown(format!("{key} has {size} bytes")),
            Flaw::Frames(key, why) => Trouble::Unknown(format!("{key}: {why}")),
            Flaw::Other(key, ..) => Trouble::Unknown(format!("{key} is not what {key}.sha256 says")),
            Flaw::Content(why) => Trouble::Unknown(why.to_string()),
        })
    }
}

/// Why nothing can be said.
pub(super) enum Trouble {
    Store(store::Error),
    Unknown(String),
}

impl Trouble {
    /// Why nothing can be said, unless the store is the trouble.
    fn unknown(self) -> Result<String, store::Failure> {
        match self {
            Self::Store(error) => Err(error.into()),
            Self::Unknown(why) => Ok(why),
        }
    }

    pub(super) fn of(error: store::Error) -> Self {
        // A link in the way of a folder is one of the others.
        let damage =
            matches!(error.problem, Problem::Missing | Problem::Corrupted | Problem::Other) && !error.temporary;
        if damage { Self::Unknown(error.to_string()) } else { Self::Store(error) }
    }
}

fn of_tables(tables: &BTreeSet<u64>) -> Lost {
    let ids: Vec<_> = tables.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match tables.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let why = format!(
        "MatrixOne has lost tables in this backup: restored, those with the rel_id {}{more} (in mo_catalog.mo_tables) lack \
         rows, are empty or cannot be read",
        ids.join(", ")
    );
    Lost { reason: Reason::TablesLost, why }
}

fn without_its_checkpoint(list: &str) -> Lost {
    let why = format!(
        "MatrixOne took another checkpoint while BACKUP copied, and left it in place of BACKUP's own ({list}): a restored \
         MatrixOne does not start"
    );
    Lost { reason: Reason::BackupIncomplete, why }
}
