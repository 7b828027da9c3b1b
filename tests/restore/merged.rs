//! Backups of v1.2.4 in which tables are lost, because their objects were merged while BACKUP took its checkpoint.

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
    repository::{Tree, own, repository, take},
    rig::Rig,
};

const TABLES: &str = "rel_id 272537, 272538, 272539, 272540 (in mo_catalog.mo_tables)";

/// The files of a checkpoint: path below the folder, and stored bytes.
fn recorded(name: &str) -> Vec<(String, Vec<u8>)> {
    files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/merged").join(name))
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
#[case::folder(folder(FOLDERS[1], "gone").await)]
#[case::listed(listed("v1.2.4", "gone").await)]
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

#[rstest]
#[case::folder(folder(FOLDERS[1], "later").await)]
#[case::listed(listed("v1.2.4", "later").await)]
#[case::of_a_newer_server(listed("v3.0.4", "later").await)]
#[tokio::test(start_paused = true)]
async fn what_no_matrixone_starts_on_is_refused(#[case] (rig, choice): (Rig, Choice)) {
    let checked = run(&rig, choice.clone(), Depth::Presence).await.unwrap();
    assert!(
        checked.lost.as_ref().is_some_and(|lost| lost.contains("meta_0-0_1795303717766132420-1.ckp")),
        "{checked:?}"
    );
    let report = rig.run(&rig.task(choice)).await;
    assert_eq!((report.said.outcome, report.said.retryable), (Outcome::Failed, false), "{report:#?}");
    assert_eq!(report.said.reason.as_deref(), Some(Reason::BackupIncomplete.as_str()));
    assert!(report.said.message.is_some_and(|m| m.contains("does not start")) && rig.target.keys().is_empty());
}

#[rstest]
#[case::of_an_earlier_folder(folder(FOLDERS[0], "gone").await)]
#[case::of_a_newer_server(listed("v2.0.0", "gone").await)]
#[case::of_a_server_that_leaves_it_out(listed("v3.0.5", "later").await)]
#[tokio::test(start_paused = true)]
async fn what_does_not_concern_a_backup_is_not_said(#[case] (rig, choice): (Rig, Choice)) {
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
        assert_eq!(said, [(Reason::TablesNotChecked.as_str(), true)], "{checked:?}");
    }
}
