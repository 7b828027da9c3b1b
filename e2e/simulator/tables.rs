//! The tables that can be read, with the recorded columns, and what this cluster has in them.

use super::{
    Cluster, Pitr, Version,
    login::Identity,
    recorded::{self, Fact},
    state::{Session, Shared},
    syntax,
    wire::{Column, Kind, Reply, Row},
};

/// A table's columns and rows.
#[derive(Debug)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// The columns of a recorded header.
pub fn columns(fact: &Fact) -> Vec<Column> {
    let column = |text: &str| {
        let (name, kind) = text.split_once(' ')?;
        let kind = match kind {
            "LONG(32)" => Kind::Long,
            "LONGLONG(64)" => Kind::LongLong,
            "TIMESTAMP(64)" => Kind::Timestamp,
            "DATETIME(64)" => Kind::DateTime,
            "CHAR(8)" => Kind::Tiny,
            "243" => Kind::Uuid,
            "VAR_STRING" => Kind::VarString,
            _ => return None,
        };
        Some(Column { name: name.into(), kind })
    };
    fact.text.split(", ").filter_map(column).collect()
}

/// The table for this session: `None` when no recording shows it, an error when one shows that.
pub fn table(shared: &Shared, me: &Identity, name: &str) -> Option<Result<Table, Reply>> {
    let short = name.rsplit_once('.').map_or(name, |(_, short)| short);
    if name == "mo_catalog.mo_sessions" {
        let state = shared.state();
        let rows = state.sessions.iter().filter(|(_, s)| me.is_sys() || s.identity.account == me.account);
        let rows = rows.map(|(id, session)| session_row(*id, session)).collect();
        return Some(Ok(Table { columns: columns(&recorded::SESSION_COLUMNS), rows }));
    }
    let (fact, rows) = match (name, shared.version) {
        ("mo_catalog.mo_snapshots", Version::V1_2_4) => (&recorded::SNAPSHOT_COLUMNS_1, snapshots(shared)),
        ("mo_catalog.mo_snapshots", Version::V4_2_0) => (&recorded::SNAPSHOT_COLUMNS_4, snapshots(shared)),
        ("mo_catalog.mo_pitr", Version::V1_2_4) => return Some(Err(recorded::NO_TABLE.error(&[short]))),
        ("mo_catalog.mo_pitr", Version::V4_2_0) => {
            (&recorded::PITR_COLUMNS, shared.options.pitr.iter().map(pitr_row).collect())
        }
        // Of v4.2.0 it is only recorded that the columns are there: the values are those of v1.2.4.
        ("mo_task.sys_cron_task", Version::V1_2_4 | Version::V4_2_0) if me.is_sys() => {
            (&recorded::CRON_COLUMNS, cron(shared.options.cluster))
        }
        ("mo_catalog.mo_account", Version::V1_2_4 | Version::V4_2_0) if !me.is_sys() => {
            return Some(Err(recorded::NO_TABLE.error(&[short])));
        }
        ("mo_catalog.mo_account", Version::V1_2_4 | Version::V4_2_0) => (&recorded::ACCOUNT_COLUMNS, accounts(shared)),
        _ => return None,
    };
    if me.is_sys() && !me.is_admin() {
        return Some(Err(recorded::NO_PRIVILEGE.error(&[])));
    }
    Some(Ok(Table { columns: columns(fact), rows: if me.is_sys() { rows } else { Vec::new() } }))
}

/// `SHOW SNAPSHOTS`.
pub fn show_snapshots(shared: &Shared, me: &Identity) -> Reply {
    if me.is_sys() && !me.is_admin() {
        return recorded::NO_PRIVILEGE.error(&[]);
    }
    let count = if me.is_sys() { shared.options.snapshots } else { 0 };
    let row = |i| cells(&[&snapshot_name(i), "2026-11-21 02:33:22.178194668", "account", "sys", "", ""]);
    Reply::Rows { columns: columns(&recorded::SHOW_SNAPSHOTS), rows: (0..count).map(row).collect() }
}

/// `SHOW PITR`, which v1.2.4 does not know.
pub fn show_pitr(shared: &Shared) -> Reply {
    let time = "2026-11-21 00:13:49";
    let row = |p: &Pitr| cells(&[&p.name, time, time, &p.level, "sys", "*", "*", &p.length.to_string(), &p.unit]);
    Reply::Rows { columns: columns(&recorded::SHOW_PITR), rows: shared.options.pitr.iter().map(row).collect() }
}

fn cells(values: &[&str]) -> Row {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

fn snapshot_name(index: usize) -> String {
    format!("sn{:05}", index + 1)
}

fn snapshots(shared: &Shared) -> Vec<Row> {
    let row = |index: usize| {
        let id = format!("01a1fbf3-8202-72f7-9e5c-{index:012x}");
        let mut row = cells(&[&id, &snapshot_name(index), "1795228402178194668", "account", "sys", "", "", "0"]);
        match shared.version {
            Version::V1_2_4 => {}
            Version::V4_2_0 => row.push(Some("user".into())),
        }
        row
    };
    (0..shared.options.snapshots).map(row).collect()
}

fn pitr_row(pitr: &Pitr) -> Row {
    let created = "1795220029292560100";
    let length = pitr.length.to_string();
    let id = "01a1fb80-b16b-74e3-8056-0db310d24e12";
    cells(&[
        id,
        &pitr.name,
        "0",
        created,
        created,
        &pitr.level,
        "0",
        "sys",
        "",
        "",
        "0",
        &length,
        &pitr.unit,
        "1",
        created,
        "user",
    ])
}

fn cron(cluster: Cluster) -> Vec<Row> {
    let born = born(cluster);
    vec![cells(&["1", "ETLMergeTask", born, "1795228500004"]), cells(&["2", "StorageUsage", born, "1795228213548"])]
}

const fn born(cluster: Cluster) -> &'static str {
    match cluster {
        Cluster::A => recorded::BORN_A.text,
        Cluster::B => recorded::BORN_B.text,
    }
}

fn accounts(shared: &Shared) -> Vec<Row> {
    let created = match (shared.version, shared.options.cluster) {
        (Version::V1_2_4, Cluster::A) => recorded::CREATED_1_A.text,
        (Version::V1_2_4 | Version::V4_2_0, Cluster::B) => recorded::CREATED_1_B.text,
        (Version::V4_2_0, Cluster::A) => recorded::CREATED_4.text,
    };
    vec![
        cells(&["0", "sys", "root", "open", created, "1"]),
        cells(&["1", "acc1", "admin", "open", "2026-11-21 02:33:19", "2"]),
    ]
}

fn session_row(id: u32, session: &Session) -> Row {
    let time = |t: jiff::Timestamp| t.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let mut row = cells(&[recorded::NODE.text, &id.to_string(), &format!("01a1fbf3-7476-75ab-9a94-{id:012x}")]);
    let Identity { account, user, role } = &session.identity;
    row.extend(cells(&[account, user, "127.0.0.1:16001", "", &time(session.began_at)]));
    row.extend(match &session.running {
        None => cells(&[""; 8]),
        Some(running) => {
            let kind = kind(&running.text);
            let query = if kind == "Select" { "DQL" } else { "Other" };
            let statement = format!("01a1fbf3-8235-77e1-a477-{id:012x}");
            let began = time(running.began_at);
            cells(&["COM_QUERY", &masked(&running.text), "", &statement, kind, query, "external_sql", &began])
        }
    });
    row.extend(cells(&["127.0.0.1:60270", role.name(), ""]));
    row
}

/// `statement_type`, as recorded of these.
fn kind(text: &str) -> &'static str {
    match syntax::parse(text) {
        Ok(syntax::Statement::Backup(_)) => "Backup Start",
        Ok(syntax::Statement::Select(_)) => "Select",
        Ok(
            syntax::Statement::Empty
            | syntax::Statement::ShowSnapshots
            | syntax::Statement::ShowPitr
            | syntax::Statement::Begin
            | syntax::Statement::Rollback
            | syntax::Statement::Kill { .. },
        )
        | Err(_) => "",
    }
}

/// Sessions show the statement as it was sent, but for the keys.
fn masked(text: &str) -> String {
    let Ok(syntax::Statement::Backup(syntax::Backup { target: syntax::Target::S3(options), .. })) = syntax::parse(text)
    else {
        return text.trim_end().trim_end_matches(';').to_owned();
    };
    options.iter().filter(|(key, _)| ["access_key_id", "secret_access_key"].contains(&key.as_str())).fold(
        text.to_owned(),
        |text, (key, _)| {
            let Some((before, rest)) = text.split_once(&format!("'{key}'")) else { return text };
            let Some(open) = rest.find('\'') else { return text };
            let mut close = open + 1;
            while let Some(quote) = rest[close..].find('\'') {
                close += quote + 1;
                if !rest[close..].starts_with('\'') {
                    break;
                }
                close += 1;
            }
            format!("{before}'{key}'{}'******'{}", &rest[..open], &rest[close..])
        },
    )
}
