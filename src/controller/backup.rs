//! What happens when a `Backup` is applied.
//!
//! | seen | decision |
//! |---|---|
//! | new; storage, base, spec or named MatrixOneCluster not usable | `Pending` or `Failed` with the reason; looks again when it changes |
//! | another backup of the cluster before it | `Queued`, with its place |
//! | its turn | attempt *n* on record, finalizer, Job `<name>-<n>`: `Running` |
//! | attempt on record, Job never made | the Job is made (a crash came between) |
//! | worker silent or late | the order to stop it on record, Job deleted, waits until it is over |
//! | node lost | `NodeLost`; no other worker beside it |
//! | worker over, its report: success | `Completed` |
//! | worker over, otherwise | `Retrying` with attempt *n + 1* in a fresh prefix, or `Failed` |
//! | imported: it never runs | `Pending` until a probe of its storage has looked it up; then `Completed`, or `Failed` |
//! | deleted | worker stopped; then `Retain`: released, `Delete`: purge Job, then released |
//! | deleted with `Retain`, and its worker left files in the staging folder | one Job to remove them, then released |
//! | namespace being deleted | released; the data stays |

mod attempt;
mod decide;
mod delete;
mod imported;
mod observe;
mod plan;

use jiff::Timestamp;

pub use decide::decide;
pub use imported::is_awaited;
use observe::asked_to_retry;
pub use observe::{Base, Keeper, Observed};
pub use plan::finished;

use super::{
    Context, Error,
    course::{POLL, SOON},
    decision::{Decision, Draft, Effect, Kind, Refusal, Requeue, Standing, Written},
    run::open_record,
};
use crate::api::{Backup, BackupPhase, Reason};

impl Kind for Backup {
    type Observed = Observed;
    type Phase = BackupPhase;
    const ONE_SHOT: bool = true;

    fn written(&self) -> Written<BackupPhase> {
        let status = self.status.clone().unwrap_or_default();
        Written { phase: status.phase, run: status.run }
    }

    fn takes_turns(&self) -> bool {
        let runs = self.spec.imported.is_none() && self.metadata.deletion_timestamp.is_none();
        runs && (!finished(self) || asked_to_retry(self))
    }

    async fn observe(ctx: &Context, object: &Self) -> Result<Option<Observed>, Error> {
        observe::observe(ctx, object).await
    }

    fn object(seen: &Observed) -> &Self {
        &seen.backup
    }

    fn decide(seen: &Observed, now: Timestamp) -> Decision<BackupPhase> {
        decide(seen, now)
    }

    fn refused(object: &Self, refusal: &Refusal, now: Timestamp) -> Decision<BackupPhase> {
        let mut draft = Draft::new(object.written(), object.metadata.generation, true, now);
        // Nothing runs while its Job cannot be made.
        let phase = draft.status.phase.filter(|p| *p == BackupPhase::Deleting).unwrap_or(BackupPhase::Pending);
        match refusal {
            Refusal::NamespaceTerminating => {
                let phase = if object.metadata.deletion_timestamp.is_some() { phase } else { BackupPhase::Pending };
                // Its Job was never made, and never will be: it must not hold the turn of its MatrixOne cluster.
                if open_record(&draft.status.run).is_some() {
                    draft.close(Reason::NamespaceTerminating, None);
                }
                draft
                    .say(phase, Standing::Held, Reason::NamespaceTerminating, "")
                    .with(Effect::Release)
                    .then(Requeue::OnChange)
            }
            // Seen as a stranger's Job when we look again.
            Refusal::NameTaken => draft.then(Requeue::After(SOON)),
            Refusal::Refused(words) => draft
                .say(phase, Standing::Stuck, Reason::JobRefused, &format!("Kubernetes refused the Job: {words}"))
                .then(Requeue::After(POLL)),
        }
    }
}
