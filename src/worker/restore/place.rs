//! The proof in place: exactly what belongs there, and the ids as they were backed up.

use std::pin::Pin;

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{BoxStream, Peekable},
};

use super::{
    Attempt, Chosen,
    look::{TOLD, not_empty},
};
use crate::{
    api::Reason,
    plan::{Digest, Restored},
    store::{
        self, Key, Listed, Prefix, framing,
        transfer::{self, Load, Moved},
    },
    worker::{Failure, inventory::plain},
};

type Listing<'a> = Peekable<BoxStream<'a, Result<Listed, store::Error>>>;

impl Attempt<'_> {
    /// Compares the target with the backup: nothing is missing, nothing has another size, nothing else is there.
    pub(super) async fn verify(&self, chosen: &Chosen, draft: &Restored) -> Result<(), Failure> {
        self.watch.step("checking what is in place");
        self.watch.total(draft.objects, draft.bytes);
        let (data, all) = (Prefix::placed(&draft.plan.data.path), Prefix::all());
        let mut listing = self.target.list(&all).peekable();
        let mut loads = self.loads(chosen).await.map_err(|e| self.reading.source_failure(&e))?;
        let mut ids = None;
        while let Some(load) = loads.try_next().await.map_err(|e| self.reading.source_failure(&e))? {
            self.watch.done(1, load.size);
            if load.to.below(&data).is_none() {
                ids = Some(load);
                continue;
            }
            self.pass(&mut listing, draft, Some(&load.to)).await?;
            match self.next(&mut listing).await? {
                Some(found) if found.key == load.to => right_size(&load, Some(found.size))?,
                Some(_) | None => right_size(&load, None)?,
            }
        }
        self.pass(&mut listing, draft, None).await?;
        drop(listing);
        if let Some(stranger) = self.target.unlisted().await.map_err(|e| self.target_failure(&e.into()))? {
            return Err(came(&stranger));
        }
        let no = || Failure::new(Reason::Internal, "the backup has no hakeeper/hk_data");
        self.ids(&ids.ok_or_else(no)?).await
    }

    /// Goes on to the next listed object that can be the expected one. What lies before it is known, or a stranger's.
    async fn pass(&self, listing: &mut Listing<'_>, draft: &Restored, expected: Option<&Key>) -> Result<(), Failure> {
        let apart = [Key::restored(), Key::placed(&draft.plan.hk_data.path)];
        loop {
            let next = Pin::new(&mut *listing).peek().await;
            let Some(Ok(found)) = next else {
                return self.next(listing).await.map(|_| ());
            };
            let stranger = match expected {
                _ if apart.contains(&found.key) => false,
                Some(expected) if found.key >= *expected => return Ok(()),
                Some(_) | None => true,
            };
            if stranger {
                return Err(came(found.key.as_str()));
            }
            self.next(listing).await?;
        }
    }

    async fn next(&self, listing: &mut Listing<'_>) -> Result<Option<Listed>, Failure> {
        listing.try_next().await.map_err(|e| self.target_failure(&e.into()))
    }

    /// Reads the file with the ids back: a MatrixOne that starts without it gives every id twice, and says nothing.
    async fn ids(&self, load: &Load) -> Result<(), Failure> {
        let found = self.target.stat(&load.to).await.map_err(|e| self.target_failure(&e.into()))?;
        right_size(load, found)?;
        let moved = Moved::default();
        let read = transfer::hash(self.target, &load.to, load.placed, &moved, self.watch.token()).await;
        let (_, digest): (u64, Digest) = read.map_err(|e| self.target_failure(&e))?;
        if digest == load.digest {
            return Ok(());
        }
        let detail = format!("{} has the SHA-256 {digest} instead of {} in the target", load.to, load.digest);
        Err(Failure::new(Reason::ObjectCorrupted, detail))
    }
}

fn came(stranger: &str) -> Failure {
    not_empty(format!("{} came there while it was filled", plain(stranger, TOLD)))
}

/// The size that the object takes in the target.
fn right_size(load: &Load, found: Option<u64>) -> Result<(), Failure> {
    let expected = framing::stored_size(load.placed, load.size);
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => {
            let detail = format!("{} has {found} bytes instead of {expected} in the target", load.to);
            Err(Failure::new(Reason::ObjectCorrupted, detail))
        }
        None => Err(Failure::new(Reason::ObjectMissing, format!("{} is missing in the target", load.to))),
    }
}
