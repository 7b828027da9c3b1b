//! How far the attempt is, whether it still moves, and whether it must stop.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Failure, Reporter, Untold};
use crate::api::{Progress, Reason};

/// Progress is written at most this often.
const BEAT: Duration = Duration::from_secs(10);

/// What somebody else does is looked at this often.
const PACE: Duration = Duration::from_secs(5);

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an attempt's steps share: its progress, its deadlines and its end.
pub struct Watch {
    reporter: Arc<dyn Reporter>,
    clock: Clock,
    run: String,
    run_deadline: Duration,
    stall_deadline: Duration,
    started: Instant,
    began: Timestamp,
    progress: bool,
    pace: Duration,
    every: Duration,
    state: Mutex<State>,
    hurry: CancellationToken,
    stop: CancellationToken,
    cause: OnceLock<Failure>,
    superseded: AtomicBool,
}

struct State {
    step: &'static str,
    objects: u64,
    bytes: u64,
    total: Option<(u64, u64)>,
    moved: Instant,
    last: Option<(Instant, u64)>,
}

impl Watch {
    /// No deadline of its own: the Job has one, or a person waits as long as they want to.
    pub const NEVER: Duration = Duration::from_hours(24 * 366);

    /// Begins to watch an attempt. The token ends it from outside; it is not cancelled when the attempt ends by itself.
    #[must_use]
    pub fn new(
        reporter: Arc<dyn Reporter>,
        clock: Clock,
        run: &str,
        (run_deadline, stall_deadline): (Duration, Duration),
        outside: CancellationToken,
    ) -> Self {
        let hurry = outside.child_token();
        let stop = hurry.child_token();
        let now = Instant::now();
        let state = State { step: "starting", objects: 0, bytes: 0, total: None, moved: now, last: None };
        let began = clock();
        Self {
            reporter,
            clock,
            began,
            progress: true,
            pace: PACE,
            every: BEAT,
            run: run.into(),
            run_deadline,
            stall_deadline,
            started: now,
            state: Mutex::new(state),
            hurry,
            stop,
            cause: OnceLock::new(),
            superseded: AtomicBool::new(false),
        }
    }

    /// Looks more or less often at what others do than every five seconds.
    #[must_use]
    pub fn with_pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// Tells progress more or less often than every ten seconds.
    #[must_use]
    pub fn with_beat(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// How long that pause is.
    pub(super) const fn pace(&self) -> Duration {
        self.pace
    }

    /// The pause between two looks at what somebody else does.
    pub async fn pause(&self) {
        sleep(self.pace).await;
    }

    /// For a kind whose status has no progress.
    #[must_use]
    pub fn without_progress(self) -> Self {
        Self { progress: false, ..self }
    }

    /// When the attempt began.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// How long the attempt has been going on.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A new step begins: its counters start at nothing.
    pub fn step(&self, step: &'static str) {
        tracing::info!(step, "step");
        let mut state = self.state();
        *state = State { step, objects: 0, bytes: 0, total: None, moved: Instant::now(), last: None };
    }

    /// What the step has to do.
    pub fn total(&self, objects: u64, bytes: u64) {
        self.state().total = Some((objects, bytes));
    }

    /// Some of it was done.
    pub fn done(&self, objects: u64, bytes: u64) {
        let mut state = self.state();
        state.objects += objects;
        state.bytes += bytes;
        state.moved = Instant::now();
    }

    /// How much there is now, of a step that somebody else does. Standing still is not moving.
    pub fn seen(&self, objects: u64, bytes: u64) {
        let mut state = self.state();
        if (state.objects, state.bytes) != (objects, bytes) {
            (state.objects, state.bytes, state.moved) = (objects, bytes, Instant::now());
        }
    }

    /// Waiting for something that need not move by itself.
    pub fn alive(&self) {
        self.state().moved = Instant::now();
    }

    /// Ends the attempt. The first cause counts.
    pub fn stop(&self, cause: Failure) {
        tracing::warn!(reason = %cause.reason, detail = cause.detail, "the attempt must stop");
        let _: Result<(), Failure> = self.cause.set(cause);
        self.stop.cancel();
    }

    /// Comes when the attempt must stop, with why.
    pub async fn stopped(&self) -> Failure {
        self.stop.cancelled().await;
        self.cause()
    }

    /// Whether another run has taken over. Nothing this worker says counts any more, and it must not commit.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    fn supersede(&self, why: &str) {
        self.superseded.store(true, Ordering::Release);
        self.stop(Failure::interrupted(Reason::CommitConflict, why));
        self.hurry.cancel();
    }

    /// Why the attempt must stop, once it must.
    pub(super) fn cause(&self) -> Failure {
        let interrupted = || Failure::interrupted(Reason::Interrupted, "the worker was told to stop");
        self.cause.get_or_init(interrupted).clone()
    }

    /// Cancelled when the attempt must stop.
    #[must_use]
    pub const fn token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when somebody waits for the end: the worker was told to stop, or another has taken over. At a deadline of
    /// its own it must stop, and has time.
    #[must_use]
    pub const fn hurry(&self) -> &CancellationToken {
        &self.hurry
    }

    /// Carries on unless the attempt must stop.
    pub async fn race<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            cause = self.stopped() => Err(cause),
            done = work => Ok(done),
        }
    }

    /// Reports progress and minds the deadlines, until dropped.
    pub async fn beat(&self) -> Infallible {
        let every = self.every.min(self.stall_deadline / 3).max(Duration::from_millis(100));
        loop {
            self.mind_deadlines();
            match self.tell(None).await {
                Ok(()) => {}
                Err(Untold::Superseded(why)) => self.supersede(&why),
                Err(untold @ (Untold::Later(_) | Untold::Refused(_))) => tracing::warn!(%untold, "no progress"),
            }
            sleep(every).await;
        }
    }

    fn mind_deadlines(&self) {
        let (standing, step) = {
            let state = self.state();
            (state.moved.elapsed(), state.step)
        };
        if self.elapsed() > self.run_deadline {
            let limit = self.run_deadline.as_secs();
            self.stop(Failure::new(
                Reason::RunDeadlineExceeded,
                format!("the attempt took longer than {limit} s ({step})"),
            ));
        } else if standing > self.stall_deadline {
            let limit = self.stall_deadline.as_secs();
            self.stop(Failure::new(Reason::Stalled, format!("nothing moved for {limit} s ({step})")));
        }
    }

    /// Asks whether this run still counts. Silence of the API server is no refusal: the commit itself admits only one.
    pub async fn still_counts(&self) -> Result<(), Failure> {
        match self.tell(None).await {
            Err(Untold::Superseded(why)) => {
                self.supersede(&why);
                Err(self.cause())
            }
            Ok(()) | Err(Untold::Later(_) | Untold::Refused(_)) => Ok(()),
        }
    }

    /// Sends the status once: progress, and the report when there is one.
    pub async fn tell(&self, report: Option<&Value>) -> Result<(), Untold> {
        if !self.progress {
            return self.reporter.send(&serde_json::json!({"report": report})).await;
        }
        let progress = self.progress(report.map(|r| r["outcome"] == "Succeeded"));
        let progress = serde_json::to_value(progress).map_err(|e| Untold::Refused(e.to_string()))?;
        let status = match report {
            Some(report) => serde_json::json!({"report": report, "progress": progress}),
            None => serde_json::json!({"progress": progress}),
        };
        self.reporter.send(&status).await
    }

    fn progress(&self, ended: Option<bool>) -> Progress {
        let mut state = self.state();
        let now = Instant::now();
        let rate = state.last.and_then(|(then, bytes)| {
            let seconds = now.duration_since(then).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = state.bytes.saturating_sub(bytes) as f64 / seconds;
            #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
            (seconds > 0.0).then_some(rate as i64)
        });
        state.last = Some((now, state.bytes));
        let left = state.total.map(|(_, total)| signed(total.saturating_sub(state.bytes)));
        Progress {
            run: self.run.clone(),
            heartbeat: Some(Time(self.now())),
            text: if ended == Some(true) { "100%".into() } else { text(&state) },
            step: state.step.into(),
            objects: signed(state.objects),
            total_objects: state.total.map(|(objects, _)| signed(objects)),
            bytes: signed(state.bytes),
            total_bytes: state.total.map(|(_, bytes)| signed(bytes)),
            bytes_per_second: rate,
            eta_seconds: left.zip(rate.filter(|r| *r > 0)).map(|(left, rate)| left / rate),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One short text for people: it stands in a column of `kubectl get`.
fn text(state: &State) -> String {
    match state.total {
        Some((_, total)) if total > 0 => percent(state.bytes, total),
        // Where nobody knows the bytes beforehand.
        Some((total, _)) if total > 0 => percent(state.objects, total),
        Some(_) | None => state.step.split(' ').next().unwrap_or_default().into(),
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{}%", part.min(whole).saturating_mul(100) / whole)
}

/// A count for a status, whose numbers are signed.
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    struct Slow(Mutex<Vec<(Duration, Value)>>, Instant);

    #[async_trait]
    impl Reporter for Slow {
        async fn send(&self, status: &Value) -> Result<(), Untold> {
            self.0.lock().unwrap().push((self.1.elapsed(), status.clone()));
            sleep(Duration::from_secs(2)).await;
            Err(Untold::Later("the API server is away".into()))
        }
    }

    fn watch(stall: Duration) -> (Arc<Slow>, Watch) {
        let slow = Arc::new(Slow(Mutex::default(), Instant::now()));
        let clock: Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
        let watch = Watch::new(slow.clone(), clock, "u-1", (Duration::from_hours(1), stall), CancellationToken::new());
        (slow, watch)
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_comes_often_enough_and_not_too_often() {
        for (stall, least, most) in [(Duration::from_mins(15), 5, 7), (Duration::from_secs(9), 11, 13)] {
            let (slow, watch) = watch(stall);
            let end = async {
                for _ in 0..60 {
                    sleep(Duration::from_secs(1)).await;
                    watch.done(1, 10);
                }
            };
            tokio::select! {
                never = watch.beat() => match never {},
                () = end => {}
            }
            let beats = slow.0.lock().unwrap().len();
            assert!((least..=most).contains(&beats), "{beats} beats in a minute with {stall:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_has_a_rate_and_an_end_in_sight() {
        let (slow, watch) = watch(Duration::from_mins(15));
        watch.step("copying");
        watch.total(10, 1000);
        assert!(watch.tell(None).await.is_err());
        watch.done(1, 100);
        sleep(Duration::from_secs(8)).await;
        assert!(watch.tell(None).await.is_err());
        assert!(watch.tell(Some(&serde_json::json!({"outcome": "Succeeded"}))).await.is_err());
        let told = slow.0.lock().unwrap();
        let last = &told[1].1["progress"];
        assert_eq!(
            (&last["text"], &last["bytesPerSecond"], &last["etaSeconds"]),
            (&"10%".into(), &10.into(), &90.into())
        );
        assert_eq!((&last["run"], &told[2].1["progress"]["text"]), (&"u-1".into(), &"100%".into()));
    }
}
