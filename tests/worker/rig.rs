//! One worker, its ports, and what is said about it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use mo_backup::{
    api::{BackupReport, BackupType, Method, S3Location, ServerCredentials, TlsMode, VerifyLevel},
    plan::{BackupId, Catalog},
    store::{Volume, memory::Memory},
    task::{BackupTask, ClusterTask, Location, StagingTask, StorageTask, Subject},
    worker::{Ports, Reporter, Staging, Untold, Watch, backup},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::double::{Double, Target};

/// Where the server sees the staging folder.
pub const ROOT: &str = "/srv/staging";

/// Remembers what was told, and answers as it is told to.
#[derive(Default)]
pub struct Told {
    pub said: Mutex<Vec<Value>>,
    pub superseded: Mutex<Option<usize>>,
}

#[async_trait]
impl Reporter for Told {
    async fn send(&self, status: &Value) -> Result<(), Untold> {
        let mut said = self.said.lock().unwrap();
        said.push(status.clone());
        match *self.superseded.lock().unwrap() {
            Some(after) if said.len() > after => Err(Untold::Superseded("run u-9 has taken over".into())),
            _ => Ok(()),
        }
    }
}

/// A repository, a staging folder, a server and an object.
#[derive(Clone)]
pub struct Rig {
    pub repository: Memory,
    pub folder: Arc<tempfile::TempDir>,
    pub server: Double,
    pub told: Arc<Told>,
    pub id: BackupId,
    pub uid: String,
}

impl Rig {
    pub fn new(version: &'static str) -> Self {
        let (repository, folder) = (Memory::new(), Arc::new(tempfile::tempdir().unwrap()));
        let target = Target::Folder(folder.path().into());
        let server = Double::new(version, version == "v1.2.4", ROOT, target);
        let uid = uuid::Uuid::new_v4().to_string();
        Self { repository, folder, server, told: Arc::default(), id: BackupId::fresh(), uid }
    }

    /// The next object of the same storage and server.
    pub fn next(&self) -> Self {
        Self { id: BackupId::fresh(), uid: uuid::Uuid::new_v4().to_string(), told: Arc::default(), ..self.clone() }
    }

    pub fn task(&self, attempt: u32, kind: BackupType) -> BackupTask {
        let run = format!("{}-{attempt}", self.uid);
        BackupTask {
            subject: Subject { namespace: "ns".into(), name: "b".into(), uid: self.uid.clone(), attempt, run },
            id: self.id,
            cluster: ClusterTask {
                host: "mo".into(),
                port: 6001,
                tls: TlsMode::Disabled,
                tls_ca: false,
                server_name: None,
            },
            storage: storage(),
            kind,
            base: None,
            method: Method::Staged,
            staging: Some(StagingTask { path: String::new(), server_path: ROOT.into() }),
            parallelism: 4,
            allow_keys_in_sql: false,
            verify: VerifyLevel::Full,
            run_deadline: Duration::from_secs(3600),
            stall_deadline: Duration::from_secs(900),
        }
    }

    pub fn ports(&self) -> Ports {
        Ports {
            repository: Arc::new(self.repository.clone()),
            staging: Some(Staging {
                objects: Arc::new(Volume::open(self.folder.path(), "").unwrap()),
                folder: self.folder.path().into(),
            }),
            server: Arc::new(self.server.clone()),
            keys: None,
        }
    }

    pub fn watch(&self, task: &BackupTask, stop: CancellationToken) -> Watch {
        let clock = Arc::new(|| Timestamp::UNIX_EPOCH + Duration::from_secs(1_795_220_000));
        let limits = (task.run_deadline, task.stall_deadline);
        Watch::new(self.told.clone(), clock, &task.subject.run, limits, stop).with_pace(Duration::from_millis(1))
    }

    pub async fn run(&self, task: &BackupTask) -> BackupReport {
        let watch = self.watch(task, CancellationToken::new());
        backup(task, &self.ports(), &watch).await
    }

    /// Files in the staging folder.
    pub fn staged(&self) -> Vec<String> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                match entry.is_dir() {
                    true => folders.push(entry),
                    false => files.push(entry.display().to_string()),
                }
            }
        }
        files
    }

    pub fn catalog(&self) -> Option<Catalog> {
        let found = self.repository.get(&format!("catalog/{}.json", self.id))?;
        Some(serde_json::from_slice(&found).unwrap())
    }
}

pub fn storage() -> StorageTask {
    let s3 =
        serde_json::json!({"bucket": "backups", "prefix": "prod", "region": "us-east-1", "endpoint": "http://s3:9000"});
    StorageTask {
        namespace: "ns".into(),
        name: "main".into(),
        uid: "storage-uid".into(),
        location: Location::S3(Box::new(serde_json::from_value::<S3Location>(s3).unwrap())),
        read_only: false,
        server_credentials: ServerCredentials::FromSecret,
    }
}
