use rstest::rstest;

use super::{way::obstacle, *};
use crate::{
    sql::Version,
    store::{Keys, memory::Memory},
};

fn keys(session_token: Option<&str>) -> Keys {
    let text = |text: &str| text.to_owned().into();
    Keys { id: text("id"), secret: text("secret"), session_token: session_token.map(text) }
}

#[rstest]
#[case::old((2, 2, 0), None, None, true, Some("cannot be trusted"))]
#[case::shown((4, 1, 0), Some(keys(None)), None, false, Some("--allow-keys-in-sql"))]
#[case::allowed((4, 1, 0), Some(keys(None)), None, true, None)]
#[case::hidden((4, 2, 0), Some(keys(None)), None, false, None)]
#[case::token((4, 2, 0), Some(keys(Some("token"))), None, true, Some("a session token"))]
#[case::identity((3, 0, 0), None, None, false, None)]
#[case::role((4, 2, 0), None, Some("--role-arn"), true, Some("--role-arn"))]
#[case::authority((4, 2, 0), Some(keys(None)), Some("--ca-file"), true, Some("--ca-file"))]
fn keys_go_only_where_they_stay_hidden(
    #[case] (major, minor, patch): (u32, u32, u32),
    #[case] keys: Option<Keys>,
    #[case] unsaid: Option<&str>,
    #[case] allow: bool,
    #[case] why: Option<&str>,
) {
    let found = obstacle(Version::new(major, minor, patch), keys.as_ref(), unsaid, allow);
    match why {
        Some(why) => assert!(found.as_deref().is_some_and(|found| found.contains(why)), "{found:?}"),
        None => assert_eq!(found, None),
    }
}

#[tokio::test]
async fn what_is_left_is_named_with_what_removes_it() {
    let folder = tempfile::tempdir().unwrap();
    let location = place::folder("--path", folder.path()).unwrap();
    let place = Place { location: location.clone(), keys: None, authorities: None };
    let mut index = Index::open(Some(folder.path())).unwrap();
    let (memory, id) = (Memory::new(), BackupId::fresh());
    memory.set(&format!("data/{}/1/mo_meta", BackupId::fresh()), "of another");
    assert_eq!(left(&memory, id, &place, &mut index).await, "");
    assert_eq!(index.repositories(), []);
    memory.set(&format!("data/{id}/1/tae/x"), "x");
    let said = left(&memory, id, &place, &mut index).await;
    assert!(said.contains(&format!("delete {id} --force")), "{said}");
    assert_eq!(index.repositories(), [location], "the id alone must find it");
}
