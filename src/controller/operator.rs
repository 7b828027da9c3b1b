//! The operator's process: watches, controllers, leader election, health and metrics.

use std::{
    convert::identity,
    future::ready,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Client,
    runtime::{
        WatchStreamExt as _, applier,
        controller::{self, Config, ReconcileRequest},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{net::TcpListener, signal::unix, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Context, crd_check,
    decision::Kind,
    error_policy,
    job::WorkerImage,
    reconcile,
    wake::{self, Bell, Heard, Wakes},
};
use crate::{
    api::{Backup, BackupStorage, Restore},
    metrics::Metrics,
};

/// Name of the Lease.
const LEASE: &str = "mo-backup-operator";
/// Reconciliations at the same time, for each kind and namespace.
const CONCURRENCY: u16 = 16;

/// What the operator is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to watch; none means all.
    pub watch_namespaces: Vec<String>,
    /// What Jobs run.
    pub image: WorkerImage,
    /// Work only while holding the Lease.
    pub leader_election: bool,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
    /// Namespace of this Pod, where the Lease lies.
    pub pod_namespace: String,
    /// Name of this Pod: the holder of the Lease, the instance in events.
    pub pod_name: Option<String>,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// There is no way to the API server.
    #[error("failed to find the API server: {0}; run in a Pod, or with a kubeconfig")]
    Config(#[source] Box<kube::Error>),
    /// The port is taken.
    #[error("failed to listen on {0}: {1}; choose another --listen")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// Signals cannot be received.
    #[error("failed to wait for signals: {0}")]
    Signal(#[source] std::io::Error),
    /// The Lease could not be used.
    #[error("failed to hold the Lease {LEASE}: {0}; the ServiceAccount needs get, create and patch on leases")]
    Lease(String),
    /// Another replica works now.
    #[error("failed to keep the Lease {LEASE}: another replica holds it; starting over")]
    LeaseLost,
}

/// What the health endpoints know.
#[derive(Clone)]
struct Health {
    ready: Arc<AtomicBool>,
    metrics: Metrics,
    backups: Arc<Mutex<Vec<Store<Backup>>>>,
}

/// Runs until SIGTERM or SIGINT, or until the Lease is lost.
///
/// # Errors
/// When it cannot start, or must not go on.
pub async fn run(options: Options) -> Result<(), Stopped> {
    let client = Client::try_default().await.map_err(|e| Stopped::Config(Box::new(e)))?;
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    let ctx = Arc::new(Context::new(client.clone(), options.image, options.watch_namespaces, options.pod_name.clone()));
    let health = Health { ready: Arc::default(), metrics: ctx.metrics.clone(), backups: Arc::default() };
    serve(options.listen, health.clone(), stop.clone()).await?;
    crd_check::wait_until_current(&client, &stop).await;
    let mut lease = if options.leader_election {
        let identity = options.pod_name.unwrap_or_else(|| format!("mo-backup-{}", uuid::Uuid::now_v7()));
        // A replica that waits for its turn is as healthy as one that works.
        health.ready.store(true, Ordering::Relaxed);
        Some(lead(&client, &options.pod_namespace, identity, &stop).await?)
    } else {
        None
    };
    let ended = tokio::select! {
        () = work(&ctx, &health, &stop), if !stop.is_cancelled() => Ok(()),
        () = stop.cancelled(), if stop.is_cancelled() => Ok(()),
        () = lost(lease.as_mut()) => Err(Stopped::LeaseLost),
    };
    if let Some(lease) = lease {
        lease.release().await;
    }
    ended
}

fn stop_on_signal(stop: &CancellationToken) -> Result<(), Stopped> {
    let mut term = unix::signal(unix::SignalKind::terminate()).map_err(Stopped::Signal)?;
    let mut int = unix::signal(unix::SignalKind::interrupt()).map_err(Stopped::Signal)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("told to stop; finishing what is under way");
        stop.cancel();
    });
    Ok(())
}

async fn serve(listen: SocketAddr, health: Health, stop: CancellationToken) -> Result<JoinHandle<()>, Stopped> {
    let listener = TcpListener::bind(listen).await.map_err(|e| Stopped::Listen(listen, e))?;
    let router = Router::new()
        .route("/healthz", get(|| ready("ok")))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "failed to serve health and metrics");
        }
    }))
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches are not filled yet, or the CRDs are missing or older than this program",
        )
    }
}

async fn metrics(State(health): State<Health>) -> (StatusCode, String) {
    let stores = health.backups.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let backups: Vec<Arc<Backup>> = stores.iter().flat_map(Store::state).collect();
    match health.metrics.encode(backups.iter().map(|b| &**b)) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The Lease while it is held.
struct Lease {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Lease {
    /// Gives it up, so that another replica need not wait for its end.
    async fn release(self) {
        drop(self.leads);
        if tokio::time::timeout(Duration::from_secs(5), self.task).await.is_err() {
            tracing::warn!("failed to give up the Lease in time; another replica takes over when it ends");
        }
    }
}

/// Waits until this process holds the Lease, or is told to stop.
async fn lead(client: &Client, namespace: &str, identity: String, stop: &CancellationToken) -> Result<Lease, Stopped> {
    let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(15)
        .with_grace(5)
        .build()
        .await
        .map_err(|e| Stopped::Lease(e.to_string()))?;
    let (mut leads, task) = manager.watch().await;
    tracing::info!("waiting for the Lease");
    tokio::select! {
        changed = leads.wait_for(|leads| *leads) => {
            changed.map_err(|e| Stopped::Lease(e.to_string()))?;
        }
        () = stop.cancelled() => {}
    }
    Ok(Lease { leads, task })
}

/// Ends when the Lease is lost; never without one.
async fn lost(lease: Option<&mut Lease>) {
    let Some(lease) = lease else { return std::future::pending().await };
    // The channel also closes when the manager itself has failed.
    if lease.leads.wait_for(|leads| !*leads).await.is_err() {
        tracing::error!("the Lease is not renewed any more");
    }
}

/// Runs the controllers for each watched namespace, until told to stop.
async fn work(ctx: &Arc<Context>, health: &Health, stop: &CancellationToken) {
    let scopes: Vec<Option<&str>> =
        if ctx.namespaces.is_empty() { vec![None] } else { ctx.namespaces.iter().map(|n| Some(&**n)).collect() };
    let mut controllers: Vec<BoxFuture<'static, ()>> = Vec::new();
    let mut filled: Vec<BoxFuture<'static, ()>> = Vec::new();
    let (bell, mut ears) = wake::bell(2 * scopes.len());
    let of_storages = ears.split_off(scopes.len());
    for (scope, (heard, heard_too)) in scopes.into_iter().zip(ears.into_iter().zip(of_storages)) {
        let (backups, store) = backup_controller(ctx, scope, stop, (bell.clone(), heard));
        health.backups.lock().unwrap_or_else(PoisonError::into_inner).push(store.clone());
        controllers.push(backups);
        let (storages, storage_store) = storage_controller(ctx, scope, stop, heard_too);
        controllers.push(storages);
        let (restores, restore_store) = restore_controller(ctx, scope, stop);
        controllers.push(restores);
        filled.push(Box::pin(async move {
            let waits = [
                store.wait_until_ready().await,
                storage_store.wait_until_ready().await,
                restore_store.wait_until_ready().await,
            ];
            for error in waits.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "a cache ended before it was filled");
            }
        }));
    }
    let announce = async {
        join_all(filled).await;
        health.ready.store(true, Ordering::Relaxed);
        tracing::info!("the caches are filled");
    };
    futures::join!(join_all(controllers), announce);
}

fn backup_controller(
    ctx: &Arc<Context>,
    scope: Option<&str>,
    stop: &CancellationToken,
    (bell, heard): (Bell, Heard),
) -> (BoxFuture<'static, ()>, Store<Backup>) {
    let (store, writer) = reflector::store();
    let others = stream::select(wake::by_storages(ctx, scope, store.clone()), wake::queued(heard, store.clone()));
    let own = wake::watch::<Backup>(ctx, scope, writer, wake::kept).inspect_ok(move |event| bell.ring(event));
    (drive(ctx, scope, stop, store.clone(), own, others.boxed()), store)
}

fn storage_controller(
    ctx: &Arc<Context>,
    scope: Option<&str>,
    stop: &CancellationToken,
    heard: Heard,
) -> (BoxFuture<'static, ()>, Store<BackupStorage>) {
    let (store, writer) = reflector::store();
    let own = wake::watch::<BackupStorage>(ctx, scope, writer, identity);
    let counted = wake::counted(heard, store.clone());
    (drive(ctx, scope, stop, store.clone(), own, counted), store)
}

fn restore_controller(
    ctx: &Arc<Context>,
    scope: Option<&str>,
    stop: &CancellationToken,
) -> (BoxFuture<'static, ()>, Store<Restore>) {
    let (store, writer) = reflector::store();
    let own = wake::watch::<Restore>(ctx, scope, writer, identity);
    (drive(ctx, scope, stop, store.clone(), own, stream::empty().boxed()), store)
}

/// Reconciles a kind whenever it, one of its Jobs or Pods, or something else it waits for changes. Errors of single
/// objects are logged where they arise.
fn drive<K: Kind>(
    ctx: &Arc<Context>,
    scope: Option<&str>,
    stop: &CancellationToken,
    store: Store<K>,
    own: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    others: Wakes<K>,
) -> BoxFuture<'static, ()> {
    let own = own.touched_objects().map_ok(|o| ReconcileRequest::from(ObjectRef::from_obj(&o))).boxed();
    let workers = [wake::by_workers::<Job, K>(ctx, scope), wake::by_workers::<Pod, K>(ctx, scope)];
    let queue = stream::select_all([own, others].into_iter().chain(workers));
    let controller = applier(
        |object, ctx| Box::pin(reconcile::<K>(object, ctx)),
        error_policy::<K>,
        ctx.clone(),
        store,
        queue.take_until(stop.clone().cancelled_owned()),
        Config::default().concurrency(CONCURRENCY),
    );
    Box::pin(controller.for_each(|done| {
        match done {
            Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; it is started again"),
        }
        ready(())
    }))
}
