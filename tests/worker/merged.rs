//! BACKUPs that MatrixOne calls good and that are not: tables are lost, or no server starts on them.

use mo_backup::api::{BackupReport, BackupType, Outcome, Reason};
use rstest::rstest;

use super::{assert_whole, rig::Rig, tree::recorded};

fn backups(rig: &Rig) -> usize {
    rig.server.statements().iter().filter(|s| s.starts_with("BACKUP ")).count()
}

#[rstest]
#[case::full(BackupType::Full)]
#[case::incremental(BackupType::Incremental)]
#[tokio::test(start_paused = true)]
async fn backup_is_sent_again_until_it_has_every_table(#[case] kind: BackupType) {
    let first = Rig::new("v1.2.4");
    let base = first.run(&first.task(1, BackupType::Full)).await;
    assert_eq!(base.said.outcome, Outcome::Succeeded, "{base:#?}");
    let rig = first.next();
    rig.server.advance();
    rig.server.merge(3);
    let before = backups(&rig);
    let report = rig.run(&rig.task(1, kind)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_eq!(backups(&rig) - before, 4);
    assert_eq!(reasons(&report), ["NoGcProtection", "ServerMaySkipObjects", "BackupSentAgain"]);
    let said = &report.warnings.last().unwrap().message;
    assert!(said.contains("sent 4 times") && said.matches("rel_id 272537").count() == 3, "{said}");
    assert_whole(&rig);
    assert_eq!(rig.staged(), Vec::<String>::new());
}

/// A global checkpoint began in the moment of BACKUP's own, and what it names was not copied.
#[rstest]
#[tokio::test(start_paused = true)]
async fn backup_is_sent_again_until_a_server_starts_on_it(
    #[values("v1.2.4", "v3.0.18", "v4.2.0")] version: &'static str,
) {
    let rigs = [Some(Rig::new(version)), (version == "v4.2.0").then(|| Rig::direct(version))];
    for rig in rigs.into_iter().flatten() {
        rig.server.overtake(3);
        let report = rig.run(&rig.task(1, BackupType::Full)).await;
        assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
        assert_eq!(backups(&rig), 4);
        let said = report.warnings.iter().find(|w| w.reason == "BackupSentAgain").unwrap();
        assert_eq!(said.message.matches(MISSING).count(), 3, "{said:?}");
        assert!(!reasons(&report).contains(&"CheckpointsNotChecked"), "{report:#?}");
        assert!(rig.repository.keys().iter().all(|key| !key.contains("/01a22ee4-")), "{:?}", rig.repository.keys());
    }
}

const MISSING: &str = "01a22ee4-5ad6-7190-b178-461f481db37f_00000";

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_no_server_starts_on_is_never_committed(#[values("v1.2.4", "v3.0.18", "v4.2.0")] version: &'static str) {
    let rig = Rig::new(version);
    rig.server.overtake(4);
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert_eq!((report.said.reason.as_deref(), report.said.retryable), (Some(Reason::BackupIncomplete.as_str()), true));
    let message = report.said.message.unwrap();
    assert!(
        message.contains("does not start") && message.contains(MISSING) && message.contains("sent 4 times"),
        "{message}"
    );
    assert_eq!((backups(&rig), rig.repository.keys().iter().filter(|k| k.starts_with("data/")).count()), (4, 0));
    assert!(rig.catalog().is_none());
    let report = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_whole(&rig);
}

#[tokio::test(start_paused = true)]
async fn a_backup_without_its_tables_is_never_committed() {
    let rig = Rig::new("v1.2.4");
    rig.server.merge(4);
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Failed, "{report:#?}");
    assert_eq!((report.said.reason.as_deref(), report.said.retryable), (Some(Reason::TablesLost.as_str()), true));
    let message = report.said.message.unwrap();
    assert!(message.contains("rel_id 272537, 272538, 272539, 272540 "), "{message}");
    assert_eq!((backups(&rig), rig.repository.keys().iter().filter(|k| k.starts_with("data/")).count()), (4, 0));
    assert!(rig.catalog().is_none());
    assert_eq!(rig.staged(), Vec::<String>::new());
    // The next attempt finds less to merge.
    let report = rig.run(&rig.task(2, BackupType::Auto)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_whole(&rig);
}

fn reasons(report: &BackupReport) -> Vec<&str> {
    report.warnings.iter().map(|w| w.reason.as_str()).collect()
}

#[rstest]
#[case("v1.2.4", &["TablesNotChecked", "CheckpointsNotChecked"])]
#[case("v4.2.0", &["CheckpointsNotChecked"])]
#[tokio::test(start_paused = true)]
async fn what_could_not_be_seen_is_said_and_does_not_stop_a_backup(
    #[case] version: &'static str,
    #[case] expected: &[&str],
) {
    let rig = Rig::new(version);
    rig.server.garble();
    // The second attempt finds what the first has committed, and says the same.
    for attempt in [1, 2] {
        let report = rig.run(&rig.task(attempt, BackupType::Full)).await;
        assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
        let said: Vec<_> = report.warnings.iter().filter(|w| w.reason.ends_with("NotChecked")).collect();
        assert_eq!(said.iter().map(|w| &*w.reason).collect::<Vec<_>>(), expected);
        for said in said {
            assert!(said.message.contains("could not be seen") && said.message.contains("/tae/ckp/meta_"), "{said:?}");
        }
    }
    assert_eq!(backups(&rig), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_tables_of_a_committed_backup_are_said() {
    let rig = Rig::new("v1.2.4");
    assert_eq!(rig.run(&rig.task(1, BackupType::Full)).await.said.outcome, Outcome::Succeeded);
    // As a release that did not look has left it.
    let (list, objects) = recorded("merged/gone");
    let lists = [("ckp/meta_1895300028207228275-1_1895300028248175206-0.ckp".to_owned(), list)];
    for (name, content) in lists.into_iter().chain(objects) {
        rig.repository.set(&format!("data/{}/1/tae/{name}", rig.id), content);
    }
    let report = rig.run(&rig.task(2, BackupType::Full)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert!(reasons(&report).contains(&"TablesLost"), "{report:#?}");
}
