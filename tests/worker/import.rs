//! Imported Backups: found, made and looked up by the Job of a storage.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use mo_backup::{
    api::{Adoption, BackupReport, Outcome, StorageReport},
    plan::{BackupId, Catalog, Framing, RepositoryId},
    store::memory::{Fault, Memory},
    task::{ImportTask, ProbeTask},
    worker::{Backups, Known, Made, Untold, import, imported_name, probe},
};
use rstest::rstest;
use uuid::Uuid;

use super::{
    keep::{places, quiet, subject},
    repository::{content, name, own, repository, take},
    rig::storage,
};

/// A namespace with Backups.
#[derive(Default)]
pub struct Namespace {
    known: Mutex<BTreeMap<String, Known>>,
    reports: Mutex<BTreeMap<String, BackupReport>>,
    /// How many Backups may be made; `None`: all.
    quota: Option<usize>,
    /// Backups that the API server does not take a report of for now.
    deaf: Vec<String>,
    /// How often it was asked to make one.
    asked: Mutex<usize>,
}

impl Namespace {
    /// A Backup that waits to be looked up, as the operator leaves it.
    fn waiting(&self, id: &str, storage: &str) {
        let name = format!("imported-{id}");
        let ids = id.parse().into_iter().collect();
        let awaited = Some(format!("uid-of-{name}-0"));
        self.insert(Known { uid: name.clone(), name, storage: storage.into(), ids, awaited, ..Known::default() });
    }

    pub fn insert(&self, known: Known) {
        self.known.lock().unwrap().insert(known.name.clone(), known);
    }

    fn names(&self) -> Vec<String> {
        self.known.lock().unwrap().keys().cloned().collect()
    }

    /// What the operator does: every new one is accepted.
    fn accept(&self) {
        for known in self.known.lock().unwrap().values_mut() {
            known.awaited = Some(format!("{}-0", known.uid));
        }
    }

    fn report(&self, id: BackupId) -> Option<BackupReport> {
        self.reports.lock().unwrap().get(&imported_name(id)).cloned()
    }
}

#[async_trait]
impl Backups for Namespace {
    async fn list(&self) -> Result<Vec<Known>, Untold> {
        Ok(self.known.lock().unwrap().values().cloned().collect())
    }

    async fn create(&self, id: BackupId, storage: &str) -> Result<Made, Untold> {
        let (name, uid) = (imported_name(id), Uuid::new_v4().to_string());
        *self.asked.lock().unwrap() += 1;
        let mut known = self.known.lock().unwrap();
        if known.contains_key(&name) {
            return Ok(Made::NotNeeded);
        }
        if self.quota.is_some_and(|quota| known.len() >= quota) {
            return Err(Untold::Refused("403 exceeded quota".into()));
        }
        known.insert(name.clone(), Known { name, uid, storage: storage.into(), ids: vec![id], ..Known::default() });
        Ok(Made::New)
    }

    async fn report(&self, known: &Known, report: &BackupReport) -> Result<(), Untold> {
        assert_eq!(Some(&report.said.run), known.awaited.as_ref());
        if self.deaf.contains(&known.name) {
            return Err(Untold::Later("429 too many requests".into()));
        }
        self.reports.lock().unwrap().insert(known.name.clone(), report.clone());
        self.insert(Known { awaited: None, ..known.clone() });
        Ok(())
    }
}

/// A full backup and an incremental one on it.
pub async fn two(memory: &Memory, repository: RepositoryId) -> [Catalog; 2] {
    let mut tree: super::repository::Tree = (0..3).map(|n| (name(n), content(n, 700))).collect();
    tree.extend(own(1));
    let full = take(memory, repository, (1_795_220_000, Framing::Raw), &tree, None).await;
    let reused = [(name(1), tree[&name(1)].clone())].into();
    let second = take(memory, repository, (1_795_230_000, Framing::Raw), &own(2), Some((&full, &reused))).await;
    [full, second]
}

pub fn task(adopt: bool) -> ProbeTask {
    let imports = Some(ImportTask { adopt, sweep: None });
    ProbeTask { subject: subject(), storage: storage(), backups_over: String::new(), imports, swept: None }
}

fn entries(catalog: &Catalog) -> String {
    format!("data/{}/{}/entries.jsonl.zst", catalog.id, catalog.attempt)
}

/// One look of the Job: a probe, and what it does for imported Backups.
pub async fn look(task: &ProbeTask, memory: &Memory, namespace: &Namespace) -> StorageReport {
    let places = places(memory);
    let probed = probe(task, &places, None, &quiet()).await;
    import(task, probed, &places, namespace, &quiet()).await
}

fn adoption(made: i64, found: i64, refused: i64) -> Option<Adoption> {
    let all = Adoption { made, found, refused };
    (all != Adoption::default()).then_some(all)
}

#[tokio::test]
async fn what_is_found_gets_a_backup_once_and_its_facts_from_the_catalogue() {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    let namespace = Namespace::default();
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, adoption(2, 0, 0));
    assert_eq!(namespace.names(), [full.id, second.id].map(imported_name));
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, None, "nothing twice");
    namespace.accept();
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, adoption(0, 2, 0));
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, None);
    let told = namespace.report(second.id).unwrap();
    assert_eq!((told.said.outcome, told.id), (Outcome::Succeeded, Some(second.id.to_string())));
    assert_eq!(told.base, Some(full.id.to_string()));
    assert_eq!(told.objects, i64::try_from(second.totals.objects).ok());
    assert_eq!(told.at_time.as_deref(), Some("2026-11-21 03:00:00"));
    assert_eq!((told.verified, told.method), (None, None), "nobody has looked at its objects, and nothing was taken");
    let stored = memory.get(&format!("catalog/{}.json", second.id)).unwrap();
    let sha256 = mo_backup::plan::Digest(<sha2::Sha256 as sha2::Digest>::digest(&stored).into()).to_string();
    assert_eq!(told.manifest.map(|m| m.sha256), Some(sha256));
}

#[tokio::test]
async fn without_adopt_only_what_waits_is_looked_up() {
    let (memory, repository) = repository();
    let [full, _] = two(&memory, repository).await;
    let namespace = Namespace::default();
    namespace.waiting(&full.id.to_string(), "main");
    let absent = "01a1fb90-0000-7000-8000-000000000009";
    namespace.waiting(absent, "main");
    namespace.waiting("01a1fb90-0000-7000-8000-000000000008", "another");
    assert_eq!(look(&task(false), &memory, &namespace).await.adoption, adoption(0, 1, 1));
    assert_eq!(namespace.names().len(), 3, "none was made");
    let refused = namespace.report(absent.parse().unwrap()).unwrap();
    assert_eq!((refused.said.outcome, refused.said.reason.as_deref()), (Outcome::Failed, Some("BackupNotFound")));
    assert!(namespace.report("01a1fb90-0000-7000-8000-000000000008".parse().unwrap()).is_none());
}

/// A Backup that took or imported it, a live one or one that is being deleted, is known by the id and not by its name.
#[tokio::test]
async fn a_backup_that_has_an_object_is_left_alone() {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    let namespace = Namespace::default();
    let known = |name: &str, ids: Vec<BackupId>| {
        let (name, uid) = (name.to_owned(), name.to_owned());
        namespace.insert(Known { name, uid, storage: "main".into(), ids, ..Known::default() });
    };
    known("nightly", vec![BackupId::fresh(), full.id]);
    known("by-hand", vec![second.id]);
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, None);
    assert_eq!(namespace.names(), ["by-hand", "nightly"]);
}

/// Whichever call fails or is lost, the next look finishes, and nothing is there twice.
#[tokio::test]
async fn a_look_that_was_cut_off_is_finished_by_the_next() {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    for call in 0.. {
        let namespace = Namespace::default();
        let before = memory.calls().len();
        memory.fault(before + call, Fault::Before, || {});
        let cut = look(&task(true), &memory, &namespace).await;
        let calls = memory.calls().len() - before;
        for _ in 0..2 {
            look(&task(true), &memory, &namespace).await;
            namespace.accept();
        }
        assert_eq!(namespace.names(), [full.id, second.id].map(imported_name), "call {call}: {cut:#?}");
        assert!([full.id, second.id].iter().all(|id| namespace.report(*id).is_some()), "call {call}");
        if call > calls {
            return;
        }
    }
}

#[tokio::test]
async fn what_kubernetes_refuses_is_said_and_the_storage_serves() {
    let (memory, repository) = repository();
    two(&memory, repository).await;
    let namespace = Namespace { quota: Some(0), ..Namespace::default() };
    let report = look(&task(true), &memory, &namespace).await;
    assert_eq!((report.said.outcome, report.adoption), (Outcome::Succeeded, None));
    assert!(report.warnings.iter().any(|w| w.reason == "AdoptionRefused" && w.message.contains("exceeded quota")));
}

/// Half of it fits into the quota: what fits is made and told, what was left behind goes, and the rest is not asked for
/// ten thousand times.
#[tokio::test]
async fn a_quota_that_is_used_up_stops_neither_reports_nor_the_sweep() {
    let (memory, repository) = repository();
    for _ in 0..20 {
        two(&memory, repository).await;
    }
    let left = "data/01a1fb90-0000-7000-8000-000000000001/1/mo_meta";
    memory.set(left, "left");
    memory.date(left, jiff::Timestamp::UNIX_EPOCH - std::time::Duration::from_hours(100));
    let namespace = Namespace { quota: Some(15), ..Namespace::default() };
    let refused = |report: &StorageReport| {
        assert_eq!(report.said.outcome, Outcome::Succeeded);
        report.warnings.iter().filter(|w| w.reason == "AdoptionRefused" && w.message.contains("exceeded quota")).count()
    };
    let report = look(&task(true), &memory, &namespace).await;
    assert_eq!((report.adoption.clone(), refused(&report)), (adoption(15, 0, 0), 1));
    namespace.accept();
    *namespace.asked.lock().unwrap() = 0;
    let imports = Some(ImportTask { adopt: true, sweep: Some("now".into()) });
    let report = look(&ProbeTask { imports, ..task(true) }, &memory, &namespace).await;
    assert_eq!((report.adoption.clone(), refused(&report)), (adoption(0, 15, 0), 1));
    let tried = *namespace.asked.lock().unwrap();
    assert!((20..25).contains(&tried), "{tried} of 25");
    assert_eq!(report.swept.map(|s| (s.attempts, s.token)), Some((1, "now".into())));
    assert!(memory.get(left).is_none());
}

#[tokio::test]
async fn one_that_cannot_be_told_for_now_keeps_nothing_else_back() {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    let third = two(&memory, repository).await;
    let namespace = Namespace { deaf: vec![imported_name(full.id)], ..Namespace::default() };
    namespace.waiting(&full.id.to_string(), "main");
    namespace.waiting(&second.id.to_string(), "main");
    let report = look(&task(true), &memory, &namespace).await;
    assert_eq!((report.said.outcome, report.adoption), (Outcome::Succeeded, adoption(2, 1, 0)));
    assert!(report.warnings.iter().any(|w| w.reason == "AdoptionRefused" && w.message.contains("429")));
    assert!(
        namespace.report(second.id).is_some() && third.iter().all(|c| namespace.names().contains(&imported_name(c.id)))
    );
}

/// The probe itself went well: backups can be written.
#[tokio::test]
async fn a_store_that_fails_after_the_probe_takes_nothing_from_the_storage() {
    let (memory, repository) = repository();
    two(&memory, repository).await;
    let before = memory.calls().len();
    look(&ProbeTask { imports: None, ..task(false) }, &memory, &Namespace::default()).await;
    let calls = memory.calls().len() - before;
    // The first call that comes after those of a probe alone.
    memory.fault(memory.calls().len() + calls, Fault::Before, || {});
    let report = look(&task(true), &memory, &Namespace::default()).await;
    assert_eq!((report.said.outcome, report.adoption), (Outcome::Succeeded, None));
    assert!(report.warnings.iter().any(|w| w.reason == "AdoptionRefused"), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_foreign_repository_is_adopted_and_nothing_is_written_to_it() {
    let (memory, repository) = repository();
    two(&memory, repository).await;
    let mut task = task(true);
    task.storage.uid = "of-a-new-cluster".into();
    let (before, namespace) = (memory.keys(), Namespace::default());
    let report = look(&task, &memory, &namespace).await;
    assert_eq!((report.said.outcome, report.adoption), (Outcome::Succeeded, adoption(2, 0, 0)));
    assert_eq!(report.warnings.iter().map(|w| &*w.reason).collect::<Vec<_>>(), ["RepositoryForeign"]);
    assert_eq!(memory.keys(), before);
}

/// Whoever can write to a bucket can put anything into its catalogue.
#[rstest]
#[case::of_another_repository(|memory: &Memory, catalog: &Catalog| {
    let other = Catalog { repository: RepositoryId(Uuid::new_v4()), ..catalog.clone() };
    memory.set(&format!("catalog/{}.json", catalog.id), serde_json::to_vec(&other).unwrap());
}, "BackupForeign")]
#[case::cut_off(|memory: &Memory, catalog: &Catalog| {
    let key = format!("catalog/{}.json", catalog.id);
    let content = memory.get(&key).unwrap();
    memory.set(&key, content.slice(..content.len() / 2));
}, "RepositoryDamaged")]
#[case::of_another_backup(|memory: &Memory, catalog: &Catalog| {
    let other = Catalog { id: BackupId::fresh(), ..catalog.clone() };
    memory.set(&format!("catalog/{}.json", catalog.id), serde_json::to_vec(&other).unwrap());
}, "RepositoryDamaged")]
#[tokio::test]
async fn a_bad_entry_is_counted_and_named_and_hides_no_other(
    #[case] spoil: fn(&Memory, &Catalog),
    #[case] reason: &str,
) {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    spoil(&memory, &second);
    let namespace = Namespace::default();
    namespace.waiting(&second.id.to_string(), "main");
    let report = look(&task(true), &memory, &namespace).await;
    let seen = report.repository.unwrap();
    assert_eq!((report.said.outcome, seen.backups, seen.unreadable), (Outcome::Succeeded, 1, 1));
    let warned = report.warnings.iter().find(|w| w.reason == reason).unwrap();
    assert!(warned.message.contains(&second.id.to_string()), "{warned:?}");
    assert_eq!(report.adoption, adoption(1, 0, 1));
    assert_eq!(namespace.names(), [full.id, second.id].map(imported_name));
    assert_eq!(namespace.report(second.id).unwrap().said.reason.as_deref(), Some(reason));
}

#[rstest]
#[case::missing(|memory: &Memory, list: &str| assert!(memory.unset(list)))]
#[case::cut_off(|memory: &Memory, list: &str| memory.set(list, "x"))]
#[tokio::test]
async fn a_backup_without_its_entry_list_is_refused(#[case] spoil: fn(&Memory, &str)) {
    let (memory, repository) = repository();
    let [full, second] = two(&memory, repository).await;
    spoil(&memory, &entries(&second));
    let namespace = Namespace::default();
    namespace.waiting(&full.id.to_string(), "main");
    namespace.waiting(&second.id.to_string(), "main");
    assert_eq!(look(&task(false), &memory, &namespace).await.adoption, adoption(0, 1, 1));
    assert_eq!(namespace.report(second.id).unwrap().said.reason.as_deref(), Some("RepositoryDamaged"));
}

#[tokio::test]
async fn a_name_that_is_none_does_nothing_to_a_terminal() {
    let (memory, repository) = repository();
    let [_, second] = two(&memory, repository).await;
    memory.set("catalog/\u{1b}[2J\n../../etc/passwd.json", "{}");
    for n in 0..20 {
        memory.set(&format!("catalog/{}{n}", "x".repeat(900)), "{}");
    }
    let report = look(&task(false), &memory, &Namespace::default()).await;
    let seen = report.repository.unwrap();
    assert_eq!((seen.backups, seen.unreadable), (2, 0));
    let warned = report.warnings.iter().find(|w| w.reason == "UnexpectedFiles").unwrap();
    assert!(warned.message.contains("21"), "{warned:?}");
    assert!(warned.message.len() < 1500 && !warned.message.contains(char::is_control), "{warned:?}");
    assert_eq!(seen.newest.as_deref(), Some("2026-11-21T03:00:00Z"), "the time of the data of {}", second.id);
    assert_eq!(seen.oldest.as_deref(), Some("2026-11-21T00:13:20Z"));
}

#[tokio::test]
async fn ten_thousand_backups_are_adopted_and_looked_up() {
    const MANY: usize = 10_000;
    let (memory, repository) = repository();
    let [full, _] = two(&memory, repository).await;
    let list = memory.get(&entries(&full)).unwrap();
    for _ in 2..MANY {
        let id = BackupId::fresh();
        let sources = vec![mo_backup::plan::Source { backup: id, ..full.sources[0].clone() }];
        let catalog = Catalog { id, sources, ..full.clone() };
        memory.set(&entries(&catalog), list.clone());
        memory.set(&format!("catalog/{id}.json"), serde_json::to_vec(&catalog).unwrap());
    }
    let namespace = Namespace::default();
    let many = i64::try_from(MANY).unwrap();
    let report = look(&task(true), &memory, &namespace).await;
    assert_eq!(report.repository.map(|r| r.backups), Some(many));
    assert_eq!(report.adoption, adoption(many, 0, 0));
    namespace.accept();
    assert_eq!(look(&task(true), &memory, &namespace).await.adoption, adoption(0, many, 0));
    assert_eq!(namespace.names().len(), MANY);
}
