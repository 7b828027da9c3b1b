//! Reading the API server. Touches nothing.

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{Namespace, Pod},
    },
};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde::de::{DeserializeOwned, Error as _};

use super::{
    Context, Error,
    job::{KIND_LABEL, NAME_LABEL},
    listed::Listed,
    queue::{Ticket, cluster_key},
    seen::{JobSeen, Named, PodSeen, Workers},
};
use crate::api::{Backup, Cluster};

/// Objects in one answer to a list.
pub const PAGE: u32 = 100;

/// One object, or `None` when there is none.
pub async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(|e| Error::kube("read", format!("{} {namespace}/{name}", K::kind(&())), e))
}

/// A MatrixOneCluster, the kind of matrixone-operator.
pub async fn matrix_one_cluster(client: &Client, namespace: &str, name: &str) -> Result<Named, Error> {
    let kind = GroupVersionKind::gvk("core.matrixorigin.io", "v1alpha1", "MatrixOneCluster");
    let resource = ApiResource::from_gvk_with_plural(&kind, "matrixoneclusters");
    match Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource).get(name).await {
        Ok(found) => Ok(Named::of(&found)),
        Err(kube::Error::Api(status)) if status.code == 404 && status.reason == "NotFound" => Ok(Named::Missing),
        // A path that nobody serves is answered with plain text.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Named::UnknownKind),
        Err(error) => Err(Error::kube("read", format!("MatrixOneCluster {namespace}/{name}"), error)),
    }
}

/// Whether the namespace is being deleted.
pub async fn is_terminating(client: &Client, name: &str) -> Result<bool, Error> {
    let found = Api::<Namespace>::all(client.clone())
        .get_opt(name)
        .await
        .map_err(|e| Error::kube("read", format!("Namespace {name}"), e))?;
    Ok(found.is_some_and(|n| n.metadata.deletion_timestamp.is_some()))
}

/// Tickets of all Backups of this one's MatrixOne cluster which say alike where it is, in all namespaces that this operator
/// watches. They are read page by page, because a cluster can have thousands.
pub async fn tickets(ctx: &Context, backup: &Backup) -> Result<Vec<Ticket>, Error> {
    let key = cluster_key(backup);
    let Some(alike) = backup.spec.cluster.as_ref().and_then(alike) else { return Ok(Vec::new()) };
    let mut tickets = Vec::new();
    for api in ctx.apis::<Listed<Backup>>() {
        let ours = |b: &Backup| {
            if cluster_key(b) == key {
                tickets.extend(Ticket::of(b));
            }
        };
        pages(&api, &alike, ours).await?;
    }
    Ok(tickets)
}

/// The field that Backups of the same cluster have in common.
fn alike(cluster: &Cluster) -> Option<String> {
    let host = cluster.address.as_ref().map(|a| format!("spec.cluster.address.host={}", a.host));
    let name = cluster.matrix_one_cluster.as_ref().map(|c| format!("spec.cluster.matrixOneCluster.name={}", c.name));
    host.or(name)
}

/// Shows every Backup of a namespace that names this storage.
pub async fn backups_of_storage(
    client: &Client,
    namespace: &str,
    storage: &str,
    show: impl FnMut(&Backup),
) -> Result<(), Error> {
    pages(&Api::namespaced(client.clone(), namespace), &format!("spec.storage={storage}"), show).await
}

/// Shows every Backup of a namespace.
pub async fn backups_of_namespace(client: &Client, namespace: &str, show: impl FnMut(&Backup)) -> Result<(), Error> {
    pages(&Api::namespaced(client.clone(), namespace), "", show).await
}

/// Shows every Backup that has these fields, page by page. None is left out: one that cannot be decoded is an error.
async fn pages(api: &Api<Listed<Backup>>, fields: &str, mut show: impl FnMut(&Backup)) -> Result<(), Error> {
    let what = if fields.is_empty() { "the Backups".to_owned() } else { format!("the Backups with {fields}") };
    let failed = |e| Error::kube("list", what.clone(), e);
    let mut params = ListParams::default().limit(PAGE);
    if !fields.is_empty() {
        params = params.fields(fields);
    }
    loop {
        let list = api.list(&params).await.map_err(failed)?;
        for Listed(backup) in list.items {
            show(&backup.map_err(|e| failed(kube::Error::SerdeError(serde_json::Error::custom(e))))?);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Jobs and Pods of an object. `awaited` is the name of the Job of the attempt on record: if it is taken by somebody
/// else, that is said.
pub async fn workers<K>(client: &Client, object: &K, awaited: Option<&str>) -> Result<Workers, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let meta = object.meta();
    let (Some(namespace), Some(name), Some(uid)) = (&meta.namespace, &meta.name, &meta.uid) else {
        return Ok(Workers::default());
    };
    let kind = K::kind(&());
    let params = ListParams::default().labels(&format!("{KIND_LABEL}={kind},{NAME_LABEL}={name}"));
    let what = |things: &str| format!("{things} of {kind} {namespace}/{name}");
    // Jobs before Pods: a Job that is seen to have ended has no live Pod later, and one that is gone made none since.
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let listed = jobs.list(&params).await.map_err(|e| Error::kube("list", what("Jobs"), e))?;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&params)
        .await
        .map_err(|e| Error::kube("list", what("Pods"), e))?;
    let ours: Vec<JobSeen> = listed.items.iter().filter_map(|j| JobSeen::of(j, uid)).collect();
    let missing = awaited.filter(|awaited| !ours.iter().any(|j| j.name == *awaited));
    let stranger = match missing {
        None => None,
        Some(awaited) => get::<Job>(client, namespace, awaited)
            .await?
            .filter(|job| JobSeen::of(job, uid).is_none())
            .map(|_| awaited.to_owned()),
    };
    Ok(Workers { jobs: ours, pods: pods.items.iter().filter_map(|p| PodSeen::of(p, uid)).collect(), stranger })
}
