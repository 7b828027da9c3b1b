//! A MatrixOne that answers the proof as v1.2.4 and v4.2.0 did: each of them booted from a physical backup with and without
//! `hk_data`, with an object missing, and the server that was backed up beside it. The replies were seen there; what the
//! server holds is this double's own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use mo_backup::sql::{Ask, Error, Problem, Rows, Server, Session, Statement, Table};

/// The moment of the data, when everything was in place, and when the new server began.
pub const AT: i64 = 1_795_263_308;
pub const DONE: i64 = AT + 3600;
pub const BOOT: i64 = DONE + 60;
pub const IDENTITY: &str = "1795263290110";
/// The highest id of the backup, as on v1.2.4, and what the server goes on from with `hk_data`.
pub const HIGHEST: u64 = 272_600;
pub const NEXT: u64 = 293_165;
/// The first id that a new cluster gives to a table.
pub const FIRST: u64 = 272_385;

#[derive(Clone)]
pub struct Stored {
    pub account: &'static str,
    pub table: Table,
    pub kind: &'static str,
    pub id: u64,
    pub made: i64,
    /// Bytes of each row.
    pub rows: Vec<u64>,
    /// What reading values is answered with.
    pub fault: Option<(u16, String)>,
    /// The same without a row.
    pub planless: bool,
    /// Dropped between the list of tables and the look at it.
    pub gone: bool,
}

pub struct State {
    pub version: &'static str,
    pub identity: &'static str,
    /// What connections meet before they are answered.
    pub refusals: VecDeque<Error>,
    pub now: i64,
    /// When the TN says that it began.
    pub since: i64,
    pub ticks: u64,
    /// The replica of the log shard.
    pub replica: u64,
    pub ran: i64,
    pub next: u64,
    pub duplicate: bool,
    pub tables: Vec<Stored>,
    /// Account, name, id, when it was made.
    pub databases: Vec<(&'static str, String, u64, i64)>,
    pub accounts: Vec<&'static str>,
    /// Looks until the upgrade is over, and whether it moves.
    pub upgrading: Option<(u32, bool)>,
    pub weak: bool,
    /// Its log service is not shown, as on v1.2.4.
    pub silent: bool,
    /// How long it counts the rows of a table.
    pub counting: Duration,
    pub statements: Vec<String>,
    /// The connection breaks at this statement, once.
    pub breaks: Option<&'static str>,
}

/// Clones are the same server.
#[derive(Clone)]
pub struct Double {
    pub state: Arc<Mutex<State>>,
    pub account: &'static str,
}

pub fn failed(problem: Problem, code: u16, detail: &str) -> Error {
    Error { problem, verb: "talk to the double".into(), code, detail: detail.into() }
}

pub fn table(database: &str, name: &str) -> Table {
    Table { database: database.into(), name: name.into() }
}

impl Double {
    /// Booted from the restored place, with `hk_data`.
    pub fn restored(version: &'static str) -> Self {
        let stored = |account, database: &str, name: &str, kind, id, rows: &[u64]| Stored {
            account,
            table: table(database, name),
            kind,
            id,
            made: AT - 10,
            rows: rows.to_vec(),
            fault: None,
            planless: false,
            gone: false,
        };
        let tables = vec![
            stored("sys", "mo_catalog", "mo_indexes", "r", FIRST, &[7]),
            stored("sys", "shop", "orders", "r", 272_507, &[38, 38, 39]),
            stored("sys", "shop", "__mo_index_unique_01", if version == "v1.2.4" { "" } else { "i" }, 272_508, &[5]),
            stored("sys", "shop", "vw", "v", 272_509, &[]),
            stored("sys", "shop", "ext", "e", 272_510, &[]),
            stored("tenant1", "tdb", "t", "r", HIGHEST, &[2]),
        ];
        let database = |account, name: &str, id| (account, name.to_owned(), id, AT - 10);
        Self {
            account: "sys",
            state: Arc::new(Mutex::new(State {
                version,
                identity: IDENTITY,
                refusals: VecDeque::new(),
                now: BOOT + 20,
                since: if version == "v1.2.4" { BOOT } else { AT - 18 },
                ticks: 200,
                replica: 272_685,
                ran: AT - 2,
                next: NEXT,
                duplicate: false,
                tables,
                databases: vec![database("sys", "shop", 272_506), database("tenant1", "tdb", 272_599)],
                accounts: vec!["sys", "tenant1"],
                upgrading: None,
                weak: false,
                silent: version == "v1.2.4",
                counting: Duration::ZERO,
                statements: Vec::new(),
                breaks: None,
            })),
        }
    }

    /// The same without `hk_data`: ids and the log service begin anew.
    pub fn without_ids(version: &'static str) -> Self {
        let double = Self::restored(version);
        (double.state().next, double.state().replica) = (FIRST, 262_145);
        double
    }

    /// The server that was backed up, which still runs.
    pub fn old(version: &'static str) -> Self {
        let double = Self::restored(version);
        {
            let mut state = double.state();
            state.since = AT - 18;
            state.ticks = 10 * u64::try_from(state.now - (AT - 18)).unwrap();
            (state.next, state.replica) = (272_613, 262_145);
        }
        double
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The same server for a user of this account.
    pub fn of(&self, account: &'static str) -> Self {
        Self { account, ..self.clone() }
    }

    pub fn change(&self, name: &str, change: impl Fn(&mut Stored)) {
        self.state().tables.iter_mut().filter(|t| t.table.name == name).for_each(change);
    }

    pub fn sent(&self, text: &str) -> usize {
        self.state().statements.iter().filter(|sent| sent.contains(text)).count()
    }
}

#[async_trait]
impl Server for Double {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        match self.state().refusals.pop_front() {
            Some(refusal) => Err(refusal),
            None => Ok(Box::new(self.clone())),
        }
    }
}

#[async_trait]
impl Session for Double {
    async fn run(&mut self, statement: &Statement) -> Result<Rows, Error> {
        self.enter(statement)?;
        if matches!(statement, Statement::Proof(Ask::Count(_))) {
            let counting = self.state().counting;
            tokio::time::sleep(counting).await;
        }
        match statement {
            Statement::Version => one(format!("8.0.30-MatrixOne-{}", self.state().version)),
            Statement::CurrentAccount => one(self.account),
            Statement::Identity => one(self.state().identity),
            Statement::Proof(ask) => self.answer(ask),
            other => panic!("the proof does not send {other:?}"),
        }
    }

    async fn read(&mut self, statement: &Statement, row: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        self.enter(statement)?;
        let Statement::Proof(Ask::Read(table)) = statement else { panic!("{statement:?}") };
        let Stored { rows, fault, .. } = self.find(table)?;
        match fault {
            Some((code, text)) => Err(failed(Problem::Refused, code, &text)),
            None => {
                rows.into_iter().for_each(row);
                Ok(())
            }
        }
    }

    fn connection_id(&self) -> u32 {
        1
    }

    fn greeting(&self) -> &'static str {
        "8.0.30-MatrixOne"
    }
}

fn one(text: impl ToString) -> Result<Rows, Error> {
    Ok(vec![vec![Some(text.to_string())]])
}

fn highest(ids: impl Iterator<Item = u64>) -> Result<Rows, Error> {
    Ok(vec![vec![ids.max().map(|id| id.to_string())]])
}

fn unknown(near: &str) -> Error {
    let text = format!("SQL parser error: You have an error in your SQL syntax; … near \" {near}\";");
    failed(Problem::Unsupported, 1064, &text)
}

fn databases(state: &mut State, ask: &Ask) -> Result<Rows, Error> {
    match ask {
        Ask::DatabasesWithId(id) => one(state.databases.iter().filter(|d| d.2 == *id).count()),
        Ask::DatabasesLike(start) => {
            Ok(state.databases.iter().filter(|d| d.1.starts_with(start)).map(|d| vec![Some(d.1.clone())]).collect())
        }
        Ask::CreateDatabase(_) if state.duplicate => Err(failed(Problem::Refused, 0, "ExpectedDup")),
        Ask::CreateDatabase(name) => {
            let (id, now) = (state.next, state.now);
            state.next += 1;
            state.databases.push(("sys", name.clone(), id, now));
            Ok(Vec::new())
        }
        Ask::DatabaseId(name) => {
            Ok(state.databases.iter().filter(|d| d.1 == *name).map(|d| vec![Some(d.2.to_string())]).collect())
        }
        Ask::DropDatabase(name) => {
            // By id, as MatrixOne does.
            let dropped: Vec<u64> = state.databases.iter().filter(|d| d.1 == *name).map(|d| d.2).collect();
            state.databases.retain(|d| !dropped.contains(&d.2));
            Ok(Vec::new())
        }
        other => panic!("{other:?}"),
    }
}

impl Double {
    fn enter(&self, statement: &Statement) -> Result<(), Error> {
        let text = statement.redacted();
        let mut state = self.state();
        let breaks = state.breaks.is_some_and(|breaks| text.contains(breaks));
        state.statements.push(text);
        if breaks {
            state.breaks = None;
            return Err(failed(Problem::Lost, 0, "connection reset by peer"));
        }
        Ok(())
    }

    fn find(&self, table: &Table) -> Result<Stored, Error> {
        let state = self.state();
        let found = state.tables.iter().find(|t| t.account == self.account && t.table == *table && !t.gone);
        let missing = || format!("SQL parser error: table {:?} does not exist", table.name);
        found.cloned().ok_or_else(|| failed(Problem::Unsupported, 1064, &missing()))
    }

    fn answer(&self, ask: &Ask) -> Result<Rows, Error> {
        let mut state = self.state();
        let count = |found: usize| one(found);
        match ask {
            _ if state.weak => {
                Err(failed(Problem::Privilege, 20101, "internal error: do not have privilege to execute the statement"))
            }
            Ask::Unsettled => Ok(match &mut state.upgrading {
                Some((0, _)) | None => Vec::new(),
                Some((looks, _)) => {
                    *looks -= 1;
                    vec![vec![Some("4.0.6".into()), Some("0".into())]]
                }
            }),
            Ask::Upgrades => {
                let done = state.upgrading.filter(|(_, moves)| *moves).map(|(looks, _)| looks.to_string());
                Ok(vec![vec![Some("1".into()), Some("0".into()), done]])
            }
            Ask::Clock => one(state.now),
            Ask::CatalogSince => one(state.since),
            Ask::MadeBetween(from, to) => {
                count(state.tables.iter().filter(|t| (*from..=*to).contains(&t.made)).count())
            }
            Ask::RanBetween(from, to) => count(usize::from((*from..=*to).contains(&state.ran))),
            Ask::LogReplicas | Ask::LogStores if state.silent => Err(unknown("logservice")),
            Ask::LogReplicas => {
                let row = |shard: u64, replica: u64| {
                    ["Leader", "0", "2", "1", "7c4dccb4"].iter().fold(
                        vec![Some(shard.to_string()), Some(replica.to_string())],
                        |mut row, cell| {
                            row.push(Some((*cell).to_owned()));
                            row
                        },
                    )
                };
                Ok(vec![row(0, 131_072), row(1, state.replica)])
            }
            Ask::LogStores => Ok(vec![vec![Some("7c4dccb4".into()), Some(state.ticks.to_string()), Some("2".into())]]),
            Ask::FirstTable => one(state.tables.iter().map(|t| t.id).min().unwrap()),
            Ask::HighestTable(until) => highest(state.tables.iter().filter(|t| t.made <= *until).map(|t| t.id)),
            Ask::HighestDatabase(until) => highest(state.databases.iter().filter(|d| d.3 <= *until).map(|d| d.2)),
            Ask::GivenAgain(after, id) => count(state.tables.iter().filter(|t| t.made > *after && t.id <= *id).count()),
            Ask::Accounts => Ok(state.accounts.iter().map(|name| vec![Some((*name).to_owned())]).collect()),
            Ask::Tables => {
                let own = state.tables.iter().filter(|t| t.account == self.account);
                let row =
                    |t: &Stored| [&*t.table.database, &*t.table.name, t.kind].map(|c| Some(c.to_owned())).to_vec();
                Ok(own.map(row).collect())
            }
            Ask::TableId(_) | Ask::Count(_) | Ask::Plan(_) => {
                drop(state);
                self.about(ask)
            }
            other => databases(&mut state, other),
        }
    }

    fn about(&self, ask: &Ask) -> Result<Rows, Error> {
        match ask {
            Ask::TableId(table) => {
                Ok(self.find(table).ok().into_iter().map(|t| vec![Some(t.id.to_string())]).collect())
            }
            Ask::Count(table) => one(self.find(table)?.rows.len()),
            Ask::Plan(table) => match self.find(table)? {
                Stored { planless: true, fault: Some((code, text)), .. } => Err(failed(Problem::Refused, code, &text)),
                _ => Ok(Vec::new()),
            },
            other => panic!("{other:?}"),
        }
    }
}
