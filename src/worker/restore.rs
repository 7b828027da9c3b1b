//! One attempt of a restore, from the first look to the marker that says it is done.
//!
//! Everything about the backup is read and checked before the target is touched. What is written there is written under
//! the marker of this Restore, so that the next attempt goes on, and so that nobody takes half of it for the whole.

mod by_time;
mod check;
mod choose;
pub(super) mod folder;
mod foreign;
mod look;
mod place;
mod reading;
mod said;

use std::sync::Arc;

use futures::StreamExt as _;

use super::{Failure, Place, Watch, merged::Lost, soon::Asked};
use crate::{
    api::{Format, Placement, Reason, RestoreReport},
    plan::{Digest, Framing, Placed, Planned, Restored, manifest::FORMAT},
    store::{
        self, Objects, Patience, Retrying, restored,
        transfer::{self, Carried, Limits, Load, Moved, Trouble, Way},
    },
    task::{Location, RestoreTask},
};
use check::Tags;
use choose::Chosen;
use said::{Done, Known};

pub use by_time::latest;
pub(super) use choose::{Bytes, located};
pub(super) use foreign::Foreign;
pub(super) use reading::{Expected, Reading, without_ids};
pub(super) use said::refused;

/// What a restore works with. The places are bare: the restore itself repeats what may be repeated.
#[derive(Clone)]
pub struct RestorePorts {
    /// The repository. It is only read.
    pub source: Arc<dyn Objects>,
    /// Where to.
    pub target: Arc<dyn Objects>,
    /// How long a place is asked again while its trouble may pass.
    pub patience: Patience,
}

/// Restores a backup, or says why not. Progress is told on the way; the report is the caller's to tell.
pub async fn restore(task: &RestoreTask, ports: &RestorePorts, watch: &Watch) -> RestoreReport {
    let mut known = Known::default();
    let patient = |objects: &Arc<dyn Objects>| Retrying::new(objects.clone(), ports.patience, watch.token().clone());
    let (source, target) = (patient(&ports.source), patient(&ports.target));
    let place = Place::of(&task.storage.location);
    let (choice, whose, parallelism) = (&task.choice, task.whose.asked(), task.parallelism);
    let reading = Reading { source: &source, place, choice, whose, parallelism, watch };
    let attempt = Attempt { task, reading, target: &target, watch };
    // In one task on purpose: when the work hangs, the heartbeat stops too, and the operator notices.
    let result = tokio::select! {
        biased;
        // On the heap: what an attempt holds between its steps is too much for a stack.
        result = Box::pin(attempt.run(&mut known)) => result,
        never = watch.beat() => match never {},
    };
    let result = result.map_err(|failure| watch.ended(failure));
    match &result {
        Ok(done) => tracing::info!(?done, "restored"),
        Err(failure) => tracing::error!(reason = %failure.reason, detail = failure.detail, "failed"),
    }
    said::report(task, &result, &known, watch)
}

/// What an attempt's steps share.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    task: &'a RestoreTask,
    reading: Reading<'a>,
    target: &'a dyn Objects,
    watch: &'a Watch,
}

impl Attempt<'_> {
    async fn run(&self, known: &mut Known) -> Result<Done, Failure> {
        let Self { task, reading, target: _, watch } = *self;
        self.is_apart()?;
        watch.step("looking at the target");
        let looked = watch.soon(Asked::Store(self.to()), self.look());
        let seen = watch.race(looked).await??;
        if let Some(done) = watch.race(self.is_done(&seen, known)).await?? {
            return Ok(done);
        }
        watch.step("choosing the backup");
        let mut chosen = watch.race(reading.choose(seen.begun(), &mut known.findings)).await??;
        let mut draft = self.draft(&chosen)?;
        known.restored = Some(draft.clone());
        seen.must_be(&draft)?;
        self.is_approved(draft.hash)?;
        match watch.race(reading.lost(&chosen, &mut known.findings)).await?? {
            // Everything else is right, and may be all there is.
            Some(Lost { reason: reason @ Reason::TablesLost, why }) => known.findings.warn(reason, why),
            Some(lost) => return Err(Failure { retryable: false, ..lost.into() }),
            None => {}
        }
        watch.step("checking the presence of every object");
        (draft.objects, draft.bytes) = watch.race(reading.present(&chosen)).await??;
        known.restored = Some(draft.clone());
        if task.plan_only {
            return Ok(Done::Planned);
        }
        let read = watch.race(self.read(&mut chosen, seen.begun().is_none(), &draft)).await??;
        (draft.objects, draft.bytes) = (read.objects, read.bytes);
        known.restored = Some(draft.clone());
        watch.step("looking at the target once more");
        // The reading can have taken hours.
        let seen = watch.race(self.look()).await??;
        if let Some(done) = watch.race(self.is_done(&seen, known)).await?? {
            return Ok(done);
        }
        seen.must_be(&draft)?;
        self.begin(&seen, &draft).await?;
        // Not dropped when the attempt must stop: it gives up what is half sent.
        let carried = watch.finish(self.copy(&chosen, &read.tags, (seen.begun().is_some(), &draft))).await??;
        drop(read);
        watch.race(self.verify(&chosen, &draft)).await??;
        watch.still_counts().await?;
        watch.step("finishing");
        draft.completed_at = Some(super::report::rfc3339(watch.now()));
        let finished = restored::finish(self.target, &draft);
        watch.race(finished).await?.map_err(|e| self.target_failure(&e))?;
        known.restored = Some(draft);
        Ok(Done::InPlace(carried))
    }

    /// Copies what is not there yet.
    async fn copy(
        &self,
        chosen: &Chosen,
        tags: &Tags,
        (resumed, draft): (bool, &Restored),
    ) -> Result<Carried, Failure> {
        let Self { task, reading, target, watch } = *self;
        watch.step("copying");
        watch.total(draft.objects, draft.bytes);
        let at_once = usize::from(task.parallelism);
        let limits = Limits { at_once, ..Limits::default() }.beside(chosen.memory() + tags.memory());
        let way = Way { source: reading.source, target, limits, resumed };
        let loads = self.loads(chosen).await.map_err(|e| reading.source_failure(&e))?;
        let loads = loads.enumerate().map(|(n, load)| match load {
            Ok(load) => Ok(Load { tag: tags.get(n), ..load }),
            Err(e) => Err(Trouble::Source(e)),
        });
        let moved = Moved::default();
        let carried = tokio::select! {
            carried = transfer::carry(way, loads, &moved, watch.token()) => carried,
            never = reading.follow(&moved) => match never {},
        };
        carried.map_err(|trouble| match trouble {
            Trouble::Source(e) => reading.source_failure(&e),
            Trouble::Target(e) => self.target_failure(&e),
        })
    }

    /// What the target will say about itself. Objects and bytes are counted later.
    fn draft(&self, chosen: &Chosen) -> Result<Restored, Failure> {
        let subject = &self.task.subject;
        let plan = self.planned(chosen.list);
        let hash = plan.hash().map_err(|e| Failure::new(Reason::Internal, e.to_string()))?;
        Ok(Restored {
            format: FORMAT,
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            uid: subject.uid.clone(),
            backup: chosen.name.clone(),
            plan,
            hash,
            server_version: chosen.server_version.clone(),
            server_identity: chosen.server_identity.clone(),
            at: chosen.at,
            objects: 0,
            bytes: 0,
            completed_at: None,
        })
    }

    /// The plan for a backup with this list.
    fn planned(&self, list: Digest) -> Planned {
        let target = &self.task.target;
        Planned { list, place: shown(&target.location), data: placed(&target.data), hk_data: placed(&target.hk_data) }
    }

    fn is_approved(&self, hash: Digest) -> Result<(), Failure> {
        match &self.task.approved_plan {
            Some(approved) if *approved != hash.to_string() => {
                let detail = format!("the plan has the hash {hash}, and {approved} was approved");
                Err(Failure::new(Reason::PlanChanged, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A target among the files of its repository would become a part of it.
    fn is_apart(&self) -> Result<(), Failure> {
        match within(&self.task.storage.location, &self.task.target.location) {
            None => Ok(()),
            Some(path) => {
                let detail = format!("the target is {path:?} of the repository {}", self.task.storage.name);
                Err(Failure::new(Reason::InvalidSpec, detail))
            }
        }
    }

    fn to(&self) -> Place {
        Place::of_target(&self.task.target.location)
    }

    fn target_failure(&self, failure: &store::Failure) -> Failure {
        Failure::of_repository(self.to(), failure)
    }
}

/// The place in one text, without secrets.
fn shown(location: &Location) -> String {
    match location {
        Location::S3(s3) => format!("{} {}/{}", s3.endpoint.as_deref().unwrap_or("AWS"), s3.bucket, s3.prefix),
        // Without a claim it is a folder of this machine.
        Location::Volume(volume) if volume.claim.is_empty() => format!("folder /{}", volume.path),
        Location::Volume(volume) => format!("claim {}/{}", volume.claim, volume.path),
    }
}

fn placed(placement: &Placement) -> Placed {
    let framing = match placement.format {
        Format::Raw => Framing::Raw,
        Format::Framed => Framing::Crc2048,
    };
    Placed { path: placement.path.clone(), framing }
}

/// The path of the target inside the repository, where the repository's own files lie.
fn within<'a>(repository: &Location, target: &'a Location) -> Option<&'a str> {
    let (outer, inner) = match (repository, target) {
        (Location::S3(a), Location::S3(b)) if (&a.bucket, &a.endpoint) == (&b.bucket, &b.endpoint) => {
            (a.prefix.as_str(), b.prefix.as_str())
        }
        (Location::Volume(a), Location::Volume(b)) if a.claim == b.claim => (a.path.as_str(), b.path.as_str()),
        (Location::S3(_) | Location::Volume(_), Location::S3(_) | Location::Volume(_)) => return None,
    };
    let path = match (inner.strip_prefix(outer)?, outer) {
        (path, "") => path,
        (path, _) => path.strip_prefix('/').or(path.is_empty().then_some(path))?,
    };
    let first = path.split('/').next().unwrap_or_default();
    store::layout::is_ours(first).then_some(path)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "", Some(""))]
    #[case("", "fresh", None)]
    #[case("", "data/x", Some("data/x"))]
    #[case("mo", "mo", Some(""))]
    #[case("mo", "mo/catalog", Some("catalog"))]
    #[case("mo", "mo/restored/data", None)]
    #[case("mo", "mo-restored", None)]
    #[case("mo/a", "mo", None)]
    fn the_repositorys_own_folders_are_no_target(
        #[case] repository: &str,
        #[case] target: &str,
        #[case] expected: Option<&str>,
    ) {
        let s3 = |prefix: &str, bucket: &str| {
            let s3 = serde_json::json!({"bucket": bucket, "prefix": prefix, "region": "r"});
            Location::S3(serde_json::from_value(s3).unwrap())
        };
        let volume = |path: &str, claim: &str| {
            Location::Volume(serde_json::from_value(serde_json::json!({"claim": claim, "path": path})).unwrap())
        };
        assert_eq!(within(&s3(repository, "b"), &s3(target, "b")), expected);
        assert_eq!(within(&volume(repository, "c"), &volume(target, "c")), expected);
        assert_eq!(within(&s3(repository, "b"), &s3(target, "b2")), None);
        assert_eq!(within(&volume(repository, "c"), &volume(target, "c2")), None);
        assert_eq!(within(&volume(repository, "b"), &s3(target, "b")), None);
    }
}
