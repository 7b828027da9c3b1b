//! Whether a BACKUP of MatrixOne before 3.0.5 has lost something: see [`crate::plan::checkpoint`].

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use super::{
    Failure,
    report::Findings,
    server_files::{Flaw, ServerFiles},
};
use crate::{
    api::Reason,
    plan::{
        Catalog, Framing,
        checkpoint::{self, Checkpoint, FOLDER, Newest, Span, Unreadable},
    },
    sql::Version,
    store::{self, Key, Objects, Prefix, Problem},
};

/// Largest file of a checkpoint that is read, in bytes as it is stored.
const LARGEST: u64 = 16 << 20;
/// Tables that are named.
const NAMED: usize = 20;

/// What a backup's checkpoint says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Nothing is lost.
    Whole,
    /// Something is.
    Lost(Lost),
    /// It could not be read, and why.
    Unknown(String),
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
    /// What is lost; where that could not be seen it is a finding.
    pub(super) fn lost(self, findings: &mut Findings) -> Option<Lost> {
        match self {
            Self::Whole => None,
            Self::Lost(lost) => Some(lost),
            Self::Unknown(why) => {
                let message = format!("whether MatrixOne has lost tables in this backup could not be seen: {why}");
                findings.warn(Reason::TablesNotChecked, message);
                None
            }
        }
    }
}

impl From<Lost> for Failure {
    fn from(Lost { reason, why }: Lost) -> Self {
        Self::new(reason, why)
    }
}

/// How close a backup is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Which list of checkpoints counts, by its name.
    Lists,
    /// BACKUP's own checkpoint too.
    Contents,
}

impl Look {
    /// As a server of this version makes it necessary; one that is not known can be any.
    pub(super) fn at(version: Option<Version>) -> Option<Self> {
        match version {
            None => Some(Self::Contents),
            Some(version) if version.loses_merged_tables() => Some(Self::Contents),
            Some(version) => version.takes_later_checkpoints().then_some(Self::Lists),
        }
    }
}

/// Looks at a backup of a repository.
pub(super) async fn of_listed(repository: &dyn Objects, catalog: &Catalog) -> Result<Merged, store::Error> {
    // What BACKUP itself has written lies in the first source.
    let Some(own) = catalog.sources.first() else { return Ok(Merged::Unknown("it has no sources".into())) };
    let key = |path: &str| Key::object(own.backup, own.attempt, path);
    let look = Look::at(Version::of_release(&catalog.cluster.matrixone));
    ServerFiles { objects: repository, key }.merged(own.framing, look).await
}

impl<K: Fn(&str) -> Key + Sync> ServerFiles<'_, K> {
    /// Looks at the checkpoints in a finished folder.
    pub(super) async fn merged(&self, framed: Framing, look: Option<Look>) -> Result<Merged, store::Error> {
        let Some(look) = look else { return Ok(Merged::Whole) };
        match self.judged(framed, look).await {
            Ok(lost) => Ok(lost.map_or(Merged::Whole, Merged::Lost)),
            Err(Trouble::Store(e)) => Err(e),
            Err(Trouble::Unknown(_)) if look == Look::Lists => Ok(Merged::Whole),
            Err(Trouble::Unknown(why)) => Ok(Merged::Unknown(why)),
        }
    }

    async fn judged(&self, framed: Framing, look: Look) -> Result<Option<Lost>, Trouble> {
        let below = Prefix::placed((self.key)(FOLDER).as_str());
        let mut newest: Option<(Span, String)> = None;
        let mut lists = self.objects.list(&below);
        while let Some(found) = lists.try_next().await.map_err(Trouble::of)? {
            let name = found.key.below(&below).unwrap_or_default();
            if let Some(span) = Span::parse(name).filter(|span| newest.as_ref().is_none_or(|(n, _)| n.end < span.end)) {
                newest = Some((span, name.to_owned()));
            }
        }
        let (span, newest) = newest.ok_or_else(|| Trouble::Unknown(format!("{below} has no list of checkpoints")))?;
        if span.is_global() {
            return Ok(Some(without_its_checkpoint(&newest)));
        }
        match look {
            Look::Lists => Ok(None),
            Look::Contents => self.read(framed, &newest).await,
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

    fn unreadable(&self, path: &str, why: &Unreadable) -> Trouble {
        Trouble::Unknown(format!("{}: {why}", (self.key)(path)))
    }

    /// What is missing or broken is for those to tell who look at every object.
    async fn content(&self, path: &str, framed: Framing) -> Result<Vec<u8>, Trouble> {
        let read = self.whole(path, framed, LARGEST).await;
        read.map_err(|flaw| match flaw {
            Flaw::Store(e) => Trouble::of(e),
            Flaw::Missing(key) => Trouble::Unknown(format!("{key} is missing")),
            Flaw::Large(key, size) => Trouble::Unknown(format!("{key} has {size} bytes")),
            Flaw::Frames(key, why) => Trouble::Unknown(format!("{key}: {why}")),
            Flaw::Other(key, ..) => Trouble::Unknown(format!("{key} is not what its companion says")),
            Flaw::Content(why) => Trouble::Unknown(why.to_string()),
        })
    }
}

/// Why nothing can be said.
enum Trouble {
    Store(store::Error),
    Unknown(String),
}

impl Trouble {
    fn of(error: store::Error) -> Self {
        let damage = matches!(error.problem, Problem::Missing | Problem::Corrupted) && !error.temporary;
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
