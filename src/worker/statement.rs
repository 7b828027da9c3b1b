//! One BACKUP statement, from the look for others to the certainty that it has ended.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use tokio::time::timeout;

use super::{Failure, Watch, soon::Asked};
use crate::{
    api::Reason,
    sql::{self, Problem, Rows, Server, Session, Statement, reply},
    store::{Objects, Prefix},
};

/// Limit of a statement that answers at once. A checkpoint has its own.
const SHORT: Duration = Duration::from_mins(1);
/// Limit of the wait for a cancelled statement, within the grace of a Pod.
const FAREWELL: Duration = Duration::from_secs(6);
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
    let ours = |label: &Option<String>| label.as_deref().is_some_and(|l| l.starts_with(&format!("{uid}-")));
    let look = async {
        let mut session = server.connect().await?;
        let found = running(&mut *session).await?;
        Ok((session, found))
    };
    let (mut session, mut found) = watch.soon(Asked::Server, look).await?;
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
/// looked at, so that standing still is noticed. When the attempt must stop, the statement is killed first.
pub async fn supervise(
    server: Arc<dyn Server>,
    statement: Statement,
    (target, prefix): (&dyn Objects, &Prefix),
    watch: &Watch,
) -> Result<Ended, Failure> {
    let mut session = watch.race(server.connect()).await??;
    let connection = session.connection_id();
    let Statement::Backup { label, .. } = statement.clone() else {
        return Err(Failure::new(Reason::Internal, "failed to supervise a statement that is no BACKUP"));
    };
    tracing::info!(connection, statement = statement.redacted(), "sending");
    let mut work = tokio::spawn(async move { session.run(&statement).await });
    let outcome = tokio::select! {
        biased;
        cause = watch.stopped() => {
            end(&*server, connection, &label).await;
            // Waits for the reply, so that nothing of ours writes any more when the report says that it has ended.
            if timeout(FAREWELL, &mut work).await.is_err() {
                tracing::warn!(connection, "the cancelled BACKUP has not answered");
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
            watch.race(wait_until_gone(&*server, &label, target, prefix, watch)).await?;
            Ok(Ended::Unknown)
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

async fn running(session: &mut dyn Session) -> Result<Vec<reply::Running>, sql::Error> {
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

/// Ends our statement: by its session, and by its label where a proxy shows us another session's id.
async fn end(server: &dyn Server, connection: u32, label: &str) {
    let killed = timeout(FAREWELL, async {
        let mut session = server.connect().await?;
        kill(&mut *session, connection).await?;
        let named = running(&mut *session).await?.into_iter().filter(|r| r.label.as_deref() == Some(label));
        for statement in named.filter(|r| r.connection != connection) {
            kill(&mut *session, statement.connection).await?;
        }
        Ok::<_, sql::Error>(())
    });
    match killed.await {
        Ok(Ok(())) => tracing::info!(connection, "cancelled the BACKUP"),
        Ok(Err(error)) => tracing::warn!(%error, "cancelling the BACKUP"),
        Err(_) => tracing::warn!("no answer while cancelling the BACKUP"),
    }
}

async fn kill(session: &mut dyn Session, connection: u32) -> Result<(), sql::Error> {
    match ask(session, &Statement::KillQuery(connection)).await {
        Ok(_) => Ok(()),
        Err(e) if e.is_unknown_connection() => Ok(()),
        Err(e) => Err(e),
    }
}
