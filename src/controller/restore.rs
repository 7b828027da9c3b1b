//! What happens when a `Restore` is applied.
//!
//! | seen | decision |
//! |---|---|
//! | new; Backup, storage or spec not usable | `Pending` or `Failed` with the reason; looks again when it changes |
//! | all there | attempt *n* on record, Job `<name>-restore-<n>`: `Copying` |
//! | attempt on record, Job never made | the Job is made |
//! | worker silent or late, node lost | as for a Backup |
//! | worker over, its report: success, mode Plan | `Planned` |
//! | worker over, its report: success, no ConfigMap yet | ConfigMap `<name>-boot`, then looks again |
//! | the same with the ConfigMap, no `target.cluster` | `InPlace` |
//! | the same with `target.cluster` | attempt *n* on record, Job `<name>-proof-<n>`: `WaitingForBoot`, then `Proving` |
//! | worker over, its proof: success | `Completed` |
//! | `target.cluster` or `proof` changed meanwhile | that attempt is stopped and counts for nothing; the next one, or `InPlace` |
//! | worker over, otherwise | `Retrying`: the next attempt goes on where this one was; or `Failed` |
//! | planned, and `mode` is now Execute | the next attempt |
//! | deleted | nothing: Kubernetes removes the Jobs. What was restored stays, and so does the ConfigMap |

pub mod boot;
mod decide;
mod observe;
mod proof;

use jiff::Timestamp;

pub use decide::decide;
pub use observe::{Boot, Observed};

use super::{
    Context, Error,
    course::{POLL, SOON},
    decision::{Decision, Draft, Kind, Refusal, Requeue, Standing, Written},
};
use crate::api::{Reason, Restore, RestorePhase};

impl Kind for Restore {
    type Observed = Observed;
    type Phase = RestorePhase;
    const ONE_SHOT: bool = true;

    fn written(&self) -> Written<RestorePhase> {
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
        &seen.restore
    }

    fn decide(seen: &Observed, now: Timestamp) -> Decision<RestorePhase> {
        decide(seen, now)
    }

    fn refused(object: &Self, refusal: &Refusal, now: Timestamp) -> Decision<RestorePhase> {
        let draft = Draft::new(object.written(), object.metadata.generation, true, now);
        let phase = draft.status.phase.unwrap_or(RestorePhase::Pending);
        match refusal {
            Refusal::NamespaceTerminating => {
                draft.say(phase, Standing::Held, Reason::NamespaceTerminating, "").then(Requeue::OnChange)
            }
            Refusal::NameTaken => draft.then(Requeue::After(SOON)),
            Refusal::Refused(words) => draft
                .say(phase, Standing::Stuck, Reason::JobRefused, &format!("Kubernetes refused the Job: {words}"))
                .then(Requeue::After(POLL)),
        }
    }
}
