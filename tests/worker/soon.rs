//! Whatever hangs before a BACKUP is sent: the refusal comes within the promised time, and nothing has been written.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mo_backup::{
    api::{BackupReport, BackupType, Reason},
    store::{
        Volume,
        memory::{Fault, Memory},
    },
    task::{BackupTask, Location},
    worker::{Files, Places, SOON, Staging, backup, probe},
};
use rstest::rstest;
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::rig::Rig;

/// The Pod's start to the refusal, as promised.
const PROMISE: Duration = Duration::from_secs(15);
/// What is left of it for the start of the container and for the report.
const REST: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
enum At {
    Store,
    Server,
}

impl At {
    fn calls(self, rig: &Rig) -> Vec<String> {
        match self {
            Self::Store => rig.repository.calls(),
            Self::Server => rig.server.calls(),
        }
    }

    /// Whether the first look ends with this call: what comes next writes, or may take its time.
    fn ends(self, call: &str) -> bool {
        match self {
            Self::Store => call.starts_with("list catalog/"),
            Self::Server => call.contains("mo_sessions"),
        }
    }
}

fn refused_in_time(report: &BackupReport, expected: Reason, took: Duration) {
    assert_eq!(report.said.reason.as_deref(), Some(expected.as_str()), "{report:#?}");
    let message = report.said.message.as_deref().unwrap();
    assert!(message.contains("no answer within") && message.contains(expected.remedy()), "{message}");
    assert!(report.said.retryable, "whatever hangs may come back");
    assert!(took + REST <= PROMISE, "it took {took:?}");
}

#[rstest]
#[case::store(At::Store, Reason::StorageUnreachable)]
#[case::server(At::Server, Reason::ServerUnreachable)]
#[tokio::test(start_paused = true)]
async fn every_call_of_the_first_look_may_hang(#[case] at: At, #[case] expected: Reason) {
    let healthy = Rig::new("v4.2.0");
    healthy.run(&healthy.task(1, BackupType::Auto)).await;
    let calls = at.calls(&healthy);
    let last = calls.iter().position(|call| at.ends(call)).unwrap();
    let hang = match at {
        At::Store => 0..last,
        At::Server => 0..last + 1,
    };
    assert!(hang.len() >= 4, "{calls:?}");
    for call in hang {
        let rig = Rig::new("v4.2.0");
        match at {
            At::Store => rig.repository.fault(call, Fault::Hang, || {}),
            At::Server => rig.server.fault(call, Fault::Hang, || {}),
        }
        let begun = Instant::now();
        let report = rig.run(&rig.task(1, BackupType::Auto)).await;
        refused_in_time(&report, expected, begun.elapsed());
        assert_eq!((rig.repository.keys(), rig.staged(), rig.sent()), (vec![], vec![], false), "{}", calls[call]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_staging_volume_may_hang() {
    let rig = Rig::new("v4.2.0");
    let (task, mut ports) = (rig.task(1, BackupType::Auto), rig.ports());
    let hanging = Memory::new();
    hanging.fault(0, Fault::Hang, || {});
    let folder = Volume::open(rig.folder.path(), "").unwrap();
    ports.staging = Some(Staging { objects: Arc::new(hanging), folder });
    let begun = Instant::now();
    let report = backup(&task, &ports, &rig.watch(&task, CancellationToken::new())).await;
    refused_in_time(&report, Reason::StorageUnreachable, begun.elapsed());
    assert_eq!((rig.repository.keys(), rig.staged(), rig.sent()), (vec![], vec![], false));
}

/// Time that goes to the store is not added to that of the server.
#[tokio::test(start_paused = true)]
async fn two_that_are_slow_are_given_the_time_of_one() {
    let rig = Rig::new("v4.2.0");
    let task = rig.task(1, BackupType::Auto);
    rig.server.fault(0, Fault::Hang, || {});
    let watch = rig.watch(&task, CancellationToken::new());
    let begun = Instant::now();
    tokio::time::sleep(SOON / 2).await;
    let report = backup(&task, &rig.ports(), &watch).await;
    refused_in_time(&report, Reason::ServerUnreachable, begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_refused_as_soon() {
    let rig = Rig::new("v4.2.0");
    rig.repository.fault(0, Fault::Hang, || {});
    let task = rig.task(1, BackupType::Auto);
    let watch = rig.watch(&task, CancellationToken::new());
    let place = mo_backup::worker::Place::Bucket;
    let places = Places { repository: Arc::new(rig.repository.clone()), kind: place, staging: None };
    let (subject, storage) = (task.subject.clone(), task.storage.clone());
    let probing =
        mo_backup::task::ProbeTask { subject, storage, backups_over: String::new(), imports: None, swept: None };
    let begun = Instant::now();
    let report = probe(&probing, &places, None, &watch).await;
    assert_eq!(report.said.reason.as_deref(), Some("StorageUnreachable"), "{report:#?}");
    assert!(begun.elapsed() + REST <= PROMISE, "it took {:?}", begun.elapsed());
    assert_eq!(rig.repository.keys(), Vec::<String>::new());
}

/// A real socket that takes every connection and never says a word. From its first word heard on, the clock jumps.
async fn silence() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = heard.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut word = [0; 1024];
            let length = stream.read(&mut word).await.unwrap();
            if said.lock().unwrap().is_empty() {
                tokio::time::pause();
            }
            said.lock().unwrap().extend_from_slice(&word[..length]);
            open.push(stream);
        }
    });
    (port, heard)
}

fn at(task: &mut BackupTask, endpoint: String) {
    match &mut task.storage.location {
        Location::S3(s3) => {
            (s3.endpoint, s3.path_style) = (Some(endpoint), true);
            s3.credentials_secret = serde_json::from_value(serde_json::json!({"name": "keys"})).unwrap();
        }
        Location::Volume(_) => unreachable!("the rig's storage is a bucket"),
    }
}

#[rstest]
#[case::no_reply("http", &b"HEAD "[..])]
#[case::no_handshake("https", &b"\x16\x03"[..])]
#[tokio::test]
async fn a_store_that_takes_the_call_and_says_nothing(#[case] scheme: &str, #[case] word: &[u8]) {
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("access_key_id"), "AKIA").unwrap();
    std::fs::write(keys.path().join("secret_access_key"), "canary").unwrap();
    let (port, heard) = silence().await;
    let rig = Rig::new("v4.2.0");
    let mut task = rig.task(1, BackupType::Auto);
    at(&mut task, format!("{scheme}://127.0.0.1:{port}"));
    let files = Files { store: keys.path().into(), ..Files::of_the_pod() };
    let begun = Instant::now();
    let Err(failure) = files.ports(&task, &rig.watch(&task, CancellationToken::new())).await else {
        panic!("it was not even reached")
    };
    assert_eq!(failure.reason, Reason::StorageUnreachable, "{failure}");
    assert!(begun.elapsed() + REST <= PROMISE, "it took {:?}", begun.elapsed());
    assert!(heard.lock().unwrap().starts_with(word), "{:?}", heard.lock().unwrap());
}
