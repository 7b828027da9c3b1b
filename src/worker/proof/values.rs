//! Reading every value: a count is right even where the objects are missing, since MatrixOne takes it from metadata.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::try_join_all;

use super::{Known, Login, Proof, rows, shown};
use crate::{
    api::Reason,
    sql::{self, Ask, Problem, Server, Session, Statement, Table, reply},
    worker::{Failure, Watch, statement::ask},
};

/// Tables that are read at the same time.
const AT_ONCE: usize = 4;
/// Progress is counted in portions of so many rows or bytes.
const PORTION: (u64, u64) = (1000, 1 << 20);
/// How often rows are counted again in a table that changes meanwhile.
const TRIES: u32 = 3;
/// Tables and accounts that are named.
const NAMED: usize = 10;
/// Databases that the server fills by itself. Some tables of theirs cannot be read by anybody: of 4.2.0 it is
/// `system_metrics.sql_statement_cu` in every account but sys, also on a server that was never restored (executed).
const OWN: [&str; 7] = ["mo_catalog", "mo_task", "mo_debug", "system", "system_metrics", "information_schema", "mysql"];

/// The error for an object that is not there.
const NO_FILE: u16 = 20405;

/// What was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    /// Names of the accounts.
    pub accounts: Vec<String>,
    /// Tables whose values were all read.
    pub tables: u64,
    /// Rows of theirs.
    pub rows: u64,
    /// Bytes of their values, as text.
    pub bytes: u64,
    /// Views, and tables whose rows lie elsewhere.
    pub skipped: u64,
    /// Tables that were listed, and are not there.
    gone: Names,
    /// Tables that nobody can read.
    unreadable: Names,
    /// Tables that cannot be read, and why.
    bad: Names,
    /// Tables that this user may not read.
    forbidden: Names,
}

/// A count, and some of what was counted.
#[derive(Clone, Debug, Default)]
struct Names {
    count: u64,
    some: Vec<String>,
}

impl Names {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.some.len() < NAMED {
            self.some.push(name());
        }
    }

    fn text(&self, between: &str) -> String {
        let more = if self.count > self.some.len() as u64 { format!("{between}…") } else { String::new() };
        format!("{}{more}", self.some.join(between))
    }
}

/// How a table came out.
enum Outcome {
    Read { rows: u64, bytes: u64 },
    Gone,
    Unreadable,
    Forbidden,
    Bad(String),
}

impl Proof<'_> {
    /// Reads the tables of every account that there is a login for.
    pub(super) async fn read(&self, session: &mut dyn Session, known: &mut Known) -> Result<(), Failure> {
        // Every login is tried before hours of reading.
        let mut accounts = vec![("sys".to_owned(), self.ports.server.clone())];
        for login in &self.ports.logins {
            let account = self.account(login).await?;
            if accounts.iter().all(|(other, _)| *other != account) {
                accounts.push((account, login.server.clone()));
            }
        }
        let all: Vec<String> = rows(session, Ask::Accounts).await?.into_iter().flatten().flatten().collect();
        for (account, server) in accounts {
            self.read_account(&account, &server, &mut known.read).await?;
            known.read.accounts.push(account);
        }
        let mut unread = Names::default();
        for name in all.iter().filter(|name| !known.read.accounts.contains(name)) {
            unread.add(|| shown(name));
        }
        let (read, findings) = (&known.read, &mut known.findings);
        if unread.count > 0 {
            let text = format!("accounts not read, for want of a login: {} ({})", unread.count, unread.text(", "));
            findings.warn(Reason::AccountsNotRead, text);
        }
        // In one warning: a reason is said once.
        let not_read: Vec<_> = [
            (&read.gone, "tables dropped meanwhile, or not found by name"),
            (&read.unreadable, "tables of its own that MatrixOne cannot read, whatever they hold"),
        ]
        .into_iter()
        .filter(|(names, _)| names.count > 0)
        .map(|(names, what)| format!("{what}: {} ({})", names.count, names.text(", ")))
        .collect();
        if !not_read.is_empty() {
            findings.warn(Reason::TablesNotRead, not_read.join("; "));
        }
        read.verdict()
    }

    async fn account(&self, login: &Login) -> Result<String, Failure> {
        let named =
            |failure: Failure| Failure { detail: format!("{} (Secret {})", failure.detail, login.secret), ..failure };
        let asked = async {
            let mut session = login.server.connect().await?;
            let rows = ask(&mut *session, &Statement::CurrentAccount).await?;
            reply::value(&Statement::CurrentAccount, &rows).map(str::to_owned)
        };
        asked.await.map_err(|error| named(error.into()))
    }

    async fn read_account(&self, account: &str, server: &Arc<dyn Server>, read: &mut Read) -> Result<(), Failure> {
        self.watch.step("reading tables");
        let mut session = server.connect().await?;
        let mut tables = VecDeque::new();
        for row in rows(&mut *session, Ask::Tables).await? {
            match row.as_slice() {
                [Some(database), Some(name), kind] if has_rows(kind.as_deref()) => {
                    tables.push_back(Table { database: database.clone(), name: name.clone() });
                }
                _ => read.skipped += 1,
            }
        }
        drop(session);
        tracing::info!(account, tables = tables.len(), "reading");
        self.watch.total(tables.len() as u64, 0);
        let before = read.all();
        let shelf = Shelf { account, watch: self.watch, tables: Mutex::new(tables), read: Mutex::new(&mut *read) };
        try_join_all((0..AT_ONCE).map(|_| shelf.reader(server))).await?;
        // Every account has tables of MatrixOne's own.
        if read.all() == before {
            let detail = format!("no table is seen in account {}", shown(account));
            return Err(Failure::new(Reason::ValuesUnreadable, detail));
        }
        Ok(())
    }
}

/// Views show what others hold, external tables what lies in files elsewhere, sources what comes from a queue. Indexes,
/// partitions and sequences are tables like others (executed on 1.2.4 and 4.2.0).
fn has_rows(kind: Option<&str>) -> bool {
    !matches!(kind, Some("v" | "e" | "so"))
}

/// The tables of an account, for several readers.
struct Shelf<'a> {
    account: &'a str,
    watch: &'a Watch,
    tables: Mutex<VecDeque<Table>>,
    read: Mutex<&'a mut Read>,
}

impl Shelf<'_> {
    async fn reader(&self, server: &Arc<dyn Server>) -> Result<(), Failure> {
        let mut session = None;
        while let Some(table) = self.next() {
            let session = match &mut session {
                Some(session) => session,
                none => none.insert(server.connect().await?),
            };
            let outcome = self.table(&mut **session, &table).await?;
            self.note(&table, outcome);
        }
        Ok(())
    }

    fn next(&self) -> Option<Table> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn note(&self, table: &Table, outcome: Outcome) {
        let named = || format!("{} of account {}", shown(&table.to_string()), shown(self.account));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Outcome::Read { rows, bytes } => {
                read.tables += 1;
                read.rows += rows;
                read.bytes += bytes;
            }
            Outcome::Gone => read.gone.add(named),
            Outcome::Unreadable => read.unreadable.add(named),
            Outcome::Forbidden => read.forbidden.add(named),
            Outcome::Bad(why) => {
                tracing::error!(%table, account = self.account, why, "cannot be read");
                read.bad.add(|| format!("{}: {why}", named()));
            }
        }
        self.watch.done(1, 0);
    }

    async fn table(&self, session: &mut dyn Session, table: &Table) -> Result<Outcome, Failure> {
        for _ in 0..TRIES {
            let error = match self.scan(session, table).await {
                Ok((rows, bytes, counted)) if counted.is_none_or(|counted| counted == rows) => {
                    return Ok(Outcome::Read { rows, bytes });
                }
                // It changes meanwhile, or lacks rows.
                Ok(_) => continue,
                Err(error) => error,
            };
            return self.why(session, table, error).await;
        }
        Ok(Outcome::Bad("it has another number of rows than it says, again and again".into()))
    }

    /// Reads every row. Gives rows, bytes, and how many rows there are if that stayed the same meanwhile.
    async fn scan(&self, session: &mut dyn Session, table: &Table) -> Result<(u64, u64, Option<u64>), sql::Error> {
        let before = self.count(session, table).await?;
        let (mut rows, mut bytes) = (0, 0);
        let mut told = (0, 0);
        let mut row = |length| {
            (rows, bytes) = (rows + 1, bytes + length);
            if rows - told.0 >= PORTION.0 || bytes - told.1 >= PORTION.1 {
                self.watch.done(0, bytes - told.1);
                told = (rows, bytes);
            }
        };
        session.read(&Statement::Proof(Ask::Read(table.clone())), &mut row).await?;
        self.watch.done(0, bytes - told.1);
        let after = self.count(session, table).await?;
        Ok((rows, bytes, (before == after).then_some(after)))
    }

    async fn count(&self, session: &mut dyn Session, table: &Table) -> Result<u64, sql::Error> {
        let statement = Statement::Proof(Ask::Count(table.clone()));
        // It says nothing before its end, which can be hours away; the deadline of the run bounds it.
        let alive = async {
            loop {
                self.watch.pause().await;
                self.watch.alive();
            }
        };
        // Without the limit of short statements: where much was deleted, it is no matter of metadata.
        let rows = tokio::select! {
            biased;
            rows = session.run(&statement) => rows?,
            never = alive => match never {},
        };
        reply::count(&statement, &rows)
    }

    /// What an error of a table means.
    async fn why(&self, session: &mut dyn Session, table: &Table, error: sql::Error) -> Result<Outcome, Failure> {
        match error.problem {
            Problem::Privilege => return Ok(Outcome::Forbidden),
            Problem::Unsupported | Problem::Refused | Problem::Reply => {}
            Problem::Unreachable
            | Problem::NotMatrixOne
            | Problem::Login
            | Problem::TlsUnavailable
            | Problem::TlsUntrusted
            | Problem::Lost
            | Problem::Cancelled => return Err(error.into()),
        }
        if rows(session, Ask::TableId(table.clone())).await?.is_empty() {
            return Ok(Outcome::Gone);
        }
        if OWN.contains(&table.database.as_str())
            && error.code != NO_FILE
            && rows(session, Ask::Plan(table.clone())).await.is_err_and(|planned| planned.detail == error.detail)
        {
            return Ok(Outcome::Unreadable);
        }
        let code = if error.code == 0 { String::new() } else { format!(" (error {})", error.code) };
        Ok(Outcome::Bad(format!("{}{code}", error.detail)))
    }
}

impl Read {
    fn all(&self) -> u64 {
        self.tables + self.unreadable.count + self.bad.count + self.forbidden.count
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.bad.count > 0 {
            let detail = format!("{} of {} tables cannot be read: {}", self.bad.count, self.all(), self.bad.text("; "));
            return Err(Failure::new(Reason::ValuesUnreadable, detail));
        }
        if self.forbidden.count > 0 {
            let detail = format!(
                "{} of {} tables may not be read by the user given: {}",
                self.forbidden.count,
                self.all(),
                self.forbidden.text(", ")
            );
            return Err(Failure::new(Reason::ReadForbidden, detail));
        }
        Ok(())
    }
}
