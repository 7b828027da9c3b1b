//! What a BACKUP of very many objects leaves in the staging folder. The objects are links to a few files, so that a
//! hundred thousand of them take little of the disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mo_backup::store::framing::Framer;
use sha2::{Digest as _, Sha256};

/// Files of the same size that differ. A file system admits 65 000 links to one.
const VARIANTS: usize = 16;

/// Times that large objects lie side by side, in any backup.
const CLUSTERS: usize = 10;

/// Bytes of the object with this number, of so many. All backups have the same large objects, because the memory they take
/// depends on how many of them meet; what more objects add are small ones.
fn size(n: usize, objects: usize) -> usize {
    match n % (objects / CLUSTERS) {
        0..8 => 24 << 20,
        8..108 => 1 << 20,
        108..408 => 64 << 10,
        _ => 4 << 10,
    }
}

/// A file that objects link to.
struct Original {
    file: PathBuf,
    size: usize,
    sha256: String,
}

impl Original {
    fn make(folder: &Path, size: usize, variant: usize) -> anyhow::Result<Self> {
        let content: Vec<u8> = (0..size).map(|at| (at * (variant + 1) + at / 4093) as u8).collect();
        let file = folder.join(format!("{size}-{variant}"));
        fs::write(&file, framed(&content))?;
        Ok(Self { file, size, sha256: hex(&content) })
    }
}

/// Name of an object.
fn name(n: usize) -> String {
    format!("01a1fb9e-18cd-70d1-b5d7-{n:012x}_00000")
}

/// Makes the tree of a server that frames its files, with one of ten objects without a digest in the list.
pub fn make(folder: &Path, originals: &Path, objects: usize) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("tae/ckp"))?;
    fs::create_dir_all(originals)?;
    let mut known: Vec<Original> = Vec::new();
    let (mut list, mut total) = (String::new(), 0);
    for at in 0..objects {
        // The server lists in no order. The step has no divisor in common with the numbers of objects.
        let n = at * 7919 % objects;
        let (size, variant) = (size(n, objects), n % VARIANTS);
        let file = originals.join(format!("{size}-{variant}"));
        let original = match known.iter().position(|o| o.file == file) {
            Some(found) => &known[found],
            None => {
                known.push(Original::make(originals, size, variant)?);
                &known[known.len() - 1]
            }
        };
        fs::hard_link(&original.file, folder.join("tae").join(name(n)))?;
        let sha256 = if n % 10 == 9 { "" } else { &original.sha256 };
        list.push_str(&format!("{},{},{sha256},true,1795220000000000000-1\n", name(n), original.size));
        total += original.size;
    }
    let checkpoint = vec![b'c'; 300];
    fs::write(folder.join("tae/ckp/meta_1-1_1-2.ckp"), framed(&checkpoint))?;
    list.push_str("ckp/meta_1-1_1-2.ckp,300,,true,1-1\n");
    let sum = format!("2026-11-21 00:13:57,{},1795220000000000000-1,full\n", total + checkpoint.len());
    with_companion(folder, "tae/tae_list", list.as_bytes(), true)?;
    with_companion(folder, "tae/tae_sum", sum.as_bytes(), true)?;
    with_companion(folder, "hakeeper/hk_data", b"\x08\x01_mo_bootstrap", true)?;
    let meta =
        "version,0823,\nbuildinfo,GoVersion: go1.26|BranchName: v|CommitID: 01ae8eca8|BuildTime: 1|Version: v,\n";
    with_companion(folder, "mo_meta", meta.as_bytes(), false)
}

fn with_companion(folder: &Path, path: &str, content: &[u8], is_framed: bool) -> anyhow::Result<()> {
    let stored = |content: &[u8]| if is_framed { framed(content) } else { content.to_vec() };
    let file = folder.join(path);
    fs::create_dir_all(file.parent().unwrap_or(folder))?;
    fs::write(&file, stored(content))?;
    Ok(fs::write(folder.join(format!("{path}.sha256")), stored(&Sha256::digest(content)))?)
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut framer = Framer::default();
    let mut stored = framer.push(content).to_vec();
    stored.extend_from_slice(&framer.finish());
    stored
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}
