//! What MatrixOne leaves behind, made small: eight objects, a checkpoint, a file of the garbage collection, and the files
//! around them. The checkpoint of v1.2.4 is a recorded one.

use std::path::Path;

use bytes::Bytes;
use mo_backup::{
    plan::checkpoint::{self, Checkpoint, Newest, Span},
    store::framing,
};
use sha2::{Digest as _, Sha256};

/// The file that names one of a standalone server's own, as `mo_meta` names it below `config/`.
pub const CONFIG: &str = "cn.toml_01a1fb9e-2560-7b91-9479-9d72d684aabd";

/// What a server does in its own way.
#[derive(Clone, Copy)]
pub struct Habits {
    /// It writes frames.
    pub framed: bool,
    /// The sizes below `gc/` in its list are exact: since 4.2.
    pub exact: bool,
    /// What it does not copy has names that no base knows.
    pub rewound: bool,
    /// The folder of fixtures with its checkpoint; without one nobody can read it.
    pub checkpoint: Option<&'static str>,
}

/// One BACKUP's files as `(path below its folder, stored bytes)`, in the order in which the server writes them.
pub fn files(full: bool, at: i64, habits: Habits) -> Vec<(String, Bytes)> {
    let Habits { framed, exact, rewound, checkpoint } = habits;
    let mut files = Vec::new();
    let mut list = String::new();
    let mut total = 0;
    for n in 0..8_u8 {
        // The first five were there before: an incremental backup does not copy them. The last is rewritten by BACKUP
        // and has no digest in the list.
        let copied = full || n >= 5;
        let content = content(n);
        let name = if rewound && !copied { name(n + 100) } else { name(n) };
        let digest = if copied && n != 7 { hex(&content) } else { String::new() };
        list.push_str(&format!("{name},{},{digest},{copied},{at}-1\n", content.len()));
        total += content.len();
        if copied {
            files.push((format!("tae/{name}"), stored(&content, framed)));
        }
    }
    let (checkpoints, objects) = checkpoint.map_or((vec![b'c'; 300], Vec::new()), recorded);
    for (name, content) in [(format!("ckp/meta_{at}-1_{at}-2.ckp"), checkpoints)].into_iter().chain(objects) {
        list.push_str(&format!("{name},{},,true,{at}-1\n", content.len()));
        total += content.len();
        files.push((format!("tae/{name}"), stored(&content, framed)));
    }
    let (collected, name) = (b"what was collected", format!("gc/gc_0-0_{at}-1.ckp"));
    let listed = collected.len() + if exact { 0 } else { 9 };
    list.push_str(&format!("{name},{listed},{},true,{at}-1\n", hex(collected)));
    total += listed;
    files.push((format!("tae/{name}"), stored(collected, framed)));
    let kind = if full { "full" } else { "incremental" };
    let sum = format!("2026-11-21 00:13:57,{total},{at}-1,{kind}\n");
    let build = "GoVersion: go1.26|BranchName: v|CommitID: 01ae8eca8|BuildTime: 1|Version: v";
    let meta = format!("version,0823,\nbuildinfo,{build},\nlaunchconfig,cn,{CONFIG}\n");
    with_companion(&mut files, &format!("config/{CONFIG}"), b"service-type = \"CN\"\n", false);
    with_companion(&mut files, "tae/tae_list", list.as_bytes(), framed);
    with_companion(&mut files, "tae/tae_sum", sum.as_bytes(), framed);
    with_companion(&mut files, "hakeeper/hk_data", b"\x08\x01_mo_bootstrap", framed);
    with_companion(&mut files, "mo_meta", meta.as_bytes(), false);
    files
}

/// The newest list of checkpoints of a BACKUP of v1.2.4, and the files of its own one: `tests/fixtures/merged` says how the
/// one with lost tables came about.
pub fn recorded(folder: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).join("tae");
    let read = |name: &str| -> Vec<u8> { framing::deframed(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let lists = std::fs::read_dir(folder.join("ckp")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let list = read(&format!("ckp/{}", lists.max_by_key(|name| Span::parse(name).map(|span| span.end)).unwrap()));
    let Newest::OfBackup(own) = checkpoint::newest(&list).unwrap() else { panic!("no checkpoint of BACKUP") };
    let parts = Checkpoint::parse(&read(&own)).unwrap().parts;
    (list, [own].into_iter().chain(parts).map(|name| (name.clone(), read(&name))).collect())
}

/// Content of an object; the third is larger than a piece of a stream and than a block.
pub fn content(n: u8) -> Vec<u8> {
    let length = if n == 3 { 70_000 } else { 700 + usize::from(n) * 900 };
    let block: Vec<u8> = (0..250_u8).map(|i| i.wrapping_mul(n + 1)).collect();
    let mut content = block.repeat(length / block.len() + 1);
    content.truncate(length);
    content
}

/// Name of an object.
pub fn name(n: u8) -> String {
    let number = if n == 7 { 1000 } else { 0 };
    format!("01a1fb9e-18cd-70d1-b5d7-3c23979186{n:02x}_{number:05}")
}

fn with_companion(files: &mut Vec<(String, Bytes)>, path: &str, content: &[u8], framed: bool) {
    files.push((path.into(), stored(content, framed)));
    files.push((format!("{path}.sha256"), stored(&Sha256::digest(content), framed)));
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

fn stored(content: &[u8], framed: bool) -> Bytes {
    if !framed {
        return Bytes::copy_from_slice(content);
    }
    let block = |payload: &[u8]| [&crc32c::crc32c(payload).to_le_bytes(), payload].concat();
    content.chunks(2044).flat_map(block).collect()
}
