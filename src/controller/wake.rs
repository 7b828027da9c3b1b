//! What makes the operator look at an object: a change of its own, of its Jobs and Pods, of the storage it waits for, or
//! the end of the Backup before it in the queue.

use std::{future::ready, sync::Arc};

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    stream::{self, BoxStream},
};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        controller::ReconcileRequest,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};

use super::{
    Context,
    backup::finished,
    decision::Kind,
    job::{KIND_LABEL, NAME_LABEL},
    look::{PAGE, trimmed},
    queue::{cluster_key, gives_way},
};
use crate::api::{Backup, BackupPhase, BackupStorage};

fn api<K>(ctx: &Context, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    scope.map_or_else(|| Api::all(ctx.client.clone()), |ns| Api::namespaced(ctx.client.clone(), ns))
}

/// Changes of a kind of ours, once its cache has taken them.
pub fn watch<K: Kind>(
    ctx: &Context,
    scope: Option<&str>,
    writer: Writer<K>,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static + use<K> {
    decodable::<K>(api(ctx, scope)).default_backoff().reflect(writer)
}

/// A watch that begins with small pages: a page is in memory as text and decoded, with everything that caches leave out.
fn paged() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// Watches a kind of ours. An object that cannot be decoded is logged and left out: it must not end the watch of all others.
fn decodable<K>(api: Api<DeserializeGuard<K>>) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let decoded = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(trimmed(object)),
        Err(invalid) => {
            let meta = &invalid.metadata;
            let name = format!(
                "{}/{}",
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default()
            );
            tracing::error!(kind = %K::kind(&()), object = name, error = %invalid.error, "failed to decode an object; it is left alone");
            None
        }
    };
    watcher(api, paged()).filter_map(move |event| {
        ready(match event {
            Ok(watcher::Event::Apply(o)) => decoded(o).map(|o| Ok(watcher::Event::Apply(o))),
            Ok(watcher::Event::Delete(o)) => decoded(o).map(|o| Ok(watcher::Event::Delete(o))),
            Ok(watcher::Event::InitApply(o)) => decoded(o).map(|o| Ok(watcher::Event::InitApply(o))),
            Ok(watcher::Event::Init) => Some(Ok(watcher::Event::Init)),
            Ok(watcher::Event::InitDone) => Some(Ok(watcher::Event::InitDone)),
            Err(error) => Some(Err(error)),
        })
    })
}

/// Reasons to look at objects of ours.
pub type Wakes<K> = BoxStream<'static, watcher::Result<ReconcileRequest<K>>>;

/// Changes of a kind, without their content, and whom they wake.
fn wakes<W, K, I>(
    api: Api<PartialObjectMeta<W>>,
    config: watcher::Config,
    whom: impl Fn(PartialObjectMeta<W>) -> I + Send + 'static,
) -> Wakes<K>
where
    W: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: Resource<DynamicType = ()> + Send + 'static,
    I: IntoIterator<Item = ObjectRef<K>>,
    I::IntoIter: Send,
{
    watcher(api, config)
        .default_backoff()
        .touched_objects()
        .map_ok(move |changed| stream::iter(whom(changed).into_iter().map(|o| Ok(ReconcileRequest::from(o)))))
        .try_flatten()
        .boxed()
}

/// Changes of Jobs or Pods of one of our kinds.
pub fn by_workers<W, K>(ctx: &Context, scope: Option<&str>) -> Wakes<K>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let config = paged().labels(&format!("{KIND_LABEL}={}", K::kind(&())));
    wakes(api::<PartialObjectMeta<W>>(ctx, scope), config, |worker: PartialObjectMeta<W>| {
        let meta = &worker.metadata;
        let name = meta.labels.as_ref().and_then(|l| l.get(NAME_LABEL));
        name.zip(meta.namespace.as_deref()).map(|(name, namespace)| ObjectRef::new(name).within(namespace))
    })
}

/// The unfinished Backups that name this storage.
fn waiting_for(backups: &Store<Backup>, storage: &PartialObjectMeta<BackupStorage>) -> Vec<ObjectRef<Backup>> {
    let (namespace, name) = (&storage.metadata.namespace, storage.metadata.name.as_deref());
    let concerned = |b: &&Arc<Backup>| {
        let at_rest = finished(b) && b.metadata.deletion_timestamp.is_none();
        b.metadata.namespace == *namespace && Some(&*b.spec.storage) == name && !at_rest
    };
    backups.state().iter().filter(concerned).map(|b| ObjectRef::from_obj(&**b)).collect()
}

/// Changes of `BackupStorage`s, for the Backups that name them.
pub fn by_storages(ctx: &Context, scope: Option<&str>, backups: Store<Backup>) -> Wakes<Backup> {
    let storages = api::<PartialObjectMeta<BackupStorage>>(ctx, scope);
    wakes(storages, paged(), move |storage| waiting_for(&backups, &storage))
}

/// Rings when a Backup neither runs nor waits any more: it ended, pauses, or is gone. One for all watched namespaces,
/// because the queue of a MatrixOne cluster goes over all of them.
#[derive(Clone)]
pub struct Bell(Arc<[UnboundedSender<Rung>]>);

/// Whom it concerns.
#[derive(Clone, Debug)]
pub struct Rung {
    /// The MatrixOne cluster whose turn may be free.
    cluster: String,
    /// The storage whose counts may be old.
    storage: ObjectRef<BackupStorage>,
}

/// What one controller hears.
pub type Heard = UnboundedReceiver<Rung>;

/// A bell, and an ear for each of so many controllers.
pub fn bell(ears: usize) -> (Bell, Vec<Heard>) {
    let (senders, heard): (Vec<_>, Vec<_>) = (0..ears).map(|_| unbounded()).unzip();
    (Bell(senders.into()), heard)
}

impl Bell {
    /// Rings, if that is what the event means. What a watch begins with wakes everybody anyway.
    pub fn ring(&self, event: &watcher::Event<Backup>) {
        let over = match event {
            watcher::Event::Apply(backup) => gives_way(backup).then_some(backup),
            watcher::Event::Delete(backup) => Some(backup),
            watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => None,
        };
        let Some(backup) = over else { return };
        let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
        let storage = ObjectRef::new(&backup.spec.storage).within(namespace);
        let rung = Rung { cluster: cluster_key(backup), storage };
        for ear in self.0.iter() {
            if ear.unbounded_send(rung.clone()).is_err() {
                tracing::debug!("a controller has ended and hears no more");
            }
        }
    }
}

/// The Backups in the queue of a cluster whose turn may be free.
pub fn queued(heard: Heard, backups: Store<Backup>) -> Wakes<Backup> {
    let waiting = move |rung: Rung| {
        let queued = |b: &&Arc<Backup>| {
            b.status.as_ref().is_some_and(|s| s.phase == Some(BackupPhase::Queued)) && cluster_key(b) == rung.cluster
        };
        let found: Vec<_> = backups.state().iter().filter(queued).map(|b| ObjectRef::from_obj(&**b)).collect();
        stream::iter(found.into_iter().map(|o| Ok(ReconcileRequest::from(o))))
    };
    heard.flat_map(waiting).boxed()
}

/// The storages whose counts may be old.
pub fn counted(heard: Heard, storages: Store<BackupStorage>) -> Wakes<BackupStorage> {
    let known = heard.filter_map(move |rung| ready(storages.get(&rung.storage).map(|_| rung.storage)));
    known.map(|storage| Ok(ReconcileRequest::from(storage))).boxed()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn backup(name: &str, host: &str, status: Value) -> Backup {
        let object = json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"cluster": {"address": {"host": host}, "credentialsSecret": {"name": "s"}}, "storage": "st"},
            "status": status
        });
        serde_json::from_value(object).unwrap()
    }

    fn with(phase: &str, end: Option<&str>) -> Value {
        json!({"phase": phase, "attempt": 1, "attempts": [{"number": 1, "job": "first-1", "endTime": end}]})
    }

    /// What is woken in each of two namespaces by these events.
    async fn woken(events: &[watcher::Event<Backup>]) -> Vec<Vec<String>> {
        let (bell, heard) = bell(2);
        for event in events {
            bell.ring(event);
        }
        drop(bell);
        let mut woken = vec![];
        for heard in heard {
            let (store, mut writer) = kube::runtime::reflector::store();
            for backup in [
                backup("second", "mo.prod", json!({"phase": "Queued", "attempt": 0})),
                backup("elsewhere", "other", json!({"phase": "Queued", "attempt": 0})),
                backup("pending", "mo.prod", json!({"phase": "Pending", "attempt": 0})),
            ] {
                writer.apply_watcher_event(&watcher::Event::Apply(backup));
            }
            woken.push(queued(heard, store).map(|wake| wake.unwrap().obj_ref.name).collect().await);
        }
        woken
    }

    #[tokio::test]
    async fn the_end_of_a_backup_wakes_the_queue_of_its_cluster_in_every_namespace() {
        let ended = backup("first", "mo.prod", with("Completed", Some("2026-01-01T00:01:00Z")));
        assert_eq!(woken(&[watcher::Event::Apply(ended)]).await, [["second"], ["second"]]);
        let gone = backup("first", "mo.prod", with("Running", None));
        assert_eq!(woken(&[watcher::Event::Delete(gone)]).await, [["second"], ["second"]]);
    }

    #[tokio::test]
    async fn a_backup_that_runs_wakes_nobody() {
        let running = backup("first", "mo.prod", with("Running", None));
        let known = backup("first", "mo.prod", with("Completed", Some("2026-01-01T00:01:00Z")));
        let events = [watcher::Event::Apply(running), watcher::Event::Init, watcher::Event::InitApply(known)];
        assert_eq!(woken(&events).await, [Vec::<String>::new(), vec![]]);
    }
}
