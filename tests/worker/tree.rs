//! What MatrixOne leaves behind, made small: eight objects, a checkpoint, a file of the garbage collection, and the files
//! around them. Some checkpoints are recorded ones.

use std::path::Path;

use bytes::Bytes;
use mo_backup::{
    plan::checkpoint::{self, Checkpoint, Newest, Span},
    store::framing,
};
use sha2::{Digest as _, Sha256};

#[path = "../fixtures/checkpoint.rs"]
#[allow(dead_code, reason = "other tests make more")]
mod made;

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
    /// What its checkpoints are.
    pub checkpoints: Checkpoints,
}

/// What the checkpoints of a backup are.
#[derive(Clone, Copy)]
pub enum Checkpoints {
    /// Nobody can read them.
    Garbled,
    /// Right ones in the form of 3.0 and 4.2.
    Whole,
    /// Right ones in the form of 1.2.
    WholeOld,
    /// Recorded ones that have lost tables.
    Merged,
    /// Recorded ones that no server starts on.
    Unbootable,
}

impl Checkpoints {
    /// Those of a server of this version, which is in this trouble.
    pub fn of(version: &str, (garbling, overtaken, merging): (bool, bool, bool)) -> Self {
        match version {
            _ if garbling => Self::Garbled,
            _ if overtaken => Self::Unbootable,
            "v1.2.4" if merging => Self::Merged,
            "v1.2.4" => Self::WholeOld,
            _ => Self::Whole,
        }
    }

    /// Their files, paths below `tae/`.
    fn files(self, at: i64) -> Vec<(String, Vec<u8>)> {
        let list = format!("ckp/meta_{at}-1_{at}-2.ckp");
        let own = format!("{}_00000", uuid::Uuid::from_u128(at.unsigned_abs().into()));
        match self {
            Self::Garbled => vec![(list, vec![b'c'; 300])],
            Self::Whole => vec![(list, made::list(&[(at - 1, at, 2, 13, &own)])), (own, made::checkpoint(&[]))],
            Self::WholeOld => {
                let (_, objects) = recorded("samples/v1.2.4/full");
                let content = made::list(&[(at - 1, at, 2, 11, &objects[0].0)]);
                [(list, content)].into_iter().chain(objects).collect()
            }
            Self::Merged => {
                let (content, objects) = recorded("merged/gone");
                [(list, content)].into_iter().chain(objects).collect()
            }
            Self::Unbootable => [
                "ckp/meta_0-0_1796083047113492477-1.ckp",
                "ckp/meta_1796083047113492477-1_1796083047119686447-0.ckp",
                "01a22ee4-5af3-72d0-80ba-83c9025645e6_00000",
            ]
            .map(|name| (name.to_owned(), deframed("checkpoints/bad", name)))
            .into(),
        }
    }
}

/// A recorded file without its frames.
fn deframed(folder: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).join("tae");
    framing::deframed(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// One BACKUP's files as `(path below its folder, stored bytes)`, in the order in which the server writes them.
pub fn files(full: bool, at: i64, habits: Habits) -> Vec<(String, Bytes)> {
    let Habits { framed, exact, rewound, checkpoints } = habits;
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
    for (name, content) in checkpoints.files(at) {
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
pub fn recorded(fixture: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture).join("tae");
    let read = |name: &str| deframed(fixture, name);
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
