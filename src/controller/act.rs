//! The only file that writes to Kubernetes.
//!
//! Status first, then the effects in order. The status is applied without force, by our field manager, and carries the
//! resourceVersion that the decision was made on: whoever decided on an older state is refused (409) and looks again.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::Status,
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::{
    Context, Error,
    decision::{Decision, Effect, Kind, NOTE, Refusal, Written, ready},
    job::RUN_LABEL,
    seen::JobSeen,
};
use crate::api::{AttemptRecord, ConditionType, Reason, RunStatus};

/// Who owns the fields that the operator applies.
pub const FIELD_MANAGER: &str = "mo-backup-operator";
/// Holds an object until its worker is over and its data has been dealt with.
pub const FINALIZER: &str = "mo-backup.io/data";

/// What came of the effects.
#[derive(Clone, Debug)]
pub enum Acted<K> {
    /// All were carried out.
    All,
    /// Kubernetes refused one; the rest was left. With the object as it is now.
    Refused(Box<K>, Refusal),
}

/// Writes the status if it changed, then carries out the effects in order.
pub async fn act<K: Kind>(ctx: &Context, object: &K, decision: &Decision<K::Phase>) -> Result<Acted<K>, Error> {
    let mut current = object.clone();
    let before = object.written();
    // A Job is made on the strength of what was seen: even an unchanged status is sent, so that a stale view is refused.
    let starts = decision.effects.iter().any(|e| matches!(e, Effect::CreateJob(_)));
    if before != decision.status || starts {
        current = write_status(&ctx.client, object, &decision.status).await?;
    }
    if before != decision.status {
        note(ctx, object, &before, decision);
        tell(ctx, object, &before, &decision.status).await;
    }
    for effect in &decision.effects {
        match effect {
            Effect::Hold => current = hold(&ctx.client, &current).await?,
            Effect::Release => release(&ctx.client, &current).await?,
            Effect::Grant(account) => {
                if let Some(refusal) = grant(&ctx.client, &namespace(object), account.name()).await? {
                    return Ok(Acted::Refused(Box::new(current), refusal));
                }
            }
            Effect::CreateJob(job) => match create_job(&ctx.client, object, job).await? {
                Created::New => ctx.metrics.job_created(&K::kind(&())),
                Created::Found => {}
                Created::Refused(refusal) => return Ok(Acted::Refused(Box::new(current), refusal)),
            },
            Effect::WriteBoot(map) => {
                if let Some(refusal) = write_boot(&ctx.client, map).await? {
                    return Ok(Acted::Refused(Box::new(current), refusal));
                }
            }
            Effect::DeleteJob { name, uid } => delete_job(&ctx.client, &namespace(object), name, uid).await?,
        }
    }
    Ok(Acted::All)
}

fn namespace<K: Kind>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

fn what<K: Kind>(object: &K) -> String {
    format!("{} {}/{}", K::kind(&()), namespace(object), object.name_any())
}

async fn write_status<K: Kind>(client: &Client, object: &K, status: &Written<K::Phase>) -> Result<K, Error> {
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "resourceVersion": object.resource_version()},
        "status": status,
    });
    Api::<K>::namespaced(client.clone(), &namespace(object))
        .patch_status(&object.name_any(), &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(body))
        .await
        .map_err(|e| Error::kube("write the status of", what(object), e))
}

/// Adds our finalizer. UID and resourceVersion keep it from another object, or another state.
async fn hold<K: Kind>(client: &Client, object: &K) -> Result<K, Error> {
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": object.name_any(),
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
            "finalizers": [FINALIZER],
        },
    });
    Api::<K>::namespaced(client.clone(), &namespace(object))
        .patch(&object.name_any(), &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(body))
        .await
        .map_err(|e| Error::kube("hold", what(object), e))
}

/// Removes our finalizer, whoever owns it: it can have come with a manifest that was dumped and applied again, and an
/// apply without it would then leave it where it is.
async fn release<K: Kind>(client: &Client, object: &K) -> Result<(), Error> {
    let kept: Vec<&String> = object.finalizers().iter().filter(|f| *f != FINALIZER).collect();
    let body = json!({
        "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": kept},
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match Api::<K>::namespaced(client.clone(), &namespace(object))
        .patch(&object.name_any(), &params, &Patch::Merge(body))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(e)) if e.is_not_found() => Ok(()),
        Err(e) => Err(Error::kube("release", what(object), e)),
    }
}

enum Created {
    New,
    Found,
    Refused(Refusal),
}

async fn create_job<K: Kind>(client: &Client, object: &K, job: &Job) -> Result<Created, Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &namespace(object));
    let failed = |e| Error::kube("make a Job for", what(object), e);
    match api.create(&PostParams::default(), job).await {
        Ok(_) => Ok(Created::New),
        Err(kube::Error::Api(e)) if e.is_already_exists() => {
            let found = api.get_opt(&job.name_any()).await.map_err(failed)?;
            let run = job.labels().get(RUN_LABEL);
            let ours = found.and_then(|f| JobSeen::of(&f, &object.uid().unwrap_or_default()));
            Ok(match ours {
                Some(seen) if Some(&seen.run) == run => Created::Found,
                Some(_) | None => Created::Refused(Refusal::NameTaken),
            })
        }
        Err(kube::Error::Api(e)) => match refusal(&e) {
            Some(refusal) => Ok(Created::Refused(refusal)),
            None => Err(failed(kube::Error::Api(e))),
        },
        Err(e) => Err(failed(e)),
    }
}

/// What a refusal means; `None` for answers that another try may change.
fn refusal(status: &Status) -> Option<Refusal> {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    if status.code == 403 && causes.into_iter().any(|c| c.reason == "NamespaceTerminating") {
        return Some(Refusal::NamespaceTerminating);
    }
    match status.code {
        400 | 403 | 422 => Some(Refusal::Refused(status.message.chars().take(500).collect())),
        _ => None,
    }
}

/// Foreground: the Job stays until its Pods are gone. Without its UID a later Job of the same name could be hit.
async fn delete_job(client: &Client, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
        ..DeleteParams::default()
    };
    match Api::<Job>::namespaced(client.clone(), namespace).delete(name, &params).await {
        Ok(_) => Ok(()),
        // Gone, or another Job by now.
        Err(kube::Error::Api(e)) if e.is_not_found() || e.code == 409 => Ok(()),
        Err(e) => Err(Error::kube("delete", format!("Job {namespace}/{name}"), e)),
    }
}

/// Makes a ServiceAccount of Jobs and its RoleBinding where they are missing.
async fn grant(client: &Client, namespace: &str, name: &str) -> Result<Option<Refusal>, Error> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let meta = || ObjectMeta {
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        labels: Some([("app.kubernetes.io/name".to_owned(), "mo-backup".to_owned())].into()),
        ..ObjectMeta::default()
    };
    let what = || format!("ServiceAccount {namespace}/{name}");
    if accounts.get_opt(name).await.map_err(|e| Error::kube("read", what(), e))?.is_none() {
        let account = ServiceAccount { metadata: meta(), ..ServiceAccount::default() };
        let made = accounts.create(&PostParams::default(), &account).await;
        if let Some(refusal) = granted(made.map(drop), what())? {
            return Ok(Some(refusal));
        }
    }
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let binding_name = || format!("RoleBinding {namespace}/{name}");
    if bindings.get_opt(name).await.map_err(|e| Error::kube("read", binding_name(), e))?.is_some() {
        return Ok(None);
    }
    let binding = RoleBinding {
        metadata: meta(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            name: name.into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: name.into(),
            namespace: Some(namespace.into()),
            api_group: None,
        }]),
    };
    granted(bindings.create(&PostParams::default(), &binding).await.map(drop), binding_name())
}

fn granted(made: Result<(), kube::Error>, name: String) -> Result<Option<Refusal>, Error> {
    match made {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(e)) if e.is_already_exists() => Ok(None),
        Err(kube::Error::Api(e)) => match refusal(&e) {
            Some(refusal) => Ok(Some(refusal)),
            None => Err(Error::kube("create", name, kube::Error::Api(e))),
        },
        Err(e) => Err(Error::kube("create", name, e)),
    }
}

/// Writes a ConfigMap that was looked for before: there was none, or it is ours.
async fn write_boot(client: &Client, map: &ConfigMap) -> Result<Option<Refusal>, Error> {
    let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
    let patched = Api::<ConfigMap>::namespaced(client.clone(), &namespace)
        .patch(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(map))
        .await;
    granted(patched.map(drop), format!("ConfigMap {namespace}/{name}"))
}

/// The record of the last attempt, once it has ended.
fn ended(run: &RunStatus) -> Option<&AttemptRecord> {
    run.attempts.last().filter(|a| a.end_time.is_some())
}

/// Logs and counts what has been decided and is on record.
fn note<K: Kind>(ctx: &Context, object: &K, before: &Written<K::Phase>, decision: &Decision<K::Phase>) {
    let Some((reason, message)) = ready(&decision.status.run) else { return };
    let run = &decision.status.run;
    tracing::info!(object = what(object), phase = ?decision.status.phase, attempt = run.attempt, %reason, message, "decided");
    if let Some(last) = ended(run)
        && ended(&before.run).is_none_or(|before| before.number != last.number)
    {
        let reason = last.reason.as_deref().and_then(Reason::parse).unwrap_or(Reason::Internal);
        ctx.metrics.attempt_ended(&K::kind(&()), reason);
    }
    if reason == Reason::NamespaceTerminating && decision.effects.contains(&Effect::Release) {
        tracing::warn!(
            object = what(object),
            "the namespace is being deleted: the object is released and its data stays in the repository"
        );
        ctx.metrics.released_with_data(&K::kind(&()));
    }
}

/// Publishes an event when the reason of `Ready` changes. Events are a courtesy: a failure is logged.
async fn tell<K: Kind>(ctx: &Context, object: &K, before: &Written<K::Phase>, after: &Written<K::Phase>) {
    let Some((reason, message)) = ready(&after.run) else { return };
    if ready(&before.run).is_some_and(|(old, _)| old == reason) {
        return;
    }
    let is =
        |type_: ConditionType| after.run.conditions.iter().any(|c| c.type_ == type_.as_str() && c.status == "True");
    let event = Event {
        type_: if is(ConditionType::Stalled) { EventType::Warning } else { EventType::Normal },
        reason: reason.as_str().into(),
        note: Some(message.chars().take(NOTE).collect()),
        action: "Reconcile".into(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(object = what(object), %reason, error = %error, "failed to publish an event");
    }
}
