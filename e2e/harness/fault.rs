//! What a proxy does to which request. The same words for HTTP and SQL.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

/// What kind of request it is; each kind is numbered by itself, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP: anything that changes something.
    Write,
    /// HTTP: GET and HEAD.
    Read,
    /// Kubernetes: a GET that watches.
    Watch,
    /// SQL: a statement.
    Query,
}

/// A request as the proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    pub index: usize,
    /// `POST /apis/…` or the statement.
    pub text: String,
}

/// What holds requests back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn passed(&self) {
        // A closed semaphore lets everybody go on: the gate is open.
        drop(self.0.acquire().await);
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Gate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gate {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request never arrives; the connection breaks.
    Drop,
    /// It is done, but the reply is lost and the connection breaks: applied, unseen.
    Swallow,
    /// It is done and answered; only the hook runs.
    After,
    /// It waits, then it is done and answered.
    Stall(Duration),
    /// HTTP only: it waits until the gate is opened, then it is done and answered.
    Hold(Gate),
    /// SQL only: it arrives, and after this time the connection breaks, whether or not it is done.
    Cut(Duration),
    /// HTTP only: answered by the proxy with this status and JSON or XML, never done.
    Answer(u16, String),
    /// HTTP only: one bit of the request's body changes on the way.
    FlipRequest,
    /// HTTP only: the last bit of the reply changes on the way.
    FlipReply,
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send>;
type Hook = Arc<dyn Fn(&Seen) + Send + Sync>;

struct Rule {
    matches: Matches,
    times: usize,
    fault: Fault,
    hook: Hook,
}

/// The rules of one proxy, and all it has seen.
#[derive(Default, Clone)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What happens to one request.
pub(super) struct Verdict {
    pub seen: Seen,
    pub fault: Option<Fault>,
    hook: Option<Hook>,
}

impl Verdict {
    pub(super) fn strike(&self) {
        if let Some(hook) = &self.hook {
            hook(&self.seen);
        }
    }
}

/// The request of this kind with this number.
pub fn nth(kind: Kind, index: usize) -> impl Fn(&Seen) -> bool + Send + 'static {
    move |seen| seen.kind == kind && seen.index == index
}

/// Every request whose text has this in it.
pub fn with_text(text: &str) -> impl Fn(&Seen) -> bool + Send + 'static {
    let text = text.to_string();
    move |seen| seen.text.contains(&text)
}

impl Faults {
    /// The next request that matches meets the fault; the hook runs at that moment (for [`Fault::Swallow`] and
    /// [`Fault::After`] when the request is done).
    pub fn arm(
        &self,
        matches: impl Fn(&Seen) -> bool + Send + 'static,
        fault: Fault,
        hook: impl Fn(&Seen) + Send + Sync + 'static,
    ) {
        self.arm_times(1, matches, fault, hook);
    }

    /// The same for so many requests; `usize::MAX` for an outage.
    pub fn arm_times(
        &self,
        times: usize,
        matches: impl Fn(&Seen) -> bool + Send + 'static,
        fault: Fault,
        hook: impl Fn(&Seen) + Send + Sync + 'static,
    ) {
        let rule = Rule { matches: Box::new(matches), times, fault, hook: Arc::new(hook) };
        self.rules.lock().expect("rules").push(rule);
    }

    /// No faults any more.
    pub fn disarm(&self) {
        self.rules.lock().expect("rules").clear();
    }

    /// Forgets the rules and starts counting at 0.
    pub fn reset(&self) {
        self.disarm();
        self.seen.lock().expect("seen").clear();
    }

    /// All requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("seen").clone()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.seen.lock().expect("seen").iter().filter(|seen| seen.kind == kind).count()
    }

    pub(super) fn judge(&self, kind: Kind, text: String) -> Verdict {
        let mut all = self.seen.lock().expect("seen");
        let index = all.iter().filter(|seen| seen.kind == kind).count();
        let seen = Seen { kind, index, text };
        all.push(seen.clone());
        drop(all);
        let mut rules = self.rules.lock().expect("rules");
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.matches)(&seen));
        let Some(rule) = rule else { return Verdict { seen, fault: None, hook: None } };
        rule.times -= 1;
        Verdict { seen, fault: Some(rule.fault.clone()), hook: Some(rule.hook.clone()) }
    }
}
