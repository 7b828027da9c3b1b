//! The text of statements is the grammar that servers were recorded to take.

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

#[rstest]
#[case(Ask::Count(named("shop", "orders")), "select count(*) from `shop`.`orders`")]
#[case(Ask::Read(named("a", "o`d`d \"'\\x")), "select * from `a`.`o``d``d \"'\\x`")]
#[case(Ask::DatabasesLike("p".into()), "select datname from mo_catalog.mo_database where account_id = current_account_id() and datname like 'p%'")]
#[case(Ask::DropDatabase("p-1".into()), "drop database if exists `p-1`")]
#[case(Ask::HighestTable(5), "select max(rel_id) from mo_catalog.mo_tables where unix_timestamp(created_time) < 6")]
#[case(
    Ask::HighestDatabase(5),
    "select max(dat_id) from mo_catalog.mo_database where unix_timestamp(created_time) < 6"
)]
#[case(Ask::RanBetween(5, 7), "select count(*) from mo_task.sys_cron_task where update_at between 5000 and 7000")]
fn text_of_the_proof(#[case] ask: Ask, #[case] expected: &str) {
    assert_eq!(Statement::Proof(ask).redacted(), expected);
}

fn named(database: &str, name: &str) -> Table {
    Table { database: database.into(), name: name.into() }
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

    #[test]
    fn a_name_ends_where_it_ends(name in any::<String>()) {
        let quoted = identifier(&name);
        let inside = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap();
        prop_assert_eq!(inside.replace("``", "\0").matches('`').count(), 0);
        prop_assert_eq!(inside.replace("``", "`"), name);
    }
}
