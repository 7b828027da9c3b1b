//! Logs: JSON lines on standard error for machines, plain lines on a terminal. `RUST_LOG` chooses; the default is `info`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Begins to log. Called once, at the start of a process.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        logs.with_target(false).init();
    } else {
        // Every line names its object itself; the spans of the libraries would say it twice more.
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
}
