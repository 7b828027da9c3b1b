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
    worker::{Failure, statement::ask},
};

/// Clocks of two nodes differ by no more.
const SKEW: i64 = 30;
/// Ticks of a log store in a second, at most: it is set to ten.
const TICKS: i64 = 12;

impl Proof<'_> {
    /// Refuses a server with another identity, and one that shows a sign of being the old one.
    pub(super) async fn is_the_restored(&self, session: &mut dyn Session, version: &str) -> Result<(), Failure> {
        let account = value(session, &Statement::CurrentAccount).await?;
        if account != "sys" {
            return Err(Failure::new(Reason::NotSysAccount, format!("the user belongs to account {account:?}")));
        }
        self.has_the_identity(&value(session, &Statement::Identity).await?)?;
        let Some(done) = self.done(session).await? else { return Ok(()) };
        let started = self.started(session, version).await?;
        if let Some(since) = started.filter(|since| *since < done - SKEW) {
            return Err(Self::not_it(format!(
                "it runs since {}, and everything was in place at {} only: it looks like the server that was backed up, not \
                 like the one that was started on the restored place",
                time(since),
                time(done)
            )));
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

    /// Since when it runs, at least, where a sign says that it was not started on the restored place.
    async fn started(&self, session: &mut dyn Session, version: &str) -> Result<Option<i64>, Failure> {
        let second = |number: Option<u64>| number.and_then(|n| i64::try_from(n).ok());
        if Version::parse(version).is_some_and(|version| version < Version::new(2, 0, 0)) {
            return Ok(second(number(session, Ask::CatalogSince).await?));
        }
        if !self.log_service_is_older(session).await? {
            return Ok(None);
        }
        let (Some(now), Some(stores)) =
            (second(number(session, Ask::Clock).await?), known(rows(session, Ask::LogStores).await)?)
        else {
            return Ok(None);
        };
        let ticks = column(&stores, 1).max();
        Ok(ticks.and_then(|ticks| i64::try_from(ticks).ok()).map(|ticks| now - ticks / TICKS))
    }

    /// Whether the log service gave an id to a replica before the catalogue gave one to a table, as it does when a cluster
    /// is set up. One that was started with `hk_data` goes on from higher ids than any table of the backup has (executed on
    /// 4.2.0). Versions that do not show their replicas do not tell.
    pub(super) async fn log_service_is_older(&self, session: &mut dyn Session) -> Result<bool, Failure> {
        let Some(replicas) = known(rows(session, Ask::LogReplicas).await)? else { return Ok(false) };
        let first = number(session, Ask::FirstTable).await?;
        // Shard 0 is the keeper of the ids itself; those of its replicas are in the configuration.
        let others: Rows = replicas.into_iter().filter(|row| row.first() != Some(&Some("0".into()))).collect();
        let lowest = column(&others, 1).min();
        Ok(lowest.zip(first).is_some_and(|(replica, table)| replica < table))
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
