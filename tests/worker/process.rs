//! The process around the work: what it needs, and how it says that it has not got it.

use assert_cmd::Command;
use mo_backup::{api::BackupType, task::Task, worker::Exit};
use rstest::rstest;

use super::rig::Rig;

fn worker(task: Option<&str>) -> Command {
    let mut command = Command::cargo_bin("mo-backup").unwrap();
    command.arg("worker").env_clear().env("HOME", "/nonexistent");
    if let Some(task) = task {
        command.env("MO_BACKUP_TASK", task);
    }
    command
}

#[rstest]
#[case::none(None)]
#[case::rubbish(Some("rubbish"))]
#[case::unknown(Some("{\"task\":\"dance\"}"))]
fn without_a_task_nothing_is_done(#[case] task: Option<&str>) {
    let output = worker(task).output().unwrap();
    assert_eq!(output.status.code(), Some(Exit::Usage as i32));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MO_BACKUP_TASK"));
}

#[test]
fn without_anybody_to_report_to_nothing_is_done() {
    let rig = Rig::new("v4.2.0");
    let task = Task::Backup(Box::new(rig.task(1, BackupType::Auto)));
    let output = worker(Some(&serde_json::to_string(&task).unwrap())).output().unwrap();
    assert_eq!(output.status.code(), Some(Exit::Untold as i32));
}
