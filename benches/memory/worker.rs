//! The worker's memory while it takes a backup: the sequence of the Job with its own store client, against an S3 server
//! in another process and a MatrixOne whose files lie ready.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::Timestamp;
use mo_backup::{
    api::{BackupType, Method, Outcome, ServerCredentials, TlsMode, VerifyLevel},
    plan::BackupId,
    sql::{BackupTarget, Error, Problem, Rows, Server, Session, Statement},
    store::{Bucket, Keys, Patience, Place, Volume},
    task::{BackupTask, ClusterTask, Location, StagingTask, StorageTask, Subject},
    worker::{Ports, Reporter, Staging, Untold, Watch, backup},
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::BUCKET,
    process::{self, Beside, Memory},
    tree,
};

/// Where the server says that it has mounted the staging folder.
const ROOT: &str = "/srv/staging";
/// Folder of a tree that is ready, below the staging folder.
const READY: &str = "ready";

/// Where the repository lies in the bucket.
pub const PREFIX: &str = "prod";

/// Peaks of the workers of one backup, in bytes.
pub struct Peaks {
    /// While it was taken.
    pub backup: u64,
    /// While the command line read all of it back.
    pub check: u64,
    /// While it was restored by copies of the store.
    pub by_store: u64,
    /// While it was restored into frames, through the worker.
    pub framed: u64,
}

/// Takes a backup in a process of its own, and restores it in others.
pub fn measure(objects: usize, parallelism: u16) -> anyhow::Result<Peaks> {
    let folder = tempfile::tempdir()?;
    let staging = folder.path().join("staging");
    tree::make(&staging.join(READY), &folder.path().join("originals"), objects)?;
    println!("a backup of {objects} objects, {parallelism} at a time; all of them are read back");
    let (store, said) = Beside::role(&["bucket"])?;
    let port = store.line(&said)?;
    let began = Instant::now();
    let (objects_text, parallel) = (objects.to_string(), parallelism.to_string());
    let place = staging.to_str().context("a folder with an odd name")?;
    let (worker, said) = Beside::role(&["worker", &objects_text, &parallel, place, &port])?;
    let peak: u64 = worker.line(&said)?.parse()?;
    let seconds = began.elapsed().as_secs();
    println!("       peak {} ({seconds} s)", process::mib(peak));
    let check = crate::cli::check(objects, parallelism, &port)?;
    let restored = |format| crate::restore::measure(objects, parallelism, format, &port);
    Ok(Peaks { backup: peak, check, by_store: restored("raw")?, framed: restored("framed")? })
}

/// What the measured process does.
pub fn work(objects: usize, parallelism: u16, staging: &Path, port: u16) -> anyhow::Result<()> {
    mo_backup::telemetry::start();
    // As `mo-backup worker` does.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        let task = task(parallelism);
        let stop = CancellationToken::new();
        let limits = (task.run_deadline, task.stall_deadline);
        let watch = Watch::new(Arc::new(Silent), Arc::new(Timestamp::now), &task.subject.run, limits, stop.clone());
        anyhow::Ok(backup(&task, &ports(staging, port)?, &watch).await)
    })?;
    anyhow::ensure!(report.said.outcome == Outcome::Succeeded, "the backup failed: {report:?}");
    let told = report.objects.and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    anyhow::ensure!(told > objects, "{told} objects of {objects} are in the backup");
    let hashed = report.verified.as_ref().map(|v| v.hashed).unwrap_or_default();
    anyhow::ensure!(usize::try_from(hashed)? > objects, "{hashed} objects of {objects} were read back");
    let Memory { now: _, peak } = process::memory(std::process::id())?;
    println!("{peak}");
    Ok(())
}

fn ports(staging: &Path, port: u16) -> anyhow::Result<Ports> {
    Ok(Ports {
        repository: Arc::new(Bucket::open(&place(PREFIX, port), Some(&keys()), None)?),
        staging: Some(Staging { objects: Arc::new(Volume::open(staging, "")?), folder: Volume::open(staging, "")? }),
        server: Arc::new(Ready { staging: staging.to_owned() }),
        keys: None,
        patience: Patience::default(),
    })
}

/// A prefix of the bucket behind this port.
pub fn place(prefix: &str, port: u16) -> Place {
    Place {
        bucket: BUCKET.into(),
        prefix: prefix.into(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: "us-east-1".into(),
        path_style: true,
        ..Place::default()
    }
}

/// Any keys will do.
pub fn keys() -> Keys {
    let key = SecretString::from("bench");
    Keys { id: key.clone(), secret: key, session_token: None }
}

/// The repository, as the operator names it.
pub fn storage() -> StorageTask {
    let s3 = serde_json::json!({"bucket": BUCKET, "region": "us-east-1"});
    StorageTask {
        namespace: "ns".into(),
        name: "bucket".into(),
        uid: "storage".into(),
        location: Location::S3(Box::new(serde_json::from_value(s3).unwrap())),
        read_only: false,
        server_credentials: ServerCredentials::FromSecret,
    }
}

/// Whose work it is.
pub fn subject() -> Subject {
    let uid = "00000000-0000-4000-8000-000000000001";
    Subject { namespace: "ns".into(), name: "b".into(), uid: uid.into(), attempt: 1, run: format!("{uid}-1") }
}

fn task(parallelism: u16) -> BackupTask {
    BackupTask {
        subject: subject(),
        id: BackupId::fresh(),
        cluster: ClusterTask {
            host: "mo".into(),
            port: 6001,
            tls: TlsMode::Disabled,
            tls_ca: false,
            server_name: None,
        },
        storage: storage(),
        kind: BackupType::Full,
        base: None,
        method: Method::Staged,
        staging: Some(StagingTask { path: String::new(), server_path: ROOT.into() }),
        parallelism,
        allow_keys_in_sql: false,
        verify: VerifyLevel::Full,
        run_deadline: Duration::from_hours(2),
        stall_deadline: Duration::from_mins(15),
    }
}

/// Nobody listens.
pub struct Silent;

#[async_trait]
impl Reporter for Silent {
    async fn send(&self, _: &serde_json::Value) -> Result<(), Untold> {
        Ok(())
    }
}

/// A MatrixOne whose BACKUP puts a tree that is ready in its place.
#[derive(Clone)]
struct Ready {
    staging: PathBuf,
}

#[async_trait]
impl Server for Ready {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Session for Ready {
    async fn run(&mut self, statement: &Statement) -> Result<Rows, Error> {
        let one = |text: &str| Ok(vec![vec![Some(text.to_owned())]]);
        let controlled =
            |result: serde_json::Value| one(&serde_json::json!({"method": "m", "result": result}).to_string());
        let ok = || serde_json::json!([{"returnStr": "OK"}]);
        match statement {
            Statement::Version => one(self.greeting()),
            Statement::GitVersion => one("01ae8eca8"),
            Statement::CurrentAccount => one("sys"),
            Statement::Identity => one("1795229936705"),
            Statement::GetSnapshot => controlled("1795220000000000000-0".into()),
            Statement::Checkpoint | Statement::HoldMinTs(_) | Statement::ReleaseMinTs => controlled(ok()),
            Statement::Snapshots | Statement::PitrPolicies | Statement::RunningBackups | Statement::KillQuery(_) => {
                Ok(Vec::new())
            }
            Statement::Backup { target: BackupTarget::FileSystem { path }, .. } => self.put(path).map(|()| Vec::new()),
            Statement::Proof(_) => Err(failed("it is not proven")),
            Statement::Backup { target: BackupTarget::S3(_), .. } => Err(failed("it writes to folders only")),
        }
    }

    async fn read(&mut self, statement: &Statement, _: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        self.run(statement).await.map(drop)
    }

    fn connection_id(&self) -> u32 {
        1
    }

    fn greeting(&self) -> &'static str {
        "8.0.30-MatrixOne-v1.2.4"
    }
}

impl Ready {
    fn put(&self, path: &str) -> Result<(), Error> {
        let below = path.strip_prefix(ROOT).ok_or_else(|| failed("it is elsewhere"))?.trim_matches('/');
        let target = self.staging.join(below);
        let made = std::fs::create_dir_all(target.parent().unwrap_or(&self.staging));
        made.and_then(|()| std::fs::rename(self.staging.join(READY), target)).map_err(|e| failed(&e.to_string()))
    }
}

fn failed(detail: &str) -> Error {
    Error { problem: Problem::Refused, verb: "play a MatrixOne".into(), code: 0, detail: detail.into() }
}
