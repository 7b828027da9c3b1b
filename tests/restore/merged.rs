//! Backups that MatrixOne calls good and that are not: tables are lost, or no server starts on them.

use mo_backup::{
    api::{Format, Outcome, Reason},
    plan::{Catalog, ClusterSeen, Framing},
    store::framing,
    task::Choice,
    worker::Depth,
};
use rstest::rstest;

use super::{
    check::run,
    foreign::{self, FOLDERS, files},
    repository::{Tree, made, own, repository, take},
    rig::Rig,
};

const TABLES: &str = "rel_id 272537, 272538, 272539, 272540 (in mo_catalog.mo_tables)";

/// The files of a checkpoint: path below the folder, and stored bytes.
fn recorded(name: &str) -> Vec<(String, Vec<u8>)> {
    files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

/// A folder that a BACKUP statement made, with this checkpoint.
async fn folder(at: &str, checkpoint: &str) -> (Rig, Choice) {
    let rig = foreign::rig("v1.2.4", Format::Raw).await;
    for (path, stored) in recorded(checkpoint) {
        rig.source.set(&format!("{at}/{path}"), stored);
    }
    (rig, Choice::Paths(FOLDERS.map(str::to_owned).into()))
}

/// A backup of a repository, of this version, with this checkpoint.
async fn listed(version: &str, checkpoint: &str) -> (Rig, Choice) {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let (source, id) = repository();
    let mut tree: Tree = own(1);
    for (path, stored) in recorded(checkpoint) {
        tree.insert(path, framing::deframed(&stored).unwrap());
    }
    let catalog = take(&source, id, (1_795_220_000, Framing::Raw), &tree, None).await;
    let cluster = ClusterSeen { matrixone: version.into(), ..catalog.cluster.clone() };
    let catalog = Catalog { cluster, ..catalog };
    source.set(&format!("catalog/{}.json", catalog.id), serde_json::to_vec(&catalog).unwrap());
    (Rig { source, ..rig }, Choice::Id(catalog.id))
}

#[rstest]
#[case::folder(folder(FOLDERS[1], "merged/gone").await)]
#[case::listed(listed("v1.2.4", "merged/gone").await)]
#[tokio::test(start_paused = true)]
async fn lost_tables_are_damage_and_a_restore_says_so(#[case] (rig, choice): (Rig, Choice)) {
    for depth in [Depth::Presence, Depth::Content] {
        let checked = run(&rig, choice.clone(), depth).await.unwrap();
        assert_eq!((checked.faults, checked.first.len()), (0, 0), "{checked:?}");
        assert!(checked.lost.as_ref().is_some_and(|lost| lost.contains(TABLES)), "{checked:?}");
        assert!(checked.warnings.is_empty(), "{checked:?}");
    }
    // Everything else is right, and may be all there is.
    let report = rig.run(&rig.task(choice)).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    let said: Vec<_> = report.warnings.iter().map(|w| (w.reason.as_str(), w.message.contains(TABLES))).collect();
    assert_eq!(said, [(Reason::TablesLost.as_str(), true)]);
}

const LIST: &str = "meta_0-0_1795303717766132420-1.ckp";
const MISSING: &str = "01a22ee4-5ad6-7190-b178-461f481db37f_00000";

#[rstest]
#[case::folder(folder(FOLDERS[1], "merged/later").await, LIST)]
#[case::listed(listed("v1.2.4", "merged/later").await, LIST)]
#[case::of_a_newer_server(listed("v3.0.4", "merged/later").await, LIST)]
#[case::overtaken_folder(folder(FOLDERS[1], "checkpoints/bad").await, MISSING)]
#[case::overtaken(listed("v4.2.0", "checkpoints/bad").await, MISSING)]
#[case::overtaken_earlier(listed("v3.0.18", "checkpoints/bad").await, MISSING)]
#[case::of_a_server_that_is_not_known(listed("somewhat new", "checkpoints/bad").await, MISSING)]
#[tokio::test(start_paused = true)]
async fn what_no_matrixone_starts_on_is_refused(#[case] (rig, choice): (Rig, Choice), #[case] named: &str) {
    for depth in [Depth::Presence, Depth::Content] {
        let checked = run(&rig, choice.clone(), depth).await.unwrap();
        assert!(checked.lost.as_ref().is_some_and(|lost| lost.contains(named)), "{checked:?}");
    }
    let report = rig.run(&rig.task(choice)).await;
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{report:#?}");
    assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupIncomplete.as_str()));
    assert!(report.said.message.is_some_and(|m| m.contains("does not start")) && rig.target.keys().is_empty());
}

/// An object of a table that its checkpoints name and its list does not.
#[tokio::test(start_paused = true)]
async fn tables_without_their_objects_are_said_and_the_rest_is_restored() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    let (source, id) = repository();
    let mut tree: Tree = own(1);
    let [list, own, part] = ["ckp/meta_3-0_4-0.ckp", CHECKPOINT, PART].map(|name| format!("tae/{name}"));
    tree.insert(list, made::list(&[(3, 4, 2, 13, CHECKPOINT)]));
    tree.insert(own, made::checkpoint(&[PART]));
    tree.insert(part, made::part(&[&[(ABSENT, 272_600, false, false)]]));
    let catalog = take(&source, id, (1_795_220_000, Framing::Raw), &tree, None).await;
    source.set(&format!("catalog/{}.json", catalog.id), serde_json::to_vec(&catalog).unwrap());
    let rig = Rig { source, ..rig };
    let checked = run(&rig, Choice::Id(catalog.id), Depth::Presence).await.unwrap();
    assert!(checked.lost.is_some_and(|lost| lost.contains(ABSENT) && lost.contains("rel_id 272600")));
    let report = rig.run(&rig.task(Choice::Id(catalog.id))).await;
    assert_eq!(report.said.outcome, Outcome::Succeeded, "{report:#?}");
    assert_eq!(report.warnings.iter().map(|w| &*w.reason).collect::<Vec<_>>(), [Reason::TablesLost.as_str()]);
}

const CHECKPOINT: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918801_00000";
const PART: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918802_00000";
const ABSENT: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918803_00000";

#[tokio::test(start_paused = true)]
async fn what_does_not_concern_a_backup_is_not_said() {
    let (rig, choice) = folder(FOLDERS[0], "merged/gone").await;
    let checked = run(&rig, choice.clone(), Depth::Content).await.unwrap();
    assert_eq!((checked.lost, checked.warnings.len()), (None, 0));
    assert_eq!(rig.run(&rig.task(choice)).await.warnings.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_seen_is_said() {
    let rig = foreign::rig("v1.2.4", Format::Raw).await;
    let newest = rig.source.keys().into_iter().rfind(|key| key.contains("/tae/ckp/meta_")).unwrap();
    let choice = Choice::Paths(FOLDERS.map(str::to_owned).into());
    // One that says nothing, and one that cannot even be read.
    for content in [super::repository::stored(Framing::Crc2048, &[0; 300]), "no frame".into()] {
        rig.source.set(&newest, content);
        let checked = run(&rig, choice.clone(), Depth::Presence).await.unwrap();
        let said: Vec<_> = checked.warnings.iter().map(|w| (w.reason.as_str(), w.message.contains(&newest))).collect();
        let reasons = [Reason::TablesNotChecked, Reason::CheckpointsNotChecked];
        assert_eq!(said, reasons.map(|reason| (reason.as_str(), true)), "{checked:?}");
    }
}
