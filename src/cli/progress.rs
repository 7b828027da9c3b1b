//! How far a command is: a bar on a terminal, else a line now and then. It goes to standard error, the result does not.

use std::{
    io::{self, IsTerminal as _, Write},
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::words;
use crate::{
    api::Progress,
    worker::{self, Reporter, Untold, Watch},
};

/// What does not move for this long is given up.
pub const STALL: Duration = Duration::from_mins(15);

/// A bar is drawn this often.
const BEAT: Duration = Duration::from_millis(200);

/// A line is written this often while a step goes on.
const LINE: Duration = Duration::from_secs(30);

/// A bar whose end is known, and what stands before its text beside the verb: `: [` 16 `] `.
const KNOWN: &str = "{prefix} [{bar:16}] {wide_msg}";
const BAR: usize = 21;

/// One whose end is not, and the same of it.
const UNKNOWN: &str = "{prefix} {spinner} {wide_msg}";
const SPINNER: usize = 4;

/// A watch whose progress is shown. Dropped, it leaves nothing on the terminal; that comes before anything is printed.
pub struct Shown {
    watch: Watch,
    view: Arc<View>,
}

impl Deref for Shown {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.view.clear();
    }
}

/// Begins to watch a command and to show its progress.
#[must_use]
pub fn watch(verb: &str, run: &str, stop: CancellationToken) -> Shown {
    shown(screen(verb), |view| Watch::new(view, worker::wall(), run, (Watch::NEVER, STALL), stop))
}

/// The same for work that does not say how far it is.
#[must_use]
pub fn quiet(verb: &str, run: &str, stop: CancellationToken) -> Shown {
    shown(screen(verb), |view| Watch::new(view, worker::wall(), run, (Watch::NEVER, Watch::NEVER), stop))
}

/// The same for work that asks no server: nobody minds how often it is looked at what was read.
#[must_use]
pub fn brisk(verb: &str, run: &str, stop: CancellationToken) -> Shown {
    shown(screen(verb), |view| Watch::new(view, worker::wall(), run, (Watch::NEVER, STALL), stop).with_pace(BEAT))
}

fn shown(view: View, watch: impl FnOnce(Arc<View>) -> Watch) -> Shown {
    let view = Arc::new(view);
    Shown { watch: watch(view.clone()).with_beat(BEAT), view }
}

fn screen(verb: &str) -> View {
    if io::stderr().is_terminal() {
        let width = || terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        View::bar(verb, ProgressDrawTarget::stderr(), width)
    } else {
        View::lines(verb, Box::new(io::stderr()))
    }
}

/// Where progress is seen.
enum View {
    /// On a terminal.
    Bar { verb: String, bar: ProgressBar, width: fn() -> usize, seen: Mutex<Seen> },
    /// In a log.
    Lines { verb: String, out: Mutex<Box<dyn Write + Send>>, seen: Mutex<Seen> },
}

/// What was seen of a step.
#[derive(Default)]
struct Seen {
    step: String,
    /// When the step began, and how much was done then.
    began: Option<(Instant, i64)>,
    said: Option<Instant>,
}

impl Seen {
    /// Takes what is told. Whether the step is a new one, and how many bytes a second it has moved since it began: from
    /// one beat to the next the rate jumps too much to be read.
    fn take(&mut self, progress: &Progress) -> (bool, Option<i64>) {
        let now = Instant::now();
        let fresh = self.step != progress.step;
        if fresh {
            *self = Self { step: progress.step.clone(), began: Some((now, progress.bytes)), said: None };
        }
        let rate = self.began.and_then(|(began, bytes)| {
            let millis = i64::try_from(now.duration_since(began).as_millis()).ok()?;
            (millis >= 1000).then(|| progress.bytes.saturating_sub(bytes).saturating_mul(1000) / millis)
        });
        (fresh, rate.filter(|rate| *rate > 0))
    }
}

impl View {
    fn bar(verb: &str, target: ProgressDrawTarget, width: fn() -> usize) -> Self {
        // Nothing in it has a colour.
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(format!("{verb}:"));
        Self::Bar { verb: verb.into(), bar, width, seen: Mutex::default() }
    }

    fn lines(verb: &str, out: Box<dyn Write + Send>) -> Self {
        Self::Lines { verb: verb.into(), out: Mutex::new(out), seen: Mutex::default() }
    }

    fn clear(&self) {
        match self {
            Self::Bar { bar, .. } => bar.finish_and_clear(),
            Self::Lines { .. } => {}
        }
    }

    fn show(&self, progress: &Progress) {
        match self {
            Self::Bar { verb, bar, width, seen } => {
                let (_, rate) = lock(seen).take(progress);
                let whole = whole(progress);
                let mut parts = numbers(progress, rate);
                // A bar says how far it is; without one the step is all there is.
                parts.insert(if whole.is_some() { parts.len() } else { 0 }, progress.step.clone());
                let taken = verb.len() + if whole.is_some() { BAR } else { SPINNER };
                bar.set_style(style(if whole.is_some() { KNOWN } else { UNKNOWN }));
                bar.set_message(fitting(parts, width().saturating_sub(taken)));
                match whole {
                    Some((done, whole)) => {
                        bar.set_length(whole);
                        bar.set_position(done.min(whole));
                    }
                    None => bar.unset_length(),
                }
                bar.tick();
            }
            Self::Lines { verb, out, seen } => {
                let mut seen = lock(seen);
                let (fresh, rate) = seen.take(progress);
                if fresh || seen.said.is_none_or(|said| said.elapsed() >= LINE) {
                    seen.said = Some(Instant::now());
                    // Nobody is left to be told that nobody reads this.
                    let text = [vec![progress.step.clone()], numbers(progress, rate)].concat().join(", ");
                    let _: io::Result<()> = writeln!(lock(out), "{verb}: {text}");
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Reporter for View {
    async fn send(&self, status: &Value) -> Result<(), Untold> {
        let progress = serde_json::from_value(status["progress"].clone());
        self.show(&progress.map_err(|e| Untold::Refused(e.to_string()))?);
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").tick_chars("-\\|/-")
}

/// The parts that fit into a width: half of a number would be another number.
fn fitting(parts: Vec<String>, width: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let join = if text.is_empty() { "" } else { ", " };
        if text.chars().count() + join.len() + part.chars().count() <= width {
            text = text + join + &part;
        }
    }
    text
}

/// How much is done of how much: bytes where they are known beforehand, else objects.
fn whole(progress: &Progress) -> Option<(u64, u64)> {
    let of = |done: i64, whole: Option<i64>| {
        let whole = whole.filter(|whole| *whole > 0)?;
        Some((done.unsigned_abs(), whole.unsigned_abs()))
    };
    of(progress.bytes, progress.total_bytes).or_else(|| of(progress.objects, progress.total_objects))
}

/// What is known of a step beside its name: `43%, 1.2 GB of 2.8 GB, 120 MB/s, 13s left, 310 of 733 objects`. What matters
/// least stands last, where a narrow terminal cuts it.
fn numbers(progress: &Progress, rate: Option<i64>) -> Vec<String> {
    let size = |bytes: i64| words::size(bytes.unsigned_abs());
    let mut parts = Vec::new();
    parts.extend(
        whole(progress).map(|(done, whole)| format!("{}%", u128::from(done.min(whole)) * 100 / u128::from(whole))),
    );
    match progress.total_bytes {
        Some(whole) if whole > 0 => parts.push(format!("{} of {}", size(progress.bytes), size(whole))),
        Some(_) | None if progress.bytes > 0 => parts.push(size(progress.bytes)),
        Some(_) | None => {}
    }
    parts.extend(rate.map(|rate| format!("{}/s", size(rate))));
    let left = progress.total_bytes.map(|whole| whole.saturating_sub(progress.bytes)).filter(|left| *left > 0);
    let left = left.zip(rate).map(|(left, rate)| Duration::from_secs((left / rate).unsigned_abs() + 1));
    parts.extend(left.map(|left| format!("{} left", words::took(left))));
    match progress.total_objects {
        Some(whole) if whole > 0 => parts.push(format!("{} of {whole} objects", progress.objects)),
        Some(_) | None if progress.objects > 0 => parts.push(format!("{} objects", progress.objects)),
        Some(_) | None => {}
    }
    parts
}

#[cfg(test)]
mod tests;
