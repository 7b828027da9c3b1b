use std::{fs, path::PathBuf};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use made::{VARCHAR, file, numbers, vector};

#[path = "../../../tests/fixtures/checkpoint.rs"]
#[allow(dead_code, reason = "other tests make more")]
mod made;
#[path = "start_tests.rs"]
mod start;

fn texts(texts: &[&[u8]]) -> Vec<u8> {
    made::texts(VARCHAR, texts)
}

fn fixture(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).join("tae")
}

/// A file of a folder that a MatrixOne with DISK file services has written.
fn read(folder: &str, name: &str) -> Vec<u8> {
    let stored = fs::read(fixture(folder).join(name)).unwrap();
    stored.chunks(2048).flat_map(|block| block[4..].to_vec()).collect()
}

/// The one that ends last.
fn last(names: impl Iterator<Item = String>) -> String {
    names.max_by_key(|name| Span::parse(name).map(|span| span.end)).unwrap()
}

fn list(folder: &str) -> Vec<u8> {
    let names =
        fs::read_dir(fixture(folder).join("ckp")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let name = last(names);
    read(folder, &format!("ckp/{name}"))
}

/// BACKUP's own checkpoint in a folder: its file.
fn own(folder: &str) -> Vec<u8> {
    match newest(&list(folder)).unwrap() {
        Newest::OfBackup(name) => read(folder, &name),
        Newest::Later => panic!("{folder} has none"),
    }
}

fn lost(folder: &str) -> Vec<u64> {
    let checkpoint = Checkpoint::parse(&own(folder)).unwrap();
    let mut judge = checkpoint.judge();
    checkpoint.parts.iter().for_each(|name| judge.part(name, &read(folder, name)).unwrap());
    judge.lost().unwrap().into_iter().collect()
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
#[case("meta_1795300028207228275-1_1795300028248175206-0.ckp", Some((1_795_300_028_248_175_206, 0, false)))]
#[case("meta_0-0_1795222807487610147-3.ckp", Some((1_795_222_807_487_610_147, 3, true)))]
#[case("meta_0-0_1795222807487610147-3.cpt", None)]
#[case("meta_0-0.ckp", None)]
#[case("other", None)]
fn a_list_says_what_it_spans(#[case] name: &str, #[case] expected: Option<(i64, u32, bool)>) {
    assert_eq!(Span::parse(name).map(|s| (s.end.physical, s.end.logical, s.is_global())), expected);
}

/// Written by v1.2.4 with a global checkpoint while BACKUP copied; a MatrixOne on it did not start.
#[test]
fn a_later_checkpoint_is_not_that_of_backup() {
    assert_eq!(newest(&list("merged/later")), Ok(Newest::Later));
}

#[rstest]
#[case("samples/v3.0.18/full", true)]
#[case("samples/v4.2.0/full", false)]
fn what_newer_releases_write_is_not_read(#[case] folder: &str, #[case] framed: bool) {
    let names =
        fs::read_dir(fixture(folder).join("ckp")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let path = format!("ckp/{}", last(names));
    let list = if framed { read(folder, &path) } else { fs::read(fixture(folder).join(path)).unwrap() };
    let error = newest(&list).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
}

#[test]
fn a_checkpoint_without_a_part_is_not_judged() {
    assert!(Checkpoint::parse(&own("merged/gone")).unwrap().judge().lost().is_err());
}

#[rstest]
#[case::of_backup(11, 2, Ok(Newest::OfBackup(NAME.into())))]
#[case::later(11, 1, Ok(Newest::Later))]
#[case::newer_release(12, 2, Err(Unreadable("a list of another version")))]
fn a_list_ends_with_the_checkpoint_of_backup(
    #[case] version: u32,
    #[case] kind: u8,
    #[case] expected: Result<Newest, Unreadable>,
) {
    let mut columns = vec![numbers(&[1, 2]); 9];
    columns[2] = texts(&[&place(0), &place(1)]);
    columns[4] = vector(made::U32, 2, &[11_u32.to_le_bytes(), version.to_le_bytes()].concat(), &[]);
    columns[8] = vector(made::BYTE, 2, &[0, kind], &[]);
    assert_eq!(newest(&file(None, &[(0, columns)])), expected);
}

/// The rows of two blocks: tables, whether the object can grow, whether it counts as deleted.
fn part(blocks: &[&[(u64, bool, bool)]]) -> Vec<u8> {
    let block = |(n, rows): (usize, &&[(u64, bool, bool)])| {
        let mut columns = vec![numbers(&[0]); 9];
        columns[3] = vector(made::BOOL, rows.len(), &rows.iter().map(|r| u8::from(r.1)).collect::<Vec<_>>(), &[]);
        columns[6] = numbers(&rows.iter().map(|r| r.0).collect::<Vec<_>>());
        columns[8] = vector(
            made::TIMESTAMP,
            rows.len(),
            &rows.iter().flat_map(|r| [u8::from(r.2); 12]).collect::<Vec<_>>(),
            &[],
        );
        (u16::try_from(n).unwrap(), columns)
    };
    file(Some(OBJECTS), &blocks.iter().enumerate().map(block).collect::<Vec<_>>())
}

/// A checkpoint of one part in which these tables have these rows of a block.
fn checkpoint(tables: &[(u64, u16, u64, u64)]) -> Vec<u8> {
    let range =
        |block: u16, from: u64, to: u64| [place(block), from.to_le_bytes().into(), to.to_le_bytes().into()].concat();
    let ids: Vec<_> = std::iter::once(0).chain(tables.iter().map(|t| t.0)).collect();
    let ranges: Vec<_> = tables.iter().map(|(_, block, from, to)| range(*block, *from, *to)).collect();
    let own = range(0, 0, 0);
    let none: &[u8] = &[];
    let files: Vec<&[u8]> = std::iter::once(&own[..]).chain(tables.iter().map(|_| none)).collect();
    let objects: Vec<&[u8]> = std::iter::once(none).chain(ranges.iter().map(|r| &r[..])).collect();
    let mut columns = vec![numbers(&[0]); 9];
    (columns[2], columns[3], columns[6]) = (numbers(&ids), texts(&files), texts(&objects));
    file(Some(TABLES), &[(0, columns)])
}

#[rstest]
#[case::all_their_own(&[(7, 0, 0, 2), (8, 0, 2, 3), (9, 1, 0, 1)], Ok(&[] as &[u64]))]
#[case::rows_of_another(&[(7, 0, 1, 3), (9, 1, 0, 1)], Ok(&[7_u64] as &[u64]))]
#[case::in_another_block(&[(7, 1, 0, 1)], Ok(&[7_u64] as &[u64]))]
#[case::beyond_the_end(&[(7, 0, 2, 4)], Err("a table with more rows than there are"))]
#[case::backwards(&[(7, 0, 2, 1)], Err("a table with more rows than there are"))]
#[case::nowhere(&[(7, 2, 0, 1)], Err("a table whose rows are nowhere"))]
fn rows_belong_to_their_table(#[case] tables: &[(u64, u16, u64, u64)], #[case] expected: Result<&[u64], &'static str>) {
    let checkpoint = Checkpoint::parse(&checkpoint(tables)).unwrap();
    assert_eq!(checkpoint.parts, BTreeSet::from([NAME.to_owned()]));
    let mut judge = checkpoint.judge();
    let rows = part(&[&[(7, false, false), (7, true, true), (8, false, false)], &[(9, true, false)]]);
    judge.part(NAME, &rows).unwrap();
    let found = judge.lost().map(|lost| lost.into_iter().collect::<Vec<_>>());
    assert_eq!(found, expected.map(<[u64]>::to_vec).map_err(Unreadable));
}

#[test]
fn a_whole_object_that_counts_as_deleted_is_lost() {
    let checkpoint = Checkpoint::parse(&checkpoint(&[])).unwrap();
    let mut judge = checkpoint.judge();
    judge.part(NAME, &part(&[&[(7, false, true), (8, true, true), (9, false, false)]])).unwrap();
    assert_eq!(judge.lost(), Ok(BTreeSet::from([7])));
}

/// Whoever writes to a bucket chooses the bytes: a small file must not become a large one in memory.
#[test]
fn small_files_that_claim_much_are_refused() {
    // Columns of one value for all rows.
    let all = |rows: usize| {
        let mut columns = vec![numbers(&[0]); 9];
        columns[3] = vector(made::BOOL, rows, &[0], &[]);
        columns[6] = vector(made::U64, rows, &7_u64.to_le_bytes(), &[]);
        columns[8] = vector(made::TIMESTAMP, rows, &[0; 12], &[]);
        columns
    };
    let blocks: Vec<_> = (0..9).map(|n| (n, all(1 << 17))).collect();
    let checkpoint_of_none = Checkpoint::parse(&checkpoint(&[])).unwrap();
    let refused = |file: &[u8]| checkpoint_of_none.judge().part(NAME, file).unwrap_err().to_string();
    assert!(refused(&file(Some(OBJECTS), &blocks)).contains("too many rows"));
    assert!(refused(&file(Some(OBJECTS), &[(0, all(1 << 18))])).contains("a column of another length"));
    // More places than a checkpoint has.
    let many = place(0).iter().chain(&[0; 16]).copied().collect::<Vec<_>>().repeat(PARTS + 1);
    let mut columns = vec![numbers(&[0]); 9];
    columns[3] = texts(&[&many]);
    let error = Checkpoint::parse(&file(Some(TABLES), &[(0, columns)])).unwrap_err();
    assert!(error.to_string().contains("too many parts"), "{error}");
    // Ranges of the same rows, again and again.
    let same: Vec<_> = (1..1 << 6).map(|n| (n, 0, 0, 1 << 16)).collect();
    let checkpoint_of_one = Checkpoint::parse(&checkpoint(&same)).unwrap();
    let mut judge = checkpoint_of_one.judge();
    judge.part(NAME, &file(Some(OBJECTS), &[(0, all(1 << 16))])).unwrap();
    assert!(judge.lost().unwrap_err().to_string().contains("too many rows"));
    // Another number of blocks than the description says.
    let mut lying = part(&[&[(7, false, false)]]);
    let at = lying.windows(8).rposition(|w| w == [26, 0, 1, 0, 42, 0, 0, 0]).unwrap();
    lying[at + 2] = 2;
    assert!(refused(&lying).contains("another number of blocks"));
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
        let _ = newest(&damaged(list("merged/mixed")));
        // Nothing is packed in the other ones: sizes, counts and places are met too.
        for (own, part) in [
            (own("merged/mixed"), read("merged/mixed", PART)),
            (checkpoint(&[(7, 0, 0, 2)]), part(&[&[(7, false, false), (7, true, true)]])),
        ] {
            for own in [own.clone(), damaged(own)] {
                let Ok(checkpoint) = Checkpoint::parse(&own) else { continue };
                let mut judge = checkpoint.judge();
                let _ = judge.part(checkpoint.parts.first().map_or(NAME, String::as_str), &damaged(part.clone()));
                let _ = judge.lost();
            }
        }
    }
}

const PART: &str = "01a20032-68cf-7848-b791-79d92ad879a0_00000";
const NAME: &str = "01a1fb9e-18cd-70d1-b5d7-3c2397918600_00000";

fn place(block: u16) -> Vec<u8> {
    made::place(NAME, block)
}
