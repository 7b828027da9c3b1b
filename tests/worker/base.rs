//! A base that was damaged, lost or deleted: what it costs an incremental backup, and that `Auto` takes a full one.

use mo_backup::{
    api::{BackupReport, BackupType, Outcome, TakenType},
    store::memory::Fault,
};
use rstest::rstest;

use super::{assert_whole, rig::Rig, tree};

/// What happens to the base.
#[derive(Clone, Copy)]
enum Harm {
    ListLost,
    ListFlipped,
    ObjectLost,
    ObjectFlipped,
}

impl Harm {
    /// Does it, and returns the key.
    fn inflict(self, base: &Rig) -> String {
        let list = format!("data/{}/1/entries.jsonl.zst", base.id);
        let object = format!("data/{}/1/tae/{}", base.id, tree::name(2));
        let (key, done) = match self {
            Self::ListLost => (list.clone(), base.repository.unset(&list)),
            Self::ListFlipped => (list.clone(), base.repository.flip(&list, 40)),
            Self::ObjectLost => (object.clone(), base.repository.unset(&object)),
            Self::ObjectFlipped => (object.clone(), base.repository.flip(&object, 40)),
        };
        assert!(done, "there is no {key}");
        key
    }
}

/// A base, and the next backup of the same server.
async fn pair() -> (Rig, Rig) {
    let base = Rig::new("v4.2.0");
    assert_eq!(base.run(&base.task(1, BackupType::Full)).await.said.outcome, Outcome::Succeeded);
    let rig = base.next();
    (base, rig)
}

/// How often a BACKUP was sent for the base and for what stands on it.
fn sent(rig: &Rig) -> usize {
    rig.server.statements().iter().filter(|s| s.starts_with("BACKUP ")).count()
}

fn full(rig: &Rig, report: &BackupReport, dir: &str, named: &str, damaged: bool) {
    assert_eq!((report.said.outcome, report.type_), (Outcome::Succeeded, Some(TakenType::Full)), "{report:#?}");
    assert!(report.type_reason.as_ref().unwrap().contains(named), "{report:#?}");
    let warned: Vec<_> = report.warnings.iter().filter(|w| w.reason == "RepositoryDamaged").collect();
    assert_eq!(warned.len(), usize::from(damaged), "{report:#?}");
    assert!(warned.iter().all(|w| w.message.contains(named)), "{report:#?}");
    assert_eq!(report.path, Some(format!("data/{}/{dir}", rig.id)));
    assert_whole(rig);
    assert_eq!(rig.staged(), Vec::<String>::new());
    let own = format!("data/{}/", rig.id);
    let of_others = |key: &String| key.starts_with(&own) && !key.starts_with(&format!("{own}{dir}/"));
    assert_eq!(rig.repository.keys().into_iter().find(of_others), None);
}

#[rstest]
#[case::list_lost(Harm::ListLost, "1", 2)]
#[case::list_flipped(Harm::ListFlipped, "1", 2)]
#[case::object_lost(Harm::ObjectLost, "1-full", 3)]
#[case::object_flipped(Harm::ObjectFlipped, "1-full", 3)]
#[tokio::test(start_paused = true)]
async fn on_a_damaged_base_auto_takes_a_full_backup(#[case] harm: Harm, #[case] dir: &str, #[case] backups: usize) {
    let (base, rig) = pair().await;
    let named = harm.inflict(&base);
    let report = rig.run(&rig.task(1, BackupType::Auto)).await;
    full(&rig, &report, dir, &named, true);
    assert_eq!(sent(&rig), backups, "a list that cannot be read is known before a BACKUP is sent");
}

#[rstest]
#[case::list_lost(Harm::ListLost, 1)]
#[case::list_flipped(Harm::ListFlipped, 1)]
#[case::object_lost(Harm::ObjectLost, 2)]
#[case::object_flipped(Harm::ObjectFlipped, 2)]
#[tokio::test(start_paused = true)]
async fn whoever_asks_for_that_base_is_told(
    #[case] harm: Harm,
    #[case] backups: usize,
    #[values(BackupType::Incremental, BackupType::Auto)] kind: BackupType,
) {
    let (base, rig) = pair().await;
    let named = harm.inflict(&base);
    let mut task = rig.task(1, kind);
    task.base = (kind == BackupType::Auto).then_some(base.id);
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some("BaseNotUsable"), "{report:#?}");
    assert!(!report.said.retryable && report.said.message.unwrap().contains(&named));
    assert_eq!(sent(&rig), backups);
    assert!(rig.catalog().is_none());
    assert_eq!(rig.staged(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_named_base_whose_entry_cannot_be_read_is_told() {
    let (base, rig) = pair().await;
    let entry = format!("catalog/{}.json", base.id);
    base.repository.set(&entry, "rubbish");
    let mut task = rig.task(1, BackupType::Incremental);
    task.base = Some(base.id);
    let report = rig.run(&task).await;
    assert_eq!(report.said.reason.as_deref(), Some("BaseNotUsable"), "{report:#?}");
    assert!(report.said.message.unwrap().contains(&entry));
    assert_eq!(sent(&rig), 1);
}

/// The base is purged while the server writes what shall stand on it.
#[rstest]
#[case::auto(BackupType::Auto)]
#[case::incremental(BackupType::Incremental)]
#[tokio::test(start_paused = true)]
async fn a_base_that_goes_meanwhile_is_no_end_for_good(#[case] kind: BackupType) {
    let (healthy_base, healthy) = pair().await;
    let before = healthy_base.server.calls().len();
    healthy.run(&healthy.task(1, kind)).await;
    let call = healthy.server.calls().iter().skip(before).position(|c| c.starts_with("BACKUP ")).unwrap();
    let (base, rig) = pair().await;
    let (bucket, id) = (base.repository.clone(), base.id.to_string());
    rig.server.fault(before + call, Fault::After, move || {
        for key in bucket.keys().into_iter().filter(|key| key.contains(&id)) {
            bucket.unset(&key);
        }
    });
    let report = rig.run(&rig.task(1, kind)).await;
    if kind == BackupType::Auto {
        full(&rig, &report, "1-full", &base.id.to_string(), false);
    } else {
        assert_eq!(
            (report.said.reason.as_deref(), report.said.retryable),
            (Some("BaseNotUsable"), true),
            "{report:#?}"
        );
        let second = rig.run(&rig.task(2, kind)).await;
        assert_eq!(second.said.reason.as_deref(), Some("BaseNotUsable"), "there is no other: {second:#?}");
    }
}
