//! One BACKUP statement, from the look for others to the certainty that it has ended.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use tokio::time::{sleep, timeout};

use super::{Failure, Watch, soon::Asked};
use crate::{
    api::Reason,
    sql::{self, Problem, Rows, Server, Session, Statement, reply},
    store::{Objects, Prefix},
};

/// Limit of a statement that answers at once. A checkpoint has its own.
const SHORT: Duration = Duration::from_mins(1);
/// Pause between two tries to end a statement.
const AGAIN: Duration = Duration::from_secs(1);
/// Looks without our label, while our session still waits, after which the statement counts as lost.
const UNSEEN: u32 = 12;

/// How a BACKUP ended, as far as we were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server said OK.
    Done,
    /// The connection broke and the statement is over: what it left behind must tell.
    Unknown,
}

/// Sends a statement that answers soon, on a session of its own or a given one.
pub async fn ask(session: &mut dyn Session, statement: &Statement) -> Result<Rows, sql::Error> {
    let limit = if matches!(statement, Statement::Checkpoint) { Duration::from_mins(11) } else { SHORT };
    timeout(limit, session.run(statement)).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {} seconds", limit.as_secs());
        Err(sql::Error { problem: Problem::Lost, verb: statement.verb().into(), code: 0, detail })
    })
}

/// Makes sure that no BACKUP runs on the cluster. One of this object's own (of an earlier attempt) is ended and waited
/// for; one of anybody else is a reason to come back later.
pub async fn clear_the_way(server: &dyn Server, uid: &str, watch: &Watch) -> Result<(), Failure> {
    let (session, found) = watch.soon(Asked::Server, look(server)).await?;
    wait_for_the_way(session, found, uid, watch).await
}

/// The same once more, right before a BACKUP is sent: since the first look somebody else may have begun.
pub async fn clear_the_way_again(server: &dyn Server, uid: &str, watch: &Watch) -> Result<(), Failure> {
    let (session, found) = look(server).await?;
    wait_for_the_way(session, found, uid, watch).await
}

async fn look(server: &dyn Server) -> Result<(Box<dyn Session>, Vec<reply::Running>), Failure> {
    let mut session = server.connect().await?;
    let found = running(&mut *session).await?;
    Ok((session, found))
}

async fn wait_for_the_way(
    mut session: Box<dyn Session>,
    mut found: Vec<reply::Running>,
    uid: &str,
    watch: &Watch,
) -> Result<(), Failure> {
    let ours = |label: &Option<String>| label.as_deref().is_some_and(|l| l.starts_with(&format!("{uid}-")));
    loop {
        if let Some(other) = found.iter().find(|r| !ours(&r.label)) {
            let label = other.label.as_deref().unwrap_or("without a label");
            let detail = format!("BACKUP {label:?} runs in session {} of the cluster", other.connection);
            return Err(Failure::new(Reason::BackupRunning, detail));
        }
        if found.is_empty() {
            return Ok(());
        }
        for statement in &found {
            tracing::warn!(connection = statement.connection, "ending the BACKUP of an earlier attempt");
            kill(&mut *session, statement.connection).await?;
        }
        // Servers before 4.2 go on copying after a KILL; nothing else may start until they are done.
        watch.alive();
        watch.pause().await;
        found = running(&mut *session).await?;
    }
}

/// Runs the BACKUP and waits for its end: OK, an error, or the certainty that it is over. While it runs, its target is
/// looked at, so that standing still is noticed. When the attempt must stop, the statement is ended first, also one whose
/// connection was lost.
pub async fn supervise(
    server: Arc<dyn Server>,
    statement: Statement,
    (target, prefix): (&dyn Objects, &Prefix),
    watch: &Watch,
) -> Result<Ended, Failure> {
    let mut session = watch.race(server.connect()).await??;
    let Statement::Backup { label, .. } = statement.clone() else {
        return Err(Failure::new(Reason::Internal, "failed to supervise a statement that is no BACKUP"));
    };
    tracing::info!(connection = session.connection_id(), statement = statement.redacted(), "sending");
    let mut work = tokio::spawn(async move { session.run(&statement).await });
    let outcome = tokio::select! {
        biased;
        cause = watch.stopped() => {
            // Waits for the reply, so that nothing of ours writes any more when the report says that it has ended.
            let ended = watch.finish(async {
                loop {
                    end_once(&*server, &label).await;
                    if timeout(AGAIN, &mut work).await.is_ok() {
                        break;
                    }
                }
                end(&*server, &label).await;
            });
            if ended.await.is_err() {
                tracing::warn!("the cancelled BACKUP has not answered");
                work.abort();
            }
            return Err(cause);
        }
        reply = &mut work => reply.map_err(|e| Failure::new(Reason::Internal, e.to_string()))?,
        () = look_on(&*server, &label, target, prefix, watch) => {
            work.abort();
            Err(lost("the server does not know the statement any more"))
        }
    };
    match outcome {
        Ok(_) => Ok(Ended::Done),
        Err(e) if e.problem == Problem::Lost => {
            tracing::warn!(error = %e, "looking for the statement");
            match watch.race(wait_until_gone(&*server, &label, target, prefix, watch)).await {
                Ok(()) => Ok(Ended::Unknown),
                Err(cause) => {
                    if watch.finish(end(&*server, &label)).await.is_err() {
                        tracing::warn!("the lost BACKUP may go on");
                    }
                    Err(cause)
                }
            }
        }
        Err(e) => Err(e.into()),
    }
}

fn lost(detail: &str) -> sql::Error {
    sql::Error { problem: Problem::Lost, verb: "take the backup".into(), code: 0, detail: detail.into() }
}

/// Looks at the target and for the label, until the server has not shown the label for a minute. A half-open connection
/// would otherwise wait for its reply for ever.
async fn look_on(server: &dyn Server, label: &str, target: &dyn Objects, prefix: &Prefix, watch: &Watch) {
    let mut unseen = 0;
    loop {
        watch.pause().await;
        see(target, prefix, watch).await;
        match is_running(server, label).await {
            Ok(false) => unseen += 1,
            Ok(true) => unseen = 0,
            Err(error) => tracing::warn!(%error, "looking for the statement"),
        }
        if unseen >= UNSEEN {
            return;
        }
    }
}

/// Waits until the statement with this label is over. A disconnect does not end a BACKUP.
async fn wait_until_gone(server: &dyn Server, label: &str, target: &dyn Objects, prefix: &Prefix, watch: &Watch) {
    loop {
        match is_running(server, label).await {
            Ok(false) => return,
            Ok(true) => see(target, prefix, watch).await,
            Err(error) => tracing::warn!(%error, "looking for the statement"),
        }
        watch.pause().await;
    }
}

async fn is_running(server: &dyn Server, label: &str) -> Result<bool, sql::Error> {
    let mut session = server.connect().await?;
    let running = running(&mut *session).await?;
    Ok(running.iter().any(|r| r.label.as_deref() == Some(label)))
}

/// The BACKUP statements that run on the cluster, of anybody.
pub(super) async fn running(session: &mut dyn Session) -> Result<Vec<reply::Running>, sql::Error> {
    reply::running(&ask(session, &Statement::RunningBackups).await?)
}

/// What the server has written so far. The numbers are only for people and for noticing that nothing moves.
async fn see(target: &dyn Objects, prefix: &Prefix, watch: &Watch) {
    let sum =
        target.list(prefix).try_fold((0, 0), |(n, bytes), listed| async move { Ok((n + 1, bytes + listed.size)) });
    match sum.await {
        Ok((objects, bytes)) => watch.seen(objects, bytes),
        Err(error) => tracing::debug!(%error, "looking at the target"),
    }
}

/// Ends our statement, and comes back when the server does not show it any more. Whoever cannot wait for that bounds it.
async fn end(server: &dyn Server, label: &str) {
    while !end_once(server, label).await {
        sleep(AGAIN).await;
    }
}

/// Tries to end our statement; says whether the server has shown that it is over. It is known by its label: behind a proxy
/// the id of our own connection can be that of a stranger's on the server.
async fn end_once(server: &dyn Server, label: &str) -> bool {
    let tried = async {
        let mut session = server.connect().await?;
        let found = running(&mut *session).await?;
        let ours: Vec<_> = found.into_iter().filter(|r| r.label.as_deref() == Some(label)).collect();
        for statement in &ours {
            tracing::info!(connection = statement.connection, "ending the BACKUP");
            kill(&mut *session, statement.connection).await?;
        }
        Ok::<_, sql::Error>(ours.is_empty())
    };
    tried.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "ending the BACKUP");
        false
    })
}

async fn kill(session: &mut dyn Session, connection: u32) -> Result<(), sql::Error> {
    match ask(session, &Statement::KillQuery(connection)).await {
        Ok(_) => Ok(()),
        Err(e) if e.is_unknown_connection() => Ok(()),
        Err(e) => Err(e),
    }
}
