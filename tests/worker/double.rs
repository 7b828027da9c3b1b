//! A MatrixOne that answers what v1.2.4 and v4.2.0 were recorded to answer, and breaks where it is told to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use mo_backup::{
    sql::{BackupTarget, Error, Problem, Rows, Server, Session, Statement},
    store::memory::Fault,
};

pub use super::target::Target;
use super::tree::{self, Checkpoints};

type Hook = Arc<dyn Fn() + Send + Sync>;

struct Running {
    connection: u32,
    label: String,
    prefix: String,
    full: bool,
    /// Looks until it is done by itself.
    looks: u32,
}

struct State {
    version: &'static str,
    account: &'static str,
    moadmin: bool,
    identity: &'static str,
    framed: bool,
    clock: i64,
    connections: u32,
    calls: Vec<String>,
    faults: BTreeMap<usize, (Fault, Hook)>,
    running: Vec<Running>,
    target: Target,
    root: String,
    statements: Vec<String>,
    held: bool,
    unshared: bool,
    hanging: bool,
    lingering: bool,
    mumbling: bool,
    rewound: bool,
    merging: u32,
    overtaken: u32,
    garbling: bool,
}

/// The double. Clones are the same server.
#[derive(Clone)]
pub struct Double(Arc<Mutex<State>>);

impl Double {
    /// A server of this version that writes below `root`, which is the store `target`.
    pub fn new(version: &'static str, framed: bool, root: &str, target: Target) -> Self {
        Self(Arc::new(Mutex::new(State {
            version,
            account: "sys",
            moadmin: true,
            identity: "1795229936705",
            framed,
            clock: 1_795_220_000_000_000_000,
            connections: 0,
            calls: Vec::new(),
            faults: BTreeMap::new(),
            running: Vec::new(),
            target,
            root: root.into(),
            statements: Vec::new(),
            held: false,
            unshared: false,
            hanging: false,
            lingering: false,
            mumbling: false,
            rewound: false,
            merging: 0,
            overtaken: 0,
            garbling: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn fault(&self, call: usize, fault: Fault, hook: impl Fn() + Send + Sync + 'static) {
        self.state().faults.insert(call, (fault, Arc::new(hook)));
    }

    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn statements(&self) -> Vec<String> {
        self.state().statements.clone()
    }

    pub fn set_account(&self, account: &'static str) {
        self.state().account = account;
    }

    pub fn set_identity(&self, identity: &'static str) {
        self.state().identity = identity;
    }

    pub fn revoke_moadmin(&self) {
        self.state().moadmin = false;
    }

    /// The server's folder is not the worker's.
    pub fn unshare(&self) {
        self.state().unshared = true;
    }

    /// A BACKUP stands still until it is killed.
    pub fn hang(&self) {
        self.state().hanging = true;
    }

    /// A BACKUP whose connection was lost goes on until it is killed.
    pub fn linger(&self) {
        self.state().lingering = true;
    }

    /// The answer to holding back garbage collection cannot be read.
    pub fn mumble(&self) {
        self.state().mumbling = true;
    }

    /// The server's history is another one: what it does not copy has names that no base knows.
    pub fn rewind(&self) {
        self.state().rewound = true;
    }

    /// In so many BACKUPs objects are merged at the wrong moment.
    pub fn merge(&self, times: u32) {
        self.state().merging = times;
    }

    /// In so many BACKUPs a global checkpoint begins at the wrong moment.
    pub fn overtake(&self, times: u32) {
        self.state().overtaken = times;
    }

    /// Its checkpoints cannot be read.
    pub fn garble(&self) {
        self.state().garbling = true;
    }

    /// Some time passes.
    pub fn advance(&self) {
        self.state().clock += 1_000_000_000;
    }

    /// A worker was killed during its BACKUP, which is over, and its hold of garbage collection is still there.
    pub fn hold(&self) {
        self.state().held = true;
    }

    pub fn is_held(&self) -> bool {
        self.state().held
    }

    /// A BACKUP of somebody else, or of an earlier attempt, that ends by itself after some looks.
    pub fn begin(&self, label: &str, looks: u32) {
        let running = Running { connection: 900, label: label.into(), prefix: "elsewhere".into(), full: true, looks };
        self.state().running.push(running);
    }

    /// What runs is shown with another connection's id than its own.
    pub fn renumber(&self, connection: u32) {
        self.state().running.iter_mut().for_each(|r| r.connection = connection);
    }

    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    async fn stand_still(&self, connection: u32, label: &str) -> Result<Rows, Error> {
        let running =
            Running { connection, label: label.into(), prefix: "elsewhere".into(), full: true, looks: u32::MAX };
        self.state().running.push(running);
        while self.state().running.iter().any(|r| r.label == label) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        Err(failed(Problem::Cancelled, 1105, "context canceled"))
    }

    /// Carries out one call, with its fault if it has one.
    async fn call<T>(
        &self,
        name: String,
        broken: Problem,
        apply: impl FnOnce(&mut State, bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (outcome, fault) = {
            let mut state = self.state();
            let fault = state.faults.get(&state.calls.len()).cloned();
            state.calls.push(name);
            let broke = || failed(broken, 0, "connection reset by peer");
            let outcome = match &fault {
                Some((Fault::Before | Fault::Hang, _)) => Err(broke()),
                Some((Fault::Lost, _)) => apply(&mut state, true).and_then(|_| Err(broke())),
                Some((Fault::After, _)) | None => apply(&mut state, false),
            };
            (outcome, fault)
        };
        if let Some((fault, hook)) = fault {
            hook();
            tokio::task::yield_now().await;
            if fault == Fault::Hang {
                std::future::pending::<()>().await;
            }
        }
        outcome
    }
}

struct Connection {
    server: Double,
    id: u32,
    greeting: String,
}

#[async_trait]
impl Server for Double {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let (id, greeting) = self
            .call("connect".into(), Problem::Unreachable, |state, _| {
                state.connections += 1;
                Ok((state.connections, format!("8.0.30-MatrixOne-{}", state.version)))
            })
            .await?;
        Ok(Box::new(Connection { server: self.clone(), id, greeting }))
    }
}

#[async_trait]
impl Session for Connection {
    async fn run(&mut self, statement: &Statement) -> Result<Rows, Error> {
        let id = self.id;
        let statement = statement.clone();
        let name = statement.redacted();
        let hanging = self.server.state().hanging;
        if let (Statement::Backup { label, .. }, true) = (&statement, hanging) {
            return self.server.stand_still(id, label).await;
        }
        self.server
            .call(name.clone(), Problem::Lost, move |state, lost| {
                state.statements.push(name);
                answer(state, id, &statement, lost)
            })
            .await
    }

    async fn read(&mut self, statement: &Statement, _: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        self.run(statement).await.map(drop)
    }

    fn connection_id(&self) -> u32 {
        self.id
    }

    fn greeting(&self) -> &str {
        &self.greeting
    }
}

fn failed(problem: Problem, code: u16, detail: &str) -> Error {
    Error { problem, verb: "talk to the double".into(), code, detail: detail.into() }
}

fn one(text: impl Into<String>) -> Result<Rows, Error> {
    Ok(vec![vec![Some(text.into())]])
}

fn controlled(state: &State, method: &str, result: serde_json::Value) -> Result<Rows, Error> {
    if !state.moadmin || state.account != "sys" {
        let text = "internal error: do not have privilege to execute the statement";
        return Err(failed(Problem::Privilege, 20101, text));
    }
    one(format!("{:#}\n", serde_json::json!({"method": method, "result": result})))
}

fn ok() -> serde_json::Value {
    serde_json::json!([{"returnStr": "OK"}])
}

fn answer(state: &mut State, id: u32, statement: &Statement, lost: bool) -> Result<Rows, Error> {
    state.clock += 1_000_000;
    match statement {
        Statement::Version => one(format!("8.0.30-MatrixOne-{}", state.version)),
        Statement::GitVersion => one("01ae8eca8"),
        Statement::CurrentAccount => one(state.account),
        Statement::Identity => one(state.identity),
        Statement::GetSnapshot => controlled(state, "GETSNAPSHOT", format!("{}-0", state.clock).into()),
        Statement::Checkpoint => controlled(state, "Checkpoint", ok()),
        Statement::HoldMinTs(_) => {
            state.held = true;
            if state.mumbling {
                return one("held, probably");
            }
            controlled(state, "DiskCleaner", ok())
        }
        Statement::ReleaseMinTs if !state.held => Err(failed(Problem::Refused, 20637, "can't delete gc checker")),
        Statement::ReleaseMinTs => {
            state.held = false;
            controlled(state, "DiskCleaner", ok())
        }
        Statement::Snapshots => one("daily"),
        Statement::PitrPolicies if state.version == "v1.2.4" => {
            Err(failed(Problem::Unsupported, 1064, "SQL parser error: table \"mo_pitr\" does not exist"))
        }
        Statement::PitrPolicies => {
            Ok(vec![["0", "p_cl", "cluster", "1", "d"].iter().map(|c| Some((*c).to_owned())).collect()])
        }
        Statement::RunningBackups => Ok(look(state)),
        Statement::KillQuery(connection) => kill(state, *connection),
        Statement::Proof(_) => Err(failed(Problem::Unsupported, 1064, "not recorded")),
        Statement::Backup { label, target, since, .. } => backup(state, id, label, target, since.is_none(), lost),
    }
}

fn look(state: &mut State) -> Rows {
    let rows = state
        .running
        .iter()
        .map(|r| vec![Some(r.connection.to_string()), Some(format!("BACKUP '{}' FILESYSTEM '/srv", r.label))]);
    let rows = rows.collect();
    for running in &mut state.running {
        running.looks = running.looks.saturating_sub(1);
    }
    let (over, still) = std::mem::take(&mut state.running).into_iter().partition(|r: &Running| r.looks == 0);
    state.running = still;
    for running in over {
        write(state, &running.prefix, running.full, usize::MAX);
    }
    rows
}

fn kill(state: &mut State, connection: u32) -> Result<Rows, Error> {
    let before = state.running.len();
    state.running.retain(|r| r.connection != connection);
    if state.running.len() == before {
        let text = format!("internal error: Unknown connection id {connection}");
        return Err(failed(Problem::Refused, 20101, &text));
    }
    Ok(Vec::new())
}

fn backup(
    state: &mut State,
    connection: u32,
    label: &str,
    target: &BackupTarget,
    full: bool,
    lost: bool,
) -> Result<Rows, Error> {
    let prefix = match target {
        BackupTarget::FileSystem { path } => {
            path.strip_prefix(state.root.as_str()).unwrap().trim_matches('/').to_owned()
        }
        BackupTarget::S3(s3) => s3.filepath.strip_prefix("prod/").unwrap().to_owned(),
    };
    if state.target.has(&format!("{prefix}/tae/{}", tree::name(5))) {
        return Err(failed(Problem::Refused, 20406, &format!("file {prefix}/tae/x already exists")));
    }
    if lost {
        // A disconnect does not end it.
        write(state, &prefix, full, 3);
        let looks = if state.lingering { u32::MAX } else { 2 };
        state.running.push(Running { connection, label: label.into(), prefix, full, looks });
        return Ok(Vec::new());
    }
    write(state, &prefix, full, usize::MAX);
    Ok(Vec::new())
}

fn write(state: &mut State, prefix: &str, full: bool, files: usize) {
    if state.unshared {
        return;
    }
    let checkpoints = Checkpoints::of(state.version, (state.garbling, state.overtaken > 0, state.merging > 0));
    if files == usize::MAX {
        (state.merging, state.overtaken) = (state.merging.saturating_sub(1), state.overtaken.saturating_sub(1));
    }
    let State { framed, rewound, .. } = *state;
    let habits = tree::Habits { framed, exact: state.version >= "v4.2", rewound, checkpoints };
    for (path, bytes) in tree::files(full, state.clock, habits).into_iter().take(files) {
        let key = format!("{prefix}/{path}");
        if !state.target.has(&key) {
            state.target.set(&key, bytes);
        }
    }
}
