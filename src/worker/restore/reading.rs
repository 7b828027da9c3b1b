//! The reading of a backup where it lies: whoever restores or checks one shares it. Nothing is written.

use std::convert::Infallible;

use futures::{StreamExt as _, TryStreamExt as _};

use super::{
    check::Tags,
    choose::{Bytes, Chosen, Loads},
    folder,
};
use crate::{
    api::Reason,
    plan::{Catalog, Digest, Framing, newest::Whose, restored},
    sql::Version,
    store::{
        self, Key, Objects, Tag, catalog,
        presence::{self, Presence, of_list},
        transfer::{self, Load, Moved},
    },
    task::Choice,
    worker::{
        Failure, Place, Watch,
        merged::{self, Look, Lost, Paths},
        report::Findings,
        verify,
    },
};

/// What the steps of reading a backup share.
#[derive(Clone, Copy)]
pub(in crate::worker) struct Reading<'a> {
    /// The repository, or the place of folders made without us. It is only read.
    pub source: &'a dyn Objects,
    /// What the source is, for words about its troubles.
    pub place: Place,
    /// Which backup.
    pub choice: &'a Choice,
    /// Of which MatrixOne, where it is chosen by its time.
    pub whose: Whose<'a>,
    /// Objects that are read at the same time.
    pub parallelism: u16,
    /// Progress, and the end.
    pub watch: &'a Watch,
}

/// What is known of an object before it is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Expected {
    /// Bytes of its content.
    pub size: Option<u64>,
    /// SHA-256 of its content.
    pub digest: Option<Digest>,
}

/// Size and SHA-256 of a content, and its tag.
type Tagged = ((u64, Digest), Option<Tag>);

impl Reading<'_> {
    /// Objects that are read at the same time, at least one.
    pub(in crate::worker) fn at_once(&self) -> usize {
        usize::from(self.parallelism.max(1))
    }

    /// Shows what has been moved, also of large objects that are not done.
    pub(in crate::worker) async fn follow(&self, moved: &Moved) -> Infallible {
        loop {
            self.watch.pause().await;
            self.watch.seen(moved.objects(), moved.bytes());
        }
    }

    /// What is wrong with a backup is wrong the next time as well.
    pub(in crate::worker) fn source_failure(&self, failure: &store::Failure) -> Failure {
        let told = Failure::of_repository(self.place, failure);
        let lasting = matches!(told.reason, Reason::ObjectMissing | Reason::ObjectCorrupted);
        Failure { retryable: told.retryable && !lasting, ..told }
    }

    /// Whether everything that a restore needs is there with its size: objects and bytes.
    pub(super) async fn present(&self, chosen: &Chosen) -> Result<(u64, u64), Failure> {
        match &chosen.bytes {
            Bytes::Listed(catalog) => {
                let found = self.present_listed(catalog, false).await?;
                judge(&found)?;
                Ok((found.objects, found.bytes))
            }
            Bytes::Foreign(foreign) => {
                judge(&self.present_foreign(foreign, false).await?)?;
                Ok(foreign.totals())
            }
        }
    }

    /// Whether MatrixOne has lost something in the backup. Where it can have, and that cannot be seen, it is a finding.
    pub(in crate::worker) async fn lost(
        &self,
        chosen: &Chosen,
        findings: &mut Findings,
    ) -> Result<Option<Lost>, Failure> {
        let looked = match &chosen.bytes {
            Bytes::Listed(catalog) => merged::of_listed(self.source, catalog).await,
            Bytes::Foreign(foreign) => {
                let Some(last) = foreign.last() else { return Ok(None) };
                let look = Look::at(last.server_version.as_deref().and_then(Version::of_release));
                folder::files(self.source, &last.path).merged(last.framing, look, Paths::Foreign(foreign)).await
            }
        };
        Ok(looked.map_err(|e| self.source_failure(&e))?.lost(findings))
    }

    /// Looks by listings alone where every object of a backup of a repository is, or only those that a restore needs.
    pub(in crate::worker) async fn present_listed(&self, catalog: &Catalog, every: bool) -> Result<Presence, Failure> {
        let failed = |e| self.source_failure(&e);
        let entries = of_list(catalog::entries(self.source, catalog).await.map_err(failed)?);
        let mut hk_data = false;
        let wanted = entries.try_filter(|entry| {
            self.watch.done(1, entry.size);
            let part = restored::part(&entry.path);
            hk_data |= part == restored::Part::HkData;
            std::future::ready(every || part != restored::Part::Apart)
        });
        let found = presence::present(self.source, &catalog.sources, wanted).await.map_err(failed)?;
        if hk_data { Ok(found) } else { Err(without_ids(catalog)) }
    }

    /// Reads what is to be restored and compares it, up to the first object that is another.
    pub(super) async fn read_listed(&self, loads: Loads<'_>, tags: &mut Tags) -> Result<(), Failure> {
        let moved = Moved::default();
        let counted = &moved;
        let checks = loads.enumerate().map(|(n, load)| async move {
            let Load { from, stored, size, digest, .. } = load.map_err(|e| self.source_failure(&e))?;
            let known = Expected { size: Some(size), digest: Some(digest) };
            let (_, tag) = self.read_one((&from, stored), known, counted).await?;
            Ok((n, tag))
        });
        let reading = checks.buffer_unordered(self.at_once()).try_for_each(|(n, tag)| {
            tags.set(n, tag);
            std::future::ready(Ok(()))
        });
        tokio::select! {
            read = reading => read,
            never = self.follow(&moved) => match never {},
        }
    }

    /// Reads an object, and compares what is known of it. Returns its tag too, if the source has one.
    pub(super) async fn read_one(
        &self,
        at: (&Key, Framing),
        known: Expected,
        moved: &Moved,
    ) -> Result<Tagged, Failure> {
        self.compared(at, known, moved).await.map_err(|e| self.source_failure(&e))
    }

    /// The same, in the words of the store.
    pub(in crate::worker) async fn compared(
        &self,
        (key, framing): (&Key, Framing),
        Expected { size, digest }: Expected,
        moved: &Moved,
    ) -> Result<Tagged, store::Failure> {
        let read = || transfer::hash_tagged(self.source, key, framing, moved, self.watch.token());
        let judge = |found: Result<Tagged, store::Failure>| match (found, size, digest) {
            (Ok(((found, _), _)), Some(size), _) if found != size => Err(differs(key, "size", found, size)),
            (Ok(((_, found), _)), _, Some(digest)) if found != digest => Err(differs(key, "SHA-256", found, digest)),
            (other, _, _) => other,
        };
        match judge(read().await) {
            // Once more before it is judged: what was changed on its way is right the second time.
            Err(store::Failure::Differs { .. }) => judge(read().await),
            other => other,
        }
    }
}

fn differs<T: std::fmt::Display>(key: &Key, of: &str, found: T, expected: T) -> store::Failure {
    store::Failure::Differs { what: key.to_string(), detail: format!("its {of} is {found} instead of {expected}") }
}

/// A backup without the file with the ids: a MatrixOne that starts without it gives every id twice, and says nothing.
pub(in crate::worker) fn without_ids(catalog: &Catalog) -> Failure {
    let detail = format!("{} names no hakeeper/hk_data", Key::entries(catalog.id, catalog.attempt));
    Failure::new(Reason::RepositoryDamaged, detail)
}

/// Refuses a backup of which something is missing.
fn judge(found: &Presence) -> Result<(), Failure> {
    verify::judge(&found.first, found.faults).map_err(|failure| Failure { retryable: false, ..failure })
}
