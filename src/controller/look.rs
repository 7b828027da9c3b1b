//! Reading the API server. Touches nothing.

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{Namespace, Pod},
    },
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::{
    Context, Error,
    job::{KIND_LABEL, NAME_LABEL},
    seen::{JobSeen, PodSeen, Workers},
};
use crate::api::Backup;

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

/// Whether the namespace is being deleted.
pub async fn is_terminating(client: &Client, name: &str) -> Result<bool, Error> {
    let found = Api::<Namespace>::all(client.clone())
        .get_opt(name)
        .await
        .map_err(|e| Error::kube("read", format!("Namespace {name}"), e))?;
    Ok(found.is_some_and(|n| n.metadata.deletion_timestamp.is_some()))
}

/// All Backups of the clusters at this host, spelled so, in all namespaces that this operator watches.
pub async fn backups_of_host(ctx: &Context, host: &str) -> Result<Vec<Backup>, Error> {
    let params = ListParams::default().fields(&format!("spec.cluster.address.host={host}"));
    let mut all = Vec::new();
    for api in ctx.apis::<Backup>() {
        let list = api.list(&params).await.map_err(|e| Error::kube("list", "Backups", e))?;
        all.extend(list.items);
    }
    Ok(all)
}

/// Backups that are read at once: each may have kilobytes of status.
const PAGE: u32 = 200;

/// Shows every Backup of a namespace that names this storage.
pub async fn backups_of_storage(
    client: &Client,
    namespace: &str,
    storage: &str,
    mut show: impl FnMut(&Backup),
) -> Result<(), Error> {
    let api = Api::<Backup>::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().fields(&format!("spec.storage={storage}")).limit(PAGE);
    loop {
        let list = api.list(&params).await.map_err(|e| Error::kube("list", format!("Backups in {storage}"), e))?;
        list.items.iter().for_each(&mut show);
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
