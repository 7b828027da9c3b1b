//! What makes the operator look at an object: a change of its own, of its Jobs and Pods, of the storage it waits for, or
//! the end of the Backup before it in the queue.

use std::{collections::HashSet, convert::identity, fmt, future::ready, sync::Arc};

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    stream::{self, BoxStream},
};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        controller::ReconcileRequest,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::{
    Context,
    backup::{finished, is_awaited},
    decision::Kind,
    job::{KIND_LABEL, NAME_LABEL},
    listed::Listed,
    look::PAGE,
    queue::{cluster_key, gives_way},
};
use crate::api::{Backup, BackupPhase, BackupReport, BackupStorage, JobOptions, Said};

fn api<K>(ctx: &Context, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    scope.map_or_else(|| Api::all(ctx.client.clone()), |ns| Api::namespaced(ctx.client.clone(), ns))
}

/// Changes of a kind of ours, once its cache has taken of each object what `keep` leaves of it.
pub fn watch<K: Kind>(
    ctx: &Context,
    scope: Option<&str>,
    writer: Writer<K>,
    keep: fn(K) -> K,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static + use<K> {
    let known = writer.as_reader();
    changes(decodable::<K>(api(ctx, scope), paged(), keep).default_backoff(), known).reflect(writer)
}

/// Every list after the first one as the changes since. A cache takes a list by putting it together beside what it has, so
/// that it would hold all objects twice. Of an object that is as it was, nothing is said.
fn changes<K: Kind>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    known: Store<K>,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static {
    let (mut is_first, mut listed) = (true, HashSet::new());
    let version = |object: &K| object.meta().resource_version.clone();
    events.flat_map(move |event| {
        let changed = match event {
            Ok(watcher::Event::InitDone) if is_first => {
                is_first = false;
                vec![Ok(watcher::Event::InitDone)]
            }
            event if is_first => vec![event],
            Ok(watcher::Event::Init) => {
                listed.clear();
                vec![]
            }
            Ok(watcher::Event::InitApply(object)) => {
                let name = ObjectRef::from_obj(&object);
                let is_as_it_was = known.get(&name).is_some_and(|cached| version(&cached) == version(&object));
                listed.insert(name);
                if is_as_it_was { vec![] } else { vec![Ok(watcher::Event::Apply(object))] }
            }
            Ok(watcher::Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                let gone = known.state().into_iter().filter(|o| !listed.contains(&ObjectRef::from_obj(&**o)));
                gone.map(|o| Ok(watcher::Event::Delete(K::clone(&o)))).collect()
            }
            Ok(event @ (watcher::Event::Apply(_) | watcher::Event::Delete(_))) => vec![Ok(event)],
            Err(error) => vec![Err(error)],
        };
        stream::iter(changed)
    })
}

/// What the cache keeps of a Backup: what tells whose turn it is, whether it is at rest, and what the metrics say. Whatever
/// is to be done is decided on what the API server itself says.
#[must_use]
pub fn kept(mut backup: Backup) -> Backup {
    backup.spec.job = JobOptions::default();
    if let Some(status) = &mut backup.status {
        status.progress = None;
        status.report = status.report.take().map(|report| BackupReport {
            said: Said::default(),
            complete_time: report.complete_time,
            ..BackupReport::default()
        });
    }
    backup
}

/// A watch that begins with small pages: a page is in memory as text and decoded.
fn paged() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// Watches a kind. An object that cannot be decoded is logged and left out: it must not end the watch of all others.
fn decodable<K>(
    api: Api<Listed<K>>,
    config: watcher::Config,
    keep: fn(K) -> K,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let decoded = move |Listed(listed): Listed<K>| match listed {
        Ok(object) => Some(keep(object)),
        Err(error) => {
            tracing::error!(kind = %K::kind(&()), %error, "an object is left alone");
            None
        }
    };
    watcher(api, config).filter_map(move |event| {
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
    api: Api<Listed<PartialObjectMeta<W>>>,
    config: watcher::Config,
    whom: impl Fn(PartialObjectMeta<W>) -> I + Send + 'static,
) -> Wakes<K>
where
    W: Resource<DynamicType = ()> + Clone + fmt::Debug + Send + Sync + 'static,
    K: Resource<DynamicType = ()> + Send + 'static,
    I: IntoIterator<Item = ObjectRef<K>>,
    I::IntoIter: Send,
{
    decodable(api, config, identity)
        .default_backoff()
        .touched_objects()
        .map_ok(move |changed| stream::iter(whom(changed).into_iter().map(|o| Ok(ReconcileRequest::from(o)))))
        .try_flatten()
        .boxed()
}

/// Changes of Jobs or Pods of one of our kinds.
pub fn by_workers<W, K>(ctx: &Context, scope: Option<&str>) -> Wakes<K>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + fmt::Debug + Send + Sync + 'static,
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let config = paged().labels(&format!("{KIND_LABEL}={}", K::kind(&())));
    wakes(api(ctx, scope), config, |worker: PartialObjectMeta<W>| {
        let meta = &worker.metadata;
        let name = meta.labels.as_ref().and_then(|l| l.get(NAME_LABEL));
        name.zip(meta.namespace.as_deref()).map(|(name, namespace)| ObjectRef::new(name).within(namespace))
    })
}

/// The unfinished Backups that name this storage.
fn waiting_for(backups: &Store<Backup>, storage: &PartialObjectMeta<BackupStorage>) -> Vec<ObjectRef<Backup>> {
    let (namespace, name) = (&storage.metadata.namespace, storage.metadata.name.as_deref());
    let concerned = |b: &&Arc<Backup>| {
        let at_rest = (finished(b) || is_awaited(b)) && b.metadata.deletion_timestamp.is_none();
        b.metadata.namespace == *namespace && Some(&*b.spec.storage) == name && !at_rest
    };
    backups.state().iter().filter(concerned).map(|b| ObjectRef::from_obj(&**b)).collect()
}

/// Changes of `BackupStorage`s, for the Backups that name them.
pub fn by_storages(ctx: &Context, scope: Option<&str>, backups: Store<Backup>) -> Wakes<Backup> {
    wakes(api(ctx, scope), paged(), move |storage| waiting_for(&backups, &storage))
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
            // Of imported ones a repository can have thousands, and what they are waiting for is all that matters.
            watcher::Event::Apply(backup) if backup.spec.imported.is_some() => is_awaited(backup).then_some(backup),
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
    use crate::{
        controller::{
            backup::{Base, Observed, decide},
            job::WorkerImage,
            seen::{Named, Workers},
        },
        metrics::Metrics,
    };

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

    #[test]
    fn what_the_cache_leaves_out_of_a_backup_at_rest_changes_no_decision() {
        let mut status = with("Completed", Some("2026-01-01T00:01:00Z"));
        status["report"] = json!({"run": "first-1", "outcome": "Succeeded", "retryable": false, "size": "1 GiB",
            "completeTime": "2026-01-01T00:00:59Z", "manifest": {"key": "catalog/x.json", "sha256": "00"}});
        status["progress"] = json!({"run": "first-1", "text": "100%", "step": "clearing up", "objects": 3, "bytes": 9});
        status["conditions"] = json!([{"type": "Complete", "status": "True", "reason": "Completed", "message": "m",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
        let mut whole = backup("first", "mo.prod", status);
        // Its conditions are told anew for another generation of the spec.
        whole.metadata.generation = Some(2);
        whole.spec.job.priority_class_name = Some("low".into());
        let less = kept(whole.clone());
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let decision = |backup: &Backup| {
            let (workers, image) = (Workers::default(), WorkerImage::default());
            let (storage, base, named, others, terminating) =
                (None, Base::NotNamed, Named::NotLookedAt, Vec::new(), false);
            let kept_by = Vec::new();
            let backup = backup.clone();
            decide(&Observed { backup, storage, base, named, others, workers, terminating, kept_by, image }, now)
        };
        assert_ne!(decision(&whole).status, whole.written(), "something is to be written");
        assert_eq!(decision(&whole), decision(&less));
        let told = |backup: &Backup| Metrics::default().encode(std::iter::once(backup)).unwrap();
        assert_eq!(told(&whole), told(&less));
        let left = less.status.unwrap();
        assert!(left.progress.is_none() && left.report.is_some_and(|report| report.manifest.is_none()));
    }

    #[tokio::test]
    async fn a_later_list_is_told_as_what_has_changed_since() {
        use watcher::Event::{Init, InitApply, InitDone};
        let versioned = |name: &str, version: &str| {
            let mut backup = backup(name, "mo", Value::Null);
            backup.metadata.resource_version = Some(version.into());
            backup
        };
        let list = |objects: &[(&str, &str)]| {
            let applied = objects.iter().map(|(name, version)| InitApply(versioned(name, version)));
            [Init].into_iter().chain(applied).chain([InitDone]).collect::<Vec<_>>()
        };
        let first = list(&[("same", "1"), ("other", "2"), ("gone", "3")]);
        // It breaks off, and begins again.
        let cut = vec![Init, InitApply(versioned("gone", "3"))];
        let second = list(&[("same", "1"), ("other", "4"), ("new", "5")]);
        let (store, writer) = kube::runtime::reflector::store();
        let events = stream::iter([first, cut, second].concat().into_iter().map(Ok));
        let told = changes(events, store.clone()).reflect(writer).map(|event| match event.unwrap() {
            watcher::Event::Apply(o) => format!("apply {}", o.metadata.name.unwrap()),
            watcher::Event::Delete(o) => format!("delete {}", o.metadata.name.unwrap()),
            Init | InitApply(_) | InitDone => "list".into(),
        });
        let told: Vec<String> = told.collect().await;
        assert_eq!(told, ["list", "list", "list", "list", "list", "apply other", "apply new", "delete gone"]);
        let mut cached: Vec<_> = store.state().iter().map(|b| b.metadata.resource_version.clone().unwrap()).collect();
        cached.sort();
        assert_eq!(cached, ["1", "4", "5"]);
    }
}
