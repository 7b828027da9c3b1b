//! KILL, disconnect, and the faults tests ask for.

use std::{fs, path::Path, time::Duration};

use mysql_async::Conn;
use tokio::task::JoinHandle;

use super::{
    BOTH, ask, connect,
    simulator::{Contents, Fault, Options, Simulator, Version, When},
    start,
};

const LIMIT: Duration = Duration::from_secs(20);

fn slow(root: &Path, duration: Duration) -> Options {
    Options {
        contents: Contents::Small,
        files_root: Some(root.to_owned()),
        backup_duration: duration,
        dead_client: (Duration::from_millis(50), Duration::from_millis(10)),
        ..Options::default()
    }
}

/// Sends a BACKUP and waits until it has written something; gives its connection and what comes of it.
async fn begin(simulator: &Simulator, path: &str) -> (u32, JoinHandle<Result<Vec<Vec<String>>, String>>) {
    let mut conn: Conn = connect(simulator, "root").await;
    let (id, statement) = (conn.id(), format!("BACKUP 'run-1' FILESYSTEM '{path}' PARALLELISM '1' TYPE 'full'"));
    let task = tokio::spawn(async move { ask(&mut conn, &statement).await });
    let writing = |s: &Simulator| s.backups().iter().any(|b| b.connection == id && b.written > 1);
    assert!(simulator.until(LIMIT, writing).await);
    (id, task)
}

fn objects(root: &Path) -> usize {
    fs::read_dir(root.join("tae")).unwrap().filter(|e| !e.as_ref().unwrap().path().is_dir()).count()
}

#[tokio::test]
async fn kill_query_ends_a_backup_as_the_version_does() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, slow(folder.path(), Duration::from_millis(600)));
        let mut other = connect(&simulator, "root").await;
        let (id, task) = begin(&simulator, "/k").await;
        let running =
            "select conn_id, left(info, 200) from mo_catalog.mo_sessions where statement_type = 'Backup Start'";
        let rows = ask(&mut other, running).await.unwrap();
        let info = "BACKUP 'run-1' FILESYSTEM '/k' PARALLELISM '1' TYPE 'full'";
        assert_eq!(rows, [[id.to_string(), info.into()]]);
        ask(&mut other, &format!("kill query {id}")).await.unwrap();
        let left = ask(&mut other, running).await.unwrap().len();
        assert_eq!(task.await.unwrap().unwrap_err(), "1105 context canceled");
        let root = folder.path().join("k");
        match version {
            // All objects are copied first, and it stays in the list until then.
            Version::V1_2_4 => assert_eq!((left, objects(&root)), (1, 7)),
            Version::V4_2_0 => assert!(objects(&root) < 7, "{}", objects(&root)),
        }
        assert!(!root.join("mo_meta").exists());
        assert!(ask(&mut other, running).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_by_the_newer_one_only() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, slow(folder.path(), Duration::from_millis(600)));
        let (id, task) = begin(&simulator, "/d").await;
        task.abort();
        assert!(simulator.until(LIMIT, |s| s.backups().iter().any(|b| !b.client)).await);
        let mut other = connect(&simulator, "root").await;
        ask(&mut other, &format!("kill query {}", id + 1000)).await.unwrap_err();
        assert!(simulator.until(LIMIT, |s| s.backups().is_empty()).await);
        let whole = folder.path().join("d/mo_meta.sha256").exists();
        assert_eq!(whole, version == Version::V1_2_4);
        let error = ask(&mut other, &format!("kill query {id}")).await.unwrap_err();
        assert_eq!(error, format!("20101 internal error: Unknown connection id {id}"));
    }
}

#[tokio::test]
async fn a_short_backup_is_completed_without_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let options = slow(folder.path(), Duration::from_millis(300));
    let simulator = start(Version::V4_2_0, Options { dead_client: Options::default().dead_client, ..options });
    let (_, task) = begin(&simulator, "/s").await;
    task.abort();
    assert!(simulator.until(LIMIT, |s| s.backups().is_empty()).await);
    assert!(folder.path().join("s/mo_meta.sha256").exists());
}

#[tokio::test]
async fn two_backups_at_once() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, slow(folder.path(), Duration::from_millis(400)));
        let (_, first) = begin(&simulator, "/a").await;
        let mut other = connect(&simulator, "root").await;
        let second = ask(&mut other, "BACKUP 'b' FILESYSTEM '/b' PARALLELISM '2' TYPE 'full'").await;
        match version {
            Version::V1_2_4 => assert!(second.unwrap_err().contains("index out of range [1] with length 1")),
            Version::V4_2_0 => assert_eq!(second, Ok(Vec::new())),
        }
        first.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn kill_also_ends_the_connection() {
    let simulator = start(Version::V4_2_0, Options::default());
    let (mut conn, mut other) = (connect(&simulator, "root").await, connect(&simulator, "root").await);
    simulator.on(When::contains("select 1"), Fault::Hang);
    let id = conn.id();
    let hanging = tokio::spawn(async move { (ask(&mut conn, "select 1").await, ask(&mut conn, "select 1").await) });
    assert!(simulator.until(LIMIT, |s| s.count("select 1") == 1).await);
    ask(&mut other, &format!("kill {id}")).await.unwrap();
    let (first, second) = hanging.await.unwrap();
    assert_eq!((first.unwrap_err().as_str(), second.unwrap_err().as_str()), ("1105 context canceled", "lost"));
}

#[tokio::test]
async fn faults_hit_the_chosen_statement_once() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = start(Version::V4_2_0, slow(folder.path(), Duration::ZERO));
    simulator.on(When::contains("getsnapshot"), Fault::DropBefore);
    let clock = "select mo_ctl('cn','getsnapshot','') as r";
    assert_eq!(ask(&mut connect(&simulator, "root").await, clock).await.unwrap_err(), "lost");
    ask(&mut connect(&simulator, "root").await, clock).await.unwrap();

    let backup = |name: &str| format!("BACKUP 'x' FILESYSTEM '/{name}' PARALLELISM '1'");
    simulator.on(When::contains("backup '"), Fault::ReplyLost);
    assert_eq!(ask(&mut connect(&simulator, "root").await, &backup("lost")).await.unwrap_err(), "lost");
    assert!(folder.path().join("lost/mo_meta.sha256").exists());

    let mut conn = connect(&simulator, "root").await;
    simulator.on(When::Index(simulator.log().len()), Fault::Error(1105, "no".into()));
    assert_eq!(ask(&mut conn, "select 1").await.unwrap_err(), "1105 no");
    simulator.on(When::contains("backup '"), Fault::NoSpaceAfter(3));
    let error = ask(&mut conn, &backup("full")).await.unwrap_err();
    assert!(error.starts_with("1105 write /full/.tmp.") && error.ends_with("no space left on device"), "{error}");
    assert_eq!(objects(&folder.path().join("full")), 3);
    simulator.on_every(When::contains("select 1"), Fault::Delay(Duration::from_millis(20)));
    ask(&mut conn, "select 1").await.unwrap();
    assert_eq!(simulator.count("BACKUP 'x'"), 2);
}

#[tokio::test]
async fn the_server_can_end_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = start(Version::V1_2_4, slow(folder.path(), Duration::from_mins(1)));
    let mut conn = connect(&simulator, "root").await;
    ask(&mut conn, "select mo_ctl('dn','DiskCleaner','add_checker.min_ts.5-1')").await.unwrap();
    let (_, task) = begin(&simulator, "/dead").await;
    simulator.on(When::contains("select 1"), Fault::KillServer);
    assert_eq!(ask(&mut conn, "select 1").await.unwrap_err(), "lost");
    assert_eq!(task.await.unwrap().unwrap_err(), "lost");
    assert!(!simulator.is_running());
    assert!(std::net::TcpStream::connect(("127.0.0.1", simulator.port)).is_err());
    simulator.restart_server().unwrap();
    assert_eq!(simulator.held(), None, "a hold is lost with the server");
    assert!(simulator.backups().is_empty());
    assert_eq!(ask(&mut connect(&simulator, "root").await, "select 1").await.unwrap(), [["1"]]);
    assert!(!folder.path().join("dead/mo_meta").exists());
}
