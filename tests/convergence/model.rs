//! A model of Kubernetes, workers and people around two Backups of one MatrixOne cluster. Decisions are the real ones.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mo_backup::{
    api::{
        Backup, BackupPhase, BackupReport, BackupStatus, BackupStorage, DeletionPolicy, ManifestRef, Outcome, Reason,
        Said,
    },
    controller::{
        act::FINALIZER,
        backup::{Base, Observed, decide},
        decision::{Decision, Effect, Kind as _, Refusal},
        job::{RUN_LABEL, WorkerImage},
        queue::Ticket,
        seen::{JobEnd, JobSeen, Named, PodSeen, Workers},
    },
};
use serde_json::json;

/// One object, and everything that is true about it.
#[derive(Clone, Debug)]
pub struct Thing {
    pub backup: Backup,
    /// Released and gone.
    pub gone: bool,
    /// A worker has committed a manifest.
    pub committed: bool,
    /// A worker has removed the data.
    pub purged: bool,
    pub jobs: Vec<JobSeen>,
    pub pods: Vec<PodSeen>,
    /// Runs whose Job was made, ever.
    pub made: BTreeSet<String>,
    /// Its namespace is being deleted: nothing can be created there.
    pub terminating: bool,
    version: u64,
}

/// What an operator has seen of a thing, and not acted on yet.
#[derive(Clone, Debug)]
pub struct View {
    seen: Observed,
    version: u64,
}

pub struct Model {
    pub things: Vec<Thing>,
    views: Vec<Option<View>>,
    pub storage: BackupStorage,
    pub now: Timestamp,
    uids: u64,
}

fn storage() -> BackupStorage {
    serde_json::from_value(json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "store", "namespace": "shop", "uid": "00000000-0000-4000-8000-0000000000ff", "generation": 1},
        "spec": {"type": "S3", "s3": {"bucket": "backups", "region": "us-east-1"}},
        "status": {"phase": "Ready", "attempt": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "StorageReady",
            "message": "", "observedGeneration": 1, "lastTransitionTime": "2027-01-01T00:00:00Z"}]}
    }))
    .unwrap()
}

fn thing(number: usize) -> Thing {
    let backup = serde_json::from_value(json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": format!("b{number}"), "namespace": format!("shop-{number}"), "generation": 1,
            "uid": format!("00000000-0000-4000-8000-00000000000{number}"), "creationTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {"cluster": {"address": {"host": "mo.shop"}, "credentialsSecret": {"name": "dump"}}, "storage": "store",
            "deletionPolicy": if number == 0 { "Delete" } else { "Retain" }}
    }))
    .unwrap();
    Thing {
        backup,
        gone: false,
        committed: false,
        purged: false,
        jobs: vec![],
        pods: vec![],
        made: BTreeSet::new(),
        terminating: false,
        version: 0,
    }
}

impl Thing {
    pub fn status(&self) -> BackupStatus {
        self.backup.status.clone().unwrap_or_default()
    }

    /// Runs whose worker is alive, or may come alive.
    pub fn live(&self) -> BTreeSet<&str> {
        let jobs = self.jobs.iter().filter(|j| j.end.is_none()).map(|j| &*j.run);
        jobs.chain(self.pods.iter().filter(|p| p.alive).map(|p| &*p.run)).collect()
    }

    pub fn held(&self) -> bool {
        self.backup.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
    }

    fn changed(&mut self) {
        self.version += 1;
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            things: vec![thing(0), thing(1)],
            views: vec![None, None],
            storage: storage(),
            now: "2027-01-01T00:00:00Z".parse().unwrap(),
            uids: 0,
        }
    }

    /// What the API server shows of a thing now.
    pub fn observe(&self, at: usize) -> Observed {
        let thing = &self.things[at];
        let others = self.things.iter().filter(|t| !t.gone).filter_map(|t| Ticket::of(&t.backup)).collect();
        Observed {
            backup: thing.backup.clone(),
            storage: Some(self.storage.clone()),
            base: Base::NotNamed,
            named: Named::NotLookedAt,
            others,
            workers: Workers { jobs: thing.jobs.clone(), pods: thing.pods.clone(), stranger: None },
            terminating: thing.terminating,
            kept_by: Vec::new(),
            image: WorkerImage::default(),
        }
    }

    pub fn look(&mut self, at: usize) {
        if !self.things[at].gone {
            self.views[at] = Some(View { seen: self.observe(at), version: self.things[at].version });
        }
    }

    /// Decides on the last view, which may be old by now, and carries out the first `steps` writes.
    pub fn act(&mut self, at: usize, steps: usize, keep_view: bool) {
        let Some(mut view) = self.views[at].clone() else { return };
        if !keep_view {
            self.views[at] = None;
        }
        if self.things[at].gone {
            return;
        }
        // Starts are one at a time, and look at the others when it is their turn.
        view.seen.others = self.observe(at).others;
        let decision = decide(&view.seen, self.now);
        assert_eq!(decision, decide(&view.seen, self.now), "a decision is a function");
        self.carry_out(at, &view, &decision, steps);
    }

    fn carry_out(&mut self, at: usize, view: &View, decision: &Decision<BackupPhase>, steps: usize) {
        if steps == 0 {
            return;
        }
        let starts = decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_)));
        let stale = self.things[at].version != view.version;
        let before = view.seen.backup.written();
        if before != decision.status || starts {
            if stale {
                return;
            }
            self.write(at, decision);
        }
        for effect in decision.effects.iter().take(steps - 1) {
            if let Some(refusal) = self.effect(at, effect, stale) {
                let decision = Backup::refused(&self.things[at].backup, &refusal, self.now);
                self.write(at, &decision);
                for effect in &decision.effects {
                    assert_eq!(self.effect(at, effect, false), None);
                }
                return;
            }
        }
    }

    fn write(&mut self, at: usize, decision: &Decision<BackupPhase>) {
        let thing = &mut self.things[at];
        let before = thing.status();
        assert!(decision.status.run.attempt >= before.run.attempt, "attempts never go back");
        let next = BackupStatus { phase: decision.status.phase, run: decision.status.run.clone(), ..before.clone() };
        if next != before {
            thing.backup.status = Some(next);
            thing.changed();
        }
    }

    fn effect(&mut self, at: usize, effect: &Effect, stale: bool) -> Option<Refusal> {
        let terminating = self.things[at].terminating;
        let now = self.now;
        let thing = &mut self.things[at];
        match effect {
            Effect::Hold => {
                thing.backup.metadata.finalizers = Some(vec![FINALIZER.into()]);
                thing.changed();
            }
            Effect::WriteBoot(_) => unreachable!("a Backup has no boot files"),
            Effect::Grant(_) if terminating => return Some(Refusal::NamespaceTerminating),
            Effect::Grant(_) => {}
            Effect::CreateJob(_) if terminating => return Some(Refusal::NamespaceTerminating),
            Effect::CreateJob(job) => {
                let name = job.metadata.name.clone().unwrap();
                let run = job.metadata.labels.as_ref().unwrap()[RUN_LABEL].clone();
                assert!(thing.held(), "the finalizer comes before the Job");
                if thing.jobs.iter().all(|j| j.name != name) {
                    assert!(thing.live().is_empty(), "a second worker of one object: {run} beside {:?}", thing.live());
                    self.uids += 1;
                    let record = thing.status().run.attempts.last().cloned().unwrap_or_default();
                    let again = !thing.made.insert(run.clone());
                    assert!(!again || record.job_uid.is_none(), "an attempt whose Job is on record begins once: {run}");
                    thing.jobs.push(JobSeen {
                        name,
                        uid: format!("job-{}", self.uids),
                        run,
                        created: now,
                        deleting: false,
                        end: None,
                    });
                }
            }
            Effect::DeleteJob { name, uid } => {
                // Foreground: it stays until its Pod is gone.
                let found = thing.jobs.iter_mut().filter(|j| j.name == *name && j.uid == *uid);
                found.for_each(|j| j.deleting = true);
            }
            Effect::Release if stale => {}
            Effect::Release => {
                thing.backup.metadata.finalizers = None;
                thing.changed();
                self.collect(at);
            }
        }
        None
    }

    /// An object that is deleted and held by nobody is gone.
    pub fn collect(&mut self, at: usize) {
        let thing = &mut self.things[at];
        if thing.backup.metadata.deletion_timestamp.is_none() || thing.held() || thing.gone {
            return;
        }
        let released = thing.status().run.conditions.iter().any(|c| c.reason == Reason::NamespaceTerminating.as_str());
        assert!(released || thing.live().is_empty(), "let go while its worker is alive");
        let kept = thing.backup.spec.deletion_policy == DeletionPolicy::Retain;
        assert!(released || kept || !thing.committed || thing.purged, "let go with its data still there");
        thing.gone = true;
    }

    /// Kubernetes and a worker move: a Job gets its Pod, or a Pod goes on.
    pub fn kubernetes(&mut self, at: usize, well: bool) {
        let now = self.now;
        let thing = &mut self.things[at];
        for pod in thing.pods.iter_mut().filter(|p| p.gone_by.is_none()) {
            let deleting = thing.jobs.iter().any(|j| j.run == pod.run && j.deleting);
            if deleting && pod.alive {
                pod.gone_by = Some(now);
            }
        }
        let podless = |run: &str, pods: &[PodSeen]| pods.iter().all(|p| p.run != run);
        if let Some(job) = thing.jobs.iter().find(|j| j.end.is_none() && !j.deleting && podless(&j.run, &thing.pods)) {
            thing.pods.push(pod(&job.name, &job.run, now));
            return;
        }
        let Some(running) = thing.pods.iter().position(|p| p.alive) else {
            thing.jobs.retain(|j| !j.deleting);
            return;
        };
        let run = thing.pods[running].run.clone();
        let killed = thing.pods[running].gone_by.is_some();
        let purge = thing.pods[running].name.contains("-purge-");
        if !killed {
            thing.report(&run, well, purge);
        }
        thing.pods[running].alive = false;
        let end =
            if well && !killed { JobEnd::Complete } else { JobEnd::Failed { detail: "BackoffLimitExceeded".into() } };
        for job in thing.jobs.iter_mut().filter(|j| j.run == run) {
            job.end = Some(end.clone());
        }
        thing.jobs.retain(|j| !j.deleting);
    }

    /// Somebody deletes the Job in the background: its Pod lives on.
    pub fn vandal(&mut self, at: usize) {
        self.things[at].jobs.retain(|j| j.end.is_some());
    }

    /// The node of a live Pod is cut off while the Pod is deleted.
    pub fn lose_node(&mut self, at: usize) {
        let now = self.now;
        self.things[at].pods.iter_mut().filter(|p| p.alive).for_each(|p| p.gone_by = Some(now));
    }

    pub fn person(&mut self, at: usize, change: impl FnOnce(&mut Backup)) {
        if !self.things[at].gone {
            change(&mut self.things[at].backup);
            self.things[at].changed();
            self.collect(at);
        }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
    }
}

impl Thing {
    fn report(&mut self, run: &str, well: bool, purge: bool) {
        if well && purge {
            self.purged = true;
        } else if well {
            self.committed = true;
        }
        let outcome = if well { Outcome::Succeeded } else { Outcome::Failed };
        let reason = (!well).then(|| Reason::StorageThrottled.as_str().to_owned());
        let said = Said { run: run.into(), outcome, reason, retryable: true, message: None };
        let manifest = (well && !purge).then(ManifestRef::default);
        let id = manifest.as_ref().map(|_| "0197b0a4-0000-7000-8000-000000000001".into());
        let report = BackupReport { said, id, manifest, ..BackupReport::default() };
        // The fence in the CRD refuses the report of another run.
        if let Some(status) = self.backup.status.as_mut().filter(|s| s.run.run.as_deref() == Some(run)) {
            status.report = Some(report);
            self.version += 1;
        }
    }
}

fn pod(job: &str, run: &str, now: Timestamp) -> PodSeen {
    PodSeen {
        name: format!("{job}-pod"),
        run: run.into(),
        node: Some("node-1".into()),
        alive: true,
        gone_by: None,
        started: Some(now),
        waiting: None,
        ended: None,
        taken: None,
        last_words: None,
    }
}

pub fn deleted(backup: &mut Backup, now: Timestamp) {
    // The API server removes at once what nobody holds; the model does so in `collect`.
    backup.metadata.deletion_timestamp.get_or_insert(Time(now));
}
