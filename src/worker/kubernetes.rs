//! Backups, as the Job of a storage sees them: it may list them, make imported ones, and fill the reports of these.

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
    api::{self, BackupReport},
    plan::BackupId,
    task::{Subject, id_of},
};

/// Backups in one answer to a list.
const PAGE: u32 = 100;

/// A Backup, as far as imported ones depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// What is read of a status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    run: Option<String>,
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
    let awaited = status.run.filter(|run| object.spec.imported.is_some() && said.as_ref() != Some(run));
    Some(Known {
        name: meta.name.clone()?,
        uid: meta.uid.clone()?,
        storage: object.spec.storage.clone(),
        ids,
        awaited: awaited.filter(|_| meta.deletion_timestamp.is_none()),
    })
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
