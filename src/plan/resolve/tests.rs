use rstest::rstest;

use super::*;
use crate::{plan::TaeListReader, sample};

const A: &str = "018f7a41-1881-7999-bbd6-858c3d4acc1a_00000";
const B: &str = "018f7a41-1881-7999-bbd6-858c3d4acc1b_00000";
const C: &str = "018f7a41-1881-7999-bbd6-858c3d4acc1c_01000";

fn list(rows: &[String]) -> TaeList {
    let mut reader = TaeListReader::default();
    reader.push(rows.concat().as_bytes()).unwrap();
    reader.finish().unwrap()
}

fn row(name: &str, size: u64, digest: Option<u8>, copied: bool) -> String {
    let digest = digest.map(|d| Digest([d; 32]).to_string()).unwrap_or_default();
    format!("{name},{size},{digest},{copied},1-0\n")
}

fn entry(name: &str, size: u64, digest: u8, from: u32) -> Entry {
    Entry { path: format!("tae/{name}"), size, sha256: Digest([digest; 32]), from }
}

fn resolve(rows: &[String], base: &[Entry]) -> Result<Resolved, BaseNotUsable> {
    let mut resolver = Resolver::new(list(rows));
    for entry in base {
        resolver.base_entry(entry);
    }
    resolver.finish()
}

fn own() -> (BackupId, AttemptDir, Framing) {
    (BackupId::fresh(), AttemptDir { attempt: 2, fallback: false }, Framing::Raw)
}

fn base_with(sources: usize) -> Catalog {
    let mut catalog = sample::blank();
    catalog.sources = sample::sources(std::iter::repeat_with(BackupId::fresh), &vec![(1, 1); sources]);
    catalog.sources.iter_mut().for_each(|source| source.framing = Framing::Crc2048);
    catalog
}

#[test]
fn a_full_backup_needs_no_base() {
    let mut resolved = resolve(&[row(B, 2, None, true), row(A, 1, Some(1), true)], &[]).unwrap();
    let unread: Vec<_> = resolved.unread().map(|r| (r.id, r.path)).collect();
    assert_eq!(unread.iter().map(|u| u.1.clone()).collect::<Vec<_>>(), [format!("tae/{B}")]);
    resolved.found(unread[0].0, 2, Digest([2; 32])).unwrap();
    let meta = Entry { path: "mo_meta".into(), size: 5, sha256: Digest([9; 32]), from: 0 };
    let sum = Entry { path: "tae/tae_sum".into(), ..meta.clone() };
    let assembled = resolved.assemble(vec![sum.clone(), meta.clone()], own(), None).unwrap();
    let entries: Vec<_> = assembled.entries().collect();
    assert_eq!(entries, [meta, entry(A, 1, 1, 0), entry(B, 2, 2, 0), sum]);
    assert_eq!(assembled.totals(), Totals { objects: 4, bytes: 13, copied_objects: 4, copied_bytes: 13 });
}

#[test]
fn objects_are_found_where_the_base_has_them_and_unused_sources_go() {
    let base = base_with(4);
    let rows = [row(A, 1, None, false), row(B, 2, None, false), row(C, 3, Some(3), true)];
    let found = [entry("0", 9, 9, 2), entry(A, 1, 1, 3), entry(B, 2, 2, 1), entry("z", 9, 9, 0)];
    let assembled = resolve(&rows, &found).unwrap().assemble(Vec::new(), own(), Some(&base)).unwrap();
    let entries: Vec<_> = assembled.entries().collect();
    assert_eq!(entries, [entry(A, 1, 1, 2), entry(B, 2, 2, 1), entry(C, 3, 3, 0)]);
    let sources: Vec<_> = assembled.sources.iter().skip(1).map(|s| (s.backup, s.objects, s.bytes, s.framing)).collect();
    let of = |n: usize, bytes| (base.sources[n].backup, 1, bytes, Framing::Crc2048);
    assert_eq!(sources, [of(1, 2), of(3, 1)]);
    assert_eq!(assembled.totals(), Totals { objects: 3, bytes: 6, copied_objects: 1, copied_bytes: 3 });
}

#[rstest]
#[case::absent(row(A, 1, None, false), None, Some(Unresolved::Absent(format!("tae/{A}"))))]
#[case::absent_at_the_end(row("z", 1, None, false), Some(entry(A, 1, 1, 0)), Some(Unresolved::Absent("tae/z".into())))]
#[case::size(row(A, 1, None, false), Some(entry(A, 2, 1, 0)), Some(Unresolved::Size { path: format!("tae/{A}"), listed: 1, base: 2 }))]
#[case::content(row(A, 1, Some(1), true), Some(entry(A, 1, 2, 0)), Some(Unresolved::Content(format!("tae/{A}"))))]
#[case::content_by_size(row(A, 1, None, true), Some(entry(A, 2, 2, 0)), Some(Unresolved::Content(format!("tae/{A}"))))]
#[case::copied_again(row(A, 1, Some(1), true), Some(entry(A, 1, 1, 0)), None)]
#[case::rewritten_checkpoint(row("ckp/a", 1, Some(1), true), Some(entry("ckp/a", 2, 2, 0)), None)]
fn an_old_history_is_noticed(#[case] row: String, #[case] base: Option<Entry>, #[case] expected: Option<Unresolved>) {
    let base: Vec<_> = base.into_iter().collect();
    match (resolve(&[row], &base), expected) {
        (Ok(_), None) => {}
        (Err(no), Some(expected)) => assert_eq!((no.count, no.first), (1, vec![expected])),
        (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
    }
}

#[test]
fn only_the_first_names_are_told() {
    let rows: Vec<_> = (0..50).map(|n| row(&format!("n{n:02}"), 1, None, false)).collect();
    let no = resolve(&rows, &[]).unwrap_err();
    assert_eq!((no.count, no.first.len()), (50, NAMED));
    assert!(no.to_string().contains("tae/n00 (not in the base)"));
}

#[test]
fn what_is_not_listed_in_full_must_be_read() {
    let rows =
        [row(A, 1, Some(1), true), row(B, 2, None, true), row("gc/a", 3, Some(3), true), row("gc/b", 3, None, true)];
    let resolved = resolve(&rows, &[]).unwrap();
    let unread: Vec<_> = resolved.unread().map(|r| r.path).collect();
    assert_eq!(unread, [format!("tae/{B}"), "tae/gc/a".into(), "tae/gc/b".into()]);
}

#[test]
fn what_is_read_must_be_what_is_listed() {
    let rows = [row(A, 1, Some(1), true), row(B, 2, None, true), row("gc/a", 3, None, true)];
    let mut resolved = resolve(&rows, &[]).unwrap();
    let ids: Vec<_> = resolved.copied().map(|r| r.id).collect();
    assert!(resolved.found(ids[0], 1, Digest([2; 32])).unwrap_err().to_string().contains("SHA-256"));
    assert!(resolved.found(ids[1], 3, Digest([2; 32])).unwrap_err().to_string().contains("3 bytes instead of 2"));
    resolved.found(ids[0], 1, Digest([1; 32])).unwrap();
    resolved.found(ids[2], 30, Digest([3; 32])).unwrap();
    let missing = resolved.assemble(Vec::new(), own(), None).unwrap_err();
    assert!(missing.to_string().contains(B), "{missing}");
}
