//! A proof between a server and what is told of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mo_backup::{
    api::{Outcome, RestoreProof, RestoreReport, TlsMode},
    sql::Server,
    task::{ClusterTask, ProofTask, Subject},
    worker::{Login, ProofPorts, Reporter, Untold, Watch, prove},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::double::{AT, BOOT, DONE, Double, IDENTITY};

/// Remembers what was told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Value>>);

#[async_trait]
impl Reporter for Told {
    async fn send(&self, status: &Value) -> Result<(), Untold> {
        self.0.lock().unwrap().push(status.clone());
        Ok(())
    }
}

pub fn seconds(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The version that was backed up, where a test says nothing: that of the new server.
const SAME: &str = "the same";

pub fn task() -> ProofTask {
    ProofTask {
        subject: Subject { namespace: "ns".into(), name: "r".into(), uid: "u".into(), attempt: 3, run: "u-3".into() },
        cluster: ClusterTask {
            host: "mo".into(),
            port: 6001,
            tls: TlsMode::Disabled,
            tls_ca: false,
            server_name: None,
        },
        logins: vec!["tenant".into()],
        restored: Box::new(RestoreReport {
            server_version: Some(SAME.into()),
            server_identity: Some(IDENTITY.into()),
            at_time: Some(seconds(AT).strftime("%Y-%m-%d %H:%M:%S").to_string()),
            complete_time: Some(Time(seconds(DONE))),
            ..RestoreReport::default()
        }),
        boot_deadline: Duration::from_mins(10),
        run_deadline: Duration::from_hours(1),
        stall_deadline: Duration::from_mins(15),
    }
}

/// Proves the server, with a login of account tenant1 besides.
pub async fn run(double: &Double, task: &ProofTask) -> RestoreProof {
    told(double, task).await.0
}

pub async fn told(double: &Double, task: &ProofTask) -> (RestoreProof, Vec<Value>) {
    let mut task = task.clone();
    if task.restored.server_version.as_deref() == Some(SAME) {
        task.restored.server_version = Some(double.state().version.into());
    }
    let server: Arc<dyn Server> = Arc::new(double.clone());
    let logins = vec![Login { secret: "tenant".into(), server: Arc::new(double.of("tenant1")) }];
    let ports = ProofPorts { server, logins };
    let told = Arc::new(Told::default());
    let clock = Arc::new(|| seconds(BOOT + 20));
    let limits = (task.run_deadline, task.stall_deadline);
    let watch = Watch::new(told.clone(), clock, &task.subject.run, limits, CancellationToken::new());
    let report = prove(&task, &ports, &watch).await;
    let told = told.0.lock().unwrap().clone();
    (report, told)
}

/// Fails unless it was proven.
pub fn assert_proven(report: &RestoreProof) {
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
}

/// Fails unless it ended with this reason, for good or not. Gives the message.
pub fn assert_failed(report: &RestoreProof, reason: &str, retryable: bool) -> String {
    let said = &report.said;
    assert_eq!(
        (said.outcome, said.reason.as_deref(), said.retryable),
        (Outcome::Failed, Some(reason), retryable),
        "{said:?}"
    );
    said.message.clone().unwrap()
}
