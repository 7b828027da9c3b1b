//! The language in which decisions are written.

use std::{fmt, future::Future, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{batch::v1::Job, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};

use super::{Context, Error, job::Account};
use crate::api::{AttemptRecord, ConditionType, Reason, RunStatus, set_condition};

/// The longest message of a record, and the longest note of an event that the API server takes.
pub const NOTE: usize = 1024;

/// A kind that this operator looks after.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Everything `decide` may look at.
    type Observed: Send + Sync;
    /// Its phases.
    type Phase: Copy + fmt::Debug + PartialEq + Serialize + Send + Sync;
    /// `Complete` and `Failed` are said of it.
    const ONE_SHOT: bool;

    /// The operator's part of the status, as it is.
    fn written(&self) -> Written<Self::Phase>;

    /// Whether nothing can be decided about it beside another object of its kind: starts are one at a time, so that two
    /// objects never take the same turn.
    fn takes_turns(&self) -> bool;

    /// Reads the world. Touches nothing. `None`: the object is gone.
    fn observe(ctx: &Context, object: &Self) -> impl Future<Output = Result<Option<Self::Observed>, Error>> + Send;

    /// The object as it was observed.
    fn object(seen: &Self::Observed) -> &Self;

    /// Chooses what to do. Pure: no clock, no client, no randomness.
    fn decide(seen: &Self::Observed, now: Timestamp) -> Decision<Self::Phase>;

    /// Chooses what to do about an effect that Kubernetes refused. Pure.
    fn refused(object: &Self, refusal: &Refusal, now: Timestamp) -> Decision<Self::Phase>;
}

/// The part of a status that the operator writes, and all it may write.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written<P> {
    /// Where the object stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<P>,
    /// The rest.
    #[serde(flatten)]
    pub run: RunStatus,
}

/// What to do, in order, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<P> {
    /// Written first, so that intent is on record before any effect.
    pub status: Written<P>,
    /// Carried out in order; a crash between any two is harmless.
    pub effects: Vec<Effect>,
    /// When to look again.
    pub requeue: Requeue,
}

/// The only ways in which this operator changes the cluster, besides status.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hold the object until we let it go.
    Hold,
    /// Give the namespace this ServiceAccount of Jobs and its RoleBinding.
    Grant(Account),
    /// Start a worker.
    CreateJob(Box<Job>),
    /// Stop a worker, or remove what is left of one.
    DeleteJob {
        /// Name of the Job.
        name: String,
        /// Its UID: another Job of the same name stays.
        uid: String,
    },
    /// Write the ConfigMap with the boot files of a restored place.
    WriteBoot(Box<ConfigMap>),
    /// Let the object go.
    Release,
}

/// Why Kubernetes would not make a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// Somebody else's Job has the name.
    NameTaken,
    /// Quota, admission, rights: Kubernetes' own words.
    Refused(String),
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something we watch changes.
    OnChange,
    /// After this long, even if nothing changes.
    After(Duration),
}

/// How an object stands, from which its conditions follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something is under way, or will be by itself.
    Moving,
    /// A person holds it back.
    Held,
    /// It goes on only after a person has done something.
    Stuck,
    /// Everything is as the spec asks.
    Done,
    /// It failed for good.
    Failed,
}

/// A decision in the making: a copy of what was written before, to be changed and closed.
#[derive(Clone, Debug)]
pub struct Draft<P> {
    /// What will be written.
    pub status: Written<P>,
    /// What will be done.
    pub effects: Vec<Effect>,
    /// The time of the decision.
    pub now: Timestamp,
    one_shot: bool,
}

impl<P: Copy> Draft<P> {
    /// Begins with what was written before; from here on it is about this generation of the spec.
    #[must_use]
    pub fn new(written: Written<P>, generation: Option<i64>, one_shot: bool, now: Timestamp) -> Self {
        let mut status = written;
        status.run.observed_generation = generation;
        Self { status, effects: Vec::new(), now, one_shot }
    }

    /// The record of the last attempt.
    pub fn record(&mut self) -> Option<&mut AttemptRecord> {
        self.status.run.attempts.last_mut()
    }

    /// Ends the record of the last attempt.
    pub fn close(&mut self, reason: Reason, message: Option<&str>) {
        let now = self.now;
        if let Some(record) = self.record() {
            record.end_time = Some(Time(now));
            record.reason = Some(reason.as_str().into());
            record.message = message.filter(|m| !m.is_empty()).map(|m| m.chars().take(NOTE).collect());
        }
    }

    /// Adds an effect.
    #[must_use]
    pub fn with(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Sets phase and conditions.
    #[must_use]
    pub fn say(mut self, phase: P, standing: Standing, reason: Reason, message: &str) -> Self {
        self.status.phase = Some(phase);
        let text = if message.is_empty() { reason.meaning() } else { message };
        let (ready, reconciling, stalled) = match standing {
            Standing::Moving => (false, true, false),
            Standing::Held => (false, false, false),
            Standing::Stuck => (false, true, true),
            Standing::Done => (true, false, false),
            Standing::Failed => (false, false, true),
        };
        self.condition(ConditionType::Ready, ready, reason, text);
        self.condition(ConditionType::Reconciling, reconciling, reason, text);
        self.condition(ConditionType::Stalled, stalled, reason, text);
        if self.one_shot {
            self.condition(ConditionType::Complete, standing == Standing::Done, reason, text);
            self.condition(ConditionType::Failed, standing == Standing::Failed, reason, text);
        }
        self
    }

    /// Sets one condition.
    pub fn condition(&mut self, type_: ConditionType, status: bool, reason: Reason, message: &str) {
        let generation = self.status.run.observed_generation;
        set_condition(&mut self.status.run.conditions, type_, status, (reason, message), generation, self.now);
    }

    /// Makes every condition about the present generation, and changes nothing else.
    #[must_use]
    pub fn restamped(mut self) -> Self {
        let generation = self.status.run.observed_generation;
        for condition in &mut self.status.run.conditions {
            condition.observed_generation = generation;
        }
        self
    }

    /// Closes the decision.
    #[must_use]
    pub fn then(self, requeue: Requeue) -> Decision<P> {
        Decision { status: self.status, effects: self.effects, requeue }
    }
}

/// The token of an annotation by which a person asks for something, unless it was acted on.
#[must_use]
pub fn asked<'a>(object: &'a ObjectMeta, annotation: &str, handled: Option<&String>) -> Option<&'a String> {
    let token = object.annotations.as_ref()?.get(annotation)?;
    (!token.is_empty() && handled != Some(token)).then_some(token)
}

/// The reason and the message of the condition `Ready`.
#[must_use]
pub fn ready(run: &RunStatus) -> Option<(Reason, &str)> {
    let condition = run.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str())?;
    Some((Reason::parse(&condition.reason)?, &condition.message))
}
