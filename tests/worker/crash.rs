//! A crash, a failure or a lost reply at every call to the store and every statement.

use std::{sync::Arc, time::Duration};

use mo_backup::{
    api::{BackupType, Outcome, VerifyLevel},
    plan::BackupId,
    store::{Patience, memory::Fault},
    task::BackupTask,
};
use rstest::rstest;
use tokio::sync::Notify;

use super::{assert_whole, rig::Rig};

/// Attempts that may be needed until one succeeds; the fault hits only the first.
const ATTEMPTS: u32 = 3;

/// What is broken.
#[derive(Clone, Copy)]
enum At {
    Store,
    Server,
}

/// What is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// A full backup of a server that writes frames.
    Full,
    /// An incremental one.
    Incremental,
    /// A full one that the server writes into the bucket itself, and lists with sizes that are not exact.
    Direct,
    /// A full one after an incremental try: the history of the server is not that of the base.
    Fallback,
}

impl Scene {
    /// The base, where there is one.
    async fn base(self) -> Option<Rig> {
        match self {
            Self::Full | Self::Direct => None,
            Self::Incremental | Self::Fallback => {
                let base = Rig::new("v4.2.0");
                let report = base.run(&base.task(1, BackupType::Full)).await;
                assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
                Some(base)
            }
        }
    }

    /// A world in which nothing has happened yet but the base.
    fn rig(self, base: Option<&Rig>) -> Rig {
        let rig = match (self, base) {
            (Self::Direct, _) => Rig::direct("v3.0.18"),
            (_, Some(base)) => base.next(),
            (_, None) => Rig::new("v1.2.4"),
        };
        if self == Self::Fallback {
            rig.server.rewind();
        }
        Rig { patience: Patience { limit: Duration::ZERO, ..Patience::default() }, ..rig }
    }

    fn task(self, rig: &Rig, attempt: u32) -> BackupTask {
        let mut task = rig.task(attempt, BackupType::Auto);
        task.allow_keys_in_sql = self == Self::Direct;
        task
    }

    /// What the committed backup must stand on.
    fn stands_on(self, base: Option<&Rig>) -> Option<BackupId> {
        match self {
            Self::Full | Self::Direct | Self::Fallback => None,
            Self::Incremental => base.map(|base| base.id),
        }
    }
}

/// Lets one attempt meet the fault; says whether its process ended there.
async fn meet(scene: Scene, rig: &Rig, at: At, call: usize, fault: Fault) -> bool {
    let end = Arc::new(Notify::new());
    let ends = end.clone();
    let dies = fault == Fault::After;
    let hook = move || {
        if dies {
            ends.notify_one();
        }
    };
    match at {
        At::Store => rig.repository.fault(call, fault, hook),
        At::Server => rig.server.fault(call, fault, hook),
    }
    let mut task = scene.task(rig, 1);
    task.verify = VerifyLevel::Manifest;
    tokio::select! {
        biased;
        () = end.notified() => true,
        _ = rig.run(&task) => false,
    }
}

async fn recovers(scene: Scene, rig: &Rig, base: Option<&Rig>, what: &str) {
    let mut last = None;
    for attempt in 2..2 + ATTEMPTS {
        let report = rig.run(&scene.task(rig, attempt)).await;
        let done = report.said.outcome == Outcome::Succeeded;
        last = Some(report);
        if done {
            break;
        }
    }
    let last = last.unwrap();
    assert_eq!(last.said.outcome, Outcome::Succeeded, "{what}: {last:#?}");
    assert_whole(rig);
    let catalog = rig.catalog().unwrap();
    assert_eq!(catalog.base, scene.stands_on(base), "{what}: {last:#?}");
    assert_eq!(catalog.attempt.fallback, scene == Scene::Fallback, "{what}");
    assert_eq!(last.path, Some(format!("data/{}/{}", catalog.id, catalog.attempt)), "{what}");
    let own = format!("data/{}/{}/", catalog.id, catalog.attempt);
    for key in rig.repository.keys() {
        let of_base = base.is_some_and(|b| key.contains(&b.id.to_string()));
        let ours = key == "mo-backup.json" || key == format!("catalog/{}.json", rig.id) || key.starts_with(&own);
        assert!(of_base || ours, "{what}: {key} was left");
    }
    assert_eq!(rig.staged(), Vec::<String>::new(), "{what}");
    assert_eq!(rig.server.running(), 0, "{what}");
    assert!(!rig.server.is_held(), "{what}: the minimum timestamp is still held");
    if let Some(base) = base {
        assert_whole(base);
    }
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn every_end_can_be_gone_on_from(
    #[values(At::Store, At::Server)] at: At,
    #[values(Fault::Before, Fault::Lost, Fault::After)] fault: Fault,
    #[values(Scene::Full, Scene::Incremental, Scene::Direct, Scene::Fallback)] scene: Scene,
) {
    let original = scene.base().await;
    let mut call = 0;
    loop {
        let base = original.as_ref().map(Rig::copied);
        let rig = scene.rig(base.as_ref());
        let count = |rig: &Rig| match at {
            At::Store => rig.repository.calls().len(),
            At::Server => rig.server.calls().len(),
        };
        let first = count(&rig);
        let died = meet(scene, &rig, at, first + call, fault).await;
        let made = count(&rig) - first;
        if call >= made && !died {
            assert!(call > 10, "only {call} calls were made");
            break;
        }
        let name = match at {
            At::Store => rig.repository.calls().swap_remove(first + call),
            At::Server => rig.server.calls().swap_remove(first + call),
        };
        recovers(scene, &rig, base.as_ref(), &format!("{fault:?} at call {call} ({name})")).await;
        call += 1;
    }
}
