//! What a BACKUP has left behind: its small files checked against their companions, its list joined with the base.

use futures::TryStreamExt as _;

use super::{
    Failure, Place,
    backup::Attempt,
    merged::{Look, Merged, Paths},
    server_files::{Flaw, HK_DATA, ServerFiles},
    trouble::Trouble,
};
use crate::{
    api::Reason,
    plan::{
        AttemptDir, Catalog, Entry, Framing, MoMeta, TaeList, TaeSum,
        resolve::{Resolved, Resolver},
    },
    sql::Version,
    store::{self, Key, Objects, Prefix, Volume, catalog},
};

/// A finished BACKUP, as its files say.
pub(super) struct Left {
    /// How the bytes below `tae/` and `hakeeper/` lie there.
    pub framing: Framing,
    /// The sums, with the consistency point.
    pub sum: TaeSum,
    /// The rows, each with its place.
    pub resolved: Resolved,
    /// `mo_meta`, `config/…`, `hakeeper/hk_data`, `tae/tae_list`, `tae/tae_sum`, with digests that their companions
    /// confirm.
    pub files: Vec<Entry>,
}

/// The folder that the server has written to.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub objects: &'a dyn Objects,
    pub place: Place,
    pub attempt: &'a Attempt<'a>,
    pub dir: AttemptDir,
    /// The folder in the file system, for method Staged.
    pub local: Option<&'a Volume>,
}

impl Folder<'_> {
    pub(super) fn key(&self, path: &str) -> Key {
        Key::object(self.attempt.task.id, self.dir, path)
    }

    fn prefix(&self) -> Prefix {
        Prefix::attempt(self.attempt.task.id, self.dir)
    }

    pub(super) fn failed(&self, error: &store::Error) -> Failure {
        Failure::of_store(self.place, error)
    }

    /// Whether the last file that the server writes is there.
    pub(super) async fn is_finished(&self) -> Result<bool, Failure> {
        for path in ["mo_meta", "mo_meta.sha256"] {
            if self.objects.stat(&self.key(path)).await.map_err(|e| self.failed(&e))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything is there at all.
    pub(super) async fn is_empty(&self) -> Result<bool, Failure> {
        let prefix = self.prefix();
        let first = self.objects.list(&prefix).try_next().await.map_err(|e| self.failed(&e))?;
        Ok(first.is_none())
    }

    /// Reads and resolves what was left.
    pub(super) async fn resolve(&self, base: Option<&Catalog>) -> Result<Left, Trouble> {
        let (framing, sum, list, files) = self.files().await.map_err(|flaw| self.told(&flaw))?;
        if sum.bytes != list.bytes() {
            let detail = format!("tae/tae_list adds up to {} bytes, tae/tae_sum says {}", list.bytes(), sum.bytes);
            return Err(Failure::new(Reason::BackupIncomplete, detail).into());
        }
        let resolved = self.join(list, base).await?;
        Ok(Left { framing, sum, resolved, files })
    }

    /// Whether a server of this version has lost something in what it left.
    pub(super) async fn merged(&self, version: Version, left: &Left) -> Result<Merged, Failure> {
        let (look, paths) = (Look::at(Some(version)), Paths::Resolved(&left.resolved));
        let merged = self.server_files().merged(left.framing, look, paths).await;
        merged.map_err(|e| Failure::of_repository(self.place, &e))
    }

    fn server_files(&self) -> ServerFiles<'_, impl Fn(&str) -> Key + Sync> {
        ServerFiles { objects: self.objects, key: |path: &str| self.key(path) }
    }

    async fn files(&self) -> Result<(Framing, TaeSum, TaeList, Vec<Entry>), Flaw> {
        let folder = self.server_files();
        let (_, framing) = folder.companion("tae/tae_sum").await?;
        let meta = folder.small("mo_meta", Framing::Raw).await?;
        let MoMeta { config, server_version: _ } = MoMeta::parse(&meta.content)?;
        let sum = folder.small("tae/tae_sum", framing).await?;
        let (list_file, list) = folder.list(framing).await?;
        let ids = folder.small(HK_DATA, framing).await?;
        let mut files = vec![meta.entry, sum.entry, list_file, ids.entry];
        for path in &config {
            files.push(folder.small(path, Framing::Raw).await?.entry);
        }
        Ok((framing, TaeSum::parse(&sum.content)?, list, files))
    }

    fn told(&self, flaw: &Flaw) -> Failure {
        let prefix = self.prefix();
        let name = |key: &Key| key.below(&prefix).unwrap_or(key.as_str()).to_owned();
        flaw.told(name, |e| self.failed(e), |key| missing(&name(key)))
    }

    async fn join(&self, list: TaeList, base: Option<&Catalog>) -> Result<Resolved, Trouble> {
        let mut resolver = Resolver::new(list);
        if let Some(base) = base {
            let repository = &*self.attempt.ports.repository;
            let failed = |e| self.attempt.list_trouble(base, &e);
            let mut entries = catalog::entries(repository, base).await.map_err(failed)?;
            while let Some(entry) = entries.next().await.map_err(failed)? {
                resolver.base_entry(&entry);
            }
        }
        resolver.finish().map_err(|e| Trouble::Base(e.to_string()))
    }
}

/// A file that is not there though the server has finished. What `mo_meta` names has been there; of the others that cannot
/// be known.
fn missing(path: &str) -> Failure {
    let reason = if path.starts_with("config/") { Reason::ObjectMissing } else { Reason::BackupIncomplete };
    Failure::new(reason, format!("{path} is missing"))
}
