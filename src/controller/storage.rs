//! What happens when a `BackupStorage` is applied.
//!
//! | seen | decision |
//! |---|---|
//! | new, or its spec has changed | a probe on record, Job `<name>-probe-<n>`: `Probing` |
//! | probe on record, Job never made | the Job is made |
//! | probe silent or late | its Job is deleted, then judged |
//! | probe over, its report: success | `Ready`, or `ReadOnly` when the spec says so |
//! | probe over, otherwise | `Failed` with the reason; again after 10 s, doubled up to an hour |
//! | `mo-backup.io/retry` | a probe at once |
//! | ready, and a Backup of it has ended or is gone | a probe that counts again; it stays `Ready` meanwhile |
//! | ready, and imported Backups wait to be looked up | the same; its Job may list Backups, as with `adopt: All` |
//! | `mo-backup.io/sweep-orphans` | the same, with what failed attempts have left to be removed |
//! | the report names another owner of the repository | `ReadOnly`, and ready for those who read |
//! | ready for as long as `probeEvery` | the same |
//! | deleted | nothing: Kubernetes removes the Jobs, and the data is the Backups' |

mod decide;
mod observe;
mod users;

use jiff::Timestamp;

pub use decide::decide;
use decide::{is_routine, tell};
pub use observe::Observed;
pub use users::Users;

use super::{
    Context, Error,
    course::{POLL, SOON},
    decision::{Decision, Draft, Kind, Refusal, Requeue, Standing, Written},
};
use crate::api::{BackupStorage, BackupStoragePhase, Reason};

impl Kind for BackupStorage {
    type Observed = Observed;
    type Phase = BackupStoragePhase;
    const ONE_SHOT: bool = false;

    fn written(&self) -> Written<BackupStoragePhase> {
        let status = self.status.clone().unwrap_or_default();
        Written { phase: status.phase, run: status.run }
    }

    fn takes_turns(&self) -> bool {
        false
    }

    async fn observe(ctx: &Context, object: &Self) -> Result<Option<Observed>, Error> {
        observe::observe(ctx, object).await
    }

    fn object(seen: &Observed) -> &Self {
        &seen.storage
    }

    fn decide(seen: &Observed, now: Timestamp) -> Decision<BackupStoragePhase> {
        decide(seen, now)
    }

    fn refused(object: &Self, refusal: &Refusal, now: Timestamp) -> Decision<BackupStoragePhase> {
        let draft = Draft::new(object.written(), object.metadata.generation, false, now);
        let phase = draft.status.phase.unwrap_or(BackupStoragePhase::Pending);
        match refusal {
            // Its Backups find out by themselves, and are let go for it.
            Refusal::NamespaceTerminating if is_routine(&draft) => draft.then(Requeue::OnChange),
            Refusal::NamespaceTerminating => {
                draft.say(phase, Standing::Held, Reason::NamespaceTerminating, "").then(Requeue::OnChange)
            }
            Refusal::NameTaken => draft.then(Requeue::After(SOON)),
            Refusal::Refused(words) => {
                let message = format!("Kubernetes refused the Job: {words}");
                tell(draft, Standing::Stuck, Reason::JobRefused, &message).then(Requeue::After(POLL))
            }
        }
    }
}
