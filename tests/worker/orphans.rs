//! Removing what failed attempts have left, and nothing that somebody may be writing.

use std::time::Duration;

use jiff::Timestamp;
use mo_backup::{
    api::{Outcome, Swept},
    plan::BackupId,
    store::memory::Memory,
    task::{ImportTask, ProbeTask},
    worker::Known,
};
use rstest::rstest;

use super::{
    import::{Namespace, look, task, two},
    repository::repository,
};

const ID: &str = "01a1fb90-0000-7000-8000-000000000001";
const DAY: Duration = Duration::from_hours(24);

fn asked(token: &str) -> ProbeTask {
    ProbeTask { imports: Some(ImportTask { adopt: false, sweep: Some(token.into()) }), ..task(false) }
}

/// Objects of an attempt, the last of them written so many hours ago: the tests' clock stands at the epoch.
fn left_by_an_attempt(memory: &Memory, id: &str, dir: &str, hours: Option<u64>) {
    for (name, older) in [("mo_meta", 5), ("tae/a", 0), ("tae/b", 3)] {
        let key = format!("data/{id}/{dir}/{name}");
        memory.set(&key, "left");
        if let Some(hours) = hours {
            memory.date(&key, Timestamp::UNIX_EPOCH - Duration::from_hours(hours + older));
        }
    }
}

fn backup(ids: &[&str], over: Option<u32>, hours: u64) -> Known {
    Known {
        name: "nightly".into(),
        ids: ids.iter().map(|id| id.parse::<BackupId>().unwrap()).collect(),
        over,
        run_deadline: Duration::from_hours(hours),
        ..Known::default()
    }
}

async fn swept(memory: &Memory, namespace: &Namespace) -> Swept {
    let report = look(&asked("now"), memory, namespace).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    report.swept.unwrap()
}

#[rstest]
#[case::of_nobody_any_more(Some(26), None, true)]
#[case::of_nobody_and_too_young(Some(25), None, false)]
#[case::of_which_nobody_knows_when(None, None, false)]
#[case::of_one_that_is_over(Some(26), Some(backup(&[ID], Some(2), 24)), true)]
#[case::of_an_attempt_that_came_later(Some(26), Some(backup(&[ID], Some(1), 24)), false)]
#[case::of_one_that_is_not_over(Some(2600), Some(backup(&[ID], None, 24)), false)]
#[case::while_another_may_take_longer(Some(26), Some(backup(&[], Some(1), 48)), false)]
#[case::older_than_any_may_take(Some(50), Some(backup(&[], Some(1), 48)), true)]
#[tokio::test]
async fn only_what_nobody_can_be_writing_goes(
    #[case] hours: Option<u64>,
    #[case] backup: Option<Known>,
    #[case] goes: bool,
) {
    let (memory, repository) = repository();
    two(&memory, repository).await;
    let before = memory.keys();
    left_by_an_attempt(&memory, ID, "2", hours);
    let namespace = Namespace::default();
    if let Some(known) = backup {
        namespace.insert(known);
    }
    let result = swept(&memory, &namespace).await;
    assert_eq!((result.attempts, result.left), if goes { (1, 0) } else { (0, 1) }, "{}", result.message);
    assert_eq!((result.objects, result.bytes), if goes { (3, 12) } else { (0, 0) });
    assert_eq!(memory.keys() == before, goes, "what a backup holds stays");
    assert_eq!(result.token, "now");
    assert_eq!(result.message.contains("left 1"), !goes, "{}", result.message);
}

/// Anybody may write an imported Backup with the id of one that runs.
#[tokio::test]
async fn a_second_backup_of_the_id_hides_no_attempt() {
    for (over, goes) in [(None, false), (Some(1), false), (Some(2), true)] {
        for names in [["a", "b"], ["b", "a"]] {
            let (memory, _) = repository();
            left_by_an_attempt(&memory, ID, "2", Some(2600));
            let namespace = Namespace::default();
            for (name, over) in names.into_iter().zip([over, Some(u32::MAX)]) {
                namespace.insert(Known { name: name.into(), ..backup(&[ID], over, 24) });
            }
            let result = swept(&memory, &namespace).await;
            assert_eq!(result.attempts, i64::from(goes), "{over:?} {names:?}: {}", result.message);
        }
    }
}

#[tokio::test]
async fn what_another_backup_holds_and_what_is_not_ours_stays() {
    let (memory, repository) = repository();
    let [full, _] = two(&memory, repository).await;
    // Deleted, and the incremental one lives on its objects.
    memory.unset(&format!("catalog/{}.json", full.id));
    for key in memory.keys().into_iter().chain(["data/README".into(), "data/notes/1/x".into()]) {
        memory.set(&key, memory.get(&key).unwrap_or_default());
        memory.date(&key, Timestamp::UNIX_EPOCH - 100 * DAY);
    }
    let before = memory.keys();
    let result = swept(&memory, &Namespace::default()).await;
    assert_eq!((result.attempts, result.left, memory.keys()), (0, 2, before), "{}", result.message);
}

#[rstest]
#[case::damaged_catalogue(|memory: &Memory, _: &mut ProbeTask| memory.set(&format!("catalog/{ID}.json"), "{}"), "not known")]
#[case::somebody_elses(|_: &Memory, task: &mut ProbeTask| task.storage.uid = "another".into(), "another")]
#[case::read_only(|_: &Memory, task: &mut ProbeTask| task.storage.read_only = true, "read-only")]
#[tokio::test]
async fn where_it_is_not_certain_nothing_goes(#[case] change: fn(&Memory, &mut ProbeTask), #[case] why: &str) {
    let (memory, repository) = repository();
    two(&memory, repository).await;
    left_by_an_attempt(&memory, ID, "1", Some(2600));
    let mut task = asked("now");
    change(&memory, &mut task);
    let before = memory.keys();
    let report = look(&task, &memory, &Namespace::default()).await;
    let result = report.swept.unwrap();
    assert_eq!((result.attempts, &*result.token, memory.keys()), (0, "now", before));
    let owner = result.message.contains(why) || result.message.contains("belongs to");
    assert!(result.message.starts_with("nothing was removed") && owner, "{}", result.message);
}

#[tokio::test]
async fn many_objects_go_in_batches_and_what_stays_is_said() {
    let (memory, _) = repository();
    let prefix = format!("data/{ID}/1");
    for n in 0..2500 {
        let key = format!("{prefix}/tae/{n}");
        memory.set(&key, "left");
        memory.date(&key, Timestamp::UNIX_EPOCH - 100 * DAY);
    }
    memory.lock(&format!("{prefix}/tae/7"));
    let before = memory.calls().len();
    let result = swept(&memory, &Namespace::default()).await;
    let calls = memory.calls();
    let deletions = calls[before..].iter().filter(|call| call.starts_with("delete") && call.contains("keys"));
    assert!(deletions.count() <= 6, "{:?}", &calls[before..]);
    assert_eq!((result.attempts, result.left), (0, 1));
    assert!(result.message.contains("the object is locked"), "{}", result.message);
    let left: Vec<_> = memory.keys().into_iter().filter(|key| key.starts_with("data/")).collect();
    assert_eq!(left, [format!("{prefix}/tae/7")]);
}

#[tokio::test]
async fn what_came_of_it_is_said_until_the_next_one() {
    let (memory, _) = repository();
    left_by_an_attempt(&memory, ID, "1", Some(26));
    let first = swept(&memory, &Namespace::default()).await;
    let later = ProbeTask { swept: Some(first.clone()), ..task(false) };
    assert_eq!(look(&later, &memory, &Namespace::default()).await.swept, Some(first));
    let again = swept(&memory, &Namespace::default()).await;
    assert_eq!((again.attempts, again.left), (0, 0));
}
