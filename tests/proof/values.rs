//! Values of tables.

use std::time::Duration;

use rstest::rstest;

use super::{
    double::{Double, Stored, table},
    rig::{assert_failed, assert_proven, run, task},
};

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn every_table_of_every_account_given_is_read(#[case] version: &'static str) {
    let double = Double::restored(version);
    let report = run(&double, &task()).await;
    assert_proven(&report);
    assert_eq!(report.accounts, ["sys", "tenant1"]);
    let counted = (report.tables, report.rows, report.bytes, report.skipped);
    assert_eq!(counted, (Some(4), Some(6), Some(7 + 38 + 38 + 39 + 5 + 2), Some(2)));
    assert_eq!(report.warnings, []);
}

#[tokio::test(start_paused = true)]
async fn accounts_that_were_not_read_are_named() {
    let double = Double::restored("v4.2.0");
    double.state().accounts = vec!["sys", "tenant1", "tenant2", "tenant3"];
    let report = run(&double, &task()).await;
    assert_proven(&report);
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert_eq!(warning.reason, "AccountsNotRead");
    assert!(warning.message.contains(": 2 (") && warning.message.contains("tenant2"), "{}", warning.message);
}

#[rstest]
#[case("v1.2.4")]
#[case("v4.2.0")]
#[tokio::test(start_paused = true)]
async fn a_missing_object_is_named_and_the_rest_is_read(#[case] version: &'static str) {
    let double = Double::restored(version);
    let lost = "file 01a1fe08-1d41-75e2-a5f7-aa6836f107b3_00000 is not found";
    double.change("orders", |orders| orders.fault = Some((20405, lost.into())));
    let report = run(&double, &task()).await;
    let message = assert_failed(&report, "ValuesUnreadable", false);
    for part in ["1 of 4 tables", "shop.orders", "account \"sys\"", lost, "20405"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!((report.tables, report.rows), (Some(3), Some(3)), "the first bad table has ended it");
}

#[tokio::test(start_paused = true)]
async fn many_bad_tables_make_no_endless_message() {
    let double = Double::restored("v4.2.0");
    let like = double.state().tables[1].clone();
    for n in 0..500 {
        let fault = Some((20405, "file x is not found".repeat(20)));
        double.state().tables.push(Stored { table: table("shop", &format!("t{n}")), fault, ..like.clone() });
    }
    let message = assert_failed(&run(&double, &task()).await, "ValuesUnreadable", false);
    assert!(message.contains("500 of 504 tables") && message.len() <= 2000, "{} bytes", message.len());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_gone_meanwhile_is_no_damage() {
    let double = Double::restored("v4.2.0");
    double.change("orders", |orders| orders.gone = true);
    let report = run(&double, &task()).await;
    assert_proven(&report);
    assert_eq!(report.tables, Some(3));
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert_eq!(warning.reason, "TablesNotRead");
    assert!(warning.message.contains("not found by name: 1 (\"shop.orders\""), "{}", warning.message);
}

#[rstest]
#[case::listed_none(false)]
#[case::found_none(true)]
#[tokio::test(start_paused = true)]
async fn an_account_without_a_table_is_not_proven(#[case] listed: bool) {
    let double = Double::restored("v4.2.0");
    if listed {
        double.change("t", |table| table.gone = true);
    } else {
        double.change("t", |table| table.kind = "v");
    }
    let message = assert_failed(&run(&double, &task()).await, "ValuesUnreadable", false);
    assert!(message.contains("no table is seen in account \"tenant1\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_long_count_is_no_stall_and_ends_with_the_run() {
    let double = Double::restored("v4.2.0");
    let mut task = task();
    double.state().counting = task.stall_deadline * 2;
    task.run_deadline = Duration::from_hours(24);
    assert_proven(&run(&double, &task).await);
    double.state().counting = task.run_deadline * 2;
    assert_failed(&run(&double, &task).await, "RunDeadlineExceeded", true);
}

#[rstest]
#[case::of_the_server("system_metrics", true)]
#[case::of_a_user("shop", false)]
#[tokio::test(start_paused = true)]
async fn a_table_of_the_server_that_nobody_can_read_is_named_only(#[case] database: &str, #[case] passes: bool) {
    let double = Double::restored("v4.2.0");
    let like = double.state().tables[1].clone();
    double.state().tables.push(Stored {
        account: "tenant1",
        table: table(database, "sql_statement_cu"),
        fault: Some((20301, "invalid input: column account_id does not exist".into())),
        planless: true,
        ..like
    });
    let report = run(&double, &task()).await;
    if passes {
        assert_proven(&report);
        assert_eq!(report.warnings[0].reason, "TablesNotRead");
        assert!(report.warnings[0].message.contains("sql_statement_cu"), "{:?}", report.warnings);
    } else {
        assert_failed(&report, "ValuesUnreadable", false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_without_rights_is_told() {
    let double = Double::restored("v4.2.0");
    double.state().weak = true;
    assert_failed(&run(&double, &task()).await, "ReadForbidden", false);
}
