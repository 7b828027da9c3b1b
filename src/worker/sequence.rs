//! getsnapshot → checkpoint → BACKUP: the order that makes history read from the backup exact up to the first.
//!
//! Rows that are still in memory when BACKUP begins are seen twice by every read of a time before it; a checkpoint right
//! before empties the memory, so history is exact up to the clock read before the checkpoint (observed on 4.2.0).

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    Failure, Watch,
    preflight::{self, ServerFacts},
    report::Findings,
    statement::{self, Ended, ask},
};
use crate::{
    api::Reason,
    plan::{History, Timestamp},
    sql::{self, Problem, Server, Session, Statement, Version, reply},
    store::{Objects, Prefix},
};

/// What the server was told and said, besides the files it has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// History is exact up to here.
    pub exact_until: Timestamp,
    /// Snapshots and policies in force.
    pub history: History,
    /// How the BACKUP ended.
    pub ended: Ended,
}

/// Runs it, for the object with this UID. `target` is where the worker sees what the server writes.
pub async fn run(
    server: &Arc<dyn Server>,
    facts: &ServerFacts,
    (backup, uid): (Statement, &str),
    target: (&dyn Objects, &Prefix),
    watch: &Watch,
    findings: &mut Findings,
) -> Result<Sequence, Failure> {
    let (exact_until, history) = watch.race(prepare(&**server, facts, watch)).await??;
    // A checkpoint can take ten minutes. Before the hold, because that of another would be lost by it.
    watch.race(statement::clear_the_way_again(&**server, uid, watch)).await??;
    let held = hold(&**server, facts, exact_until, findings).await;
    may_skip(facts.version, findings);
    watch.step("waiting for BACKUP");
    let ended = statement::supervise(server.clone(), backup, target, watch).await;
    if held {
        release(&**server, watch, findings).await;
    }
    Ok(Sequence { exact_until, history, ended: ended? })
}

/// Servers up to 4.1.4 can leave out an object in silence.
pub(super) fn may_skip(version: Version, findings: &mut Findings) {
    if version.may_skip_objects() {
        let message =
            format!("MatrixOne {version} leaves out objects that are gone, without a word: only a restore proves it");
        findings.warn(Reason::ServerMaySkipObjects, message);
    }
}

/// What servers up to 3.0.4 do not do.
pub(super) fn unprotected(version: Version) -> String {
    format!("MatrixOne {version} does not protect a running BACKUP from garbage collection")
}

async fn prepare(server: &dyn Server, facts: &ServerFacts, watch: &Watch) -> Result<(Timestamp, History), Failure> {
    watch.step("checkpoint");
    let mut session = server.connect().await?;
    let exact_until = preflight::clock(&mut *session).await?;
    reply::done(&Statement::Checkpoint, &ask(&mut *session, &Statement::Checkpoint).await?)?;
    let history = preflight::history(&mut *session, facts.version).await?;
    Ok((exact_until, history))
}

/// Holds garbage collection back on servers that do not protect a BACKUP themselves. It is a help, no condition: what is
/// missing in the end is found by looking. Says whether there may be something to release.
async fn hold(server: &dyn Server, facts: &ServerFacts, until: Timestamp, findings: &mut Findings) -> bool {
    if facts.version.protects_backups() {
        return false;
    }
    let (may_be_held, outcome) = try_hold(server, &Statement::HoldMinTs(until.to_string())).await;
    let what = match outcome {
        Ok(()) => "the minimum timestamp was held instead".to_owned(),
        Err(error) => format!("the minimum timestamp could not be held either: {error}"),
    };
    findings.warn(Reason::NoGcProtection, format!("{}; {what}", unprotected(facts.version)));
    may_be_held
}

/// Whether the server may have done it, and whether it says so.
async fn try_hold(server: &dyn Server, hold: &Statement) -> (bool, Result<(), sql::Error>) {
    let mut session = match server.connect().await {
        Ok(session) => session,
        Err(error) => return (false, Err(error)),
    };
    match ask(&mut *session, hold).await {
        // Whatever it has answered, it has had the statement, and one of its shards may have done it.
        Ok(rows) => (true, reply::done(hold, &rows)),
        Err(error) => {
            let refused = matches!(error.problem, Problem::Refused | Problem::Privilege | Problem::Unsupported);
            (!refused, Err(error))
        }
    }
}

/// How long a release is tried by a worker that nobody waits for.
const RELEASE: Duration = Duration::from_mins(5);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(5);

/// Ends the hold. One that is left behind holds garbage collection back until the next hold, or a restart of the server.
async fn release(server: &dyn Server, watch: &Watch, findings: &mut Findings) {
    watch.step("releasing garbage collection");
    let mut last = None;
    let released = async {
        while let Err(error) = try_release(server).await {
            tracing::warn!(%error, "releasing the minimum timestamp");
            last = Some(error);
            watch.alive();
            sleep(PAUSE).await;
        }
    };
    if matches!(watch.finish(timeout(RELEASE, released)).await, Ok(Ok(()))) {
        return;
    }
    let why = last.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    findings.warn(Reason::GcNotReleased, format!("the minimum timestamp may still be held: {why}"));
}

async fn try_release(server: &dyn Server) -> Result<(), sql::Error> {
    // Nothing is held where an earlier try had done it.
    release_on(&mut *server.connect().await?).await.map(drop)
}

/// Ends the hold. Says whether there was one.
async fn release_on(session: &mut dyn Session) -> Result<bool, sql::Error> {
    match ask(session, &Statement::ReleaseMinTs).await {
        Ok(rows) => reply::done(&Statement::ReleaseMinTs, &rows).map(|()| true),
        Err(error) if error.is_nothing_held() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends the hold that a worker left when it was killed during its BACKUP: nobody else does, and the server collects no
/// garbage meanwhile. While a BACKUP runs the hold can be that one's, and stays. Servers up to 3.0.4 only.
///
/// It is a help, no condition: what is not released now is released by the next attempt, and after the next BACKUP.
pub(super) async fn release_left(server: &dyn Server, limit: Duration) {
    let released = async {
        let mut session = server.connect().await?;
        let unprotected = Version::parse(session.greeting()).is_some_and(|version| !version.protects_backups());
        if !unprotected || !statement::running(&mut *session).await?.is_empty() {
            return Ok::<_, sql::Error>(false);
        }
        release_on(&mut *session).await
    };
    match timeout(limit, released).await {
        Ok(Ok(true)) => tracing::warn!("released garbage collection, which a worker that was killed had held back"),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "looking for a hold of garbage collection"),
        Err(_) => tracing::warn!("looking for a hold of garbage collection: no answer"),
    }
}
