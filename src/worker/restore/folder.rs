//! What a folder that MatrixOne has written a backup to says about itself, and what is wrong with it.

use crate::{
    api::Reason,
    plan::{self, Digest, Framing, MoMeta, TaeList, TaeSum, Timestamp},
    store::{self, Key, Objects},
    worker::{
        Failure,
        inventory::plain,
        server_files::{self, Flaw, ServerFiles},
    },
};

/// The longest version of a server that a report takes.
const SAID: usize = 64;

/// A folder as MatrixOne left it.
pub(in crate::worker) struct Folder {
    /// Its path below the place; empty for the place itself.
    pub path: String,
    /// How the bytes below `tae/` and `hakeeper/` are stored.
    pub framing: Framing,
    /// The consistency point.
    pub backup_ts: Timestamp,
    /// The server that was backed up.
    pub server_version: Option<String>,
    /// SHA-256 of its list.
    pub list: Digest,
    /// Paths of the configuration files.
    pub config: Vec<String>,
    /// Bytes of what says all this: `mo_meta`, `tae/tae_sum` and `tae/tae_list`.
    pub words: u64,
}

/// MatrixOne's own files in a folder.
pub(in crate::worker) fn files<'a>(
    source: &'a dyn Objects,
    folder: &'a str,
) -> ServerFiles<'a, impl Fn(&str) -> Key + Sync + 'a> {
    ServerFiles { objects: source, key: move |path: &str| Key::foreign(folder, path) }
}

/// Reads what a folder says about itself, each file compared with its companion, and the list with its sum.
pub(in crate::worker) async fn read(source: &dyn Objects, path: &str) -> Result<(Folder, TaeList), Flaw> {
    let files = files(source, path);
    // Written last: without it the server has not finished.
    let meta = files.small("mo_meta", Framing::Raw).await?;
    let MoMeta { server_version, config } = MoMeta::parse(&meta.content)?;
    let (_, framing) = files.companion("tae/tae_sum").await?;
    let small = files.small("tae/tae_sum", framing).await?;
    let sum = TaeSum::parse(&small.content)?;
    let (entry, list) = files.list(framing).await?;
    if sum.bytes != list.bytes() {
        let detail = format!("it adds up to {} bytes, its tae_sum says {}", list.bytes(), sum.bytes);
        return Err(plan::Error::Damaged { file: "tae/tae_list", detail }.into());
    }
    let folder = Folder {
        path: path.to_owned(),
        framing,
        backup_ts: sum.backup_ts,
        server_version: server_version.map(|version| plain(&version, SAID)),
        list: entry.sha256,
        config,
        words: meta.entry.size + small.entry.size + entry.size,
    };
    Ok((folder, list))
}

/// What is wrong with a folder stays wrong; what is wrong with the store need not.
pub(in crate::worker) fn told(folder: &str, flaw: &Flaw, store: impl Fn(&store::Failure) -> Failure) -> Failure {
    match flaw {
        Flaw::Store(e) => store(&e.clone().into()),
        Flaw::Content(e) => damaged(folder, e),
        Flaw::Missing(_) | Flaw::Large(..) | Flaw::Frames(..) | Flaw::Other(..) => {
            let told = flaw.told(ToString::to_string, |e| store(&e.clone().into()), absent);
            Failure { retryable: false, ..told }
        }
    }
}

/// What the server's files say wrong, in the words of a restore.
pub(super) fn damaged(folder: &str, error: &plan::Error) -> Failure {
    let told = server_files::incomplete(error);
    lasting(told.reason, format!("{} (folder {})", told.detail, shown(folder)))
}

/// A failure that another try does not cure.
pub(super) fn lasting(reason: Reason, detail: impl Into<String>) -> Failure {
    Failure { retryable: false, ..Failure::new(reason, detail) }
}

/// A folder's path for people.
pub(super) fn shown(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn absent(key: &Key) -> Failure {
    let detail = format!("{key} is missing: no BACKUP has finished there, or it is no folder of a backup");
    lasting(Reason::BackupIncomplete, detail)
}
