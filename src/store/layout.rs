//! Every key ever written, and the only place that joins strings into keys.

use std::fmt;

use uuid::Uuid;

use crate::plan::{AttemptDir, BackupId};

/// The key of an object, relative to the repository. It never begins or ends with `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The beginning of keys; it ends with `/`, or is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

/// Whether a repository keeps files below this first part of a key, or is meant itself by none.
#[must_use]
pub fn is_ours(first: &str) -> bool {
    let own = [Prefix::catalog(), Prefix::data(), Prefix::trash(), Prefix::intents(), Prefix::probe()];
    first.is_empty() || own.iter().any(|prefix| prefix.0.trim_end_matches('/') == first)
}

impl Key {
    /// The repository's marker.
    #[must_use]
    pub fn marker() -> Self {
        Self("mo-backup.json".into())
    }

    /// The commit point of a backup.
    #[must_use]
    pub fn catalog(id: BackupId) -> Self {
        Self(format!("catalog/{id}.json"))
    }

    /// An object of an attempt. The path comes from a checked entry.
    #[must_use]
    pub fn object(id: BackupId, dir: AttemptDir, path: &str) -> Self {
        Self(format!("data/{id}/{dir}/{path}"))
    }

    /// The entry list of an attempt.
    #[must_use]
    pub fn entries(id: BackupId, dir: AttemptDir) -> Self {
        Self::object(id, dir, "entries.jsonl.zst")
    }

    /// The record of a deleted backup that waits for its sweep.
    #[must_use]
    pub fn trash(id: BackupId) -> Self {
        Self(format!("trash/{id}.json"))
    }

    /// What an attempt under way may come to need.
    #[must_use]
    pub fn intent(id: BackupId, attempt: u32) -> Self {
        Self(format!("intents/{id}/{attempt}.json"))
    }

    /// An object that a probe writes and removes.
    #[must_use]
    pub fn probe(nonce: &str) -> Self {
        Self(format!("probe/{nonce}"))
    }

    /// The nonce of a probe's object, if the key can be one: a UUID in the one form that we write.
    #[must_use]
    pub fn probe_nonce(&self) -> Option<Uuid> {
        let text = self.below(&Prefix::probe())?;
        text.parse().ok().filter(|nonce: &Uuid| nonce.to_string() == text)
    }

    /// What a place says about the backup that was restored to it.
    #[must_use]
    pub fn restored() -> Self {
        Self("mo-backup-restore.json".into())
    }

    /// A file of a restored place. The path comes from a checked spec.
    #[must_use]
    pub fn placed(path: &str) -> Self {
        Self(path.into())
    }

    /// A file below a path of a restored place. What follows it comes from a checked entry.
    #[must_use]
    pub fn placed_below(path: &str, rest: &str) -> Self {
        Self(format!("{path}/{rest}"))
    }

    /// A file in a folder that MatrixOne or `mo_br` has written a backup to; the empty one is the place itself. Both come
    /// from what was checked.
    #[must_use]
    pub fn foreign(folder: &str, path: &str) -> Self {
        if folder.is_empty() { Self(path.into()) } else { Self(format!("{folder}/{path}")) }
    }

    /// A key that a listing returned.
    pub(super) fn listed(key: &str) -> Self {
        Self(key.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The backup of a catalogue entry or a record of a deleted backup, if the key is one.
    #[must_use]
    pub fn backup(&self) -> Option<BackupId> {
        let name = self.0.strip_prefix("catalog/").or_else(|| self.0.strip_prefix("trash/"))?;
        name.strip_suffix(".json")?.parse().ok()
    }

    /// Backup and number of the attempt of an intent, if the key is one.
    #[must_use]
    pub fn attempt(&self) -> Option<(BackupId, u32)> {
        let (id, name) = self.below(&Prefix::intents())?.split_once('/')?;
        let dir: AttemptDir = name.strip_suffix(".json")?.parse().ok()?;
        (!dir.fallback).then_some((id.parse().ok()?, dir.attempt))
    }

    /// Attempt and path of an object of a backup, if the key is one.
    #[must_use]
    pub fn attempt_path(&self, id: BackupId) -> Option<(AttemptDir, &str)> {
        let (dir, path) = self.below(&Prefix::backup(id))?.split_once('/')?;
        Some((dir.parse().ok()?, path))
    }

    /// What follows the prefix.
    #[must_use]
    pub fn below<'a>(&'a self, prefix: &Prefix) -> Option<&'a str> {
        self.0.strip_prefix(&prefix.0)
    }
}

impl Prefix {
    /// The whole repository.
    #[must_use]
    pub fn all() -> Self {
        Self(String::new())
    }

    /// All catalogue entries.
    #[must_use]
    pub fn catalog() -> Self {
        Self("catalog/".into())
    }

    /// All backups' objects.
    #[must_use]
    pub fn data() -> Self {
        Self("data/".into())
    }

    /// All objects of all attempts of a backup.
    #[must_use]
    pub fn backup(id: BackupId) -> Self {
        Self(format!("data/{id}/"))
    }

    /// All objects of an attempt.
    #[must_use]
    pub fn attempt(id: BackupId, dir: AttemptDir) -> Self {
        Self(format!("data/{id}/{dir}/"))
    }

    /// All records of deleted backups.
    #[must_use]
    pub fn trash() -> Self {
        Self("trash/".into())
    }

    /// What all attempts under way may come to need.
    #[must_use]
    pub fn intents() -> Self {
        Self("intents/".into())
    }

    /// The same of one backup.
    #[must_use]
    pub fn intents_of(id: BackupId) -> Self {
        Self(format!("intents/{id}/"))
    }

    /// Everything probes have written.
    #[must_use]
    pub fn probe() -> Self {
        Self("probe/".into())
    }

    /// All files below a path of a restored place.
    #[must_use]
    pub fn placed(path: &str) -> Self {
        Self(format!("{path}/"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
