//! Whether the version of the server fits, and whether it is done with the upgrade of its own tables.

use super::{Proof, rows, shown};
use crate::{
    api::Reason,
    plan::versions::{Tried, tried},
    sql::{Ask, Rows, Session, Version},
    worker::{Failure, report::Findings},
};

impl Proof<'_> {
    /// Refuses a server that is older than the one that was backed up, and one that is known not to work on its data.
    /// Where one of the two does not tell, or the two were never tried together, it passes, and that is said.
    pub(super) fn is_new_enough(&self, version: &str, findings: &mut Findings) -> Result<(), Failure> {
        let told = self.task.restored.server_version.as_deref();
        let before = told.and_then(Version::of_release);
        match (before, Version::parse(version)) {
            (Some(before), Some(now)) if now < before => {
                let detail = format!("the new MatrixOne is {now}, and {before} was backed up");
                Err(Failure::new(Reason::ServerTooOld, detail))
            }
            (Some(before), Some(now)) => match tried(&before.to_string(), &now.to_string()) {
                Tried::Works => Ok(()),
                Tried::Limps(why) | Tried::DoesNotStart(why) => {
                    let detail = format!("the new MatrixOne is {now}, and {before} was backed up: {why}");
                    Err(Failure::new(Reason::VersionNotSuitable, detail))
                }
                Tried::Never => {
                    let text = format!("the new MatrixOne is {now}, and {before} was backed up: never tried together");
                    findings.warn(Reason::VersionNotTried, text);
                    Ok(())
                }
            },
            (None, _) | (_, None) => {
                let told = told.map_or_else(|| "one of unknown version".to_owned(), shown);
                let text = format!("the new MatrixOne is {}, and {told} was backed up: not compared", shown(version));
                findings.warn(Reason::VersionNotCompared, text);
                Ok(())
            }
        }
    }

    /// Waits until the upgrade is over, as long as it moves.
    pub(super) async fn is_settled(&self, session: &mut dyn Session) -> Result<(), Failure> {
        let mut left = Rows::new();
        let waited = self.watch.race(self.settle(session, &mut left)).await;
        waited.unwrap_or_else(|stopped| {
            if !matches!(stopped.reason, Reason::Stalled | Reason::RunDeadlineExceeded) {
                return Err(stopped);
            }
            let steps: Vec<_> = left
                .iter()
                .map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("?")).collect::<Vec<_>>().join(" in state "))
                .collect();
            let detail = format!("the upgrade of the catalogue stands still: {}", steps.join(", "));
            Err(Failure::new(Reason::UpgradeNotSettled, detail))
        })
    }

    async fn settle(&self, session: &mut dyn Session, left: &mut Rows) -> Result<(), Failure> {
        let mut last = None;
        loop {
            *left = rows(session, Ask::Unsettled).await?;
            if left.is_empty() {
                return Ok(());
            }
            let now = (left.clone(), rows(session, Ask::Upgrades).await?);
            if last.as_ref() != Some(&now) {
                self.watch.alive();
            }
            last = Some(now);
            self.watch.pause().await;
        }
    }
}
