//! A BACKUP of MatrixOne 1.2 that has lost tables, because their objects were merged at the wrong moment.

use mo_backup::api::{BackupType, Outcome, Reason};
use rstest::rstest;

use super::{assert_whole, rig::Rig};

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
    let reasons: Vec<_> = report.warnings.iter().map(|w| w.reason.as_str()).collect();
    assert_eq!(reasons, ["NoGcProtection", "ServerMaySkipObjects"]);
    assert_whole(&rig);
    assert_eq!(rig.staged(), Vec::<String>::new());
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
