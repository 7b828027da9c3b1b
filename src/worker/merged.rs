//! Whether a BACKUP of MatrixOne before 2.0 has lost tables: see [`crate::plan::checkpoint`].

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;

use super::{
    report::Findings,
    server_files::{Flaw, ServerFiles},
};
use crate::{
    api::Reason,
    plan::{
        Catalog, Framing,
        checkpoint::{self, Checkpoint, FOLDER},
    },
    sql::Version,
    store::{self, Key, Objects, Prefix},
};

/// Largest file of a checkpoint that is read, in bytes as it is stored.
const LARGEST: u64 = 64 << 20;
/// Tables that are named.
const NAMED: usize = 20;

/// What a backup's checkpoint says of its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// All are there.
    Whole,
    /// These are empty or unreadable, and why, for people.
    Lost(String),
    /// It could not be read, and why.
    Unknown(String),
}

impl Merged {
    /// What is lost; where that could not be seen it is a finding.
    pub(super) fn lost(self, findings: &mut Findings) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Lost(lost) => Some(lost),
            Self::Unknown(why) => {
                findings.warn(Reason::TablesNotChecked, why);
                None
            }
        }
    }
}

/// Looks at a backup of a repository.
pub(super) async fn of_listed(repository: &dyn Objects, catalog: &Catalog) -> Result<Merged, store::Error> {
    // What BACKUP itself has written lies in the first source.
    let Some(own) = catalog.sources.first() else { return Ok(Merged::Unknown("it has no sources".into())) };
    let key = |path: &str| Key::object(own.backup, own.attempt, path);
    ServerFiles { objects: repository, key }.merged(own.framing).await
}

/// Whether what this server has written must be looked at; of an unknown one it must. The version is as the server or its
/// build says it.
pub(super) fn concerns(version: Option<&str>) -> bool {
    let version = version.and_then(|version| Version::parse(&format!("MatrixOne-{version}")));
    version.is_none_or(Version::loses_merged_tables)
}

impl<K: Fn(&str) -> Key + Sync> ServerFiles<'_, K> {
    /// Reads BACKUP's own checkpoint in a finished folder.
    pub(super) async fn merged(&self, framed: Framing) -> Result<Merged, store::Error> {
        match self.lost_tables(framed).await {
            Ok(tables) if tables.is_empty() => Ok(Merged::Whole),
            Ok(tables) => Ok(Merged::Lost(told(&tables))),
            Err(Trouble::Store(e)) => Err(e),
            Err(Trouble::Unknown(why)) => Ok(Merged::Unknown(why)),
        }
    }

    async fn lost_tables(&self, framed: Framing) -> Result<BTreeSet<u64>, Trouble> {
        let below = Prefix::placed((self.key)(FOLDER).as_str());
        let lists: Vec<_> = self.objects.list(&below).try_collect().await?;
        let names = lists.iter().filter_map(|found| found.key.below(&below));
        let newest = names.max_by_key(|name| checkpoint::ends(name)).filter(|name| checkpoint::ends(name).is_some());
        let newest = newest.ok_or_else(|| Trouble::Unknown(format!("{below} has no list of checkpoints")))?;
        let list = self.content(&format!("{FOLDER}/{newest}"), framed).await?;
        let name = checkpoint::of_backup(&list).map_err(|e| Trouble::Unknown(format!("{below}{newest}: {e}")))?;
        let unreadable = |e| Trouble::Unknown(format!("{}: {e}", (self.key)(&format!("tae/{name}"))));
        let checkpoint = Checkpoint::parse(&self.object(&name, framed).await?).map_err(unreadable)?;
        let mut parts = BTreeMap::new();
        for part in &checkpoint.parts {
            parts.insert(part.clone(), self.object(part, framed).await?);
        }
        checkpoint.lost(&parts).map_err(unreadable)
    }

    async fn object(&self, name: &str, framed: Framing) -> Result<Vec<u8>, Trouble> {
        self.content(&format!("tae/{name}"), framed).await
    }

    /// What is missing or broken is for those to tell who look at every object.
    async fn content(&self, path: &str, framed: Framing) -> Result<Vec<u8>, Trouble> {
        let read = self.whole(path, framed, LARGEST).await;
        read.map_err(|flaw| match flaw {
            Flaw::Store(e) => Trouble::Store(e),
            Flaw::Missing(key) => Trouble::Unknown(format!("{key} is missing")),
            Flaw::Large(key, size) => Trouble::Unknown(format!("{key} has {size} bytes")),
            Flaw::Frames(key, why) => Trouble::Unknown(format!("{key}: {why}")),
            Flaw::Other(key, ..) => Trouble::Unknown(format!("{key} is not what its companion says")),
            Flaw::Content(why) => Trouble::Unknown(why.to_string()),
        })
    }
}

/// Why nothing can be said of the tables.
enum Trouble {
    Store(store::Error),
    Unknown(String),
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

fn told(tables: &BTreeSet<u64>) -> String {
    let ids: Vec<_> = tables.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match tables.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(
        "MatrixOne has lost tables in this backup: restored, those with the rel_id {}{more} (in mo_catalog.mo_tables) are \
         empty or cannot be read",
        ids.join(", ")
    )
}
