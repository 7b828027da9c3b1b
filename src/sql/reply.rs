//! What MatrixOne answers, read into types. Everything here is pure.

use std::fmt;

use serde::Deserialize;

use super::{Error, Problem, Rows, Statement};

/// A release of MatrixOne.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl Version {
    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `8.0.30-MatrixOne-v4.2.0`; what follows the third number, such as `-rc1`, is left out.
    #[must_use]
    pub fn parse(greeting: &str) -> Option<Self> {
        let (_, release) = greeting.split_once("MatrixOne-")?;
        Self::of_release(release)
    }

    /// Reads `v4.2.0`, as a catalogue entry and the server's build say it.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let mut numbers = release.trim_start_matches('v').splitn(3, '.').map(|part| {
            let digits = part.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        let mut next = || numbers.next().flatten();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }

    /// Whether a BACKUP keeps garbage collection from removing what it still has to copy: since 3.0.5.
    #[must_use]
    pub fn protects_backups(self) -> bool {
        self >= Self::new(3, 0, 5)
    }

    /// Whether a BACKUP leaves out objects that are gone, without a word: up to 4.1.4.
    #[must_use]
    pub fn may_skip_objects(self) -> bool {
        self < Self::new(4, 2, 0)
    }

    /// Whether a BACKUP loses tables whose objects are merged while it takes its checkpoint: before 2.0, see
    /// [`crate::plan::checkpoint`].
    #[must_use]
    pub fn loses_merged_tables(self) -> bool {
        self < Self::new(2, 0, 0)
    }

    /// Whether a BACKUP takes the list of a later global checkpoint along, so that nothing starts on it: up to 3.0.4, see
    /// [`crate::plan::checkpoint`].
    #[must_use]
    pub fn takes_later_checkpoints(self) -> bool {
        self < Self::new(3, 0, 5)
    }

    /// Whether a BACKUP to S3 is known to work: recorded on 3.0.18 and 4.2.0. 1.2.4 wants `is_minio` for every store that
    /// is addressed by path, which is never sent; without it, it tries for hours.
    #[must_use]
    pub fn writes_to_s3(self) -> bool {
        self >= Self::new(3, 0, 0)
    }

    /// Whether the server keeps the keys of a BACKUP statement out of its log: since 4.2.
    #[must_use]
    pub fn hides_keys(self) -> bool {
        self >= Self::new(4, 2, 0)
    }

    /// Whether there are PITR policies: since 2.0.
    #[must_use]
    pub fn has_pitr(self) -> bool {
        self >= Self::new(2, 0, 0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A BACKUP statement that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Session that runs it.
    pub connection: u32,
    /// Its label; `None` when the statement begins in an unexpected way.
    pub label: Option<String>,
}

#[derive(Deserialize)]
struct Control {
    result: serde_json::Value,
}

/// The one value of a reply of one row and one column.
pub fn value<'r>(statement: &Statement, rows: &'r Rows) -> Result<&'r str, Error> {
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [Some(text)] => Ok(text),
            _ => Err(unexpected(statement, "not one value in the row")),
        },
        _ => Err(unexpected(statement, &format!("{} rows instead of one", rows.len()))),
    }
}

/// A reply that is one number.
pub fn count(statement: &Statement, rows: &Rows) -> Result<u64, Error> {
    let text = value(statement, rows)?;
    text.parse().map_err(|_| unexpected(statement, &format!("{text:?} is no number")))
}

/// The reply to [`Statement::GetSnapshot`], as `<phys>-<logical>`.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds of JSON are refused alike")]
pub fn snapshot(rows: &Rows) -> Result<String, Error> {
    let statement = Statement::GetSnapshot;
    match control(&statement, rows)? {
        serde_json::Value::String(ts) if is_timestamp(&ts) => Ok(ts),
        other => Err(unexpected(&statement, &format!("{other} is no timestamp"))),
    }
}

/// The reply to a `mo_ctl` of the TN: every shard must have said `OK`. A failed command can arrive as a result whose
/// `returnStr` holds the error text.
pub fn done(statement: &Statement, rows: &Rows) -> Result<(), Error> {
    let result = control(statement, rows)?;
    let said: Vec<_> = result.as_array().into_iter().flatten().map(|shard| shard["returnStr"].as_str()).collect();
    match said.iter().find(|s| **s != Some("OK")) {
        None if !said.is_empty() => Ok(()),
        None => Err(unexpected(statement, "no shard answered")),
        Some(text) => {
            let detail = text.unwrap_or("a result without a text").to_owned();
            Err(Error { problem: Problem::Refused, verb: statement.verb().into(), code: 0, detail })
        }
    }
}

/// The reply to [`Statement::RunningBackups`].
pub fn running(rows: &Rows) -> Result<Vec<Running>, Error> {
    rows.iter()
        .map(|row| match row.as_slice() {
            [Some(id), info] => {
                let connection = id.parse().map_err(|_| unexpected(&Statement::RunningBackups, "a bad id"))?;
                Ok(Running { connection, label: info.as_deref().and_then(label) })
            }
            _ => Err(unexpected(&Statement::RunningBackups, "not two columns")),
        })
        .collect()
}

/// The reply to [`Statement::Snapshots`], without the server's own.
pub fn snapshots(rows: &Rows) -> Vec<String> {
    rows.iter()
        .filter_map(|row| row.first()?.clone())
        .filter(|name| !name.starts_with("__mo_branch_") && !name.starts_with("ccpr_"))
        .collect()
}

/// The reply to [`Statement::PitrPolicies`] as `<account id>/<name>/<level>/<length><unit>`, without the server's own.
pub fn policies(rows: &Rows) -> Vec<String> {
    rows.iter()
        .filter_map(|row| match row.as_slice() {
            [Some(account), Some(name), Some(level), Some(length), Some(unit)] if name != "sys_mo_catalog_pitr" => {
                Some(format!("{account}/{name}/{level}/{length}{unit}"))
            }
            _ => None,
        })
        .collect()
}

/// The label of a statement that begins with `BACKUP '<label>'`.
fn label(info: &str) -> Option<String> {
    let (word, rest) = info.trim_start().split_once(char::is_whitespace)?;
    if !word.eq_ignore_ascii_case("backup") {
        return None;
    }
    let (label, _) = rest.trim_start().strip_prefix('\'')?.split_once('\'')?;
    Some(label.to_owned())
}

fn control(statement: &Statement, rows: &Rows) -> Result<serde_json::Value, Error> {
    let text = value(statement, rows)?;
    let control: Control = serde_json::from_str(text).map_err(|e| unexpected(statement, &e.to_string()))?;
    Ok(control.result)
}

fn is_timestamp(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.len() < 20 && s.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(physical, logical)| digits(physical) && digits(logical))
}

fn unexpected(statement: &Statement, what: &str) -> Error {
    Error {
        problem: Problem::Reply,
        verb: statement.verb().into(),
        code: 0,
        detail: format!("unexpected reply: {}", what.chars().take(200).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn one(text: &str) -> Rows {
        vec![vec![Some(text.into())]]
    }

    #[rstest]
    #[case("8.0.30-MatrixOne-v1.2.4", Some(Version::new(1, 2, 4)))]
    #[case("8.0.30-MatrixOne-v3.0.18", Some(Version::new(3, 0, 18)))]
    #[case("8.0.30-MatrixOne-v4.0.0-rc1", Some(Version::new(4, 0, 0)))]
    #[case("8.0.30-MatrixOne-4.2.0", Some(Version::new(4, 2, 0)))]
    #[case("8.0.30-MatrixOne-v", None)]
    #[case("8.0.36", None)]
    #[case("5.5.5-10.11.4-MariaDB", None)]
    fn versions(#[case] greeting: &str, #[case] expected: Option<Version>) {
        assert_eq!(Version::parse(greeting), expected);
    }

    #[rstest]
    #[case("v3.0.4", false, true)]
    #[case("v3.0.5", true, true)]
    #[case("v4.1.4", true, true)]
    #[case("v4.2.0", true, false)]
    fn what_a_version_can_do(#[case] text: &str, #[case] protects: bool, #[case] skips: bool) {
        let version = Version::parse(&format!("8.0.30-MatrixOne-{text}")).unwrap();
        assert_eq!((version.protects_backups(), version.may_skip_objects()), (protects, skips));
        assert_eq!(version.to_string(), text);
    }

    #[rstest]
    #[case(
        "{\n  \"method\": \"GETSNAPSHOT\",\n  \"result\": \"1795221164134362989-0\"\n}\n",
        Some("1795221164134362989-0")
    )]
    #[case("{\"method\":\"GETSNAPSHOT\",\"result\":\"soon\"}", None)]
    #[case("{\"method\":\"GETSNAPSHOT\",\"result\":[]}", None)]
    #[case("", None)]
    fn clock(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(snapshot(&one(text)).ok().as_deref(), expected);
    }

    #[rstest]
    #[case("{\"method\":\"Checkpoint\",\"result\":[{\"returnStr\":\"OK\"}]}\n", Ok(()))]
    #[case(
        "{\"method\":\"Checkpoint\",\"result\":[{\"returnStr\":\"OK\"},{\"returnStr\":\"timeout\"}]}",
        Err(Problem::Refused)
    )]
    #[case("{\"method\":\"Checkpoint\",\"result\":[]}", Err(Problem::Reply))]
    #[case("OK", Err(Problem::Reply))]
    fn only_ok_is_done(#[case] text: &str, #[case] expected: Result<(), Problem>) {
        assert_eq!(done(&Statement::Checkpoint, &one(text)).map_err(|e| e.problem), expected);
    }

    #[test]
    fn a_value_is_one_row_of_one_column() {
        let two = vec![vec![Some("a".into()), Some("b".into())]];
        for rows in [vec![], vec![vec![None]], two, vec![vec![Some("a".into())]; 2]] {
            assert_eq!(value(&Statement::Version, &rows).unwrap_err().problem, Problem::Reply);
        }
    }

    #[test]
    fn running_backups_have_labels() {
        let rows = vec![
            vec![Some("359".into()), Some("BACKUP 'u-1' S3OPTION {'endpoint'='http://127.0.0.1:9300','buc".into())],
            vec![Some("4".into()), Some("backup   'x' filesystem '/b'".into())],
            vec![Some("5".into()), None],
        ];
        let running = running(&rows).unwrap();
        assert_eq!(running.iter().map(|r| r.connection).collect::<Vec<_>>(), [359, 4, 5]);
        assert_eq!(running.iter().map(|r| r.label.as_deref()).collect::<Vec<_>>(), [Some("u-1"), Some("x"), None]);
    }

    #[test]
    fn the_servers_own_history_is_left_out() {
        let cell = |s: &str| Some(s.to_owned());
        let rows = vec![vec![cell("daily")], vec![cell("__mo_branch_1")], vec![cell("ccpr_1")]];
        assert_eq!(snapshots(&rows), ["daily"]);
        let row = |name: &str| vec![cell("0"), cell(name), cell("database"), cell("1"), cell("d")];
        assert_eq!(policies(&vec![row("p"), row("sys_mo_catalog_pitr")]), ["0/p/database/1d"]);
    }
}
