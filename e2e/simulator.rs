//! The `MatrixOne` double: it answers what recordings of v1.2.4 and v4.2.0 show, and nothing else.
//!
//! The recordings are `simulator/recordings/*.md`; every recorded text stands in [`recorded`] with the heading it comes
//! from, and a test holds the two together. A statement without a recorded answer gets the recorded parser error 1064
//! and is kept in [`Simulator::unknown`], which tests assert to be empty. BACKUP really writes: the recorded sample of
//! the version, or a small synthetic tree of the same format.
//!
//! Not recorded and therefore the double's own: the value of `sys_cron_task` on v4.2.0 (v1.2.4's is given), errors of
//! file systems and buckets other than the recorded ones, and how long anything takes.

mod backup;
mod control;
mod fault;
pub mod framing;
mod login;
pub mod recorded;
mod select;
mod session;
mod state;
mod syntax;
mod tables;
mod target;
mod token;
mod tree;
mod wire;

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::{
    fault::{Fault, When},
    login::{Role, User},
    state::{Progress, Received},
};
use self::{state::Shared, tree::History};

/// A recorded release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1_2_4,
    V4_2_0,
}

impl Version {
    /// What the first packet says.
    pub const fn greeting(self) -> &'static str {
        match self {
            Self::V1_2_4 => "8.0.30-MatrixOne-v1.2.4",
            Self::V4_2_0 => "8.0.30-MatrixOne-v4.2.0",
        }
    }

    /// Name of its recording and of its samples.
    pub const fn file(self) -> &'static str {
        match self {
            Self::V1_2_4 => "v1.2.4",
            Self::V4_2_0 => "v4.2.0",
        }
    }
}

/// What a BACKUP writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The recorded sample: about 100 objects, 0.4 to 0.8 MB.
    Recorded,
    /// Eight synthetic objects in the recorded format, two more from each BACKUP to the next, no config/.
    Small,
}

/// Which cluster it is: two are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    A,
    B,
}

/// A PITR policy of account sys.
#[derive(Clone, Debug)]
pub struct Pitr {
    pub name: String,
    pub level: String,
    pub length: u8,
    /// `h`, `d`, `mo` or `y`.
    pub unit: String,
}

/// What a double is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on the loopback address; 0 for any.
    pub port: u16,
    /// Who may log in; the recorded users by default.
    pub users: Vec<User>,
    pub contents: Contents,
    pub cluster: Cluster,
    /// Put before the paths of BACKUP … FILESYSTEM.
    pub files_root: Option<PathBuf>,
    /// How long a BACKUP takes, spread over its files.
    pub backup_duration: Duration,
    /// How many snapshots there are.
    pub snapshots: usize,
    pub pitr: Vec<Pitr>,
    /// Incrementals name an object that no base has.
    pub rewound: bool,
    /// v4.2.0 looks for dead clients of statements older than this, every so often: 30 and 5 seconds are recorded.
    pub dead_client: (Duration, Duration),
    /// Folder with the recorded samples.
    pub samples: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            users: User::recorded(),
            contents: Contents::Recorded,
            cluster: Cluster::A,
            files_root: None,
            backup_duration: Duration::ZERO,
            snapshots: 0,
            pitr: Vec::new(),
            rewound: false,
            dead_client: (Duration::from_secs(30), Duration::from_secs(5)),
            samples: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples"),
        }
    }
}

/// A running double, on threads of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    server: Mutex<Option<Server>>,
}

#[derive(Debug)]
struct Server {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Simulator {
    /// Starts one.
    ///
    /// # Errors
    /// When the port is taken or the samples cannot be read.
    pub fn start(version: Version, options: Options) -> io::Result<Self> {
        let history = History::new(version, options.contents, &options.samples, options.rewound)?;
        let port = options.port;
        let shared = Arc::new(Shared::new(version, options, history));
        let (port, server) = Server::start(port, &shared)?;
        Ok(Self { port, shared, server: Mutex::new(Some(server)) })
    }

    /// All statements so far, secrets included, those of the client library's own start of a session too.
    pub fn log(&self) -> Vec<Received> {
        self.shared.state().log.clone()
    }

    /// The names of all logins so far, also of those refused.
    pub fn logins(&self) -> Vec<String> {
        self.shared.state().logins.clone()
    }

    /// The statements no recording answers. A test that ends well finds none.
    pub fn unknown(&self) -> Vec<String> {
        self.shared.state().unknown.clone()
    }

    /// How many statements had this text in them, whatever its case.
    pub fn count(&self, text: &str) -> usize {
        let text = text.to_lowercase();
        self.shared.state().log.iter().filter(|received| received.text.to_lowercase().contains(&text)).count()
    }

    /// The BACKUP statements that run.
    pub fn backups(&self) -> Vec<Progress> {
        self.shared.state().progress()
    }

    /// The moment back to which garbage collection is held.
    pub fn held(&self) -> Option<String> {
        self.shared.state().min_ts.clone()
    }

    /// Lets a fault happen once.
    pub fn on(&self, when: When, fault: Fault) {
        self.shared.state().faults.add(when, fault, Some(1));
    }

    /// Lets a fault happen every time.
    pub fn on_every(&self, when: When, fault: Fault) {
        self.shared.state().faults.add(when, fault, None);
    }

    /// Changes how long the next BACKUP takes.
    pub fn set_backup_duration(&self, duration: Duration) {
        self.shared.state().backup_duration = duration;
    }

    /// Puts back the history of the cluster, so that incrementals name an object that no base has.
    pub fn rewind(&self) {
        self.shared.state().history.rewound = true;
    }

    /// Waits until something is so; `false` when the time is over.
    pub fn wait_until(&self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !so(self) {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// The same for asynchronous tests.
    pub async fn until(&self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let mut changes = self.shared.listen();
        let waiting = async { while !so(self) && changes.changed().await.is_ok() {} };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    /// Whether the server runs.
    pub fn is_running(&self) -> bool {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().is_some_and(|server| !server.stop.is_cancelled())
    }

    /// Ends the server process: connections break, a running BACKUP leaves what it has written, holds are gone.
    pub fn kill_server(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Server { stop, thread }) = server {
            stop.cancel();
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
    }

    /// Starts the server again on the same port, after [`Simulator::kill_server`] or [`Fault::KillServer`].
    ///
    /// # Errors
    /// When the port is taken meanwhile.
    pub fn restart_server(&self) -> io::Result<()> {
        self.kill_server();
        {
            let mut state = self.shared.state();
            state.sessions.clear();
            state.min_ts = None;
            state.backups = 0;
        }
        let (_, server) = Server::start(self.port, &self.shared)?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.kill_server();
    }
}

impl Server {
    fn start(port: u16, shared: &Arc<Shared>) -> io::Result<(u16, Self)> {
        // Bound without a runtime, because the caller may be inside another one.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let stop = CancellationToken::new();
        let (shared, stopped) = (shared.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let accepting = async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(session::serve(shared.clone(), stream, stopped.clone()));
                }
            };
            runtime.block_on(async {
                tokio::select! { () = accepting => {} () = stopped.cancelled() => {} }
            });
            stopped.cancel();
            // Breaks all connections, and BACKUP statements between two files.
            runtime.shutdown_timeout(Duration::from_secs(2));
        });
        Ok((port, Self { stop, thread }))
    }
}
