//! From the staging folder to the repository: without frames, several objects at once, each hashed on its way.

use std::iter;

use super::{Failure, backup::Attempt, resolve::Folder, server_files::incomplete};
use crate::{
    api::Reason,
    plan::{CopiedRow, Digest, Entry, Framing, Resolved, RowId},
    store::{
        Key, Volume, framing,
        transfer::{self, Item, Limits, Moved},
    },
};

/// Objects that are copied at the same time, whatever the spec asks for.
const AT_ONCE_MAX: u16 = 64;

/// The folder that is copied from, and the volume it lies in.
type From<'a> = (&'a Folder<'a>, &'a Volume);

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
        let (objects, bytes) = resolved.copied().fold((0, 0), |(n, sum), row| (n + 1, sum + row.size));
        self.watch.total(objects + 2 * files.len() as u64, bytes + files.iter().map(|f| f.size).sum::<u64>());
        let at_once = usize::from(self.task.parallelism.min(AT_ONCE_MAX));
        // What the list takes is not there for copying: many objects need no more memory than few.
        let limits = Limits { at_once, ..Limits::default() }.beside(resolved.memory());
        let (moved, mut found) = (Moved::default(), Vec::new());
        let Some(local) = folder.local else {
            return Err(Failure::new(Reason::MethodNotSupported, "there is no staging folder"));
        };
        let rows = resolved.copied().map(|row| self.row((folder, local), framed, &row));
        let files = files.iter().flat_map(|file| self.file((folder, local), framed, file));
        let copying =
            transfer::copy(&*self.ports.repository, files.chain(rows), limits, &moved, self.watch.token(), |copied| {
                found.extend(copied.tag.map(|id| (id, copied.size, copied.digest)));
                Ok(())
            });
        let copied = tokio::select! {
            copied = copying => copied,
            never = self.follow(&moved) => match never {},
        };
        copied.map_err(|e| self.copy_failure(&e))?;
        for (id, size, digest) in found {
            resolved.found(id, size, digest).map_err(|e| incomplete(&e))?;
        }
        Ok(())
    }

    /// Shows what has been moved, also of large objects that are not done.
    pub(super) async fn follow(&self, moved: &Moved) -> std::convert::Infallible {
        loop {
            self.watch.pause().await;
            self.watch.seen(moved.objects(), moved.bytes());
        }
    }

    /// A row of the list. It is tagged when something about it is only known by reading.
    fn row(&self, folder: From<'_>, framed: Framing, row: &CopiedRow) -> Item<Option<RowId>> {
        let tag = row.must_be_read().then_some(row.id);
        self.item(folder, framed, &row.path, tag, row.is_exact().then_some(row.size), row.digest)
    }

    /// A file beside the list, and its companion, so that other tools find the folder as the server left it.
    fn file(&self, folder: From<'_>, framed: Framing, file: &Entry) -> impl Iterator<Item = Item<Option<RowId>>> {
        let companion = format!("{}.sha256", file.path);
        let digest_size = file.sha256.0.len() as u64;
        iter::once(self.item(folder, framed, &file.path, None, Some(file.size), Some(file.sha256)))
            .chain(iter::once(self.item(folder, framed, &companion, None, Some(digest_size), None)))
    }

    fn item(
        &self,
        (folder, local): From<'_>,
        framed: Framing,
        path: &str,
        tag: Option<RowId>,
        size: Option<u64>,
        digest: Option<Digest>,
    ) -> Item<Option<RowId>> {
        let key = Key::object(self.task.id, folder.dir, path);
        let (folder, file) = (local.clone(), key.as_str().into());
        Item { tag, folder, file, framing: framing::of_path(framed, path), key, size, digest }
    }
}
