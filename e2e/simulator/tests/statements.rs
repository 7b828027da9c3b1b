//! What is recorded is answered, and nothing else.

use std::{fs, path::Path};

use mo_backup::sql::{Statement, reply};
use rstest::rstest;

use super::{
    BOTH, ask, connect, product,
    simulator::{Cluster, Options, Version, recorded},
    start,
};

/// The text under a heading, up to the next one.
fn section(version: Version, heading: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/simulator/recordings");
    let text = fs::read_to_string(folder.join(format!("{}.md", version.file()))).unwrap();
    let mut inside = false;
    let mut found = String::new();
    for line in text.lines() {
        if line.starts_with("##") {
            inside = line.trim_start_matches('#').trim() == heading;
        } else if inside {
            found.push_str(line);
            found.push('\n');
        }
    }
    assert!(!found.is_empty(), "{} has no heading {heading:?}", version.file());
    found
}

#[test]
fn every_fact_is_in_its_recording() {
    for fact in recorded::ALL {
        for place in fact.places {
            let text = section(place.version, place.heading);
            for piece in fact.text.split("{}") {
                assert!(text.contains(piece), "{piece:?} is not under {:?} of {:?}", place.heading, place.version);
            }
            if fact.code != 0 {
                let said = [format!("ERROR {} (", fact.code), format!("OperationalError({},", fact.code)];
                assert!(said.iter().any(|s| text.contains(s)), "no {} under {:?}", fact.code, place.heading);
            }
        }
    }
}

#[tokio::test]
async fn everything_the_product_asks_is_answered() {
    for version in BOTH {
        let simulator = start(version, Options { snapshots: 1001, ..Options::default() });
        let mut session = product(&simulator, "sys#root", "111").await.unwrap();
        assert_eq!(session.greeting(), version.greeting());
        let one = |statement: Statement, expected: &'static str| (statement, expected);
        for (statement, expected) in [
            one(Statement::Version, version.greeting()),
            one(Statement::CurrentAccount, "sys"),
            one(Statement::Identity, recorded::BORN_A.text),
        ] {
            let rows = session.run(&statement).await.unwrap();
            assert_eq!(reply::value(&statement, &rows).unwrap(), expected);
        }
        session.run(&Statement::GitVersion).await.unwrap();
        let rows = session.run(&Statement::GetSnapshot).await.unwrap();
        let first = reply::snapshot(&rows).unwrap();
        let rows = session.run(&Statement::GetSnapshot).await.unwrap();
        assert!(reply::snapshot(&rows).unwrap() > first, "the clock stands");
        let rows = session.run(&Statement::Checkpoint).await.unwrap();
        reply::done(&Statement::Checkpoint, &rows).unwrap();
        assert_eq!(session.run(&Statement::Snapshots).await.unwrap().len(), 1001);
        assert_eq!(session.run(&Statement::RunningBackups).await.unwrap(), Vec::<Vec<_>>::new());
        let pitr = session.run(&Statement::PitrPolicies).await;
        assert_eq!(pitr.is_ok(), version == Version::V4_2_0);
        let error = session.run(&Statement::KillQuery(999_999)).await.unwrap_err();
        assert!(error.is_unknown_connection(), "{error}");
        assert_eq!(simulator.unknown(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn clusters_differ() {
    let simulator = start(Version::V1_2_4, Options { cluster: Cluster::B, ..Options::default() });
    let mut conn = connect(&simulator, "dump").await;
    let born = ask(&mut conn, "select MIN(create_at)  from mo_task.sys_cron_task;").await.unwrap();
    assert_eq!(born, [[recorded::BORN_B.text]]);
    let created = "select unix_timestamp(created_time) from mo_catalog.mo_account where account_id=0";
    assert_eq!(ask(&mut conn, created).await.unwrap(), [["1795229027"]]);
}

#[rstest]
#[case("root", "bad", "1045 Access denied for user root. internal error: check password failed")]
#[case("nobody", "111", "20101 internal error: there is no user nobody")]
#[case("nosuchacc#admin", "111", "20101 internal error: there is no tenant nosuchacc")]
#[case("acc1#admin", "bad", "1045 Access denied for user acc1#admin. internal error: check password failed")]
#[case("acc1:admin:accountadmin", "111", "")]
#[case("sys#root#moadmin", "111", "")]
#[case("sys#dump#nosuchrole", "111", "20101 internal error: there is no role nosuchrole")]
#[tokio::test]
async fn logins(#[case] user: &str, #[case] password: &str, #[case] expected: &str) {
    for version in BOTH {
        let simulator = start(version, Options::default());
        let said = match product(&simulator, user, password).await {
            Ok(_) => String::new(),
            Err(e) => format!("{} {}", e.code, e.detail),
        };
        assert_eq!(said, expected);
        assert_eq!(simulator.logins(), [user]);
    }
}

#[tokio::test]
async fn what_nobody_recorded_is_refused_and_kept() {
    for version in BOTH {
        let simulator = start(version, Options::default());
        let mut conn = connect(&simulator, "root").await;
        let error = ask(&mut conn, "selec 1").await.unwrap_err();
        assert!(error.ends_with("syntax error at line 1 column 5 near \"selec 1\";"), "{error}");
        let error = ask(&mut conn, "kill query x").await.unwrap_err();
        assert!(error.ends_with("column 12 near \" x\";"), "{error}");
        for statement in ["select sleep(1)", "drop database mo_catalog", "select * from mo_catalog.mo_user"] {
            assert!(ask(&mut conn, statement).await.unwrap_err().starts_with("1064 "), "{statement}");
        }
        assert_eq!(simulator.unknown().len(), 5);
        assert_eq!(ask(&mut conn, "select 1;").await.unwrap(), [["1"]]);
    }
}

#[rstest]
#[case(Version::V1_2_4, "remove_checker.min_ts.", "remove_checker.min_ts", "20101 internal error: panic runtime error")]
#[case(Version::V4_2_0, "remove_checker.min_ts", "remove_checker.min_ts.", "1064 ")]
#[tokio::test]
async fn a_hold_ends_as_the_version_wants_it(
    #[case] version: Version,
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] error: &str,
) {
    let simulator = start(version, Options::default());
    let mut conn = connect(&simulator, "root").await;
    let clean = |argument: &str| format!("select mo_ctl('dn','DiskCleaner','{argument}') as r");
    for ts in ["1795228342156898759-0", "1795228342156898760-0"] {
        ask(&mut conn, &clean(&format!("add_checker.min_ts.{ts}"))).await.unwrap();
        assert_eq!(simulator.held().as_deref(), Some(ts));
    }
    assert!(ask(&mut conn, &clean(wrong)).await.unwrap_err().starts_with(error));
    assert!(simulator.held().is_some());
    ask(&mut conn, &clean(right)).await.unwrap();
    assert_eq!(simulator.held(), None);
    assert_eq!(ask(&mut conn, &clean(right)).await.unwrap_err(), "20637 can't delete gc checker");
}

#[tokio::test]
async fn rights_follow_account_and_role() {
    let refused = "20101 internal error: do not have privilege to execute the statement";
    let folder = tempfile::tempdir().unwrap();
    for version in BOTH {
        let options = Options { files_root: Some(folder.path().join(version.file())), ..Options::default() };
        let simulator = start(version, options);
        let mut public = connect(&simulator, "u1").await;
        let mut other = connect(&simulator, "acc1#admin").await;
        for conn in [&mut public, &mut other] {
            let error = ask(conn, "select mo_ctl('cn','getsnapshot','') as r").await.unwrap_err();
            assert_eq!(error, refused);
        }
        let backup = "BACKUP 'x' FILESYSTEM '/backup/priv' PARALLELISM '2'";
        assert_eq!(ask(&mut other, backup).await.unwrap_err(), refused);
        ask(&mut public, backup).await.unwrap();
        assert_eq!(ask(&mut public, "show snapshots").await.unwrap_err(), refused);
        assert_eq!(ask(&mut other, "show snapshots").await.unwrap(), Vec::<Vec<String>>::new());
        let users = "select conn_id, user, statement_type from mo_catalog.mo_sessions where user<>'x'";
        assert_eq!(ask(&mut other, users).await.unwrap().len(), 1);
        assert_eq!(ask(&mut public, users).await.unwrap().len(), 2);
        assert_eq!(simulator.unknown(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_transaction_takes_no_backup() {
    let simulator = start(Version::V4_2_0, Options::default());
    let mut conn = connect(&simulator, "root").await;
    ask(&mut conn, "begin").await.unwrap();
    let error = ask(&mut conn, "BACKUP 'x' FILESYSTEM '/nowhere/x' PARALLELISM '4'").await.unwrap_err();
    assert_eq!(error, "20101 internal error: unclassified statement appears in uncommitted transaction");
    ask(&mut conn, "rollback;").await.unwrap();
}
