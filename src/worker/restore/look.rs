//! Looking at the target before anything else: it must be empty, or this Restore's own.

use futures::TryStreamExt as _;

use super::{
    Attempt,
    folder::shown,
    said::{Done, Known},
};
use crate::{
    api::Reason,
    plan::{BackupId, Restored},
    store::{self, Key, Prefix, restored},
    task::Choice,
    worker::{Failure, inventory::plain, report::at_time},
};

/// The longest name of a stranger's file that is told.
pub(super) const TOLD: usize = 500;

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
            Self::Ours(marker) if (marker.hash, &marker.backup) != (draft.hash, &draft.backup) => {
                Err(theirs(marker, &format!("; what is to be restored now is {} (plan {})", named(draft), draft.hash)))
            }
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
            return match self.first().await? {
                None => Ok(Seen::Empty),
                Some(found) => Err(not_empty(format!("{} is there", plain(&found, TOLD)))),
            };
        };
        if !self.is_ours(&marker)? {
            return Err(self.theirs(&marker));
        }
        if marker.completed_at.is_some() {
            self.is_there(&marker).await?;
        }
        Ok(Seen::Ours(Box::new(marker)))
    }

    /// The first that is there, if anything is. What a listing does not show, MatrixOne can see.
    async fn first(&self) -> Result<Option<String>, Failure> {
        let failed = |e: store::Error| self.target_failure(&e.into());
        let all = Prefix::all();
        let listed = self.target.list(&all).try_next().await.map_err(failed)?;
        match listed {
            Some(found) => Ok(Some(found.key.to_string())),
            None => self.target.unlisted().await.map_err(failed),
        }
    }

    /// Refuses a place of which only the marker says that it was filled. MatrixOne removes objects as it goes on, but never
    /// all of them, and not the file with the ids: without them it starts empty, or gives every id twice, and says nothing.
    async fn is_there(&self, marker: &Restored) -> Result<(), Failure> {
        let failed = |e: store::Error| self.target_failure(&e.into());
        let (hk_data, data) = (Key::placed(&marker.plan.hk_data.path), Prefix::placed(&marker.plan.data.path));
        let gone = match self.target.stat(&hk_data).await.map_err(failed)? {
            None => format!("{hk_data} is missing"),
            Some(_) if self.target.list(&data).try_next().await.map_err(failed)?.is_none() => {
                format!("nothing is left below {data}")
            }
            Some(_) => return Ok(()),
        };
        Err(theirs(
            marker,
            &format!(", but {gone}: remove all that is there, {} too, and restore anew", Key::restored()),
        ))
    }

    /// Whether this Restore, of this Kubernetes or an earlier one, has written the marker.
    fn is_ours(&self, marker: &Restored) -> Result<bool, Failure> {
        let asked = match &self.task.choice {
            Choice::Id(id) => marker.backup == id.to_string(),
            // What was the newest then need not be the newest now, and need not be there any more.
            Choice::Latest | Choice::Before(_) => true,
            Choice::Paths(paths) => paths.last() == Some(&marker.backup),
        };
        Ok(asked && self.is_alike(marker)?)
    }

    /// Whether the marker was written for this Restore and its place, whatever the backup.
    fn is_alike(&self, marker: &Restored) -> Result<bool, Failure> {
        let subject = &self.task.subject;
        let same = (&marker.namespace, &marker.name) == (&subject.namespace, &subject.name);
        let plan = self.planned(marker.plan.list);
        let hash = plan.hash().map_err(|e| Failure::new(Reason::Internal, e.to_string()))?;
        Ok(same && (&marker.plan, marker.hash) == (&plan, hash))
    }

    /// What there is to say when everything was in place before.
    pub(super) async fn is_done(&self, seen: &Seen, known: &mut Known) -> Result<Option<Done>, Failure> {
        let Some(marker) = seen.begun().filter(|marker| marker.completed_at.is_some()) else { return Ok(None) };
        // A Restore of Kubernetes is one for ever. Every command line has the same name, and folders of the same names can
        // be of another backup: what they hold tells which.
        if let (Choice::Paths(_), "") = (&self.task.choice, self.task.subject.namespace.as_str()) {
            let chosen = self.reading.choose(Some(marker), &mut known.findings).await?;
            seen.must_be(&self.draft(&chosen)?)?;
        }
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
                if marker.hash == draft.hash && self.is_ours(&marker)? { Ok(()) } else { Err(self.theirs(&marker)) }
            }
        }
    }

    /// Why what somebody else, or this Restore with another backup, has filled is left alone, and how to go on.
    fn theirs(&self, marker: &Restored) -> Failure {
        let asked = match &self.task.choice {
            Choice::Id(id) if id.to_string() != marker.backup => {
                let begun = marker.completed_at.is_none() && self.is_alike(marker) == Ok(true);
                let on = match marker.backup.parse::<BackupId>() {
                    Ok(other) if begun => format!(", or ask for {other} to go on with that one"),
                    Ok(_) | Err(_) => String::new(),
                };
                format!("; backup {id} is asked for: empty the target for it{on}")
            }
            Choice::Paths(paths) if paths.last() != Some(&marker.backup) => {
                let last = paths.last().map(|path| shown(path)).unwrap_or_default();
                format!("; the backup in folder {last} is asked for")
            }
            Choice::Id(_) | Choice::Paths(_) | Choice::Latest | Choice::Before(_) => String::new(),
        };
        theirs(marker, &asked)
    }
}

/// What the marker says, and what follows from it.
fn theirs(marker: &Restored, more: &str) -> Failure {
    let Restored { namespace, name, uid, hash, completed_at, .. } = marker;
    let who = match (namespace.as_str(), name) {
        ("", _) => "the command line".to_owned(),
        (namespace, name) => format!("Restore {namespace}/{name} (UID {uid})"),
    };
    let what = match completed_at {
        Some(at) => format!("has restored {} there at {at}", named(marker)),
        None => format!("has begun to restore {} there", named(marker)),
    };
    not_empty(format!("{} says that {who} {what} (plan {hash}){more}", Key::restored()))
}

/// A backup, and the moment of its data.
fn named(restored: &Restored) -> String {
    let Restored { backup, at, .. } = restored;
    let of = at_time(*at).map(|at| format!(" with data of {at} UTC")).unwrap_or_default();
    format!("backup {}{of}", shown(backup))
}

pub(super) fn not_empty(detail: String) -> Failure {
    Failure::new(Reason::TargetNotEmpty, format!("failed to use the target: {detail}"))
}
