//! What the double knows and has seen.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Options, Version, fault::Faults, login::Identity, syntax, tree::History};

/// A statement as it was received, secrets included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub connection: u32,
    /// Name of the user, without account and role.
    pub user: String,
    pub text: String,
}

/// How far a BACKUP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub connection: u32,
    pub label: String,
    /// Files written and to write.
    pub written: usize,
    pub total: usize,
    /// Whether a KILL has been accepted.
    pub killed: bool,
    /// Whether its client is still there.
    pub client: bool,
}

/// A statement that runs.
#[derive(Debug)]
pub struct Running {
    pub text: String,
    pub began: Instant,
    pub began_at: Timestamp,
    pub kill: CancellationToken,
    pub written: usize,
    pub total: usize,
}

/// A session; it outlives its client while its statement runs.
#[derive(Debug)]
pub struct Session {
    pub identity: Identity,
    pub began_at: Timestamp,
    pub running: Option<Running>,
    pub connected: bool,
    /// Ends the connection, after the reply if a statement runs.
    pub close: CancellationToken,
}

/// Everything that changes.
#[derive(Debug)]
pub struct State {
    pub log: Vec<Received>,
    pub logins: Vec<String>,
    pub unknown: Vec<String>,
    pub faults: Faults,
    pub sessions: BTreeMap<u32, Session>,
    pub last_id: u32,
    pub min_ts: Option<String>,
    pub history: History,
    pub backup_duration: Duration,
    pub backups: usize,
}

/// Shared by the test and the server.
#[derive(Debug)]
pub struct Shared {
    pub version: Version,
    pub options: Options,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub fn new(version: Version, options: Options, history: History) -> Self {
        let state = State {
            log: Vec::new(),
            logins: Vec::new(),
            unknown: Vec::new(),
            faults: Faults::default(),
            sessions: BTreeMap::new(),
            last_id: 0,
            min_ts: None,
            history,
            backup_duration: options.backup_duration,
            backups: 0,
        };
        Self { version, options, state: Mutex::new(state), changed: watch::channel(()).0 }
    }

    /// Looks at the state, or changes it. The guard must not be held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that there is something to see.
    pub fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Hears of what happens.
    pub fn listen(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Notes a statement for which there is no recorded answer.
    pub fn note_unknown(&self, statement: &str) {
        self.state().unknown.push(statement.to_owned());
        self.tell();
    }
}

impl State {
    /// The BACKUP statements that run.
    pub fn progress(&self) -> Vec<Progress> {
        self.sessions
            .iter()
            .filter_map(|(id, session)| {
                let running = session.running.as_ref()?;
                Some(Progress {
                    connection: *id,
                    label: syntax::label(&running.text)?,
                    written: running.written,
                    total: running.total,
                    killed: running.kill.is_cancelled(),
                    client: session.connected,
                })
            })
            .collect()
    }

    /// Ends the statement of a session; `false` when there is no such session.
    pub fn kill(&mut self, id: u32, connection: bool) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        if let Some(running) = &session.running {
            running.kill.cancel();
        }
        if connection {
            session.close.cancel();
        }
        true
    }

    /// Ends the session's statement, and the session when its client is gone.
    pub fn finish(&mut self, id: u32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.running = None;
            if !session.connected {
                self.sessions.remove(&id);
            }
        }
    }

    /// The client of a running statement is gone; says when the statement began.
    pub fn lose_client(&mut self, id: u32) -> Option<Instant> {
        let session = self.sessions.get_mut(&id)?;
        session.connected = false;
        session.running.as_ref().map(|running| running.began)
    }

    /// The client is gone; its session stays while a statement runs.
    pub fn leave(&mut self, id: u32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.connected = false;
            if session.running.is_none() {
                self.sessions.remove(&id);
            }
        }
    }
}
