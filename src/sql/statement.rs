//! Every statement we ever send.

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
            | Self::KillQuery(_) => Vec::new(),
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
            Self::PitrPolicies => "select create_account, pitr_name, level, pitr_length, pitr_unit from \
                                   mo_catalog.mo_pitr order by create_account, pitr_name limit 1001"
                .into(),
            Self::RunningBackups => {
                "select conn_id, left(info, 200) from mo_catalog.mo_sessions where statement_type = \
                                     'Backup Start'"
                    .into()
            }
            Self::KillQuery(id) => format!("kill query {id}"),
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
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn s3(keys: Option<(&str, &str)>) -> BackupTarget {
        BackupTarget::S3(Box::new(S3Target {
            endpoint: "http://minio:9000".into(),
            region: "us-east-1".into(),
            bucket: "backups".into(),
            filepath: "prod/data/x/1".into(),
            keys: keys.map(|(id, key)| (SecretString::from(id), SecretString::from(key))),
        }))
    }

    fn backup(target: BackupTarget, since: Option<&str>) -> Statement {
        Statement::Backup { label: "u-1".into(), target, parallelism: 4, since: since.map(Into::into) }
    }

    #[rstest]
    #[case(Statement::GetSnapshot, "select mo_ctl('cn', 'getsnapshot', '') as r")]
    #[case(Statement::Checkpoint, "select mo_ctl('dn', 'checkpoint', '10m') as r")]
    #[case(Statement::HoldMinTs("5-1".into()), "select mo_ctl('dn', 'DiskCleaner', 'add_checker.min_ts.5-1') as r")]
    #[case(Statement::KillQuery(7), "kill query 7")]
    #[case(
        backup(BackupTarget::FileSystem { path: "/backup/it's".into() }, None),
        "BACKUP 'u-1' FILESYSTEM '/backup/it''s' PARALLELISM '4' TYPE 'full'"
    )]
    #[case(
        backup(BackupTarget::FileSystem { path: "/b".into() }, Some("17-1")),
        "BACKUP 'u-1' FILESYSTEM '/b' PARALLELISM '4' TYPE 'incremental' TIMESTAMP '17-1'"
    )]
    #[case(
        backup(s3(Some(("id", "k'e\\y"))), None),
        "BACKUP 'u-1' S3OPTION {'endpoint'='http://minio:9000', 'region'='us-east-1', 'bucket'='backups', \
         'filepath'='prod/data/x/1', 'parallelism'='4', 'access_key_id'='id', 'secret_access_key'='k''e\\\\y'} TYPE 'full'"
    )]
    fn text_is_the_grammar(#[case] statement: Statement, #[case] expected: &str) {
        assert_eq!(statement.text().expose_secret(), expected);
    }

    #[test]
    fn keys_are_absent_without_credentials() {
        let text = backup(s3(None), None).redacted();
        assert!(!text.contains("access_key"), "{text}");
        assert!(!text.contains("is_minio"), "{text}");
    }

    #[test]
    fn redacted_and_debug_hide_the_keys() {
        let statement = backup(s3(Some(("AKIACANARY", "SECRETCANARY"))), None);
        for text in [statement.redacted(), format!("{statement:?}"), format!("{:?}", statement.text())] {
            assert!(!text.contains("CANARY"), "{text}");
        }
    }

    /// Reads a literal as MatrixOne's scanner does.
    fn unquote(literal: &str) -> Option<String> {
        let mut chars = literal.strip_prefix('\'')?.chars();
        let mut text = String::new();
        loop {
            match chars.next()? {
                '\'' => match chars.next() {
                    Some('\'') => text.push('\''),
                    Some(_) => return None,
                    None => return Some(text),
                },
                '\\' => text.push(match chars.next()? {
                    '0' => '\0',
                    c => c,
                }),
                c => text.push(c),
            }
        }
    }

    proptest! {
        #[test]
        fn a_literal_holds_any_text_and_ends_where_it_ends(text in any::<String>()) {
            prop_assert_eq!(unquote(&literal(&text)), Some(text));
        }
    }
}
