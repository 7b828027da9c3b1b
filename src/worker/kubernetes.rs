//! Backups, as the Job of a storage sees them: it may list them, make imported ones, and fill the reports of these.

use std::time::Duration;

use async_trait::async_trait;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind, Object},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Kubernetes, Reporter as _, Untold, reporter::judge};
use crate::{
    api::{self, BackupPhase, BackupReport, RunStatus},
    plan::BackupId,
    task::{Subject, duration, id_of},
};

/// Backups in one answer to a list.
const PAGE: u32 = 100;

/// A Backup, as far as imported ones depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its storage.
    pub storage: String,
    /// The backups of the repository that are its own: the one it imports or takes, and the one it has reported.
    pub ids: Vec<BackupId>,
    /// The run of the report that it waits for, if it is an imported one without a report.
    pub awaited: Option<String>,
    /// Up to which attempt all have ended, if none is under way and none begins by itself. An imported one has no attempts.
    pub over: Option<u32>,
    /// The longest that an attempt of it may take.
    pub run_deadline: Duration,
}

/// What came of making a Backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there, and was not before.
    New,
    /// It was there, or is not needed any more.
    NotNeeded,
}

/// The Backups of a namespace.
#[async_trait]
pub trait Backups: Send + Sync {
    /// All of them, those that are being deleted included.
    async fn list(&self) -> Result<Vec<Known>, Untold>;

    /// Makes the imported Backup of this id. Its name derives from the id, so that there are never two.
    async fn create(&self, id: BackupId, storage: &str) -> Result<Made, Untold>;

    /// Fills the report of an imported Backup.
    async fn report(&self, known: &Known, report: &BackupReport) -> Result<(), Untold>;
}

/// The Backups of a namespace of a cluster.
pub struct OfNamespace {
    client: Client,
    namespace: String,
}

/// What is read of a spec.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Spec {
    storage: String,
    imported: Option<api::Imported>,
    #[serde(default)]
    deadlines: api::Deadlines,
}

/// What is read of a status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<BackupPhase>,
    #[serde(flatten)]
    run: RunStatus,
    report: Option<Reported>,
}

/// What is read of a report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Reported {
    run: String,
    id: Option<String>,
}

/// Name of the imported Backup of this id.
#[must_use]
pub fn imported_name(id: BackupId) -> String {
    format!("imported-{id}")
}

impl OfNamespace {
    /// The Backups of this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into() }
    }
}

fn kind() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, "Backup"))
}

fn known(object: &Object<Spec, Status>) -> Option<Known> {
    let meta = &object.metadata;
    let status = object.status.clone().unwrap_or_default();
    let (reported, said) = status.report.map_or((None, None), |r| (r.id, Some(r.run)));
    let own = id_of(meta, object.spec.imported.as_ref()).ok();
    let ids = own.into_iter().chain(reported.and_then(|id| id.parse().ok())).collect();
    let over = over(object.spec.imported.is_some(), status.phase, &status.run);
    let awaited = status.run.run.filter(|run| object.spec.imported.is_some() && said.as_ref() != Some(run));
    Some(Known {
        name: meta.name.clone()?,
        uid: meta.uid.clone()?,
        storage: object.spec.storage.clone(),
        ids,
        awaited: awaited.filter(|_| meta.deletion_timestamp.is_none()),
        over: over.filter(|_| meta.deletion_timestamp.is_none()),
        run_deadline: duration("spec.deadlines.run", &object.spec.deadlines.run).unwrap_or(Duration::MAX),
    })
}

/// See [`Known::over`].
fn over(imported: bool, phase: Option<BackupPhase>, run: &RunStatus) -> Option<u32> {
    let rests = matches!(phase, Some(BackupPhase::Completed | BackupPhase::Failed));
    let open = run.attempts.last().is_some_and(|last| last.end_time.is_none());
    let last = if imported { u32::MAX } else { u32::try_from(run.attempt).unwrap_or(0) };
    (rests && !open).then_some(last)
}

#[async_trait]
impl Backups for OfNamespace {
    async fn list(&self) -> Result<Vec<Known>, Untold> {
        let api: Api<Object<Spec, Status>> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind());
        let mut found = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await.map_err(|e| judge(&e))?;
            found.extend(page.items.iter().filter_map(known));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    async fn create(&self, id: BackupId, storage: &str) -> Result<Made, Untold> {
        let name = imported_name(id);
        let spec = json!({"spec": {"imported": {"id": id.to_string()}, "storage": storage}});
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind());
        let backup = DynamicObject::new(&name, &kind()).within(&self.namespace).data(spec);
        match api.create(&PostParams::default(), &backup).await {
            Ok(_) => Ok(Made::New),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Made::NotNeeded),
            Err(error) => Err(judge(&error)),
        }
    }

    async fn report(&self, known: &Known, report: &BackupReport) -> Result<(), Untold> {
        let subject = Subject {
            namespace: self.namespace.clone(),
            name: known.name.clone(),
            uid: known.uid.clone(),
            attempt: 0,
            run: known.awaited.clone().unwrap_or_default(),
        };
        Kubernetes::new(self.client.clone(), "Backup", subject).send(&json!({"report": report})).await
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    const ID: &str = "01a1fb90-0000-7000-8000-000000000001";

    fn seen(spec: Value, status: Value, deleting: bool) -> Known {
        let mut object = json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": "b", "namespace": "ns", "uid": "0b9f1c1e-7f5d-4f0e-9f43-3c1b5a0e7d21",
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status
        });
        if deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        }
        known(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[rstest]
    #[case::new(json!(null), false, None)]
    #[case::accepted(json!({"phase": "Pending", "run": "u-0"}), false, Some("u-0"))]
    #[case::told(json!({"phase": "Pending", "run": "u-0", "report": {"run": "u-0", "id": ID}}), false, None)]
    #[case::asked_again(json!({"run": "u-0.1", "report": {"run": "u-0", "id": ID}}), false, Some("u-0.1"))]
    #[case::going(json!({"run": "u-0"}), true, None)]
    fn an_imported_one_waits_until_it_is_told(
        #[case] status: Value,
        #[case] deleting: bool,
        #[case] awaited: Option<&str>,
    ) {
        let known = seen(json!({"imported": {"id": ID}, "storage": "st"}), status, deleting);
        assert_eq!((known.awaited.as_deref(), known.ids[0].to_string()), (awaited, ID.to_owned()));
    }

    #[rstest]
    #[case::new(json!(null), false, None)]
    #[case::running(json!({"phase": "Running", "attempt": 2, "attempts": [{"number": 2}]}), false, None)]
    #[case::retrying(json!({"phase": "Retrying", "attempt": 1, "attempts": [{"number": 1, "endTime": "2026-01-01T00:00:00Z"}]}), false, None)]
    #[case::failed(json!({"phase": "Failed", "attempt": 3, "attempts": [{"number": 3, "endTime": "2026-01-01T00:00:00Z"}]}), false, Some(3))]
    #[case::begun_again(json!({"phase": "Failed", "attempt": 4, "attempts": [{"number": 4}]}), false, None)]
    #[case::going(json!({"phase": "Failed", "attempt": 3, "attempts": []}), true, None)]
    fn one_that_is_over_says_up_to_which_attempt(
        #[case] status: Value,
        #[case] deleting: bool,
        #[case] over: Option<u32>,
    ) {
        let cluster = json!({"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}});
        let spec = json!({"cluster": cluster, "storage": "st", "deadlines": {"run": "90m"}});
        let known = seen(spec, status, deleting);
        assert_eq!((known.over, known.awaited, known.run_deadline), (over, None, Duration::from_mins(90)));
        assert_eq!(known.ids.len(), 1, "the id that its attempts write under");
    }
}
