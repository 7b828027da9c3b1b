//! One client's connection: login, commands, faults.

use std::{io, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Version, backup,
    fault::Fault,
    login::{self, Identity},
    recorded,
    select::{Asker, Refusal},
    state::{Received, Running, Session, Shared},
    syntax::{self, Statement},
    tables,
    token::Stop,
    wire::{AUTOCOMMIT, IN_TRANSACTION, Reply, Wire},
};

const QUIT: u8 = 0x01;
const QUERY: u8 = 0x03;
const PING: u8 = 0x0e;
/// "Greeting…" of both versions: number and name.
const UNSUPPORTED: [(u8, &str); 4] =
    [(0x1f, "COM_RESET_CONNECTION"), (0x11, "COM_CHANGE_USER"), (0x09, "COM_STATISTICS"), (0x0d, "COM_DEBUG")];

/// How a statement goes on.
enum Outcome {
    Reply(Reply),
    /// The connection breaks.
    Reset,
}

/// A client that has logged in.
struct Client<'a> {
    shared: &'a Arc<Shared>,
    wire: Wire,
    id: u32,
    me: Identity,
    status: u16,
    /// Ends the whole server.
    stop: &'a CancellationToken,
}

/// Serves one client until it leaves. `stop` ends the whole server.
pub async fn serve(shared: Arc<Shared>, stream: TcpStream, stop: CancellationToken) {
    let id = {
        let mut state = shared.state();
        state.last_id += 1;
        state.last_id
    };
    // An error here is a client that has left.
    let _ = talk(&shared, Wire::new(stream), id, &stop).await;
    shared.state().leave(id);
    shared.tell();
}

async fn talk(shared: &Arc<Shared>, mut wire: Wire, id: u32, stop: &CancellationToken) -> io::Result<()> {
    let salt = salt(id);
    let login = wire.greet(shared.version.greeting(), id, &salt).await?;
    shared.state().logins.push(login.user.clone());
    let checked = login::check(&shared.options.users, &login.user, &login.proof, &salt, login.database.as_deref());
    let me = match checked {
        Ok(me) => me,
        Err(refusal) => return wire.reply(&refusal).await,
    };
    let close = CancellationToken::new();
    let session = Session {
        identity: me.clone(),
        began_at: Timestamp::now(),
        running: None,
        connected: true,
        close: close.clone(),
    };
    shared.state().sessions.insert(id, session);
    wire.reply(&Reply::Ok { status: AUTOCOMMIT }).await?;
    Client { shared, wire, id, me, status: AUTOCOMMIT, stop }.serve(&close).await
}

impl Client<'_> {
    async fn serve(mut self, close: &CancellationToken) -> io::Result<()> {
        loop {
            let (command, body) = tokio::select! {
                biased;
                () = close.cancelled() => return Ok(()),
                command = self.wire.command() => command?,
            };
            let reply = match command {
                QUIT => return Ok(()),
                PING => Reply::Ok { status: self.status },
                QUERY => match self.query(&String::from_utf8_lossy(&body)).await {
                    Outcome::Reply(reply) => reply,
                    Outcome::Reset => {
                        self.wire.reset();
                        return Ok(());
                    }
                },
                other => unsupported(self.shared, other),
            };
            self.wire.reply(&reply).await?;
        }
    }

    async fn query(&mut self, text: &str) -> Outcome {
        let kill = CancellationToken::new();
        let fault = self.receive(text, &kill);
        let mut no_space = None;
        let forced = match &fault {
            Some(Fault::DropBefore) => {
                self.shared.state().finish(self.id);
                return Outcome::Reset;
            }
            Some(Fault::KillServer) => {
                self.stop.cancel();
                std::future::pending().await
            }
            Some(Fault::Delay(time)) => {
                sleep(*time).await;
                None
            }
            Some(Fault::Hang) => {
                kill.cancelled().await;
                Some(recorded::CANCELED.error(&[]))
            }
            Some(Fault::Error(code, text)) => Some(Reply::Error { code: *code, text: text.clone() }),
            Some(Fault::NoSpaceAfter(files)) => {
                no_space = Some(*files);
                None
            }
            Some(Fault::ReplyLost) | None => None,
        };
        let reply = match forced {
            Some(reply) => reply,
            None => self.execute(text, kill, no_space).await,
        };
        self.shared.state().finish(self.id);
        self.shared.tell();
        if fault == Some(Fault::ReplyLost) { Outcome::Reset } else { Outcome::Reply(reply) }
    }

    /// Logs the statement, shows it in the session list, and looks whether a fault waits for it.
    fn receive(&self, text: &str, kill: &CancellationToken) -> Option<Fault> {
        let mut state = self.shared.state();
        let index = state.log.len();
        state.log.push(Received { connection: self.id, user: self.me.user.clone(), text: text.to_owned() });
        if let Some(session) = state.sessions.get_mut(&self.id) {
            session.running = Some(Running {
                text: text.to_owned(),
                began: Instant::now(),
                began_at: Timestamp::now(),
                kill: kill.clone(),
                written: 0,
                total: 0,
            });
        }
        let fault = state.faults.take(index, text);
        drop(state);
        self.shared.tell();
        fault
    }

    async fn execute(&mut self, text: &str, kill: CancellationToken, no_space: Option<usize>) -> Reply {
        let Self { shared, id, me, .. } = &*self;
        let statement = match syntax::parse(text) {
            Ok(statement) => statement,
            Err(stop) => return syntax_error(shared, text, stop),
        };
        match statement {
            Statement::Empty => Reply::Ok { status: self.status },
            Statement::Begin | Statement::Rollback => {
                self.status = if statement == Statement::Begin { IN_TRANSACTION } else { AUTOCOMMIT };
                Reply::Ok { status: self.status }
            }
            Statement::Kill { connection, id } => {
                if shared.state().kill(id, connection) {
                    Reply::Ok { status: self.status }
                } else {
                    recorded::NO_CONNECTION.error(&[&id.to_string()])
                }
            }
            Statement::ShowSnapshots => tables::show_snapshots(shared, me),
            Statement::ShowPitr => match shared.version {
                Version::V1_2_4 => syntax_error(shared, text, Stop { column: 9, near: 4 }),
                Version::V4_2_0 => tables::show_pitr(shared),
            },
            Statement::Select(select) => match (Asker { shared, id: *id, me }).answer(&select) {
                Ok(reply) | Err(Refusal::Recorded(reply)) => reply,
                Err(Refusal::Unknown) => syntax_error(shared, text, Stop { column: 6, near: 0 }),
            },
            Statement::Backup(_) if self.status == IN_TRANSACTION => recorded::IN_TRANSACTION.error(&[]),
            Statement::Backup(statement) => {
                let task = backup::run(Arc::clone(shared), *id, me.clone(), statement, kill.clone(), no_space);
                self.watch(kill, task).await
            }
        }
    }

    /// Waits for a BACKUP and meanwhile looks whether its client is still there: v1.2.4 never does, v4.2.0 does every
    /// few seconds once the statement is old.
    async fn watch(&self, kill: CancellationToken, task: impl Future<Output = Reply>) -> Reply {
        let client = async {
            self.wire.gone().await;
            let began = self.shared.state().lose_client(self.id);
            self.shared.tell();
            let (Version::V4_2_0, Some(began)) = (self.shared.version, began) else {
                return std::future::pending().await;
            };
            let (old, every) = self.shared.options.dead_client;
            sleep(old.saturating_sub(began.elapsed())).await;
            sleep(every).await;
            kill.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! { reply = task => reply, () = client => recorded::CANCELED.error(&[]) }
    }
}

fn syntax_error(shared: &Shared, text: &str, stop: Stop) -> Reply {
    shared.note_unknown(text);
    let near = text.get(stop.near..).unwrap_or_default().trim_end().trim_end_matches(';');
    recorded::SYNTAX_ERROR.error(&[&stop.column.to_string(), near])
}

fn unsupported(shared: &Shared, command: u8) -> Reply {
    let known = UNSUPPORTED.iter().find(|(number, _)| *number == command);
    if known.is_none() {
        shared.note_unknown(&format!("command 0x{command:02x}"));
    }
    let name = match (shared.version, known) {
        (Version::V1_2_4, Some((_, name))) => {
            name.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        }
        (Version::V1_2_4, None) | (Version::V4_2_0, _) => format!("{command:x}"),
    };
    recorded::UNSUPPORTED_COMMAND.error(&[&name])
}

/// Different for each connection, and without zero bytes.
fn salt(id: u32) -> [u8; 20] {
    let mut salt = *b"recorded-simulator-1";
    for (byte, digit) in salt.iter_mut().zip(format!("{id:08x}").bytes()) {
        *byte = digit;
    }
    salt
}
