//! Looking at the target before anything else: it must be empty, or this Restore's own.

use futures::TryStreamExt as _;

use super::{
    Attempt,
    said::{Done, Known},
};
use crate::{
    api::Reason,
    plan::Restored,
    store::{self, Key, Prefix, restored},
    task::Choice,
    worker::Failure,
};

/// What lies in the target.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing.
    Empty,
    /// An earlier attempt's work, done or not.
    Ours(Box<Restored>),
}

impl Seen {
    /// What an earlier attempt has begun.
    pub(super) fn begun(&self) -> Option<&Restored> {
        match self {
            Self::Empty => None,
            Self::Ours(marker) => Some(marker),
        }
    }

    /// Refuses to go on with another backup than the one that was begun with.
    pub(super) fn must_be(&self, draft: &Restored) -> Result<(), Failure> {
        match self {
            Self::Ours(marker) if (marker.hash, &marker.backup) != (draft.hash, &draft.backup) => Err(theirs(marker)),
            Self::Ours(_) | Self::Empty => Ok(()),
        }
    }
}

impl Attempt<'_> {
    /// Looks. What is not ours is an error that names the first of it.
    pub(super) async fn look(&self) -> Result<Seen, Failure> {
        let marker = match restored::read(self.target).await {
            Ok(marker) => marker,
            Err(e @ store::Failure::Damaged { .. }) => return Err(not_empty(e.to_string())),
            Err(e) => return Err(self.target_failure(&e)),
        };
        let Some(marker) = marker else {
            let all = Prefix::all();
            let first = self.target.list(&all).try_next().await.map_err(|e| self.target_failure(&e.into()))?;
            return match first {
                None => Ok(Seen::Empty),
                Some(found) => Err(not_empty(format!("{} is there", found.key))),
            };
        };
        if self.is_ours(&marker)? { Ok(Seen::Ours(Box::new(marker))) } else { Err(theirs(&marker)) }
    }

    /// Whether this Restore, of this Kubernetes or an earlier one, has written the marker.
    fn is_ours(&self, marker: &Restored) -> Result<bool, Failure> {
        let subject = &self.task.subject;
        let asked = match &self.task.choice {
            Choice::Id(id) => marker.backup == id.to_string(),
            // What was the newest then need not be the newest now, and need not be there any more.
            Choice::Latest | Choice::Before(_) => true,
            Choice::Paths(paths) => paths.last() == Some(&marker.backup),
        };
        let same = (&marker.namespace, &marker.name) == (&subject.namespace, &subject.name);
        let plan = self.planned(marker.plan.list);
        let hash = plan.hash().map_err(|e| Failure::new(Reason::Internal, e.to_string()))?;
        Ok(asked && same && (&marker.plan, marker.hash) == (&plan, hash))
    }

    /// What there is to say when everything was in place before.
    pub(super) fn is_done(&self, seen: &Seen, known: &mut Known) -> Result<Option<Done>, Failure> {
        let Some(marker) = seen.begun().filter(|marker| marker.completed_at.is_some()) else { return Ok(None) };
        known.restored = Some(marker.clone());
        self.is_approved(marker.hash)?;
        Ok(Some(Done::Already))
    }

    /// Takes the target.
    pub(super) async fn begin(&self, seen: &Seen, draft: &Restored) -> Result<(), Failure> {
        match seen {
            Seen::Ours(_) => Ok(()),
            Seen::Empty => {
                self.watch.still_counts().await?;
                let begun = restored::begin(self.target, draft);
                let marker = self.watch.race(begun).await?.map_err(|e| self.target_failure(&e))?;
                if marker.hash == draft.hash && self.is_ours(&marker)? { Ok(()) } else { Err(theirs(&marker)) }
            }
        }
    }
}

fn theirs(marker: &Restored) -> Failure {
    let Restored { namespace, name, uid, backup, hash, completed_at, .. } = marker;
    let what = match completed_at {
        Some(at) => format!("has restored backup {backup} there at {at}"),
        None => format!("has begun to restore backup {backup} there"),
    };
    not_empty(format!("{} says that Restore {namespace}/{name} (UID {uid}) {what} (plan {hash})", Key::restored()))
}

pub(super) fn not_empty(detail: String) -> Failure {
    Failure::new(Reason::TargetNotEmpty, format!("failed to use the target: {detail}"))
}
