//! The attempts of one Task: what the Job and the Pods of an attempt mean, and what a worker's end means. Pure.
//!
//! A worker is over when its Job is Complete or Failed, or gone, *and* no Pod of its run is alive: a Pod can outlive its
//! Job. A Job that is absent though it is known to have been made has been deleted by somebody; one that was never made
//! is made.

use std::time::Duration;

use jiff::Timestamp;

use super::seen::{JobEnd, JobSeen, PodSeen, Workers};
use crate::{
    api::{AttemptRecord, Deadlines, Outcome, Reason, RunStatus, Said},
    task::{InvalidSpec, duration},
};

/// How long the operator waits beyond a worker's own deadlines: the worker knows better why it stops.
pub const GRACE: Duration = Duration::from_mins(1);
/// How long after its grace period a deleted Pod may linger before its node counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// The wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Limits of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the Job's creation to the running container.
    pub start: Duration,
    /// From the container's start to its end.
    pub run: Duration,
    /// Between two signs of life.
    pub stall: Option<Duration>,
}

impl Limits {
    /// Those of a spec that says nothing.
    pub const DEFAULT: Self =
        Self { start: Duration::from_mins(10), run: Duration::from_hours(24), stall: Some(Duration::from_mins(15)) };

    /// Those of a spec.
    ///
    /// # Errors
    /// When one of them is no duration.
    pub fn of(deadlines: &Deadlines) -> Result<Self, InvalidSpec> {
        Ok(Self {
            start: duration("spec.deadlines.start", &deadlines.start)?,
            run: duration("spec.deadlines.run", &deadlines.run)?,
            stall: Some(duration("spec.deadlines.stall", &deadlines.stall)?),
        })
    }
}

/// An attempt that has not been judged yet, and what is seen of it.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Its record.
    pub record: &'a AttemptRecord,
    /// Its fence.
    pub run: &'a str,
    /// Whether the worker of this run has written anything.
    pub heard: bool,
    /// The worker's last sign of life, by the API server's clock where it says so.
    pub heartbeat: Option<Timestamp>,
    /// Jobs and Pods of the object.
    pub workers: &'a Workers,
    /// Its limits.
    pub limits: Limits,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// It is on record, and its Job was never made.
    ToMake,
    /// A Job that is not ours has its name.
    Taken {
        /// The name.
        job: String,
    },
    /// The Job is made and its container does not run yet.
    Starting {
        /// What it waits for.
        waiting: Option<String>,
        /// When that has lasted too long.
        until: Timestamp,
    },
    /// The worker runs.
    Running {
        /// When the next deadline ends.
        until: Timestamp,
    },
    /// It must be stopped.
    Overdue {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
    },
    /// It is being stopped: the Job is deleted, or gone with its Pod still there.
    Stopping,
    /// Its node cannot be reached; the worker may be alive.
    Lost {
        /// The Pod.
        pod: String,
        /// The node.
        node: String,
    },
    /// The worker has ended, for sure.
    Over(Ending),
}

/// How a worker ended, as far as Kubernetes knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Exit code 0.
    Complete,
    /// Anything else.
    Failed {
        /// In Kubernetes' words.
        detail: String,
        /// Why Kubernetes ended the Pod, if it did.
        taken: Option<String>,
    },
    /// Somebody deleted its Job.
    Vanished,
}

impl Stage {
    /// The same, with another look no later than then.
    fn by(self, then: Option<Timestamp>) -> Self {
        let Some(then) = then else { return self };
        match self {
            Self::Starting { waiting, until } => Self::Starting { waiting, until: until.min(then) },
            Self::Running { until } => Self::Running { until: until.min(then) },
            stage @ (Self::ToMake
            | Self::Taken { .. }
            | Self::Overdue { .. }
            | Self::Stopping
            | Self::Lost { .. }
            | Self::Over(_)) => stage,
        }
    }
}

impl Open<'_> {
    /// The Job of this run.
    #[must_use]
    pub fn job(&self) -> Option<&JobSeen> {
        self.workers.jobs.iter().find(|j| j.run == self.run)
    }

    /// The Pod of this run: a live one rather than a dead one.
    #[must_use]
    pub fn pod(&self) -> Option<&PodSeen> {
        self.pods().find(|p| p.alive).or_else(|| self.pods().last())
    }

    fn pods(&self) -> impl Iterator<Item = &PodSeen> {
        self.workers.pods.iter().filter(|p| p.run == self.run)
    }

    /// What is seen of the attempt, at this time.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Stage {
        let alive = self.pods().find(|p| p.alive);
        if let Some(pod) = alive.filter(|p| p.gone_by.is_some_and(|t| now >= after(t, LOST_AFTER))) {
            return Stage::Lost { pod: pod.name.clone(), node: pod.node.clone().unwrap_or_else(|| "unknown".into()) };
        }
        match (self.job(), alive) {
            (Some(JobSeen { end: Some(end), .. }), None) => Stage::Over(self.ending(end)),
            (Some(JobSeen { end: Some(_), .. }) | None, Some(_)) => Stage::Stopping,
            (Some(job), _) if job.deleting => Stage::Stopping,
            // Nothing more may be heard of a node that is gone: a deleted Pod is looked at again when it counts as lost.
            (Some(job), _) => {
                self.at_work(job, now).by(alive.and_then(|p| p.gone_by).map(|gone| after(gone, LOST_AFTER)))
            }
            (None, None) if self.was_made() => Stage::Over(Ending::Vanished),
            (None, None) => match &self.workers.stranger {
                Some(job) => Stage::Taken { job: job.clone() },
                None => Stage::ToMake,
            },
        }
    }

    /// Its Job's UID is on record, or something was heard or seen of its worker.
    fn was_made(&self) -> bool {
        self.record.job_uid.is_some() || self.heard || self.pods().next().is_some()
    }

    fn at_work(&self, job: &JobSeen, now: Timestamp) -> Stage {
        if let Some(reason) = self.record.reason.as_deref().and_then(Reason::parse) {
            return Stage::Overdue { reason, message: self.record.message.clone().unwrap_or_default() };
        }
        let pod = self.pod();
        let Some(started) = pod.and_then(|p| p.started) else {
            let until = after(job.created, self.limits.start);
            let waiting = pod.and_then(|p| p.waiting.clone());
            if now < until {
                return Stage::Starting { waiting, until };
            }
            let why = match (waiting, pod) {
                (Some(waiting), _) => format!(" It waits for: {waiting}"),
                (None, Some(_)) => String::new(),
                (None, None) => format!(" There is no Pod at all; the events of Job {} say why", job.name),
            };
            return Stage::Overdue {
                reason: Reason::StartDeadlineExceeded,
                message: format!("the Pod did not start within {}.{why}", human(self.limits.start)),
            };
        };
        let run_until = after(after(started, self.limits.run), GRACE);
        if now >= run_until {
            return Stage::Overdue {
                reason: Reason::RunDeadlineExceeded,
                message: format!("the attempt took longer than {}", human(self.limits.run)),
            };
        }
        let Some(stall) = self.limits.stall else { return Stage::Running { until: run_until } };
        let last_sign = self.heartbeat.map_or(started, |h| h.max(started)).max(job.created);
        let stall_until = after(after(last_sign, stall), GRACE);
        if now >= stall_until {
            return Stage::Overdue {
                reason: Reason::Stalled,
                message: format!("nothing was heard of the worker for longer than {}", human(stall)),
            };
        }
        Stage::Running { until: run_until.min(stall_until) }
    }

    fn ending(&self, end: &JobEnd) -> Ending {
        match end {
            JobEnd::Complete => Ending::Complete,
            JobEnd::Failed { detail } => {
                let pod = self.pods().find_map(|p| p.ended.as_ref().map(|ended| (p, ended)));
                let detail = match pod {
                    Some((pod, ended)) => {
                        let words = pod.last_words.as_ref().map_or_else(String::new, |w| format!(": {w}"));
                        format!("Pod {} ended: {ended}{words}", pod.name)
                    }
                    None => detail.clone(),
                };
                let taken = self.pods().find_map(|p| Some(format!("Pod {}: {}", p.name, p.taken.as_ref()?)));
                Ending::Failed { detail, taken }
            }
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it was for.
    Done,
    /// It failed; another attempt can help.
    Again(Reason, String),
    /// It failed; another attempt cannot help.
    Never(Reason, String),
}

/// Judges an attempt whose worker is over. A success on record counts more than an order to stop that came too late.
#[must_use]
pub fn judge(record: &AttemptRecord, ending: &Ending, said: Option<&Said>) -> Verdict {
    let said = said.filter(|s| s.outcome == Outcome::Succeeded || record.reason.is_none());
    if let Some(said) = said {
        let reason = said.reason.as_deref().and_then(Reason::parse);
        let message = said.message.clone().unwrap_or_default();
        return match said.outcome {
            Outcome::Succeeded => Verdict::Done,
            Outcome::Interrupted => {
                let message = match ending {
                    // The worker knows that it was told to stop; Kubernetes knows why.
                    Ending::Failed { taken: Some(taken), detail: _ } => {
                        format!("{}. {taken}", message.trim_end_matches('.'))
                    }
                    Ending::Failed { taken: None, detail: _ } | Ending::Complete | Ending::Vanished => message,
                };
                Verdict::Again(reason.unwrap_or(Reason::Interrupted), message)
            }
            Outcome::Failed => {
                let reason = reason.unwrap_or(Reason::Internal);
                if said.retryable { Verdict::Again(reason, message) } else { Verdict::Never(reason, message) }
            }
        };
    }
    if let Some(reason) = record.reason.as_deref().and_then(Reason::parse) {
        let message = record.message.clone().unwrap_or_default();
        return if reason.is_permanent() { Verdict::Never(reason, message) } else { Verdict::Again(reason, message) };
    }
    match ending {
        Ending::Complete => {
            Verdict::Again(Reason::WorkerFailed, "the worker ended without a report, though with exit code 0".into())
        }
        Ending::Failed { detail, taken: _ } => {
            Verdict::Again(Reason::WorkerFailed, format!("the worker ended without a report. {detail}"))
        }
        Ending::Vanished => {
            Verdict::Again(Reason::JobVanished, format!("Job {} was deleted before it had ended", record.job))
        }
    }
}

/// The attempt that is on record and not judged yet.
#[must_use]
pub fn open_record(run: &RunStatus) -> Option<&AttemptRecord> {
    run.attempts.last().filter(|a| a.end_time.is_none() && a.number == run.attempt)
}

/// The wait after this many failed attempts in a row: 10 s, doubled each time, at most `cap`.
#[must_use]
pub fn backoff(failed: u32, cap: Duration) -> Duration {
    let doubled = 2_u32.checked_pow(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(doubled).min(cap)
}

/// A time that much later; the end of time if there is none.
#[must_use]
pub fn after(t: Timestamp, d: Duration) -> Timestamp {
    t.checked_add(d).unwrap_or(Timestamp::MAX)
}

/// How long until then; zero when it has passed.
#[must_use]
pub fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A duration as specs write it.
#[must_use]
pub fn human(d: Duration) -> String {
    let seconds = d.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let part = |n: u64, unit: &str| if n > 0 { format!("{n}{unit}") } else { String::new() };
    let text = format!("{}{}{}", part(h, "h"), part(m, "m"), part(s, "s"));
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests;
