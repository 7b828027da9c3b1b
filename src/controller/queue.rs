//! Who may run next: one backup at a time for each MatrixOne cluster, over all namespaces, first come, first served. Pure.
//!
//! This is order, not the lock: the worker itself looks for a running BACKUP of anybody before it sends its own.

use jiff::Timestamp;

use super::{
    job::{Errand, errand},
    run::open_record,
};
use crate::{
    api::{Address, Backup, BackupPhase, Cluster, Queue},
    task::reached_at,
};

/// A Backup, as the queue sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// When the object was made.
    pub created: Timestamp,
    /// Its UID: tells apart what was made in the same second.
    pub uid: String,
    /// `<namespace>/<name>`.
    pub name: String,
    /// What it does.
    pub claim: Claim,
}

/// What a Backup wants of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It has an attempt that is not judged: its worker may be alive.
    Holds,
    /// It would run if it were its turn.
    Waits,
    /// Neither: finished, held back by something else, or waiting before its next attempt.
    Nothing,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ours.
    Ours,
    /// Somebody else's.
    Behind(Queue),
}

/// The MatrixOne cluster of a Backup, by its address or by the name of its MatrixOneCluster. A host without a dot means
/// another server in each namespace, and so does a name. Empty for an imported Backup: it has none.
#[must_use]
pub fn cluster_key(backup: &Backup) -> String {
    let Some(Cluster { address, matrix_one_cluster, .. }) = &backup.spec.cluster else { return String::new() };
    let Some(Address { host, port }) = address else {
        let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
        let name = matrix_one_cluster.as_ref().map_or("", |named| &named.name);
        return format!("MatrixOneCluster {namespace}/{name}");
    };
    reached_at(host, port, backup.metadata.namespace.as_deref().unwrap_or_default())
}

impl Ticket {
    /// The ticket of a Backup; `None` if the API server has not filled it in.
    #[must_use]
    pub fn of(backup: &Backup) -> Option<Self> {
        let meta = &backup.metadata;
        Some(Self {
            created: meta.creation_timestamp.as_ref()?.0,
            uid: meta.uid.clone()?,
            name: format!("{}/{}", meta.namespace.as_deref()?, meta.name.as_deref()?),
            claim: claim(backup),
        })
    }
}

fn claim(backup: &Backup) -> Claim {
    let status = backup.status.clone().unwrap_or_default();
    // Neither a purge nor a sweep talks to MatrixOne.
    if open_record(&status.run).is_some_and(|r| errand(backup, r) == Errand::Backup) {
        return Claim::Holds;
    }
    if backup.metadata.deletion_timestamp.is_some() || backup.spec.suspend || backup.spec.cluster.is_none() {
        return Claim::Nothing;
    }
    match status.phase {
        None | Some(BackupPhase::Queued) => Claim::Waits,
        Some(
            BackupPhase::Pending
            | BackupPhase::Running
            | BackupPhase::Retrying
            | BackupPhase::Suspended
            | BackupPhase::Completed
            | BackupPhase::Failed
            | BackupPhase::Deleting,
        ) => Claim::Nothing,
    }
}

/// Whether this Backup neither runs nor stands in the queue, so that one behind it may move up.
#[must_use]
pub fn gives_way(backup: &Backup) -> bool {
    claim(backup) == Claim::Nothing
}

/// Whether it is this Backup's turn among those of the same cluster. Tickets of itself are ignored.
#[must_use]
pub fn turn(own: &Ticket, others: &[Ticket]) -> Turn {
    let others = || others.iter().filter(|t| t.uid != own.uid);
    let holder = others().find(|t| t.claim == Claim::Holds);
    let ahead = others()
        .filter(|t| match t.claim {
            Claim::Holds => true,
            Claim::Waits => (t.created, &t.uid) < (own.created, &own.uid),
            Claim::Nothing => false,
        })
        .count();
    if ahead == 0 {
        return Turn::Ours;
    }
    Turn::Behind(Queue {
        position: i32::try_from(ahead).unwrap_or(i32::MAX),
        running: holder.map(|t| t.name.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
