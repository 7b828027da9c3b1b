//! The life of one Pod on a process node.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::node::{Machine, k8s_time, pod_folder};
use super::run_folder::{Identity, tail};
use super::{container, volume};

pub struct RunningPod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub(super) machine: Arc<Machine>,
    object: Pod,
    pub(super) spec: PodSpec,
    folder: PathBuf,
    pub(super) started: String,
    pub(super) life: Mutex<Life>,
    /// One report at a time, so that an older state never overwrites a newer one.
    pub(super) reporting: tokio::sync::Mutex<()>,
    finished: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Life {
    pub(super) containers: BTreeMap<String, Seen>,
    pub(super) volumes: HashMap<String, PathBuf>,
    pub(super) began: bool,
    pub(super) stopping: bool,
    pub(super) deadline_hit: bool,
    /// The machine was reset: nothing of this Pod is told to anybody any more.
    pub(super) abandoned: bool,
    pub(super) over: bool,
    pub(super) deleting: Option<i64>,
}

pub(super) struct Seen {
    pub(super) state: Value,
    pub(super) restarts: u32,
    pub(super) process: Option<Identity>,
}

impl RunningPod {
    pub fn new(machine: Arc<Machine>, object: Pod) -> Arc<RunningPod> {
        let (finished, _) = watch::channel(false);
        Arc::new(RunningPod {
            uid: object.uid().unwrap_or_default(),
            namespace: volume::namespace(&object),
            name: object.name_any(),
            folder: pod_folder(&machine, &object),
            spec: object.spec.clone().unwrap_or_default(),
            machine,
            object,
            started: k8s_time(),
            life: Mutex::default(),
            reporting: tokio::sync::Mutex::default(),
            finished,
        })
    }

    pub(super) fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().expect("the life of a pod")
    }

    fn policy(&self) -> &str {
        self.spec.restart_policy.as_deref().unwrap_or("Always")
    }

    // ---- what the node tells it

    /// Called once, when the node first sees the Pod.
    pub fn begin(self: Arc<Self>) {
        let phase = self.object.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let dying = self.object.metadata.deletion_timestamp.is_some();
        match phase.as_str() {
            "Running" if self.policy() == "Never" => {
                self.life().over = true;
                tokio::spawn(async move { self.lost_processes().await });
            }
            "Pending" | "Running" if !dying => {
                tokio::spawn(async move { self.run().await });
            }
            _ => drop(self.finished.send_replace(true)),
        }
    }

    /// It was running when the machine was reset.
    async fn lost_processes(&self) {
        for container in &self.spec.containers {
            let terminated = json!({"exitCode": 137, "reason": "ContainerStatusUnknown",
                                    "message": "The container could not be located when the pod was terminated"});
            self.set(&container.name, json!({"terminated": terminated}));
        }
        self.report().await;
        self.finished.send_replace(true);
    }

    /// The Pod has a deletion timestamp. A shorter grace than before counts.
    pub fn delete(self: &Arc<Self>, grace: i64) {
        {
            let mut life = self.life();
            if life.deleting.is_some_and(|before| before <= grace) {
                return;
            }
            life.deleting = Some(grace);
        }
        let pod = self.clone();
        tokio::spawn(async move {
            pod.stop(Duration::from_secs(u64::try_from(grace).unwrap_or(0))).await;
            // The final phase is reported before the object goes.
            let _ = tokio::time::timeout(Duration::from_secs(15), pod.ended()).await;
            pod.remove_object().await;
            pod.clean();
        });
    }

    /// The object is gone from the API, by force or while the node was away.
    pub fn gone(self: Arc<Self>) {
        tokio::spawn(async move {
            self.stop(Duration::from_secs(1)).await;
            self.clean();
        });
    }

    pub fn abandon(&self) {
        let mut life = self.life();
        life.abandoned = true;
        life.stopping = true;
    }

    pub fn signal(&self, signal: Signal) -> bool {
        self.processes().into_iter().filter(|process| process.signal_group(signal)).count() > 0
    }

    pub fn processes(&self) -> Vec<Identity> {
        let life = self.life();
        life.containers.values().filter_map(|seen| seen.process).filter(|process| process.alive()).collect()
    }

    pub fn logs(&self) -> String {
        let all = self.spec.init_containers.iter().flatten().chain(&self.spec.containers);
        all.map(|container| tail(&self.log(&container.name), usize::MAX) + "\n").collect()
    }

    pub fn tail(&self, lines: usize) -> String {
        let all = self.spec.init_containers.iter().flatten().chain(&self.spec.containers);
        let part = |container: &Container| {
            let text = tail(&self.log(&container.name), lines);
            format!("--- {}/{} on {}:\n{text}\n", self.name, container.name, self.machine.name)
        };
        all.map(part).collect()
    }

    fn log(&self, container: &str) -> PathBuf {
        self.folder.join(format!("{container}.log"))
    }

    // ---- running

    async fn run(self: Arc<Self>) {
        if let Some(seconds) = self.spec.active_deadline_seconds {
            let pod = Arc::downgrade(&self);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).await;
                if let Some(pod) = pod.upgrade() {
                    pod.deadline().await;
                }
            });
        }
        for container in self.spec.init_containers.iter().flatten() {
            while self.once(container).await != 0 && !self.life().stopping && self.policy() != "Never" {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if self.code(&container.name) != Some(0) {
                return self.finish().await;
            }
        }
        futures::future::join_all(self.spec.containers.iter().map(|container| self.keep(container))).await;
        self.finish().await;
    }

    async fn finish(&self) {
        self.life().over = true;
        self.report().await;
        self.finished.send_replace(true);
    }

    async fn deadline(&self) {
        if *self.finished.borrow() {
            return;
        }
        self.life().deadline_hit = true;
        let grace = self.spec.termination_grace_period_seconds.unwrap_or(30);
        self.stop(Duration::from_secs(u64::try_from(grace).unwrap_or(0))).await;
    }

    /// Runs a container again as restartPolicy asks.
    async fn keep(&self, container: &Container) {
        let mut pause = Duration::from_secs(1);
        loop {
            let code = self.once(container).await;
            let policy = self.policy();
            if self.life().stopping || policy == "Never" || (policy == "OnFailure" && code == 0) {
                return;
            }
            if let Some(seen) = self.life().containers.get_mut(&container.name) {
                seen.restarts += 1;
            }
            self.set(&container.name, json!({"waiting": {"reason": "CrashLoopBackOff"}}));
            self.report().await;
            tokio::time::sleep(pause).await;
            pause = Duration::from_secs(10).min(pause * 2);
        }
    }

    /// Runs a container to its end and returns its exit code.
    async fn once(&self, container: &Container) -> i32 {
        let folder = self.folder.join(&container.name);
        let Some((env, script)) = self.prepared(container, &folder).await else { return 137 };
        let began = k8s_time();
        let mut child = match self.spawn(container, &script, &env) {
            Ok(child) => child,
            Err(error) => {
                let message = format!("{error:#}");
                let state = json!({"exitCode": 128, "reason": "StartError", "message": message});
                self.set(&container.name, json!({"terminated": state}));
                return 128;
            }
        };
        if let Some(process) = child.id().and_then(Identity::of) {
            let _ = process.record(&folder.join("pid"));
            self.started(&container.name, process, &began);
        }
        self.report().await;
        let status = child.wait().await;
        let code = status.map_or(137, |status| {
            status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(9))
        });
        let bytes = std::fs::read(folder.join("termination-log")).unwrap_or_default();
        let message = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
        let reason = if code == 0 { "Completed" } else { "Error" };
        let state = json!({"exitCode": code, "reason": reason, "message": message,
                           "startedAt": began, "finishedAt": k8s_time()});
        self.set(&container.name, json!({"terminated": state}));
        code
    }

    fn started(&self, container: &str, process: Identity, began: &str) {
        self.set(container, json!({"running": {"startedAt": began}}));
        let mut life = self.life();
        life.began = life.began || self.spec.containers.iter().any(|other| other.name == container);
        if let Some(seen) = life.containers.get_mut(container) {
            seen.process = Some(process);
        }
        // The order to stop may have come while the process was being started.
        if life.stopping {
            process.signal_group(Signal::TERM);
        }
    }

    /// Waits for what the container needs, as a kubelet does. None when the Pod is to stop.
    async fn prepared(
        &self,
        container: &Container,
        folder: &std::path::Path,
    ) -> Option<(container::Environment, String)> {
        let mut tries = 0;
        loop {
            if self.life().stopping {
                return None;
            }
            let (reason, message) = match self.prepare(container, folder).await {
                Ok(Some(ready)) => return Some(ready),
                Ok(None) => ("ImagePullBackOff", format!("no image {}", container.image.clone().unwrap_or_default())),
                Err(error) => ("CreateContainerConfigError", format!("{error:#}")),
            };
            tries += 1;
            // A just-bound Pod's Secrets are forbidden for some 100 ms, until the authorizer has seen the Pod.
            if tries % 10 == 0 {
                self.set(&container.name, json!({"waiting": {"reason": reason, "message": message}}));
                self.report().await;
            }
            tokio::time::sleep(Duration::from_millis(if tries > 20 { 1000 } else { 150 })).await;
        }
    }

    async fn prepare(
        &self,
        container: &Container,
        folder: &std::path::Path,
    ) -> anyhow::Result<Option<(container::Environment, String)>> {
        std::fs::create_dir_all(folder)?;
        self.machine.online().await;
        let env = container::environment(&self.machine, &self.object, container).await?;
        let Some(argv) = container::argv(&self.machine, container, &env) else { return Ok(None) };
        for wanted in self.spec.volumes.iter().flatten() {
            if !self.life().volumes.contains_key(&wanted.name) {
                let path = volume::make(&self.machine, &self.object, wanted, &self.folder).await?;
                self.life().volumes.insert(wanted.name.clone(), path);
            }
        }
        let volumes = self.life().volumes.clone();
        let script = container::isolation(&self.machine, &self.spec, container, &argv, folder, &volumes)?;
        Ok(Some((env, script)))
    }

    fn spawn(
        &self,
        container: &Container,
        script: &str,
        env: &container::Environment,
    ) -> anyhow::Result<tokio::process::Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(&container.name))?;
        let mut command = tokio::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).env_clear().envs(env);
        command.current_dir("/").process_group(0);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    // ---- stopping

    async fn stop(&self, grace: Duration) {
        self.life().stopping = true;
        self.signal(Signal::TERM);
        let end = Instant::now() + grace;
        while Instant::now() < end && !self.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.signal(Signal::KILL);
    }

    async fn ended(&self) {
        let _ = self.finished.subscribe().wait_for(|finished| *finished).await;
    }

    async fn remove_object(&self) {
        let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.machine.client.clone(), &self.namespace);
        loop {
            self.machine.online().await;
            match api.delete(&self.name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code < 500 => return,
                Err(_) if self.life().abandoned => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// Unmounts sized emptyDirs. A lazy unmount, since a container may still be on its way out.
    fn clean(&self) {
        let volumes = self.life().volumes.clone();
        for path in volumes.values().filter(|path| path.starts_with(&self.folder)) {
            let quiet = std::process::Stdio::null();
            let _ = std::process::Command::new("umount").arg("-l").arg(path).stderr(quiet).status();
        }
    }
}
