//! The API server of the operator's tests behind HTTP, with pages, metadata alone, and watches that can expire.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::api::Api;

/// A watch looks this often for what has changed.
const PACE: Duration = Duration::from_millis(200);

/// The API server.
#[derive(Clone)]
pub struct Cluster {
    api: Arc<Mutex<Api>>,
    /// How often all watches have been ended.
    expired: Arc<AtomicU64>,
    /// What is watched, since then.
    watched: Arc<Mutex<BTreeSet<String>>>,
}

/// What a request wants besides its path.
struct Wanted {
    watch: bool,
    metadata: bool,
    limit: usize,
    from: usize,
    version: u64,
}

impl Cluster {
    pub fn new(api: Api) -> Self {
        Self { api: Arc::new(Mutex::new(api)), expired: Arc::default(), watched: Arc::default() }
    }

    /// Serves as long as its runtime. The port.
    pub async fn serve(&self) -> anyhow::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(port)
    }

    /// Ends all watches as an API server does that has forgotten what happened since: everybody lists again.
    pub fn expire(&self) {
        self.watched().clear();
        self.expired.fetch_add(1, Ordering::SeqCst);
    }

    /// What is watched since the last [`expire`](Self::expire). A watch begins when its list has been read to the end.
    pub fn watched(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a Job of a Backup was made.
    pub fn started(&self) -> bool {
        self.api.lock().unwrap_or_else(PoisonError::into_inner).jobs_made.iter().any(|name| name.starts_with("nightly"))
    }

    fn answer(&self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner).answer(request)
    }
}

async fn answer(State(cluster): State<Cluster>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let wanted = Wanted::of(&parts);
    let body = to_bytes(body, 8 << 20).await.unwrap_or_default();
    let request = Request::from_parts(parts, body.to_vec());
    if wanted.watch {
        return cluster.watch(request, wanted);
    }
    let (parts, body) = cluster.answer(&request).into_parts();
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut list) if list["items"].is_array() => {
            page(&mut list, &wanted);
            serde_json::to_vec(&list).unwrap_or_default()
        }
        _ => body,
    };
    Response::from_parts(parts, Body::from(body))
}

impl Wanted {
    fn of(parts: &http::request::Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let accepted = parts.headers.get("accept").and_then(|a| a.to_str().ok()).unwrap_or_default();
        Self {
            watch: value("watch") == Some("true"),
            metadata: accepted.contains("as=PartialObjectMetadata"),
            limit: value("limit").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX),
            from: value("continue").and_then(|n| n.parse().ok()).unwrap_or(0),
            version: value("resourceVersion").and_then(|n| n.parse().ok()).unwrap_or(0),
        }
    }
}

/// Cuts a list to what was asked for.
fn page(list: &mut Value, wanted: &Wanted) {
    let Some(items) = list["items"].as_array_mut() else { return };
    let all = items.len();
    let end = wanted.from.saturating_add(wanted.limit).min(all);
    *items = items.drain(wanted.from.min(end)..end).map(|item| cut(item, wanted.metadata)).collect();
    if end < all {
        list["metadata"]["continue"] = json!(end.to_string());
    }
}

fn cut(object: Value, metadata: bool) -> Value {
    if !metadata {
        return object;
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or_default()
}

impl Cluster {
    /// A stream of what changes, until the next [`expire`](Self::expire).
    fn watch(&self, request: Request<Vec<u8>>, wanted: Wanted) -> Response {
        let begun = self.expired.load(Ordering::SeqCst);
        let query = request.uri().query().unwrap_or_default();
        let labels = query.split('&').find(|pair| pair.starts_with("labelSelector=")).unwrap_or_default();
        self.watched().insert(format!("{} {labels} {}", request.uri().path(), wanted.metadata));
        let state = (self.clone(), Arc::new(request), wanted, false);
        let events = stream::unfold(state, move |(cluster, request, mut wanted, ended)| async move {
            if ended {
                return None;
            }
            tokio::time::sleep(PACE).await;
            let (text, ended) = if cluster.expired.load(Ordering::SeqCst) == begun {
                (cluster.changes(&request, &mut wanted), false)
            } else {
                let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "reason": "Expired", "message": "too old resource version", "code": 410});
                (format!("{}\n", json!({"type": "ERROR", "object": gone})), true)
            };
            Some((Ok::<_, Infallible>(Bytes::from(text)), (cluster, request, wanted, ended)))
        });
        Response::new(Body::from_stream(events))
    }

    /// What has changed since the last look, as lines.
    fn changes(&self, request: &Request<Vec<u8>>, wanted: &mut Wanted) -> String {
        if self.api.lock().unwrap_or_else(PoisonError::into_inner).version <= wanted.version {
            return String::new();
        }
        let list: Value = serde_json::from_slice(self.answer(request).body()).unwrap_or_default();
        let since = std::mem::replace(&mut wanted.version, version_of(&list));
        let changed = list["items"].as_array().into_iter().flatten().filter(|o| version_of(o) > since);
        changed
            .map(|o| format!("{}\n", json!({"type": "MODIFIED", "object": cut(o.clone(), wanted.metadata)})))
            .collect()
    }
}
