//! A node that runs Pods as processes of this machine, in place of a kubelet: every moment of a Pod's life can be
//! steered. It speaks with the node's own credential, so the Node authorizer decides which Secrets it may read.
//!
//! Left out: probes (a running container counts as ready), logs and exec through the API, a Pod network (Pods share the
//! machine's), memory limits, workingDir.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::container::Image;
use super::pod::RunningPod;
use super::run_folder::Identity;
use super::volume;

/// What the Pods of a node need to know of it.
pub struct Machine {
    pub name: String,
    pub client: Client,
    pub address: String,
    pub folder: PathBuf,
    pub images: HashMap<String, Image>,
    port: AtomicU16,
    online: watch::Sender<bool>,
}

impl Machine {
    /// The port at which Pods started from now on find the API server.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Waits until the node reaches the API server.
    pub async fn online(&self) {
        let mut online = self.online.subscribe();
        let _ = online.wait_for(|online| *online).await;
    }
}

pub struct Options {
    pub name: String,
    pub client: Client,
    pub address: String,
    pub port: u16,
    pub folder: PathBuf,
    pub images: HashMap<String, Image>,
    /// The Lease is renewed every quarter of it.
    pub lease: Duration,
}

type Pods = Mutex<HashMap<String, Arc<RunningPod>>>;

pub struct Node {
    machine: Arc<Machine>,
    pods: Arc<Pods>,
    /// Pods from before a reboot, kept for their logs.
    past: Mutex<Vec<Arc<RunningPod>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    lease: Duration,
}

impl Node {
    pub async fn start(options: Options) -> anyhow::Result<Node> {
        let Options { name, client, address, port, folder, images, lease } = options;
        let (online, _) = watch::channel(true);
        let machine = Machine { name, client, address, folder, images, port: AtomicU16::new(port), online };
        let machine = Arc::new(machine);
        end_leftovers(&machine);
        register(&machine).await.with_context(|| format!("failed to register {}", machine.name))?;
        let node = Node { machine, pods: Arc::default(), past: Mutex::default(), tasks: Mutex::default(), lease };
        node.begin();
        Ok(node)
    }

    fn begin(&self) {
        let heartbeat = tokio::spawn(heartbeat(self.machine.clone(), self.lease));
        let watch = tokio::spawn(watch_pods(self.machine.clone(), self.pods.clone()));
        self.tasks.lock().expect("tasks").extend([heartbeat, watch]);
    }

    fn end(&self) {
        self.tasks.lock().expect("tasks").drain(..).for_each(|task| task.abort());
    }

    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// The node no longer reaches the API server; its processes live on.
    pub fn lose(&self) {
        self.machine.online.send_replace(false);
    }

    /// The network is back: the node reports what happened meanwhile and ends what was deleted.
    pub fn heal(&self) {
        self.machine.online.send_replace(true);
    }

    /// The machine is reset: every process dies unheard, Pods that were running end with 137 ContainerStatusUnknown.
    pub async fn reboot(&self) -> anyhow::Result<()> {
        self.end();
        let pods: Vec<_> = self.pods.lock().expect("pods").drain().map(|(_, pod)| pod).collect();
        for pod in &pods {
            pod.abandon();
        }
        self.past.lock().expect("past").extend(pods);
        end_leftovers(&self.machine);
        self.heal();
        register(&self.machine).await?;
        self.begin();
        Ok(())
    }

    /// Lets Pods started from now on find the API server at another port, such as a fault proxy's.
    pub fn set_api_port(&self, port: u16) {
        self.machine.port.store(port, Ordering::Relaxed);
    }

    /// Signals every live container of a Pod. False when there is none.
    pub fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> bool {
        let found = self.find(namespace, pod);
        found.iter().filter(|pod| pod.signal(signal)).count() > 0
    }

    /// Signals every live container of a namespace, from a hook of a fault proxy.
    pub fn striker(&self, namespace: &str, signal: Signal) -> impl Fn() + Send + Sync + use<> {
        let (pods, namespace) = (self.pods.clone(), namespace.to_string());
        move || {
            for pod in pods.lock().expect("pods").values().filter(|pod| pod.namespace == namespace) {
                pod.signal(signal);
            }
        }
    }

    /// The processes of a Pod that are alive now.
    pub fn processes(&self, namespace: &str, pod: &str) -> Vec<Identity> {
        self.find(namespace, pod).iter().flat_map(|pod| pod.processes()).collect()
    }

    /// What the containers of a Pod have said, also after it was deleted.
    pub fn logs(&self, namespace: &str, pod: &str) -> String {
        self.find(namespace, pod).iter().map(|pod| pod.logs()).collect()
    }

    /// The last lines of every Pod of a namespace that ever ran here.
    pub fn tails(&self, namespace: &str, lines: usize) -> String {
        self.all().iter().filter(|pod| pod.namespace == namespace).map(|pod| pod.tail(lines)).collect()
    }

    fn all(&self) -> Vec<Arc<RunningPod>> {
        let past = self.past.lock().expect("past").clone();
        past.into_iter().chain(self.pods.lock().expect("pods").values().cloned()).collect()
    }

    fn find(&self, namespace: &str, name: &str) -> Vec<Arc<RunningPod>> {
        self.all().into_iter().filter(|pod| pod.namespace == namespace && pod.name == name).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
        for pod in self.pods.lock().expect("pods").values() {
            pod.abandon();
        }
        end_leftovers(&self.machine);
    }
}

/// Ends what is recorded as running on this node.
fn end_leftovers(machine: &Machine) {
    let pods = std::fs::read_dir(&machine.folder).into_iter().flatten().flatten();
    let containers = pods.flat_map(|pod| std::fs::read_dir(pod.path()).into_iter().flatten().flatten());
    for container in containers {
        let file = container.path().join("pid");
        if let Some(process) = Identity::read(&file) {
            process.signal_group(Signal::KILL);
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn register(machine: &Machine) -> kube::Result<()> {
    let nodes: Api<NodeObject> = Api::all(machine.client.clone());
    let name = &machine.name;
    let mut object = NodeObject::default();
    object.metadata.name = Some(name.clone());
    for (key, value) in [("hostname", name.as_str()), ("os", "linux"), ("arch", "amd64")] {
        object.labels_mut().insert(format!("kubernetes.io/{key}"), value.into());
    }
    match nodes.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    let room = json!({"cpu": "64", "memory": "64Gi", "pods": "250", "ephemeral-storage": "100Gi"});
    let now = k8s_time();
    let condition = |(kind, status): (&str, &str)| {
        json!({"type": kind, "status": status, "reason": "ProcessNode", "message": "",
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    let conditions =
        [("Ready", "True"), ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False")];
    let status = json!({"status": {"capacity": room, "allocatable": room,
                                   "addresses": [{"type": "InternalIP", "address": machine.address}],
                                   "conditions": conditions.map(condition)}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    Ok(())
}

/// Whether the cluster takes the node for ready. Not being told is no reason to say it again.
async fn is_ready(nodes: &Api<NodeObject>, name: &str) -> bool {
    let Ok(Some(node)) = nodes.get_opt(name).await else { return true };
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn heartbeat(machine: Arc<Machine>, lease: Duration) {
    let leases: Api<Lease> = Api::namespaced(machine.client.clone(), "kube-node-lease");
    let nodes: Api<NodeObject> = Api::all(machine.client.clone());
    loop {
        machine.online().await;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let spec = json!({"holderIdentity": machine.name, "leaseDurationSeconds": lease.as_secs(), "renewTime": now});
        let patch = Patch::Merge(json!({"spec": spec}));
        if let Err(kube::Error::Api(status)) = leases.patch(&machine.name, &PatchParams::default(), &patch).await
            && status.code == 404
        {
            let metadata = json!({"name": machine.name, "namespace": "kube-node-lease"});
            let object = json!({"metadata": metadata, "spec": spec});
            let object = serde_json::from_value(object).expect("a lease");
            let _ = leases.create(&PostParams::default(), &object).await;
        }
        // A busy machine can be late once, and what then counts as lost must count as found when it is back.
        if !is_ready(&nodes, &machine.name).await {
            let _ = register(&machine).await;
        }
        tokio::time::sleep(lease / 4).await;
    }
}

async fn watch_pods(machine: Arc<Machine>, pods: Arc<Pods>) {
    let api: Api<Pod> = Api::all(machine.client.clone());
    loop {
        machine.online().await;
        let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", machine.name));
        let mut events = watcher(api.clone(), mine).default_backoff().boxed();
        let mut offline = machine.online.subscribe();
        let mut listed = Vec::new();
        loop {
            let event = tokio::select! {
                event = events.try_next() => event,
                _ = offline.wait_for(|online| !online) => break,
            };
            match event {
                Ok(Some(event)) => seen(&machine, &pods, &mut listed, event),
                Ok(None) => break,
                // The watcher lists again by itself, after a pause.
                Err(_) => {}
            }
        }
    }
}

fn seen(machine: &Arc<Machine>, pods: &Arc<Pods>, listed: &mut Vec<String>, event: watcher::Event<Pod>) {
    let known = |uid: &str| pods.lock().expect("pods").get(uid).cloned();
    match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(pod) => {
            listed.extend(pod.uid());
            applied(machine, pods, pod);
        }
        watcher::Event::Apply(pod) => applied(machine, pods, pod),
        watcher::Event::InitDone => {
            let all: Vec<_> = pods.lock().expect("pods").values().cloned().collect();
            all.into_iter().filter(|pod| !listed.contains(&pod.uid)).for_each(RunningPod::gone);
        }
        watcher::Event::Delete(pod) => {
            if let Some(pod) = known(&pod.uid().unwrap_or_default()) {
                pod.gone();
            }
        }
    }
}

fn applied(machine: &Arc<Machine>, pods: &Arc<Pods>, object: Pod) {
    let uid = object.uid().unwrap_or_default();
    let known = pods.lock().expect("pods").get(&uid).cloned();
    let pod = known.unwrap_or_else(|| {
        let pod = RunningPod::new(machine.clone(), object.clone());
        pods.lock().expect("pods").insert(uid, pod.clone());
        pod.clone().begin();
        pod
    });
    if object.metadata.deletion_timestamp.is_some() {
        pod.delete(object.metadata.deletion_grace_period_seconds.unwrap_or(30));
    }
}

/// Now, as Kubernetes writes it.
pub fn k8s_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The folder of one Pod.
pub fn pod_folder(machine: &Machine, pod: &Pod) -> PathBuf {
    machine.folder.join(pod.uid().unwrap_or_else(|| volume::namespace(pod)))
}
