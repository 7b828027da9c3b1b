//! What a BACKUP writes.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rstest::rstest;
use sha2::{Digest as _, Sha256};

use super::{
    BOTH, ask, connect,
    simulator::{Contents, Options, Simulator, Version, framing},
    start,
};

fn small(root: &Path) -> Options {
    Options { contents: Contents::Small, files_root: Some(root.to_owned()), ..Options::default() }
}

async fn backup(simulator: &Simulator, name: &str, rest: &str) -> Result<(), String> {
    let mut conn = connect(simulator, "root").await;
    ask(&mut conn, &format!("BACKUP 'x' FILESYSTEM '{name}' PARALLELISM '4' {rest}")).await.map(drop)
}

/// All files below a folder by name, without those of config/ and without `mo_meta`, whose names are new each time.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn data(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = files(root);
    found.retain(|path, _| path.starts_with("tae") || path.starts_with("hakeeper"));
    found
}

/// Content of a file under tae/ or hakeeper/.
fn content(version: Version, path: &Path) -> Vec<u8> {
    let raw = fs::read(path).unwrap();
    match version {
        Version::V1_2_4 => framing::unframed(&raw),
        Version::V4_2_0 => raw,
    }
}

fn lines(version: Version, root: &Path) -> Vec<Vec<String>> {
    let list = String::from_utf8(content(version, &root.join("tae/tae_list"))).unwrap();
    list.lines().map(|line| line.split(',').map(Into::into).collect()).collect()
}

fn sum(version: Version, root: &Path) -> Vec<String> {
    let sum = String::from_utf8(content(version, &root.join("tae/tae_sum"))).unwrap();
    sum.trim_end().split(',').map(Into::into).collect()
}

/// Everything listed as copied is there with its size and digest, and every companion is right.
fn assert_whole(version: Version, root: &Path) {
    let lines = lines(version, root);
    for line in lines.iter().filter(|line| line[3] == "true") {
        let content = content(version, &root.join("tae").join(&line[0]));
        assert_eq!(content.len().to_string(), line[1], "{line:?}");
        let digest = Sha256::digest(&content).iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        assert!(line[2].is_empty() || line[2] == digest, "{line:?}");
    }
    let total: u64 = lines.iter().map(|line| line[1].parse::<u64>().unwrap()).sum();
    assert_eq!(sum(version, root)[1], total.to_string());
    for path in ["tae/tae_list", "tae/tae_sum", "hakeeper/hk_data"] {
        let companion = content(version, &root.join(format!("{path}.sha256")));
        assert_eq!(companion, Sha256::digest(content(version, &root.join(path))).to_vec(), "{path}");
    }
    let meta = fs::read(root.join("mo_meta")).unwrap();
    assert_eq!(fs::read(root.join("mo_meta.sha256")).unwrap(), Sha256::digest(&meta).to_vec());
    for line in String::from_utf8(meta).unwrap().lines().filter(|line| line.starts_with("launchconfig,")) {
        let name = line.rsplit_once(',').unwrap().1;
        assert!(root.join("config").join(name).exists(), "{line}");
    }
}

#[tokio::test]
async fn the_recorded_samples_come_out_to_the_byte() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, Options { files_root: Some(folder.path().into()), ..Options::default() });
        let samples = Options::default().samples.join(version.file());
        backup(&simulator, "/full", "TYPE 'full'").await.unwrap();
        let point = sum(version, &samples.join("full"))[2].clone();
        backup(&simulator, "/incr", &format!("TYPE 'incremental' TIMESTAMP '{point}'")).await.unwrap();
        for name in ["full", "incr"] {
            let (written, sample) = (folder.path().join(name), samples.join(name));
            assert!(data(&written) == data(&sample), "{version:?} {name}");
            assert_eq!(files(&written).len(), files(&sample).len());
            assert_whole(version, &written);
        }
        // A later backup has the same objects and a consistency point of its own.
        backup(&simulator, "/later", "TYPE 'full'").await.unwrap();
        let later = folder.path().join("later");
        assert_whole(version, &later);
        assert!(sum(version, &later)[2] > sum(version, &folder.path().join("incr"))[2]);
        assert!(lines(version, &later).iter().all(|line| line[3] == "true"));
    }
}

#[tokio::test]
async fn a_wrong_timestamp_is_not_noticed() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, Options { files_root: Some(folder.path().into()), ..Options::default() });
        for (name, since, copies_all) in [("all", "1-1", true), ("none", "2000000000000000000-1", false)] {
            let rest = format!("TYPE 'incremental' TIMESTAMP '{since}'");
            backup(&simulator, &format!("/{name}"), &rest).await.unwrap();
            let root = folder.path().join(name);
            assert_whole(version, &root);
            assert_eq!(lines(version, &root).iter().all(|line| line[3] == "true"), copies_all);
            assert_eq!(sum(version, &root)[3], "incremental");
        }
        for since in ["abc", "12345"] {
            let error = backup(&simulator, "/bad", &format!("TIMESTAMP '{since}'")).await.unwrap_err();
            assert!(error.starts_with("20101 internal error: panic format of ts"), "{error}");
        }
    }
}

#[tokio::test]
async fn small_trees_are_whole_and_chain() {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, small(folder.path()));
        backup(&simulator, "/a", "TYPE 'full'").await.unwrap();
        let mut base = folder.path().join("a");
        assert_eq!(lines(version, &base).len(), 8);
        let mut known: Vec<String> = lines(version, &base).into_iter().map(|line| line[0].clone()).collect();
        for name in ["b", "c"] {
            let since = sum(version, &base)[2].clone();
            let rest = format!("TYPE 'incremental' TIMESTAMP '{since}'");
            backup(&simulator, &format!("/{name}"), &rest).await.unwrap();
            base = folder.path().join(name);
            assert_whole(version, &base);
            let lines = lines(version, &base);
            let copied = lines.iter().filter(|line| line[3] == "true").count();
            assert_eq!(copied, 4, "two objects, the checkpoint and its meta file: {lines:#?}");
            assert!(lines.iter().all(|line| line[3] == "true" || known.contains(&line[0])), "{lines:#?}");
            known.extend(lines.into_iter().map(|line| line[0].clone()));
        }
        simulator.rewind();
        let since = sum(version, &base)[2].clone();
        backup(&simulator, "/d", &format!("TYPE 'incremental' TIMESTAMP '{since}'")).await.unwrap();
        let lines = lines(version, &folder.path().join("d"));
        let strangers = lines.iter().filter(|line| line[3] == "false" && !known.contains(&line[0])).count();
        assert_eq!(strangers, 1, "an object that no base has");
    }
}

#[tokio::test]
async fn nothing_is_overwritten_and_modes_are_the_servers() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = start(Version::V1_2_4, Options { files_root: Some(folder.path().into()), ..Options::default() });
    backup(&simulator, "/a/b/full", "TYPE 'full'").await.unwrap();
    let root = folder.path().join("a/b/full");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&root), mode(&root.join("tae/ckp"))), (0o755, 0o755));
    assert!(files(&root).keys().all(|path| mode(&root.join(path)) == 0o600));
    let before = files(&root);
    let error = backup(&simulator, "/a/b/full", "TYPE 'full'").await.unwrap_err();
    assert!(error.starts_with("20406 file tae/") && error.ends_with(" already exists"), "{error}");
    let after = files(&root);
    assert_eq!(after.len(), before.len() + 8, "the failed attempt leaves its config files");
    assert!(before.iter().all(|(path, content)| after.get(path) == Some(content)));
}

#[rstest]
#[case("/backup/a:b", "", "20422 service /backup/a not found")]
#[case("/backup/a b", "", "20411 invalid file path /backup/a b/_")]
#[case("", "", "1105 open : no such file or directory")]
#[case("/backup/x", "TIMESTAMP '1-1' TYPE 'incremental'", "1064 ")]
#[tokio::test]
async fn paths_and_order(#[case] path: &str, #[case] rest: &str, #[case] expected: &str) {
    for version in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let simulator = start(version, small(folder.path()));
        let error = backup(&simulator, path, rest).await.unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[rstest]
#[case(Version::V4_2_0, "'endpoint'='http://127.0.0.1:9', 'bucket'='b'", "Invalid region")]
#[case(Version::V4_2_0, "'endpoint'='http://127.0.0.1:9', 'region'='r', 'bucket'='b'", "no EC2 IMDS role found")]
#[case(
    Version::V4_2_0,
    "'endpoint'='http://127.0.0.1:9', 'foo'='bar'",
    "20300 invalid configuration: the keyword 'foo'"
)]
#[case(Version::V4_2_0, "'is_minio'='maybe'", "20300 invalid configuration: the is_minio 'maybe' is not supported")]
#[case(
    Version::V4_2_0,
    "'endpoint'='http://127.0.0.1:9','access_key_id'='i','secret_access_key'='k','region'='r','bucket'='b','filepath'='p'",
    "connect: connection refused"
)]
#[case(Version::V1_2_4, "'is_minio'='true', 'bucket'='b'", "api error BadRequest")]
#[tokio::test]
async fn options_of_a_bucket(#[case] version: Version, #[case] options: &str, #[case] expected: &str) {
    let simulator = start(version, Options::default());
    let mut conn = connect(&simulator, "root").await;
    let error = ask(&mut conn, &format!("BACKUP 'x' S3OPTION {{{options}}} TYPE 'full'")).await.unwrap_err();
    assert!(error.contains(expected), "{error}");
}
