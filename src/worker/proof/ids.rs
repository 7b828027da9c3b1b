//! Whether MatrixOne went on from the ids in `hk_data`.
//!
//! Without that file it starts all the same, everything can be read, and the next thing that is made gets the id of one
//! that exists. The id of a new database shows it. That database is the one thing that a proof writes, and it is dropped
//! at once; its name is made from the Restore, so that the next proof drops what one that was killed has left.

use super::{Proof, number, rows};
use crate::{
    api::Reason,
    sql::{Ask, Session},
    worker::Failure,
};

/// Objects made a moment after the data was taken can bear the time of it.
const ROUNDED: i64 = 30;

/// What the new database was given.
struct Made {
    id: u64,
    /// Something else has this id too, or could have got it.
    again: bool,
}

impl Proof<'_> {
    /// Refuses a server that gives ids that the backup has given before.
    ///
    /// Only ids of what was made before the moment of the data are compared: several CNs give ids from ranges of their own,
    /// so that a younger thing may have a lower id than an older one, but all ranges lie beyond those of the backup.
    pub(super) async fn goes_on_with_the_ids(&self, session: &mut dyn Session) -> Result<(), Failure> {
        let at = self.at()?;
        self.sweep(session).await?;
        let table = number(session, Ask::HighestTable(at)).await?.unwrap_or_default();
        let database = number(session, Ask::HighestDatabase(at)).await?.unwrap_or_default();
        let highest = table.max(database);
        let again = number(session, Ask::GivenAgain(at + ROUNDED, highest)).await?.unwrap_or_default();
        if again > 0 {
            return Err(restarted(&format!(
                "{again} tables made since the backup have ids that are not above {highest}"
            )));
        }
        match self.make(session).await? {
            Some(Made { id, again: _ }) if id <= highest => {
                Err(restarted(&format!("a new database got the id {id}, and the backup has ids up to {highest}")))
            }
            Some(Made { id, again: true }) => Err(restarted(&format!("a new database got the id {id} of another one"))),
            None => Err(restarted("a new database got an id that is taken")),
            Some(Made { .. }) if self.log_service_is_older(session).await? => Err(Self::not_it(
                "its log service has not begun with the ids of hk_data, and a new database got an id that is free: either \
                 it is not the MatrixOne that was started on the restored place, or it was started there without hk_data \
                 and much was made since; stop it in that case",
            )),
            Some(Made { .. }) => Ok(()),
        }
    }

    /// Names of the databases of all proofs of this Restore.
    fn prefix(&self) -> String {
        format!("mo-backup-proof-{}", self.task.subject.uid)
    }

    /// Drops what a proof has left that was killed.
    async fn sweep(&self, session: &mut dyn Session) -> Result<(), Failure> {
        let left = rows(session, Ask::DatabasesLike(self.prefix())).await?;
        let names: Vec<String> = left.into_iter().flatten().flatten().collect();
        // All are looked at before any is dropped.
        for name in &names {
            if let Some(id) = number(session, Ask::DatabaseId(name.clone())).await?
                && is_shared(session, id).await?
            {
                return Err(restarted(&format!("database {name} of an earlier proof has the id {id} of another one")));
            }
        }
        for name in names {
            tracing::info!(name, "dropping what an earlier proof has left");
            drop_database(session, &name).await?;
        }
        Ok(())
    }

    /// Makes a database and drops it. `None`: the server found its id taken.
    async fn make(&self, session: &mut dyn Session) -> Result<Option<Made>, Failure> {
        let name = format!("{}-{}", self.prefix(), self.task.subject.attempt);
        match rows(session, Ask::CreateDatabase(name.clone())).await {
            Ok(_) => {}
            Err(error) if error.is_duplicate() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let id = number(session, Ask::DatabaseId(name.clone())).await?;
        let id = id.ok_or_else(|| Failure::new(Reason::StatementFailed, format!("database {name} has no id")))?;
        let again = is_shared(session, id).await?;
        if !again {
            drop_database(session, &name).await?;
        }
        Ok(Some(Made { id, again }))
    }
}

/// Whether another database has this id too. MatrixOne drops by id: the other one would go with it.
async fn is_shared(session: &mut dyn Session, id: u64) -> Result<bool, Failure> {
    Ok(number(session, Ask::DatabasesWithId(id)).await?.unwrap_or_default() > 1)
}

async fn drop_database(session: &mut dyn Session, name: &str) -> Result<(), Failure> {
    let dropped = rows(session, Ask::DropDatabase(name.to_owned())).await;
    let left = |failure: Failure| Failure { detail: format!("{}; database {name} is left", failure.detail), ..failure };
    dropped.map(drop).map_err(|error| left(error.into()))
}

fn restarted(sign: &str) -> Failure {
    let detail = format!(
        "{sign}: it was started without hk_data, and gives ids a second time. A server of several CNs that is not the \
         restored one can look like this, too: make sure that target.cluster names the right one"
    );
    Failure::new(Reason::IdsRestarted, detail)
}
