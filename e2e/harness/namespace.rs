//! A namespace of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};

use super::cluster::Cluster;
use super::wait::until;

static COUNT: AtomicU32 = AtomicU32::new(1);

pub struct Namespace<'a> {
    pub name: String,
    pub cluster: &'a Cluster,
}

impl<'a> Namespace<'a> {
    /// Ready for Pods. Call [`Namespace::delete`] at the end of a test that succeeds; after a failure it stays to be looked at.
    pub async fn create(cluster: &'a Cluster, purpose: &str) -> anyhow::Result<Namespace<'a>> {
        let name = format!("{purpose}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut object = NamespaceObject::default();
        object.metadata.name = Some(name.clone());
        Api::<NamespaceObject>::all(cluster.client()).create(&PostParams::default(), &object).await?;
        let namespace = Namespace { name, cluster };
        // Pods are refused before their service account exists.
        let accounts: Api<ServiceAccount> = namespace.api();
        until("the default service account", Duration::from_secs(60), || async {
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        Ok(namespace)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(&[&["-n", &self.name], args].concat()).await
    }

    /// Server-side apply into this namespace.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        self.cluster.kubectl_with(&["-n", &self.name, "apply", "--server-side", "-f", "-"], yaml).await
    }

    /// Waits like [`until`]; a failure tells the state of the namespace and what its Pods said.
    pub async fn until<T, F, Fut>(&self, what: &str, limit: Duration, look: F) -> anyhow::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = anyhow::Result<Option<T>>>,
    {
        match until(what, limit, look).await {
            Ok(found) => Ok(found),
            Err(error) => Err(error.context(self.cluster.account(&self.name).await)),
        }
    }

    /// Deletes it and waits, at most two minutes, until it is gone: objects that hold it up are a failure.
    pub async fn delete(self) -> anyhow::Result<()> {
        let namespaces: Api<NamespaceObject> = Api::all(self.cluster.client());
        namespaces.delete(&self.name, &DeleteParams::default()).await?;
        self.until("the end of the namespace", Duration::from_secs(120), || async {
            Ok(namespaces.get_opt(&self.name).await?.is_none().then_some(()))
        })
        .await
    }
}
