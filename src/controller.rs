//! The operator: observe the world, ask a pure function what to do, do it.

pub mod act;
pub mod address;
pub mod backup;
pub mod course;
pub mod crd_check;
pub mod decision;
pub mod job;
pub mod listed;
pub mod look;
pub mod operator;
pub mod queue;
pub mod restore;
pub mod run;
pub mod seen;
pub mod storage;
pub mod wake;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::Status,
    runtime::{
        controller::Action,
        events::{Recorder, Reporter},
    },
};
use tokio::sync::Mutex;

use crate::{api::Reason, metrics::Metrics};
use act::Acted;
use decision::{Kind, Requeue};
use job::WorkerImage;

/// What every reconciliation needs.
pub struct Context {
    /// The Kubernetes client.
    pub client: Client,
    /// What Jobs run.
    pub image: WorkerImage,
    /// The namespaces that are watched; none means all.
    pub namespaces: Vec<String>,
    /// What is counted.
    pub metrics: Metrics,
    /// The clock; tests hold it.
    pub now: fn() -> Timestamp,
    recorder: Recorder,
    turn: Mutex<()>,
}

impl Context {
    /// A context with the real clock.
    #[must_use]
    pub fn new(client: Client, image: WorkerImage, namespaces: Vec<String>, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: act::FIELD_MANAGER.into(), instance };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            image,
            namespaces,
            metrics: Metrics::default(),
            now: Timestamp::now,
            turn: Mutex::new(()),
        }
    }

    /// The kind in every watched namespace, or one for all.
    #[must_use]
    pub fn apis<K>(&self) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.namespaces.is_empty() {
            return vec![Api::all(self.client.clone())];
        }
        self.namespaces.iter().map(|ns| Api::namespaced(self.client.clone(), ns)).collect()
    }
}

/// Why a reconciliation could not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached; it is tried again.
    #[error("failed to {verb} {what}: {source}")]
    Kube {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    fn kube(verb: &'static str, what: impl Into<String>, source: kube::Error) -> Self {
        Self::Kube { verb, what: what.into(), source: Box::new(source) }
    }

    /// Somebody changed the object since it was observed: look again at once. Fields of ours that belong to another
    /// manager are no such conflict: they stay a conflict however often we look.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let Self::Kube { source, .. } = self;
        let owned = |status: &Status| {
            status.details.iter().flat_map(|d| &d.causes).any(|cause| cause.reason == "FieldManagerConflict")
        };
        matches!(&**source, kube::Error::Api(status) if status.code == 409 && !owned(status))
    }

    /// The installed CRD lacks a field of this version.
    #[must_use]
    pub fn is_crd_outdated(&self) -> bool {
        let Self::Kube { source, .. } = self;
        matches!(&**source, kube::Error::Api(status) if status.message.contains("field not declared in schema"))
    }
}

/// `observe → decide → act`, for one object of one kind.
///
/// # Errors
/// When the API server refuses or cannot be reached. Nothing is lost: the next pass begins by looking.
pub async fn reconcile<K: Kind>(cached: Arc<K>, ctx: Arc<Context>) -> Result<Action, Error> {
    ctx.metrics.reconciled(&K::kind(&()));
    let _turn = if cached.takes_turns() { Some(ctx.turn.lock().await) } else { None };
    let Some(seen) = K::observe(&ctx, &cached).await? else { return Ok(Action::await_change()) };
    // Kubernetes keeps seconds; a finer time would differ from what is read back.
    let now = Timestamp::from_second((ctx.now)().as_second()).unwrap_or(Timestamp::MIN);
    let object = K::object(&seen);
    let decision = K::decide(&seen, now);
    match act::act(&ctx, object, &decision).await? {
        Acted::All => Ok(action(decision.requeue)),
        Acted::Refused(current, refusal) => {
            let decision = K::refused(&current, &refusal, now);
            // What follows a refusal creates nothing, so that it cannot be refused in turn.
            act::act(&ctx, &*current, &decision).await?;
            Ok(action(decision.requeue))
        }
    }
}

fn action(requeue: Requeue) -> Action {
    match requeue {
        Requeue::OnChange => Action::await_change(),
        // Never at once: a deadline that has just passed is seen a second later.
        Requeue::After(wait) => Action::requeue(wait.max(Duration::from_secs(1))),
    }
}

/// What happens after a failed reconciliation.
#[expect(clippy::needless_pass_by_value, reason = "the controller calls it so")]
pub fn error_policy<K: Kind>(object: Arc<K>, error: &Error, ctx: Arc<Context>) -> Action {
    let name = format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any());
    if error.is_conflict() {
        tracing::debug!(object = name, %error, "somebody was faster; looking again");
        return Action::requeue(Duration::from_secs(1));
    }
    ctx.metrics.reconcile_failed(&K::kind(&()));
    if error.is_crd_outdated() {
        tracing::error!(object = name, reason = %Reason::CrdOutdated, "{} {}", Reason::CrdOutdated.meaning(), Reason::CrdOutdated.remedy());
        return Action::requeue(Duration::from_mins(5));
    }
    tracing::warn!(object = name, %error, "failed to reconcile; it is tried again");
    Action::requeue(Duration::from_secs(10))
}
