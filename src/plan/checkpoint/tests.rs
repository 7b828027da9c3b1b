use std::{fs, path::PathBuf};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn fixture(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).join("tae")
}

/// A file of a folder that a MatrixOne with DISK file services has written.
fn read(folder: &str, name: &str) -> Vec<u8> {
    let stored = fs::read(fixture(folder).join(name)).unwrap();
    stored.chunks(2048).flat_map(|block| block[4..].to_vec()).collect()
}

fn newest(folder: &str) -> Vec<u8> {
    let names =
        fs::read_dir(fixture(folder).join("ckp")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let name = names.max_by_key(|name| ends(name)).unwrap();
    read(folder, &format!("ckp/{name}"))
}

fn lost(folder: &str) -> Vec<u64> {
    let checkpoint = Checkpoint::parse(&read(folder, &of_backup(&newest(folder)).unwrap())).unwrap();
    let parts = checkpoint.parts.iter().map(|name| (name.clone(), read(folder, name))).collect();
    checkpoint.lost(&parts).unwrap().into_iter().collect()
}

/// Both were written by v1.2.4 while `mo_ctl('dn','mergeobjects',…)` merged the objects of its tables, and restored: just
/// these tables were wrong, of 500 and of 60. In the first they had no rows; in the second they could not be read.
#[rstest]
#[case::deletions_stay("merged/gone", &[272_537, 272_538, 272_539, 272_540])]
#[case::rows_of_other_tables("merged/mixed", &[272_516, 272_517])]
#[case::nothing_merged("samples/v1.2.4/full", &[])]
#[case::nothing_merged("samples/v1.2.4/incr", &[])]
fn the_tables_that_are_lost(#[case] folder: &str, #[case] expected: &[u64]) {
    assert_eq!(lost(folder), expected);
}

#[rstest]
#[case("meta_1795300028207228275-1_1795300028248175206-0.ckp", Some((1_795_300_028_248_175_206, 0)))]
#[case("meta_0-0_1795222807487610147-3.ckp", Some((1_795_222_807_487_610_147, 3)))]
#[case("meta_0-0_1795222807487610147-3.cpt", None)]
#[case("meta_0-0.ckp", None)]
#[case("other", None)]
fn a_list_says_when_it_ends(#[case] name: &str, #[case] expected: Option<(i64, u32)>) {
    assert_eq!(ends(name).map(|at| (at.physical, at.logical)), expected);
}

#[test]
fn what_newer_releases_write_is_not_read() {
    let folder = fixture("samples/v3.0.18/full/tae").parent().unwrap().join("ckp");
    let lists = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let list = lists.max_by_key(|path| ends(path.file_name().unwrap().to_str().unwrap())).unwrap();
    let read = of_backup(&fs::read(list).unwrap())
        .and_then(|name| Checkpoint::parse(&fs::read(fixture("samples/v3.0.18/full").join(name)).unwrap()).map(|_| ()));
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn a_checkpoint_without_a_part_is_not_judged() {
    let checkpoint = Checkpoint::parse(&read("merged/gone", &of_backup(&newest("merged/gone")).unwrap())).unwrap();
    assert!(checkpoint.lost(&BTreeMap::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_refused_or_read(at in 0_usize..16_000, to in any::<u8>(), cut in 0_usize..16_000) {
        let damaged = |mut file: Vec<u8>| {
            let len = file.len();
            file[at % len] = to;
            file.truncate(if cut % 3 == 0 { cut } else { len });
            file
        };
        let (list, name) = (newest("merged/mixed"), of_backup(&newest("merged/mixed")).unwrap());
        let _ = of_backup(&damaged(list));
        let file = read("merged/mixed", &name);
        let whole = Checkpoint::parse(&file).unwrap();
        let parts = whole.parts.iter().map(|name| (name.clone(), damaged(read("merged/mixed", name)))).collect();
        let _ = whole.lost(&parts);
        let _ = Checkpoint::parse(&damaged(file)).map(|checkpoint| checkpoint.lost(&parts));
    }
}
