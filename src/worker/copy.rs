//! From the staging folder to the repository: without frames, several objects at once, each hashed on its way.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Failure,
    backup::Attempt,
    content::{self, NotCopied},
    resolve::{Folder, incomplete},
};
use crate::{
    api::Reason,
    plan::{Digest, Entry, Framing, RowId, resolve::Resolved},
    store::{Key, framing},
};

/// What is to be copied: a row of the list, or a file beside it.
struct Item {
    path: String,
    size: u64,
    row: Option<RowId>,
    digest: Option<Digest>,
}

impl Attempt<'_> {
    /// Copies what the server has written. Every object is what the server's list or its companion says, or an error.
    pub(super) async fn copy(
        &self,
        folder: &Folder<'_>,
        framed: Framing,
        files: &[Entry],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        self.watch.step("copying");
        let files =
            files.iter().map(|f| Item { path: f.path.clone(), size: f.size, row: None, digest: Some(f.sha256) });
        let rows = resolved.copied().map(|r| Item { path: r.path, size: r.size, row: Some(r.id), digest: r.digest });
        // A row is small beside its object, but there can be a million: only as many as are under way are held.
        let items: Vec<Item> = files.chain(rows).collect();
        self.watch.total(items.len() as u64, items.iter().map(|i| i.size).sum());
        let width = usize::from(self.task.parallelism.min(64));
        let mut copies = stream::iter(items)
            .map(|item| async move {
                let found = self.copy_one(folder, framed, &item).await?;
                Ok::<_, Failure>((item, found))
            })
            .buffer_unordered(width);
        while let Some((item, (size, sha256))) = copies.try_next().await? {
            if let Some(id) = item.row {
                resolved.found(id, size, sha256).map_err(|e| incomplete(&e))?;
            } else if item.digest != Some(sha256) {
                return Err(Failure::new(
                    Reason::ObjectCorrupted,
                    format!("{} changed while it was copied", item.path),
                ));
            }
            self.watch.done(1, size);
        }
        Ok(())
    }

    async fn copy_one(&self, folder: &Folder<'_>, framed: Framing, item: &Item) -> Result<(u64, Digest), Failure> {
        let to = Key::object(self.task.id, folder.dir, &item.path);
        let framed = framing::of_path(framed, &item.path);
        let from = (folder.objects, &folder.key(&item.path), framed);
        content::copy(from, item.size, (&*self.ports.repository, &to)).await.map_err(|e| match e {
            NotCopied::From(e) => folder.failed(&e),
            NotCopied::To(e) => self.store_failure(&e),
        })
    }
}
