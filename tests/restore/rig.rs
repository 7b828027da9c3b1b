//! A repository with a full and an incremental backup, a target, and a restore between them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mo_backup::{
    api::{Format, Outcome, Placement, RestoreReport, ServerCredentials},
    plan::{Catalog, Framing, RepositoryId},
    store::{Objects, Patience, memory::Memory},
    task::{Choice, Location, RestoreTask, StorageTask, Subject, TargetTask, WhoseTask},
    worker::{Reporter, RestorePorts, Untold, Watch, restore},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::repository::{Tree, content, name, own, repository, stored, take};

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

/// Two backups, and where they are restored to.
pub struct Rig {
    pub source: Memory,
    pub target: Memory,
    pub repository: RepositoryId,
    pub full: Catalog,
    pub incremental: Catalog,
    pub trees: [Tree; 2],
    pub format: Format,
    pub told: Arc<Told>,
}

/// Times of the two backups, in seconds.
pub const TIMES: [i64; 2] = [1_795_220_000, 1_795_230_000];

impl Rig {
    /// Backups in these frames, to be restored in that format.
    pub async fn new(framing: Framing, format: Format) -> Self {
        let full: Tree = (0..5).map(|n| (name(n), content(n, 700 + usize::from(n) * 900))).collect();
        let added: Tree = (5..8).map(|n| (name(n), content(n, 3000))).collect();
        Self::of((full, own(1)), (added, own(2)), (framing, format)).await
    }

    /// The same with fewer and smaller objects, for fixtures.
    pub async fn small(framing: Framing, format: Format) -> Self {
        let tree = |numbers: &[u8]| numbers.iter().map(|n| (name(*n), content(*n, 60))).collect();
        let kept =
            |(path, _): &(String, Vec<u8>)| ["mo_meta", "hakeeper/", "tae/gc/"].iter().any(|p| path.starts_with(p));
        let own = |at| own(at).into_iter().filter(kept).collect();
        Self::of((tree(&[0, 3]), own(1)), (tree(&[6]), own(2)), (framing, format)).await
    }

    async fn of(
        (mut full, own_full): (Tree, Tree),
        (mut added, own_added): (Tree, Tree),
        (framing, format): (Framing, Format),
    ) -> Self {
        let (source, repository) = repository();
        // The first two objects are gone since.
        let reused: Tree =
            full.iter().filter(|(path, _)| **path > name(1)).map(|(p, c)| (p.clone(), c.clone())).collect();
        full.extend(own_full);
        added.extend(own_added);
        let first = take(&source, repository, (TIMES[0], framing), &full, None).await;
        let second = take(&source, repository, (TIMES[1], framing), &added, Some((&first, &reused))).await;
        added.extend(reused);
        Self {
            source,
            target: Memory::new(),
            repository,
            full: first,
            incremental: second,
            trees: [full, added],
            format,
            told: Arc::default(),
        }
    }

    /// The same repository, and an empty target.
    pub fn fresh(&self) -> Self {
        let source = Memory::new();
        for key in self.source.keys() {
            source.set(&key, self.source.get(&key).unwrap());
        }
        Self {
            source,
            target: Memory::new(),
            full: self.full.clone(),
            incremental: self.incremental.clone(),
            trees: self.trees.clone(),
            told: Arc::default(),
            ..*self
        }
    }

    pub fn task(&self, choice: Choice) -> RestoreTask {
        let s3 = |prefix: &str| {
            let s3 = serde_json::json!({"bucket": "b", "prefix": prefix, "region": "r", "endpoint": "http://s3"});
            Location::S3(serde_json::from_value(s3).unwrap())
        };
        let placement = |path: &str| Placement { path: path.into(), format: self.format };
        RestoreTask {
            subject: Subject {
                namespace: "ns".into(),
                name: "r".into(),
                uid: "u".into(),
                attempt: 1,
                run: "u-1".into(),
            },
            storage: StorageTask {
                namespace: "ns".into(),
                name: "main".into(),
                uid: "storage-uid".into(),
                location: s3("backups"),
                read_only: true,
                server_credentials: ServerCredentials::FromSecret,
            },
            choice,
            whose: WhoseTask::default(),
            target: TargetTask {
                location: s3("restored"),
                data: placement("c1/data"),
                hk_data: placement("c1/hk_data"),
            },
            plan_only: false,
            approved_plan: None,
            parallelism: 3,
            run_deadline: Duration::from_secs(3600),
            stall_deadline: Duration::from_secs(900),
        }
    }

    pub fn watch(&self, task: &RestoreTask) -> Watch {
        let clock = Arc::new(|| Timestamp::UNIX_EPOCH + Duration::from_secs(1_795_240_000));
        let limits = (task.run_deadline, task.stall_deadline);
        let watch = Watch::new(self.told.clone(), clock, &task.subject.run, limits, CancellationToken::new());
        watch.with_pace(Duration::from_millis(1))
    }

    pub async fn run(&self, task: &RestoreTask) -> RestoreReport {
        self.run_to(task, Arc::new(self.target.clone())).await
    }

    pub async fn run_to(&self, task: &RestoreTask, target: Arc<dyn Objects>) -> RestoreReport {
        let patience = Patience { limit: Duration::ZERO, ..Patience::default() };
        let ports = RestorePorts { source: Arc::new(self.source.clone()), target, patience };
        restore(task, &ports, &self.watch(task)).await
    }

    /// What belongs in the target of this backup, the marker aside.
    pub fn expected(&self, backup: usize) -> BTreeMap<String, Bytes> {
        let framing = match self.format {
            Format::Raw => Framing::Raw,
            Format::Framed => Framing::Crc2048,
        };
        let placed = |(path, content): (&String, &Vec<u8>)| {
            let key = match path.split_once('/') {
                Some(("hakeeper", _)) => "c1/hk_data".to_owned(),
                Some(("tae", rest)) if !rest.starts_with("tae_") => format!("c1/data/{rest}"),
                Some(_) | None => return None,
            };
            Some((key, stored(framing, content)))
        };
        self.trees[backup].iter().filter_map(placed).collect()
    }

    /// What lies in the target, the marker aside.
    pub fn placed(&self) -> BTreeMap<String, Bytes> {
        let keys = self.target.keys().into_iter().filter(|key| key != MARKER);
        keys.map(|key| (key.clone(), self.target.get(&key).unwrap())).collect()
    }

    /// The marker of the target.
    pub fn marker(&self) -> Value {
        serde_json::from_slice(&self.target.get(MARKER).expect("a marker")).unwrap()
    }
}

pub const MARKER: &str = "mo-backup-restore.json";

/// Fails unless the restore went well.
pub fn assert_done(report: &RestoreReport) {
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
}
