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
    store::{Keys, Patience, Volume, memory::Memory},
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
    /// From this step on another run has taken over.
    pub superseded: Mutex<Option<&'static str>>,
}

#[async_trait]
impl Reporter for Told {
    async fn send(&self, status: &Value) -> Result<(), Untold> {
        self.said.lock().unwrap().push(status.clone());
        match *self.superseded.lock().unwrap() {
            Some(step) if status["progress"]["step"] == step => {
                Err(Untold::Superseded("run u-9 has taken over".into()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A repository, a staging folder, a server and an object.
#[derive(Clone)]
pub struct Rig {
    pub repository: Memory,
    pub folder: Arc<tempfile::TempDir>,
    pub server: Double,
    pub version: &'static str,
    pub told: Arc<Told>,
    pub id: BackupId,
    pub uid: String,
    pub patience: Patience,
    /// The server writes to the bucket itself.
    pub direct: bool,
}

impl Rig {
    pub fn new(version: &'static str) -> Self {
        let (repository, folder) = (Memory::new(), Arc::new(folder()));
        let target = Target::Folder(folder.path().into());
        let server = Double::new(version, version == "v1.2.4", ROOT, target);
        let uid = uuid::Uuid::new_v4().to_string();
        Self {
            repository,
            folder,
            server,
            version,
            told: Arc::default(),
            id: BackupId::fresh(),
            uid,
            patience: Patience::default(),
            direct: false,
        }
    }

    /// A server that writes to the bucket itself.
    pub fn direct(version: &'static str) -> Self {
        let repository = Memory::new();
        let server = Double::new(version, false, "", Target::Bucket(repository.clone()));
        Self { repository, server, direct: true, ..Self::new(version) }
    }

    /// The same object in a world of its own: what is done to the one does not touch the other.
    pub fn copied(&self) -> Self {
        let fresh = Self::new(self.version);
        fresh.server.advance();
        for key in self.repository.keys() {
            fresh.repository.set(&key, self.repository.get(&key).unwrap());
        }
        Self { id: self.id, uid: self.uid.clone(), ..fresh }
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
            method: if self.direct { Method::Direct } else { Method::Staged },
            staging: (!self.direct).then(|| StagingTask { path: String::new(), server_path: ROOT.into() }),
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
            staging: (!self.direct).then(|| {
                let folder = Volume::open(self.folder.path(), "").unwrap();
                Staging { objects: Arc::new(folder.clone()), folder }
            }),
            server: Arc::new(self.server.clone()),
            keys: self.direct.then(keys),
            patience: self.patience,
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

    /// Files and folders in the staging folder.
    pub fn staged(&self) -> Vec<String> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                files.push(entry.display().to_string());
                folders.extend(entry.is_dir().then_some(entry));
            }
        }
        files
    }

    /// Whether a BACKUP was ever sent.
    pub fn sent(&self) -> bool {
        self.server.statements().iter().any(|s| s.starts_with("BACKUP "))
    }

    /// Everything that was said about it, and all that lies in the repository in clear.
    pub fn words(&self) -> String {
        let said = self.told.said.lock().unwrap();
        said.iter().map(ToString::to_string).chain(self.server.calls()).collect()
    }

    pub fn catalog(&self) -> Option<Catalog> {
        let found = self.repository.get(&format!("catalog/{}.json", self.id))?;
        Some(serde_json::from_slice(&found).unwrap())
    }
}

/// Keys that are never to be seen.
pub fn keys() -> Keys {
    let canary = |text: &str| text.to_owned().into();
    Keys { id: canary("CANARYID"), secret: canary("CANARYSECRET"), session_token: None }
}

/// A folder in memory where there is one: what is tested is not the disk.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
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
