//! Every statement we ever send.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// Where a BACKUP writes to.
#[derive(Clone, Debug)]
pub enum BackupTarget {
    /// A folder in the file system of the CN that runs the statement.
    FileSystem {
        /// Absolute path.
        path: String,
    },
    /// A prefix of a bucket.
    S3(Box<S3Target>),
}

/// A prefix of a bucket, for the server to write to.
///
/// There is no way to name a CA, a storage class or an encryption in the statement, and the option `is_minio` is never
/// sent: with it servers take 3 to 20 GB of memory for a backup of 15 MB (observed on 3.0.18 and 4.2.0), and MinIO does
/// not need it.
#[derive(Clone, Debug)]
pub struct S3Target {
    /// URL with scheme; without one the server takes https.
    pub endpoint: String,
    /// Never empty: 4.2.0 answers 1105 `Invalid region` to an empty one.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Key prefix of the backup.
    pub filepath: String,
    /// Key id and secret; without them the server uses its own identity.
    pub keys: Option<(SecretString, SecretString)>,
}

/// Database and name of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Database.
    pub database: String,
    /// Name in it.
    pub name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

/// A statement of the proof of a restored server. It reads, but for the database that it makes and drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Versions of the catalogue whose upgrade is not over: version, state; 2 is the state of one that is. All versions.
    Unsettled,
    /// Upgrades of the catalogue: how many, sum of their states, accounts that are done. Changes while an upgrade moves.
    /// All versions.
    Upgrades,
    /// `select unix_timestamp()`: the server's clock in seconds. All versions.
    Clock,
    /// When database `mo_catalog` was made, in seconds since 1970: 1.2.4 says the start of its TN, 4.2.0 the birth of the
    /// cluster (executed).
    CatalogSince,
    /// How many tables say that they were made between these seconds since 1970. All versions.
    MadeBetween(i64, i64),
    /// How many of the server's own periodic tasks say that they ran last between these seconds. All versions.
    RanBetween(i64, i64),
    /// `SHOW LOGSERVICE REPLICAS`: shard, replica, and more. 4.2.0; 1.2.4 does not know it (1064).
    LogReplicas,
    /// `SHOW LOGSERVICE STORES`: store, ticks, and more. A store ticks ten times in a second while it runs, and goes on
    /// counting when it is started again. 4.2.0; 1.2.4 does not know it (1064).
    LogStores,
    /// The lowest id that was given to a table; the catalogue's own have fixed ones below 1000. All versions.
    FirstTable,
    /// The highest id of the tables of any account that were made until this second since 1970. What gets another id, as
    /// with TRUNCATE, counts as made then (executed on 1.2.4 and 4.2.0). Fractions of that second count. All versions.
    HighestTable(i64),
    /// The same of databases.
    HighestDatabase(i64),
    /// How many tables were made after the second, and have an id up to the second number. All versions.
    GivenAgain(i64, u64),
    /// How many databases have this id. All versions.
    DatabasesWithId(u64),
    /// Databases of the session's account whose name begins so. All versions.
    DatabasesLike(String),
    /// `CREATE DATABASE`. All versions.
    CreateDatabase(String),
    /// Id of a database of the session's account. All versions.
    DatabaseId(String),
    /// `DROP DATABASE IF EXISTS`. All versions.
    DropDatabase(String),
    /// Names of all accounts, by their ids. Account sys only; others do not see the table (1064). All versions.
    Accounts,
    /// All tables of the session's account: database, name, kind. Other accounts' rows are shown too, hence the filter.
    /// All versions.
    Tables,
    /// Whether a table of the session's account is there: its id. All versions.
    TableId(Table),
    /// `select count(*)`: answered from metadata, also where objects are missing (executed on 1.2.4 and 4.2.0).
    Count(Table),
    /// Every value of every row. All versions.
    Read(Table),
    /// `EXPLAIN` of that: no object is looked at, so that what fails here fails whatever they hold (executed on 1.2.4 and
    /// 4.2.0 with an object missing).
    Plan(Table),
}

/// A statement. The text is made in [`Statement::text`] alone.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `select version()`: one row, one column such as `8.0.30-MatrixOne-v4.2.0`. All versions.
    Version,
    /// `select git_version()`: the commit the server was built from. All versions.
    GitVersion,
    /// `select current_account_name()`: name of the session's account. All versions.
    CurrentAccount,
    /// `select min(create_at) from mo_task.sys_cron_task`: what tells this cluster from others and survives restarts.
    ///
    /// Milliseconds since 1970 of the start of the CN that initialised the cluster, written once at bootstrap; there is
    /// no cluster id (observed on 1.2.4). A cluster restored from a physical backup has the identity of its source.
    /// One row, one column. All versions.
    Identity,
    /// `select mo_ctl('cn','getsnapshot','')`: the cluster's clock as JSON with `result: "<phys>-<logical>"`.
    /// Needs role moadmin of account sys. All versions.
    GetSnapshot,
    /// `select mo_ctl('dn','checkpoint','10m')`: forces a checkpoint; waits up to ten minutes. Needs role moadmin. All
    /// versions.
    Checkpoint,
    /// `select mo_ctl('dn','DiskCleaner','add_checker.min_ts.<phys>-<logical>')`: holds garbage collection back to this
    /// moment. One global slot, lost with a restart. All versions; needed up to 3.0.4, which do not protect a BACKUP.
    HoldMinTs(String),
    /// `select mo_ctl('dn','DiskCleaner','remove_checker.min_ts.')`: ends [`Statement::HoldMinTs`]. Answers 20637 when
    /// there is none. All versions; without the last dot 1.2.4 panics.
    ReleaseMinTs,
    /// Names of the snapshots of the session's account, at most 1001. All versions.
    Snapshots,
    /// PITR policies of all accounts, at most 1001: account id, name, level, length, unit. 2.0 and later; earlier ones
    /// have no such table (1064).
    PitrPolicies,
    /// Running BACKUP statements of anybody: connection id, first 200 characters of the statement. All versions.
    RunningBackups,
    /// `KILL QUERY <id>`: ends the statement of another session, which then gets 1105 `context canceled`. An unknown id
    /// gets 20101 `Unknown connection id`. All versions.
    KillQuery(u32),
    /// What the proof of a restored server asks.
    Proof(Ask),
    /// Takes a physical backup. All versions from 1.2:
    ///
    /// ```text
    /// BACKUP '<label>' FILESYSTEM '<dir>' PARALLELISM '<n>' [TYPE '<text>'] [TIMESTAMP '<phys>-<logical>']
    /// BACKUP '<label>' S3OPTION { '<k>'='<v>' [, '<k>'='<v>'] ... } [TYPE '<text>'] [TIMESTAMP '<phys>-<logical>']
    /// ```
    ///
    /// Every argument is a quoted string, `PARALLELISM` too; `TYPE` comes before `TIMESTAMP`. Cannot be prepared.
    Backup {
        /// Label: the attempt's run, so that a lost statement can be found. The server ignores it.
        label: String,
        /// Where to.
        target: BackupTarget,
        /// Copies at the same time, 1 to 511.
        parallelism: u16,
        /// Consistency point of the base (`<phys>-<logical>`) for an incremental one. The server checks neither that
        /// the base exists nor that it is whole.
        since: Option<String>,
    },
}

impl Statement {
    /// The text to send. It can hold keys, hence the type.
    #[must_use]
    pub fn text(&self) -> SecretString {
        SecretString::from(self.render(|secret| secret.expose_secret().to_owned()))
    }

    /// The same text for people and logs, without secrets.
    #[must_use]
    pub fn redacted(&self) -> String {
        self.render(|_| "******".into())
    }

    /// What it does, for error texts: `failed to <verb>: …`.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Version | Self::GitVersion => "ask MatrixOne for its version",
            Self::CurrentAccount => "ask MatrixOne for the session's account",
            Self::Identity => "ask MatrixOne for its identity",
            Self::GetSnapshot => "read the clock of MatrixOne",
            Self::Checkpoint => "make MatrixOne write a checkpoint",
            Self::HoldMinTs(_) => "hold back MatrixOne's garbage collection",
            Self::ReleaseMinTs => "release MatrixOne's garbage collection",
            Self::Snapshots => "list MatrixOne's snapshots",
            Self::PitrPolicies => "list MatrixOne's PITR policies",
            Self::RunningBackups => "look for running BACKUP statements",
            Self::KillQuery(_) => "cancel a statement",
            Self::Proof(ask) => ask.verb(),
            Self::Backup { .. } => "take the backup",
        }
    }

    /// The secrets in the text, to be kept out of what the server echoes.
    pub(super) fn secrets(&self) -> Vec<&SecretString> {
        match self {
            Self::Backup { target: BackupTarget::S3(s3), .. } => {
                s3.keys.iter().flat_map(|(id, key)| [id, key]).collect()
            }
            Self::Backup { target: BackupTarget::FileSystem { .. }, .. }
            | Self::Version
            | Self::GitVersion
            | Self::CurrentAccount
            | Self::Identity
            | Self::GetSnapshot
            | Self::Checkpoint
            | Self::HoldMinTs(_)
            | Self::ReleaseMinTs
            | Self::Snapshots
            | Self::PitrPolicies
            | Self::RunningBackups
            | Self::KillQuery(_)
            | Self::Proof(_) => Vec::new(),
        }
    }

    fn render(&self, secret: impl Fn(&SecretString) -> String) -> String {
        match self {
            Self::Version => "select version()".into(),
            Self::GitVersion => "select git_version()".into(),
            Self::CurrentAccount => "select current_account_name()".into(),
            Self::Identity => "select min(create_at) from mo_task.sys_cron_task".into(),
            Self::GetSnapshot => mo_ctl("cn", "getsnapshot", ""),
            Self::Checkpoint => mo_ctl("dn", "checkpoint", "10m"),
            Self::HoldMinTs(ts) => mo_ctl("dn", "DiskCleaner", &format!("add_checker.min_ts.{ts}")),
            Self::ReleaseMinTs => mo_ctl("dn", "DiskCleaner", "remove_checker.min_ts."),
            Self::Snapshots => "select sname from mo_catalog.mo_snapshots order by sname limit 1001".into(),
            Self::PitrPolicies => PITR_POLICIES.into(),
            Self::RunningBackups => RUNNING_BACKUPS.into(),
            Self::KillQuery(id) => format!("kill query {id}"),
            Self::Proof(ask) => ask.text(),
            Self::Backup { label, target, parallelism, since } => {
                let target = render_target(target, *parallelism, secret);
                let kind = match since {
                    Some(ts) => format!("TYPE 'incremental' TIMESTAMP {}", literal(ts)),
                    None => "TYPE 'full'".into(),
                };
                format!("BACKUP {} {target} {kind}", literal(label))
            }
        }
    }
}

impl Ask {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Unsettled | Self::Upgrades => "ask MatrixOne for the upgrade of its catalogue",
            Self::Clock => "ask MatrixOne for the time",
            Self::CatalogSince | Self::MadeBetween(..) | Self::RanBetween(..) => "ask MatrixOne since when it runs",
            Self::LogReplicas | Self::LogStores => "list the stores of the log service",
            Self::FirstTable
            | Self::HighestTable(_)
            | Self::HighestDatabase(_)
            | Self::GivenAgain(..)
            | Self::DatabasesWithId(_)
            | Self::DatabaseId(_) => "ask MatrixOne for its ids",
            Self::DatabasesLike(_) => "list databases",
            Self::CreateDatabase(_) => "make a database for the proof",
            Self::DropDatabase(_) => "drop the database of the proof",
            Self::Accounts => "list the accounts",
            Self::Tables => "list the tables",
            Self::TableId(_) | Self::Count(_) | Self::Read(_) | Self::Plan(_) => "read a table",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Unsettled => "select version, state from mo_catalog.mo_version where state <> 2 limit 10".into(),
            Self::Upgrades => "select count(*), sum(state), sum(ready_tenant) from mo_catalog.mo_upgrade".into(),
            Self::Clock => "select unix_timestamp()".into(),
            Self::CatalogSince => CATALOG_SINCE.into(),
            Self::MadeBetween(from, to) => {
                format!(
                    "select count(*) from mo_catalog.mo_tables where unix_timestamp(created_time) between {from} and {to}"
                )
            }
            Self::RanBetween(from, to) => {
                format!("select count(*) from mo_task.sys_cron_task where update_at between {from}000 and {to}000")
            }
            Self::LogReplicas => "show logservice replicas".into(),
            Self::LogStores => "show logservice stores".into(),
            Self::FirstTable => "select min(rel_id) from mo_catalog.mo_tables where rel_id >= 1000".into(),
            Self::HighestTable(until) => {
                format!(
                    "select max(rel_id) from mo_catalog.mo_tables where unix_timestamp(created_time) < {}",
                    until + 1
                )
            }
            Self::HighestDatabase(until) => {
                format!(
                    "select max(dat_id) from mo_catalog.mo_database where unix_timestamp(created_time) < {}",
                    until + 1
                )
            }
            Self::GivenAgain(after, id) => format!(
                "select count(*) from mo_catalog.mo_tables where unix_timestamp(created_time) > {after} and rel_id \
                 between 1000 and {id}"
            ),
            Self::DatabasesWithId(id) => format!("select count(*) from mo_catalog.mo_database where dat_id = {id}"),
            Self::DatabasesLike(start) => own_databases("datname", &format!("like {}", literal(&format!("{start}%")))),
            Self::CreateDatabase(name) => format!("create database {}", identifier(name)),
            Self::DatabaseId(name) => own_databases("dat_id", &format!("= {}", literal(name))),
            Self::DropDatabase(name) => format!("drop database if exists {}", identifier(name)),
            Self::Accounts => "select account_name from mo_catalog.mo_account order by account_id".into(),
            Self::Tables => TABLES.into(),
            Self::TableId(Table { database, name }) => format!(
                "select rel_id from mo_catalog.mo_tables where account_id = current_account_id() and reldatabase = {} and \
                 relname = {}",
                literal(database),
                literal(name)
            ),
            Self::Count(table) => format!("select count(*) from {}", table.quoted()),
            Self::Read(table) => format!("select * from {}", table.quoted()),
            Self::Plan(table) => format!("explain select * from {}", table.quoted()),
        }
    }
}

const PITR_POLICIES: &str = "select create_account, pitr_name, level, pitr_length, pitr_unit from mo_catalog.mo_pitr \
                             order by create_account, pitr_name limit 1001";
const RUNNING_BACKUPS: &str = "select conn_id, left(info, 200) from mo_catalog.mo_sessions where statement_type = \
                               'Backup Start'";
const CATALOG_SINCE: &str = "select unix_timestamp(created_time) from mo_catalog.mo_database where dat_id = 1";
const TABLES: &str = "select reldatabase, relname, relkind from mo_catalog.mo_tables where account_id = \
                      current_account_id() order by reldatabase, relname";

fn own_databases(what: &str, named: &str) -> String {
    format!("select {what} from mo_catalog.mo_database where account_id = current_account_id() and datname {named}")
}

impl Table {
    fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.database), identifier(&self.name))
    }
}

fn render_target(target: &BackupTarget, parallelism: u16, secret: impl Fn(&SecretString) -> String) -> String {
    match target {
        BackupTarget::FileSystem { path } => format!("FILESYSTEM {} PARALLELISM '{parallelism}'", literal(path)),
        BackupTarget::S3(s3) => {
            let S3Target { endpoint, region, bucket, filepath, keys } = &**s3;
            let mut options = vec![
                ("endpoint", endpoint.clone()),
                ("region", region.clone()),
                ("bucket", bucket.clone()),
                ("filepath", filepath.clone()),
                ("parallelism", parallelism.to_string()),
            ];
            if let Some((id, key)) = keys {
                options.push(("access_key_id", secret(id)));
                options.push(("secret_access_key", secret(key)));
            }
            let options: Vec<_> = options.iter().map(|(k, v)| format!("'{k}'={}", literal(v))).collect();
            format!("S3OPTION {{{}}}", options.join(", "))
        }
    }
}

fn mo_ctl(service: &str, command: &str, argument: &str) -> String {
    format!("select mo_ctl({}, {}, {}) as r", literal(service), literal(command), literal(argument))
}

/// A name. Nothing but the backtick has a meaning inside, not even a backslash (executed on 1.2.4 and 4.2.0).
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A string literal: the only place where a text becomes part of a statement.
///
/// MatrixOne reads a backslash as the beginning of an escape, and a doubled quote as a quote.
fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests;
