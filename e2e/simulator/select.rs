//! `SELECT` over recorded tables, functions and variables.
//!
//! Which tables and functions there are and what they return is recorded; their combination is plain SQL.

use super::{
    Version, control,
    login::Identity,
    recorded,
    state::Shared,
    syntax::{Condition, Operator, Select, Value},
    tables::{Table, table},
    wire::{Column, Kind, Reply, Row},
};

/// What keeps a statement from being answered.
pub enum Refusal {
    /// The recorded error.
    Recorded(Reply),
    /// No recording shows an answer.
    Unknown,
}

/// A session that asks.
pub struct Asker<'a> {
    pub shared: &'a Shared,
    pub id: u32,
    pub me: &'a Identity,
}

const AGGREGATES: [&str; 3] = ["count", "max", "min"];

impl Asker<'_> {
    /// Answers it.
    pub fn answer(&self, select: &Select) -> Result<Reply, Refusal> {
        let table = self.matching(select)?;
        let mut columns = Vec::new();
        for item in &select.items {
            if item.value == Value::Everything {
                columns.extend(table.columns.iter().cloned());
            } else {
                let name = item.alias.clone().unwrap_or_else(|| title(&item.value));
                columns.push(Column { name, kind: self.kind(&item.value, &table)? });
            }
        }
        let one = select.table.is_none() || select.items.iter().any(|item| is_aggregate(&item.value));
        let mut rows = Vec::new();
        for row in if one { vec![None] } else { table.rows.iter().map(Some).collect() } {
            let mut cells = Row::new();
            for item in &select.items {
                if item.value == Value::Everything {
                    cells.extend(row.into_iter().flatten().cloned());
                } else {
                    cells.push(self.value(&item.value, &table, row)?);
                }
            }
            rows.push(cells);
        }
        Ok(Reply::Rows { columns, rows })
    }

    /// The table's rows that pass the filter, in order and cut.
    fn matching(&self, select: &Select) -> Result<Table, Refusal> {
        let Some(name) = &select.table else { return Ok(Table { columns: Vec::new(), rows: Vec::new() }) };
        let mut found = table(self.shared, self.me, name).ok_or(Refusal::Unknown)?.map_err(Refusal::Recorded)?;
        let mut rows = Vec::new();
        for row in std::mem::take(&mut found.rows) {
            let mut passes = true;
            for condition in &select.filter {
                passes &= self.passes(condition, &found, &row)?;
            }
            if passes {
                rows.push(row);
            }
        }
        let mut order = Vec::new();
        for name in &select.order {
            order.push(found.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name)).ok_or(Refusal::Unknown)?);
        }
        rows.sort_by_cached_key(|row| {
            order
                .iter()
                .map(|i| row[*i].as_ref().map(|cell| (cell.parse::<u64>().ok(), cell.clone())))
                .collect::<Vec<_>>()
        });
        rows.truncate(select.limit.unwrap_or(usize::MAX));
        Ok(Table { rows, ..found })
    }

    fn passes(&self, condition: &Condition, table: &Table, row: &Row) -> Result<bool, Refusal> {
        let left = self.value(&condition.left, table, Some(row))?;
        let right = self.value(&condition.right, table, Some(row))?;
        let (Some(left), Some(right)) = (left, right) else { return Ok(false) };
        match condition.operator {
            Operator::Equal => Ok(left == right),
            Operator::Unequal => Ok(left != right),
            Operator::Like => {
                let start = right.strip_suffix('%').filter(|start| !start.contains(['%', '_']));
                start.map(|start| left.starts_with(start)).ok_or(Refusal::Unknown)
            }
        }
    }

    fn kind(&self, value: &Value, table: &Table) -> Result<Kind, Refusal> {
        match value {
            Value::Number(_) => Ok(Kind::LongLong),
            Value::Variable(_) => Ok(Kind::Blob),
            Value::Text(_) | Value::Cast(_) | Value::Everything => Ok(Kind::VarString),
            Value::Name(name) => table.columns.iter().find(|c| c.name == *name).map(|c| c.kind).ok_or(Refusal::Unknown),
            Value::Query(select) => match self.answer(select)? {
                Reply::Rows { columns, .. } if columns.len() == 1 => Ok(columns[0].kind),
                Reply::Rows { .. } | Reply::Ok { .. } | Reply::Error { .. } => Err(Refusal::Unknown),
            },
            Value::Call(name, arguments) => match (name.as_str(), arguments.as_slice()) {
                ("min" | "max", [column]) => self.kind(column, table),
                ("count" | "connection_id" | "unix_timestamp", _) => Ok(Kind::LongLong),
                ("current_account_id" | "current_role_id" | "current_user_id", _) => Ok(Kind::Long),
                _ => Ok(Kind::VarString),
            },
        }
    }

    fn value(&self, value: &Value, table: &Table, row: Option<&Row>) -> Result<Option<String>, Refusal> {
        Ok(match value {
            Value::Everything => return Err(Refusal::Unknown),
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Variable(name) => Some(self.variable(name)?),
            Value::Name(name) => {
                let index = table.columns.iter().position(|c| c.name == *name).ok_or(Refusal::Unknown)?;
                row.ok_or(Refusal::Unknown)?[index].clone()
            }
            Value::Cast(inner) => self.value(inner, table, row)?,
            Value::Query(select) => match self.answer(select)? {
                Reply::Rows { rows, .. } => rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten(),
                Reply::Ok { .. } | Reply::Error { .. } => None,
            },
            Value::Call(name, arguments) if AGGREGATES.contains(&name.as_str()) => {
                self.aggregate(name, arguments, table)?
            }
            Value::Call(name, arguments) => {
                let mut values = Vec::new();
                for argument in arguments {
                    values.push(self.value(argument, table, row)?);
                }
                self.call(name, &values)?
            }
        })
    }

    fn aggregate(&self, name: &str, arguments: &[Value], table: &Table) -> Result<Option<String>, Refusal> {
        if arguments == [Value::Everything] {
            return if name == "count" { Ok(Some(table.rows.len().to_string())) } else { Err(Refusal::Unknown) };
        }
        let [argument] = arguments else { return Err(Refusal::Unknown) };
        let mut numbers: Vec<u64> = Vec::new();
        for row in &table.rows {
            let cell = self.value(argument, table, Some(row))?;
            numbers.extend(cell.and_then(|cell| cell.parse::<u64>().ok()));
        }
        Ok(match name {
            "min" => numbers.into_iter().min().map(|n| n.to_string()),
            "max" => numbers.into_iter().max().map(|n| n.to_string()),
            _ => Some(numbers.len().to_string()),
        })
    }

    /// As under "Status statements" and "Sessions…".
    fn call(&self, name: &str, arguments: &[Option<String>]) -> Result<Option<String>, Refusal> {
        let me = self.me;
        let arguments: Vec<&str> = arguments.iter().map(|a| a.as_deref().unwrap_or_default()).collect();
        Ok(Some(match (name, arguments.as_slice()) {
            ("version", []) => self.shared.version.greeting().into(),
            ("git_version", []) => match self.shared.version {
                Version::V1_2_4 => recorded::GIT_VERSION_1.text.into(),
                Version::V4_2_0 => recorded::GIT_VERSION_4.text.into(),
            },
            ("connection_id", []) => self.id.to_string(),
            ("current_user" | "user" | "session_user", []) => format!("{}@localhost", me.user),
            ("current_role" | "current_role_name", []) => me.role.name().into(),
            ("current_account_name", []) => me.account.clone(),
            ("current_user_name", []) => me.user.clone(),
            ("current_account_id", []) if me.is_sys() => "0".into(),
            ("left", [text, count]) => text.chars().take(count.parse().map_err(|_| Refusal::Unknown)?).collect(),
            ("unix_timestamp", [time]) => {
                let time: jiff::civil::DateTime = time.parse().map_err(|_| Refusal::Unknown)?;
                let seconds = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| Refusal::Unknown)?;
                seconds.timestamp().as_second().to_string()
            }
            ("mo_ctl", [service, command, argument]) => control::run(self.shared, me, service, command, argument)?,
            _ => return Err(Refusal::Unknown),
        }))
    }

    fn variable(&self, name: &str) -> Result<String, Refusal> {
        let timeout = match self.shared.version {
            Version::V1_2_4 => "28800",
            Version::V4_2_0 => "86400",
        };
        let value = match name {
            "max_allowed_packet" => "67108864",
            "wait_timeout" | "interactive_timeout" => timeout,
            "socket" => "/tmp/mysql.sock",
            "time_zone" => "SYSTEM",
            "system_time_zone" => "UTC",
            "lower_case_table_names" | "autocommit" => "1",
            "version_comment" => "MatrixOne",
            "version" => match self.shared.version {
                Version::V1_2_4 => "8.0.30-MatrixOne-v1.0.0",
                Version::V4_2_0 => "8.0.30-MatrixOne-v4.2.0",
            },
            _ => return Err(Refusal::Unknown),
        };
        Ok(value.into())
    }
}

fn is_aggregate(value: &Value) -> bool {
    match value {
        Value::Call(name, arguments) => AGGREGATES.contains(&name.as_str()) || arguments.iter().any(is_aggregate),
        Value::Cast(inner) => is_aggregate(inner),
        Value::Everything
        | Value::Text(_)
        | Value::Number(_)
        | Value::Variable(_)
        | Value::Name(_)
        | Value::Query(_) => false,
    }
}

/// The name of a column without an alias, such as `mo_ctl(cn, getsnapshot, )`.
fn title(value: &Value) -> String {
    match value {
        Value::Everything => "*".into(),
        Value::Text(text) | Value::Number(text) | Value::Name(text) => text.clone(),
        Value::Variable(name) => format!("@@{name}"),
        Value::Cast(inner) => format!("cast({} as varchar)", title(inner)),
        Value::Query(_) => "(select)".into(),
        Value::Call(name, arguments) => {
            format!("{name}({})", arguments.iter().map(title).collect::<Vec<_>>().join(", "))
        }
    }
}
