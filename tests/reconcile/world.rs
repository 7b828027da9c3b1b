//! Everything around the operator: users, kubelets, workers, time. And the driver that lets it all come to rest.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures::future::{Either, pending, select};
use http::{Request, Response};
use jiff::Timestamp;
use kube::{Client, client::Body};
use mo_backup::{
    api::{Backup, BackupStorage},
    controller::{Context, decision::Kind, job::WorkerImage, reconcile},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::Api;

pub const NS: &str = "shop";
pub const BACKUPS: &str = "/apis/mo-backup.io/v1alpha1/namespaces/shop/backups";
pub const STORAGES: &str = "/apis/mo-backup.io/v1alpha1/namespaces/shop/backupstorages";
pub const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";
pub const CLUSTERS: &str = "/apis/core.matrixorigin.io/v1alpha1/namespaces/shop/matrixoneclusters";
pub const PODS: &str = "/api/v1/namespaces/shop/pods";

thread_local! {
    static CLOCK: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> Timestamp {
    Timestamp::from_second(CLOCK.with(Cell::get)).unwrap()
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    Before,
    /// It is carried out, the reply is lost, the operator lives.
    ReplyLost,
    /// It is carried out, and the operator dies before it sees the reply.
    Crash,
}

/// How a worker ends.
#[derive(Clone, Debug)]
pub enum Ends {
    /// With a report of success.
    Well,
    /// With a report of this reason, and whether another attempt can help.
    Badly(&'static str, bool),
    /// Without a word, killed.
    Killed,
    /// It never ends by itself.
    Never,
}

pub struct World {
    pub api: Arc<Mutex<Api>>,
    pub ctx: Arc<Context>,
    /// Index of the request that goes wrong, and how.
    pub fault: Option<(usize, Fault)>,
    pub requests: Arc<Mutex<usize>>,
    crashed: Arc<Notify>,
    /// How the next workers of Backups end; after the last one: well.
    pub script: VecDeque<Ends>,
}

impl World {
    pub fn new(fault: Option<(usize, Fault)>) -> Self {
        CLOCK.with(|c| c.set(1_800_000_000));
        let api = Arc::new(Mutex::new(Api::at(clock().to_string())));
        let crashed = Arc::new(Notify::new());
        let requests = Arc::new(Mutex::new(0));
        let ctx = context(&api, fault, &requests, &crashed);
        Self { api, ctx, fault, requests, crashed, script: VecDeque::new() }
    }

    /// A new process: nothing is remembered.
    fn restart(&mut self) {
        self.ctx = context(&self.api, self.fault, &self.requests, &self.crashed);
    }

    pub fn apply(&self, collection: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.api.lock().unwrap().put((collection.to_owned(), name), object).unwrap();
    }

    pub fn object(&self, collection: &str, name: &str) -> Option<Value> {
        self.api.lock().unwrap().objects.get(&(collection.to_owned(), name.to_owned())).cloned()
    }

    pub fn edit(&self, collection: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.api.lock().unwrap().edit(collection, name, change);
    }

    fn all(&self, collection: &str) -> Vec<Value> {
        let api = self.api.lock().unwrap();
        api.objects.iter().filter(|((c, _), _)| c == collection).map(|(_, o)| o.clone()).collect()
    }

    pub fn pass_time(&self, seconds: i64) {
        CLOCK.with(|c| c.set(c.get() + seconds));
        self.api.lock().unwrap().now = clock().to_string();
    }

    /// Every object is reconciled once, from a fresh cache.
    pub async fn operate(&mut self) {
        for storage in self.all(STORAGES) {
            self.one::<BackupStorage>(storage).await;
        }
        for backup in self.all(BACKUPS) {
            self.one::<Backup>(backup).await;
        }
    }

    async fn one<K: Kind>(&mut self, object: Value) {
        let object: K = serde_json::from_value(object).unwrap();
        let pass = Box::pin(reconcile(Arc::new(object), self.ctx.clone()));
        let crashed = self.crashed.clone();
        match select(pass, Box::pin(crashed.notified())).await {
            // An error is repeated in the next round, as the controller would.
            Either::Left(_) => {}
            Either::Right(..) => self.restart(),
        }
    }

    /// Kubernetes and the workers move: Jobs get Pods, workers report and end, deletions are carried out.
    pub fn kubernetes(&mut self) {
        for job in self.all(JOBS) {
            let name = job["metadata"]["name"].as_str().unwrap().to_owned();
            if job["metadata"]["deletionTimestamp"].is_string() {
                self.api.lock().unwrap().objects.remove(&(PODS.to_owned(), format!("{name}-pod")));
                self.edit(JOBS, &name, |j| j["metadata"]["finalizers"] = json!([]));
            } else if job["status"]["conditions"].is_array() {
            } else if self.object(PODS, &format!("{name}-pod")).is_none() {
                let pod = json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("{name}-pod"), "namespace": NS, "labels": job["metadata"]["labels"]},
                    "spec": {"nodeName": "node-1", "containers": []},
                    "status": {"phase": "Running", "containerStatuses": [{
                        "name": "worker", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                        "state": {"running": {"startedAt": clock().to_string()}}}]}
                });
                self.apply(PODS, pod);
            } else {
                self.worker(&job, &name);
            }
        }
    }

    fn worker(&mut self, job: &Value, name: &str) {
        let labels = &job["metadata"]["labels"];
        let (kind, object) =
            (labels["mo-backup.io/kind"].as_str().unwrap(), labels["mo-backup.io/name"].as_str().unwrap());
        let collection = if kind == "Backup" { BACKUPS } else { STORAGES };
        let cleans = name.contains("-purge-") || name.contains("-sweep-");
        let ends = if kind == "Backup" && !cleans { self.script.pop_front().unwrap_or(Ends::Well) } else { Ends::Well };
        let run = &labels["mo-backup.io/run"];
        let report = match &ends {
            Ends::Well => Some(
                json!({"run": run, "outcome": "Succeeded", "retryable": false, "id": "0197b0a4-0000-7000-8000-000000000001",
                    "manifest": {"key": "catalog/0197b0a4", "sha256": "00"},
                "verified": {"level": "Manifest", "present": 8, "hashed": 2}, "warnings": []}),
            ),
            Ends::Badly(reason, retryable) => Some(
                json!({"run": run, "outcome": "Failed", "reason": reason, "message": "it is so", "retryable": retryable, "warnings": []}),
            ),
            Ends::Killed => None,
            Ends::Never => {
                self.script.push_front(Ends::Never);
                return;
            }
        };
        let task = job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap();
        let task: Value = serde_json::from_str(task).unwrap();
        let report = report.map(|mut report| {
            if kind == "BackupStorage" {
                report["backupsOver"] = task["backupsOver"].clone();
            }
            report
        });
        // The fence, as the CRD has it.
        let fenced = self.object(collection, object).is_some_and(|o| o["status"]["run"] == *run);
        if let Some(report) = report.filter(|_| fenced) {
            self.edit(collection, object, |o| o["status"]["report"] = report);
        }
        let well = matches!(ends, Ends::Well);
        self.edit(PODS, &format!("{name}-pod"), |p| {
            p["status"] = json!({"phase": if well { "Succeeded" } else { "Failed" }});
        });
        let end = if well { "Complete" } else { "Failed" };
        self.edit(JOBS, name, |j| {
            j["status"]["conditions"] = json!([{"type": end, "status": "True", "reason": "BackoffLimitExceeded"}]);
        });
    }

    /// Operator and Kubernetes take turns until nothing has changed for a while.
    pub async fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..400 {
            let before = self.api.lock().unwrap().version;
            self.operate().await;
            self.kubernetes();
            let same = self.api.lock().unwrap().version == before;
            quiet = if same { quiet + 1 } else { 0 };
            self.pass_time(if same { 120 } else { 5 });
            // Longer than the longest wait between two attempts.
            if quiet > 3 {
                return;
            }
        }
        panic!("it does not come to rest: {:#?}", self.all(BACKUPS));
    }
}

fn context(
    api: &Arc<Mutex<Api>>,
    fault: Option<(usize, Fault)>,
    requests: &Arc<Mutex<usize>>,
    crashed: &Arc<Notify>,
) -> Arc<Context> {
    let (api, requests, crashed) = (api.clone(), requests.clone(), crashed.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (api, requests, crashed) = (api.clone(), requests.clone(), crashed.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?.to_vec();
            let index = {
                let mut count = requests.lock().unwrap();
                *count += 1;
                *count - 1
            };
            let fault = fault.filter(|(at, _)| *at == index).map(|(_, fault)| fault);
            if fault == Some(Fault::Before) {
                return Err("connection refused".into());
            }
            let answer = api.lock().unwrap().answer(&Request::from_parts(parts, body));
            match fault {
                Some(Fault::ReplyLost) => Err("connection reset".into()),
                Some(Fault::Crash) => {
                    crashed.notify_one();
                    pending().await
                }
                Some(Fault::Before) | None => Ok::<Response<Body>, tower::BoxError>(answer.map(Body::from)),
            }
        }
    });
    let image = WorkerImage { image: "mo-backup:test".into(), pull_policy: None };
    let client = Client::new(service, "default");
    let mut ctx = Context::new(client, image, Vec::new(), Some("test".into()));
    ctx.now = clock;
    Arc::new(ctx)
}

pub fn storage() -> Value {
    json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store", "namespace": NS},
        "spec": {"type": "S3", "s3": {"bucket": "backups", "region": "us-east-1", "credentialsSecret": {"name": "keys"}}}
    })
}

pub fn backup(name: &str) -> Value {
    json!({
        "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": name, "namespace": NS},
        "spec": {
            "cluster": {"address": {"host": "mo.shop"}, "credentialsSecret": {"name": "dump"}},
            "storage": "store",
            "staging": {"volume": {"claim": "shared", "path": "out", "serverPath": "/backup"}}
        }
    })
}
