//! Whether it is the MatrixOne that was started on the restored place.
//!
//! The server that was backed up has the same identity, and people name it by mistake. Nothing tells the two apart for
//! certain, so there are signs: whatever happened between the moment of the data and the end of the restore can have
//! happened to the old one only, and so can a start before that end.

use jiff::Timestamp;

use super::{Proof, number, rows};
use crate::{
    api::Reason,
    sql::{Ask, Problem, Rows, Session, Statement, Version, reply},
    worker::{Failure, report::Findings, statement::ask},
};

/// Clocks of two nodes differ by no more.
const SKEW: i64 = 30;
/// Ticks of a log store in a second, at most: it is set to ten.
const TICKS: i64 = 12;

/// What a server shows of its start.
enum Start {
    /// It runs since this second, at least.
    Since(i64),
    /// Its log service goes on from the ids of the backup.
    FromHkData,
    /// Nothing that could be believed.
    Hidden,
}

impl Proof<'_> {
    /// Refuses a server with another identity, and one that shows a sign of being the old one. Says so where none could be
    /// looked at.
    pub(super) async fn is_the_restored(
        &self,
        session: &mut dyn Session,
        version: &str,
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let account = value(session, &Statement::CurrentAccount).await?;
        if account != "sys" {
            return Err(Failure::new(Reason::NotSysAccount, format!("the user belongs to account {account:?}")));
        }
        self.has_the_identity(&value(session, &Statement::Identity).await?)?;
        let Some(done) = self.done(session).await? else {
            not_ruled_out(findings);
            return Ok(());
        };
        match self.started(session, version, done).await? {
            Start::Since(since) if since < done - SKEW => {
                return Err(Self::not_it(format!(
                    "it runs since {}, and everything was in place at {} only: it looks like the server that was backed up, \
                     not like the one that was started on the restored place",
                    time(since),
                    time(done)
                )));
            }
            Start::Since(_) | Start::FromHkData => {}
            Start::Hidden => not_ruled_out(findings),
        }
        self.was_untouched(session, done).await
    }

    fn has_the_identity(&self, identity: &str) -> Result<(), Failure> {
        let born = |text: &str| text.parse().ok().map_or_else(|| text.to_owned(), |ms: i64| time(ms / 1000));
        let other = match &self.task.restored.server_identity {
            Some(expected) if expected != identity => format!("the one that was backed up at {}", born(expected)),
            Some(_) => return Ok(()),
            // Of a backup made without us it is only known what cannot be.
            None => match identity.parse::<i64>() {
                Ok(ms) if ms / 1000 > self.at()? + SKEW => format!("the data is of {}", time(self.at()?)),
                Ok(_) | Err(_) => return Ok(()),
            },
        };
        Err(Self::not_it(format!(
            "the MatrixOne that answers was set up at {}, and {other}: it is another one, or it was started in another place \
             than the restored one",
            born(identity)
        )))
    }

    /// When everything was in place, by the clock of the server.
    async fn done(&self, session: &mut dyn Session) -> Result<Option<i64>, Failure> {
        let Some(complete) = &self.task.restored.complete_time else { return Ok(None) };
        let since = self.watch.now().as_second() - complete.0.as_second();
        let now = number(session, Ask::Clock).await?;
        Ok(now.and_then(|now| i64::try_from(now).ok()).map(|now| now - since.max(0)))
    }

    /// What it shows of its start.
    async fn started(&self, session: &mut dyn Session, version: &str, done: i64) -> Result<Start, Failure> {
        let second = |number: Option<u64>| number.and_then(|n| i64::try_from(n).ok());
        if Version::parse(version).is_some_and(|version| version < Version::new(2, 0, 0)) {
            let since = second(number(session, Ask::CatalogSince).await?);
            return Ok(since.map_or(Start::Hidden, Start::Since));
        }
        let Some(replica) = self.lowest_replica(session).await? else { return Ok(Start::Hidden) };
        // The highest, not the first: the old server can have been started with hk_data, too, of an older backup. What was
        // made there since has ids above those of its log service.
        let highest = number(session, Ask::HighestTable(self.at()?)).await?;
        if highest.is_some_and(|table| replica > table) {
            return Ok(Start::FromHkData);
        }
        let (Some(now), Some(stores)) =
            (second(number(session, Ask::Clock).await?), known(rows(session, Ask::LogStores).await)?)
        else {
            return Ok(Start::Hidden);
        };
        let ticks = column(&stores, 1).max().and_then(|ticks| i64::try_from(ticks).ok());
        let since = ticks.map(|ticks| now - ticks / TICKS);
        // Ticks that are few show nothing here: the server may have stood still for long.
        Ok(since.filter(|since| *since < done - SKEW).map_or(Start::Hidden, Start::Since))
    }

    /// Whether the log service gave an id to a replica before the catalogue gave one to a table, as it does when a cluster
    /// is set up. One that was started with `hk_data` goes on from higher ids than any table of the backup has (executed on
    /// 4.2.0). Versions that do not show their replicas do not tell.
    pub(super) async fn log_service_is_older(&self, session: &mut dyn Session) -> Result<bool, Failure> {
        let lowest = self.lowest_replica(session).await?;
        let first = number(session, Ask::FirstTable).await?;
        Ok(lowest.zip(first).is_some_and(|(replica, table)| replica < table))
    }

    /// The lowest id that the log service gave to a replica, of versions that show them.
    async fn lowest_replica(&self, session: &mut dyn Session) -> Result<Option<u64>, Failure> {
        let Some(replicas) = known(rows(session, Ask::LogReplicas).await)? else { return Ok(None) };
        // Shard 0 is the keeper of the ids itself; those of its replicas are in the configuration.
        let others: Rows = replicas.into_iter().filter(|row| row.first() != Some(&Some("0".into()))).collect();
        Ok(column(&others, 1).min())
    }

    /// Between the moment of the data and the end of the restore nothing can have happened to the restored server.
    async fn was_untouched(&self, session: &mut dyn Session, done: i64) -> Result<(), Failure> {
        let (from, to) = (self.at()? + SKEW, done - SKEW);
        if from >= to {
            return Ok(());
        }
        for (ask, what) in
            [(Ask::MadeBetween(from, to), "tables were made"), (Ask::RanBetween(from, to), "periodic tasks ran last")]
        {
            if let Some(count) = number(session, ask).await?.filter(|count| *count > 0) {
                let (at, done) = (time(from - SKEW), time(done));
                return Err(Self::not_it(format!(
                    "{count} {what} after {at}, the moment of the data, and before {done}, when everything was in place: it \
                     is the server that was backed up, not the one that was started on the restored place"
                )));
            }
        }
        Ok(())
    }
}

fn not_ruled_out(findings: &mut Findings) {
    findings.warn(
        Reason::OldServerNotRuledOut,
        "nothing tells this server from the one that was backed up; give the new one an address of its own",
    );
}

async fn value(session: &mut dyn Session, statement: &Statement) -> Result<String, Failure> {
    let rows = ask(session, statement).await?;
    Ok(reply::value(statement, &rows)?.to_owned())
}

/// `None` from a server that does not know the statement, or does not answer it to this user.
fn known(answer: Result<Rows, crate::sql::Error>) -> Result<Option<Rows>, Failure> {
    match answer {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if matches!(error.problem, Problem::Unsupported | Problem::Privilege) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn column(rows: &Rows, index: usize) -> impl Iterator<Item = u64> {
    rows.iter().filter_map(move |row| row.get(index)?.as_ref()?.parse().ok())
}

fn time(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), super::super::report::rfc3339)
}
