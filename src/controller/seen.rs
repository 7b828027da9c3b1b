//! Jobs, Pods and a MatrixOneCluster as they are seen. Pure.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod, PodStatus},
};
use kube::core::DynamicObject;

use super::job::{RUN_LABEL, WORKER};
use crate::api::Address;

/// All Jobs and Pods of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workers {
    /// Jobs that this object controls.
    pub jobs: Vec<JobSeen>,
    /// Pods of its runs, whether or not their Job is still there.
    pub pods: Vec<PodSeen>,
    /// A Job under the name of the attempt's, which this object does not control.
    pub stranger: Option<String>,
}

/// The MatrixOneCluster that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// None is named, or no Job is to be made now.
    NotLookedAt,
    /// Kubernetes does not know the kind.
    UnknownKind,
    /// There is no such object.
    Missing,
    /// Its status has no host or no port.
    NotReady,
    /// It is reached here.
    At(Address),
}

impl Named {
    /// What its status says. matrixone-operator writes `status.host` and `status.port` once the first of its proxies or CNs
    /// is ready (<https://github.com/matrixorigin/matrixone-operator>, `pkg/controllers/mocluster/controller.go`).
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let host = status["host"].as_str().filter(|host| !host.is_empty());
        let port = status["port"].as_i64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        match host.zip(port) {
            Some((host, port)) => Self::At(Address { host: host.into(), port: port.into() }),
            None => Self::NotReady,
        }
    }
}

/// A Job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its run, `<uid of the object>-<attempt>`.
    pub run: String,
    /// When it was made.
    pub created: Timestamp,
    /// Somebody deletes it.
    pub deleting: bool,
    /// How it ended. `FailureTarget` is not an end: the worker may still handle its signal.
    pub end: Option<JobEnd>,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The worker returned 0.
    Complete,
    /// It did not.
    Failed {
        /// Kubernetes' reason and message.
        detail: String,
    },
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its run.
    pub run: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its phase is neither Succeeded nor Failed.
    pub alive: bool,
    /// When it should have been gone, if somebody deletes it. Includes the grace period.
    pub gone_by: Option<Timestamp>,
    /// When the worker's container started.
    pub started: Option<Timestamp>,
    /// What it waits for, in Kubernetes' words.
    pub waiting: Option<String>,
    /// How the container or the Pod ended, in Kubernetes' words.
    pub ended: Option<String>,
    /// Why Kubernetes ended it, if it did: an eviction, a preemption, a shutdown of the node.
    pub taken: Option<String>,
    /// The termination message: a hint, no verdict.
    pub last_words: Option<String>,
}

impl JobSeen {
    /// What matters of a Job that the object with this UID controls; `None` for Jobs of others.
    #[must_use]
    pub fn of(job: &Job, owner_uid: &str) -> Option<Self> {
        let meta = &job.metadata;
        let ours = meta.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid == owner_uid);
        let run = meta.labels.as_ref()?.get(RUN_LABEL)?;
        if !ours || !run.starts_with(owner_uid) {
            return None;
        }
        Some(Self {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            run: run.clone(),
            created: meta.creation_timestamp.as_ref()?.0,
            deleting: meta.deletion_timestamp.is_some(),
            end: job_end(job),
        })
    }
}

fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let held = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    if held("Complete").is_some() {
        return Some(JobEnd::Complete);
    }
    held("Failed").map(|c| JobEnd::Failed { detail: words(c.reason.as_deref(), c.message.as_deref()) })
}

fn words(reason: Option<&str>, message: Option<&str>) -> String {
    match (reason.filter(|r| !r.is_empty()), message.map(str::trim).filter(|m| !m.is_empty())) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}

impl PodSeen {
    /// What matters of a Pod; `None` for Pods of other objects.
    #[must_use]
    pub fn of(pod: &Pod, owner_uid: &str) -> Option<Self> {
        let run = pod.metadata.labels.as_ref()?.get(RUN_LABEL)?;
        if !run.starts_with(owner_uid) {
            return None;
        }
        let status = pod.status.clone().unwrap_or_default();
        let alive = !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let container = status.container_statuses.iter().flatten().find(|c| c.name == WORKER);
        let terminated = container.and_then(|c| c.state.as_ref()?.terminated.as_ref());
        let scheduling = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let ended =
            terminated.map(|t| format!("{}, exit code {}", t.reason.as_deref().unwrap_or("Terminated"), t.exit_code));
        let taken = taken(&status).filter(|_| !alive);
        let ended = match (ended, &taken) {
            // An evicted worker was killed as well; that alone would hide why.
            (Some(container), Some(pod)) => Some(format!("{pod} ({container})")),
            (container, pod) => container.or_else(|| pod.clone()),
        };
        Some(Self {
            name: pod.metadata.name.clone()?,
            run: run.clone(),
            node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            alive,
            gone_by: pod.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            started: container.and_then(started),
            waiting: container
                .and_then(|c| c.state.as_ref()?.waiting.as_ref())
                .map(|w| words(w.reason.as_deref(), w.message.as_deref()))
                .or_else(|| scheduling.map(|c| words(c.reason.as_deref(), c.message.as_deref())))
                .filter(|w| !w.is_empty()),
            ended,
            taken,
            last_words: terminated.and_then(|t| t.message.clone()).filter(|m| !m.is_empty()),
        })
    }
}

/// What the kubelet says of a Pod that it has ended, or who else is named as the cause of its end.
fn taken(status: &PodStatus) -> Option<String> {
    let disruption = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    Some(words(status.reason.as_deref(), status.message.as_deref()))
        .filter(|w| !w.is_empty())
        .or_else(|| disruption.map(|c| words(c.reason.as_deref(), c.message.as_deref())))
        .filter(|w| !w.is_empty())
}

fn started(container: &ContainerStatus) -> Option<Timestamp> {
    let state = container.state.as_ref()?;
    let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
    running.or_else(|| state.terminated.as_ref().and_then(|t| t.started_at.as_ref())).map(|t| t.0)
}

#[cfg(test)]
mod tests;
