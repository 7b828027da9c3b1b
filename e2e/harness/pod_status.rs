//! What a Pod's node tells the API server about it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::node::k8s_time;
use super::pod::{RunningPod, Seen};

impl RunningPod {
    pub(super) fn set(&self, container: &str, state: Value) {
        let mut life = self.life();
        let seen = life.containers.entry(container.to_string());
        let seen = seen.or_insert_with(|| Seen { state: Value::Null, restarts: 0, process: None });
        seen.state = state;
    }

    pub(super) fn code(&self, container: &str) -> Option<i64> {
        self.life().containers.get(container)?.state.pointer("/terminated/exitCode")?.as_i64()
    }

    fn status(&self) -> Value {
        let codes: Vec<_> = self.spec.containers.iter().map(|container| self.code(&container.name)).collect();
        let mut inits = self.spec.init_containers.iter().flatten();
        let initialized = inits.all(|container| self.code(&container.name) == Some(0));
        let life = self.life();
        let phase = match life.over {
            true if !life.deadline_hit && codes.iter().all(|code| *code == Some(0)) => "Succeeded",
            true => "Failed",
            false if life.began => "Running",
            false => "Pending",
        };
        let waiting = json!({"waiting": {"reason": "PodInitializing"}});
        let status = |container: &Container| {
            let seen = life.containers.get(&container.name);
            let state = seen.map_or(&waiting, |seen| &seen.state);
            let running = state.get("running").is_some();
            json!({"name": container.name, "image": container.image, "imageID": "", "ready": running,
                   "started": running, "restartCount": seen.map_or(0, |seen| seen.restarts), "state": state})
        };
        let statuses: Vec<_> = self.spec.containers.iter().map(status).collect();
        let ready = statuses.iter().all(|status| status["ready"] == true);
        let conditions =
            [("PodScheduled", true), ("Initialized", initialized), ("ContainersReady", ready), ("Ready", ready)];
        let conditions = conditions.map(|(kind, is)| {
            let status = if is { "True" } else { "False" };
            json!({"type": kind, "status": status, "lastTransitionTime": k8s_time()})
        });
        let mut all = json!({
            "phase": phase, "startTime": self.started, "hostIP": self.machine.address, "podIP": self.machine.address,
            "conditions": conditions, "containerStatuses": statuses,
            "initContainerStatuses": self.spec.init_containers.iter().flatten().map(status).collect::<Vec<_>>(),
        });
        if life.deadline_hit {
            all["reason"] = "DeadlineExceeded".into();
            all["message"] = "Pod was active on the node longer than the specified deadline".into();
        }
        all
    }

    /// Writes the present state. Patient with an API server that is away, since a kubelet is.
    pub(super) async fn report(&self) {
        let api: Api<Pod> = Api::namespaced(self.machine.client.clone(), &self.namespace);
        let _turn = self.reporting.lock().await;
        for _ in 0..240 {
            self.machine.online().await;
            if self.life().abandoned {
                return;
            }
            let body = json!({"metadata": {"uid": self.uid}, "status": self.status()});
            match api.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(body)).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }
}
