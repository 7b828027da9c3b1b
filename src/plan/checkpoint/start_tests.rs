//! What a server needs at its start.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rstest::rstest;

use super::{
    super::{
        Form, Kinds, Missing, Needed, NewestLists, Unreadable, block, columns, description, entries, parts, replayed,
    },
    fixture,
    made::{self, checkpoint, list, list_of, part},
};

/// Files of a backup by their path below `tae/`, without frames, and the paths that its list names.
type Backup = (BTreeMap<String, Vec<u8>>, Vec<String>);

fn recorded(folder: &str) -> Backup {
    let root = fixture(folder);
    let framed = !folder.contains("samples/v4.2.0");
    let mut files = BTreeMap::new();
    for below in ["", "ckp/"] {
        for found in std::fs::read_dir(root.join(below)).unwrap().map(Result::unwrap) {
            if found.file_type().unwrap().is_file() {
                let stored = std::fs::read(found.path()).unwrap();
                let content =
                    if framed { stored.chunks(2048).flat_map(|block| block[4..].to_vec()).collect() } else { stored };
                files.insert(format!("{below}{}", found.file_name().into_string().unwrap()), content);
            }
        }
    }
    let rows = files.remove("tae_list").unwrap_or_else(|| {
        let stored = std::fs::read(root.parent().unwrap().with_extension("list")).unwrap();
        stored.chunks(2048).flat_map(|block| block[4..].to_vec()).collect()
    });
    let rows = String::from_utf8(rows).unwrap();
    let listed = rows.lines().map(|row| row.split(',').next().unwrap().to_owned()).collect();
    (files, listed)
}

/// A backup of these files that names all of them, and these objects.
fn of(files: Vec<(&str, Vec<u8>)>, objects: &[&str]) -> Backup {
    let files: BTreeMap<_, _> = files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    let listed = files.keys().cloned().chain(objects.iter().map(ToString::to_string)).collect();
    (files, listed)
}

/// What a server would miss; or what cannot be read. Files that are not there are not read.
fn missing((files, listed): &Backup) -> Result<Missing, Unreadable> {
    let mut newest = NewestLists::default();
    files.keys().filter_map(|name| name.strip_prefix("ckp/")).for_each(|name| newest.add(name));
    let mut all = Vec::new();
    for name in &newest.last {
        all.extend(entries(&files[&format!("ckp/{name}")])?);
    }
    if let Some(name) = newest.global().filter(|_| all.iter().any(|entry| entry.form == Form::Ranges)) {
        all.extend(entries(&files[&format!("ckp/{name}")])?);
    }
    let (mut needed, mut kinds, mut unread) = (Needed::default(), Kinds::default(), None);
    for entry in replayed(all) {
        needed.file(&entry.file)?;
        let Some(file) = files.get(&entry.file) else { continue };
        let found = match entry.form {
            Form::Kinds => Kinds::parts(file),
            Form::Ranges => parts(file),
        };
        // What else is missing is found though one cannot be read.
        for name in found.unwrap_or_else(|e| {
            unread = Some(e);
            BTreeSet::default()
        }) {
            needed.file(&name)?;
            let Some(file) = files.get(&name) else { continue };
            match entry.form {
                Form::Kinds => kinds.part(file, &mut needed)?,
                Form::Ranges => rows(file, &mut needed)?,
            }
        }
    }
    kinds.settle(&mut needed)?;
    for path in listed {
        needed.has(&format!("tae/{path}"));
    }
    let missing = needed.missing();
    match unread {
        Some(e) if missing == Missing::default() => Err(e),
        Some(_) | None => Ok(missing),
    }
}

fn rows(file: &[u8], needed: &mut Needed) -> Result<(), Unreadable> {
    let cut = |(at, length): (u64, u64)| {
        let at = usize::try_from(at).unwrap();
        let end = at.saturating_add(usize::try_from(length).unwrap());
        file.get(at..end).ok_or(Unreadable("a part that is cut"))
    };
    let described = description(file)?;
    for extents in columns(described, cut(described.place())?)? {
        let [a, b, c] = extents;
        block(&extents, [cut(a.place())?, cut(b.place())?, cut(c.place())?], needed)?;
    }
    Ok(())
}

fn names(missing: &Missing) -> (Vec<&str>, Vec<&str>, Vec<u64>) {
    (
        missing.at_start.first.iter().map(String::as_str).collect(),
        missing.of_tables.first.iter().map(String::as_str).collect(),
        missing.tables.iter().copied().collect(),
    )
}

#[rstest]
#[case("samples/v1.2.4/full")]
#[case("samples/v1.2.4/incr")]
#[case("samples/v3.0.18/full")]
#[case("samples/v3.0.18/incr")]
#[case("samples/v4.2.0/full")]
#[case("samples/v4.2.0/incr")]
#[case("checkpoints/good")]
fn what_a_server_starts_on_is_whole(#[case] folder: &str) {
    let backup = recorded(folder);
    assert_eq!(missing(&backup), Ok(Missing::default()));
    // Without its objects it is not: something was read.
    let nothing = (backup.0, Vec::new());
    let found = missing(&nothing).unwrap();
    assert!(found.at_start.count > 3 && found.of_tables.count > 10, "{found:?}");
}

#[test]
fn what_no_server_starts_on_is_seen() {
    let found = missing(&recorded("checkpoints/bad")).unwrap();
    assert_eq!(names(&found), (vec!["01a22ee4-5ad6-7190-b178-461f481db37f_00000"], vec![], vec![]));
    // The list of v1.2.4 with a global checkpoint while BACKUP copied.
    let root = fixture("merged/later").join("ckp/meta_0-0_1795303717766132420-1.ckp");
    let stored = std::fs::read(root).unwrap();
    let content = stored.chunks(2048).flat_map(|block| block[4..].to_vec()).collect();
    let found = missing(&of(vec![("ckp/meta_0-0_1795303717766132420-1.ckp", content)], &[])).unwrap();
    assert!(found.at_start.count > 0, "{found:?}");
}

const A: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918601_00000";
const B: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918602_00000";
const C: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918603_00000";
const PART: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918604_00000";
const OBJECT: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918605_00000";
const OTHER: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918605_01000";
const LIST: &str = "ckp/meta_20-0_30-0.ckp";

#[test]
fn the_newest_lists_count() {
    let mut newest = NewestLists::default();
    for name in ["meta_0-0_5-0.ckp", "other", "meta_5-0_9-1.ckp", "meta_0-0_9-0.ckp", "meta_0-0_99-0.cpt"] {
        newest.add(name);
    }
    assert_eq!((&newest.last[..], newest.global()), (&["meta_5-0_9-1.ckp".to_owned()][..], Some("meta_0-0_9-0.ckp")));
    newest.add("meta_0-0_12-0.ckp");
    assert_eq!((&newest.last[..], newest.global()), (&["meta_0-0_12-0.ckp".to_owned()][..], None));
}

/// Checkpoints before the newest global one are not read, whichever of the two lists names that.
#[rstest]
#[case::of_one_list(&[(0, 10, 1, 13, A), (0, 20, 0, 13, B), (20, 30, 2, 13, C)], &[], &[B, C])]
#[case::of_the_other(&[(0, 10, 1, 13, A), (20, 30, 2, 13, C)], &[(0, 20, 0, 13, B)], &[B, C])]
#[case::of_the_same_moment(&[(0, 20, 1, 13, A), (20, 30, 2, 13, C)], &[(0, 20, 0, 13, B)], &[A, B, C])]
#[case::without_a_global_one(&[(0, 10, 1, 13, A), (20, 30, 2, 13, C)], &[], &[A, C])]
#[case::the_old_form_has_one_list(&[(0, 10, 1, 11, A), (20, 30, 2, 11, C)], &[(0, 20, 0, 11, B)], &[A, C])]
fn checkpoints_that_are_read(
    #[case] last: &[made::Listed<'_>],
    #[case] global: &[made::Listed<'_>],
    #[case] expected: &[&str],
) {
    let mut files = vec![(LIST, list(last))];
    if !global.is_empty() {
        files.push(("ckp/meta_0-0_20-0.ckp", list(global)));
    }
    let found = missing(&of(files, &[])).unwrap();
    assert_eq!(names(&found).0, expected);
}

#[rstest]
#[case::there(&[(OBJECT, 9, false, false)], &[OBJECT], &[], &[], &[])]
#[case::gone(&[(OBJECT, 9, false, false), (OTHER, 7, false, false)], &[OTHER], &[], &[OBJECT], &[9])]
#[case::of_the_catalogue(&[(OBJECT, 2, false, false)], &[OTHER], &[OBJECT], &[], &[])]
#[case::deleted(&[(OBJECT, 9, false, false), (OBJECT, 9, true, false)], &[], &[], &[], &[])]
#[case::deleted_first(&[(OBJECT, 9, true, false), (OBJECT, 9, false, false)], &[], &[], &[], &[])]
#[case::not_yet_written(&[(OBJECT, 9, false, true)], &[], &[], &[], &[])]
fn objects_that_are_needed(
    #[case] rows: &[made::Row<'_>],
    #[case] has: &[&str],
    #[case] at_start: &[&str],
    #[case] of_tables: &[&str],
    #[case] tables: &[u64],
) {
    // In one block, and each in one of its own.
    let each: Vec<_> = rows.iter().map(std::slice::from_ref).collect();
    for blocks in [&[rows][..], &each] {
        let files =
            vec![(LIST, list_of(&[(20, 30, 2, 13, A)], 10)), (A, checkpoint(&[PART, PART])), (PART, part(blocks))];
        let found = missing(&of(files, has)).unwrap();
        assert_eq!(names(&found), (at_start.to_vec(), of_tables.to_vec(), tables.to_vec()));
    }
}

#[rstest]
#[case::more_columns(list_of(&[(20, 30, 2, 13, A)], 11), "another version")]
#[case::fewer_columns(list_of(&[(20, 30, 2, 13, A)], 8), "another version")]
#[case::a_newer_form(list(&[(20, 30, 2, 14, A)]), "another version")]
#[case::a_form_that_was_never_seen(list(&[(20, 30, 2, 12, A)]), "another version")]
#[case::another_kind(list(&[(20, 30, 4, 13, A)]), "another kind")]
#[case::no_rows(list(&[]), "without rows")]
#[case::a_name_of_a_path(list(&[(20, 30, 2, 13, "../../../../../etc/passwd_________________")]), "none of an object")]
fn lists_that_are_not_known_are_not_taken(#[case] list: Vec<u8>, #[case] expected: &str) {
    let error = missing(&of(vec![(LIST, list)], &[])).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_list_of_too_many_checkpoints_is_refused() {
    let many = list(&vec![(20, 30, 2, 13, A); 5000]);
    assert_eq!(entries(&many), Err(Unreadable("a list of too many checkpoints")));
}

/// One changed byte of what does not start is either seen, or the same is still missing: never is it taken for whole.
#[test]
fn no_changed_byte_makes_a_bad_backup_good() {
    let backup = recorded("checkpoints/bad");
    for name in backup.0.keys().filter(|name| name.starts_with("ckp/")) {
        for at in 0..backup.0[name].len() {
            for bit in [1, 16, 128] {
                let mut changed = backup.clone();
                changed.0.get_mut(name).unwrap()[at] ^= bit;
                assert_ne!(missing(&changed), Ok(Missing::default()), "{name}: byte {at}, bit {bit}");
            }
        }
    }
}

/// Of a list, and of the file of a checkpoint: some end is not seen, and nothing is taken for whole.
#[rstest]
#[case("checkpoints/good", "ckp/meta_1796083045997569484-1_1796083046503911527-0.ckp")]
#[case("checkpoints/good", "ckp/meta_0-0_1796083045462062611-0.ckp")]
#[case("checkpoints/good", "01a22ee4-5865-718a-b5dc-c163636800c0_00000")]
#[case("samples/v1.2.4/full", "ckp/meta_1795222807905996502-1_1795222807910153029-0.ckp")]
fn what_is_cut_is_not_taken_for_whole(#[case] folder: &str, #[case] name: &str) {
    let mut backup = recorded(folder);
    let content = backup.0[name].clone();
    for cut in (0..content.len().saturating_sub(64)).step_by(13) {
        backup.0.insert(name.to_owned(), content[..cut].to_vec());
        assert!(missing(&backup).is_err(), "{name}: {cut} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damaged_checkpoints_are_refused_or_read(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        for folder in ["checkpoints/good", "samples/v1.2.4/full"] {
            let mut backup = recorded(folder);
            let name = backup.0.keys().nth(file.index(backup.0.len())).unwrap().clone();
            let content = backup.0.get_mut(&name).unwrap();
            let at = at.index(content.len());
            content[at] = to;
            let _ = missing(&backup);
        }
    }

    /// The same as one would say who keeps every name.
    #[test]
    fn needed_is_what_is_named_and_never_deleted(
        rows in prop::collection::vec((0_u8..20, any::<bool>()), 0..60),
        has in prop::collection::btree_set(0_u8..20, 0..20),
    ) {
        let name = |n: u8| format!("01a1fb9e-18cd-70d1-b5d7-3c23979186{n:02x}_{:05}", u16::from(n) * 1000);
        let mut needed = Needed::default();
        for (n, deleted) in &rows {
            needed.add(&name(*n), 100, *deleted).unwrap();
        }
        needed.settle();
        for n in &has {
            needed.has(&format!("tae/{}", name(*n)));
        }
        let lives = |n: &u8| rows.contains(&(*n, false)) && !rows.contains(&(*n, true));
        let expected: Vec<_> = (0_u8..20).filter(|n| lives(n) && !has.contains(n)).map(name).collect();
        let found = needed.missing();
        prop_assert_eq!(found.of_tables.count, expected.len() as u64);
        prop_assert_eq!(&found.of_tables.first[..], &expected[..expected.len().min(5)]);
    }
}
