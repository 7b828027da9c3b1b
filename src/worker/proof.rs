//! The proof of a MatrixOne that was started on a restored place: that it is the one, that it gives no id twice, and that
//! the values of its tables can be read.
//!
//! MatrixOne itself notices nothing of all that. It starts without `hk_data` and gives ids a second time, it starts without
//! some of its objects and counts rows that it cannot read, and an older one starts on the data of a newer one.

mod boot;
mod ids;
mod said;
mod values;
mod version;
mod who;

use std::sync::Arc;

use jiff::{Timestamp, civil, tz::TimeZone};

use super::{Failure, Watch, report::Findings, statement::ask};
use crate::{
    api::{Reason, RestoreProof},
    sql::{self, Ask, Rows, Server, Session, Statement},
    task::ProofTask,
};
use values::Read;

/// What a proof works with.
#[derive(Clone)]
pub struct ProofPorts {
    /// The new MatrixOne, with a login of account sys.
    pub server: Arc<dyn Server>,
    /// The same with logins of further accounts.
    pub logins: Vec<Login>,
}

/// A login of a further account.
#[derive(Clone)]
pub struct Login {
    /// Name of the Secret that it comes from.
    pub secret: String,
    /// The server as this user sees it.
    pub server: Arc<dyn Server>,
}

/// What is known so far; a failed proof reports it too.
#[derive(Clone, Debug, Default)]
struct Known {
    booted: Option<Timestamp>,
    version: Option<String>,
    read: Read,
    findings: Findings,
}

/// What the steps of a proof share.
#[derive(Clone, Copy)]
struct Proof<'a> {
    task: &'a ProofTask,
    ports: &'a ProofPorts,
    watch: &'a Watch,
}

/// Waits for MatrixOne, and proves it, or says why not. Progress is told on the way; the report is the caller's to tell.
pub async fn prove(task: &ProofTask, ports: &ProofPorts, watch: &Watch) -> RestoreProof {
    let mut known = Known::default();
    let proof = Proof { task, ports, watch };
    // In one task on purpose: when the work hangs, the heartbeat stops too, and the operator notices.
    let result = tokio::select! {
        biased;
        result = Box::pin(proof.run(&mut known)) => result,
        never = watch.beat() => match never {},
    };
    let result = result.map_err(|failure| in_words_of_a_proof(watch.ended(failure)));
    match &result {
        Ok(()) => tracing::info!(tables = known.read.tables, rows = known.read.rows, "proven"),
        Err(failure) => tracing::error!(reason = %failure.reason, detail = failure.detail, "not proven"),
    }
    said::report(task, result.as_ref().err(), &known, watch)
}

/// What breaks changes nothing here, so that its end need not be known; and rights are not those of a backup.
fn in_words_of_a_proof(failure: Failure) -> Failure {
    if failure.reason == Reason::StatementUnknown {
        return Failure { reason: Reason::ServerUnreachable, ..failure };
    }
    if failure.reason == Reason::RoleTooWeak {
        return Failure { reason: Reason::ReadForbidden, ..failure };
    }
    failure
}

/// The report of a proof that has no login to begin with.
pub(super) fn refused(task: &ProofTask, failure: &Failure, watch: &Watch) -> RestoreProof {
    said::report(task, Some(failure), &Known::default(), watch)
}

impl Proof<'_> {
    async fn run(&self, known: &mut Known) -> Result<(), Failure> {
        let watch = self.watch;
        watch.step(crate::task::WAITING_FOR_BOOT);
        let (mut session, version) = watch.race(self.boot()).await??;
        known.booted = Some(watch.now());
        known.version = Some(version.clone());
        let session = &mut *session;
        watch.step("looking at who answers");
        watch.race(self.is_the_restored(session, &version, &mut known.findings)).await??;
        self.is_new_enough(&version, &mut known.findings)?;
        watch.step("waiting for the upgrade of the catalogue");
        self.is_settled(session).await?;
        watch.step("looking at the ids");
        // Not dropped when the proof must stop: what it makes, it takes away.
        watch.finish(self.goes_on_with_the_ids(session)).await??;
        watch.step("trying the logins");
        watch.race(self.read(session, known)).await?
    }

    fn not_it(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::NotTheRestored, detail)
    }

    /// The moment of the data, seconds since 1970.
    fn at(&self) -> Result<i64, Failure> {
        let text = self.task.restored.at_time.as_deref();
        let at = text.and_then(|text| text.parse::<civil::DateTime>().ok());
        let at = at.and_then(|at| at.to_zoned(TimeZone::UTC).ok());
        at.map(|at| at.timestamp().as_second()).ok_or_else(|| {
            Failure::new(Reason::Internal, format!("the restore does not say of when its data is: {text:?}"))
        })
    }
}

/// Rows of a statement of the proof.
async fn rows(session: &mut dyn Session, what: Ask) -> Result<Rows, sql::Error> {
    ask(session, &Statement::Proof(what)).await
}

/// The number that a statement answers with; `None` for NULL.
async fn number(session: &mut dyn Session, what: Ask) -> Result<Option<u64>, Failure> {
    let found = rows(session, what.clone()).await?;
    let [row] = found.as_slice() else {
        let detail = format!("{} rows instead of one to {:?}", found.len(), Statement::Proof(what).redacted());
        return Err(Failure::new(Reason::StatementFailed, detail));
    };
    match row.first() {
        Some(Some(text)) => text.parse().map(Some).map_err(|_| {
            let detail = format!("{text:?} is no number, to {:?}", Statement::Proof(what).redacted());
            Failure::new(Reason::StatementFailed, detail)
        }),
        Some(None) | None => Ok(None),
    }
}

/// A name for a message: nothing in it can pretend to be the message.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(160).collect();
    format!("{short:?}")
}
