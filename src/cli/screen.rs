//! What people are told beside the result: on standard error, with colours where they are wanted.

use std::io::{self, ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};

use super::ending::{Ending, Refusal};

/// Prints a result. A reader who has read enough, such as `head`, is no error.
///
/// # Errors
/// When it cannot be written.
pub fn print(text: &str) -> Result<(), Refusal> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The same, for what was written elsewhere.
///
/// # Errors
/// When it could not be written.
pub fn written(outcome: io::Result<()>) -> Result<(), Refusal> {
    match outcome {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Refusal { ending: Ending::Again, message: format!("failed to write the result: {e}") })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says what a command does.
pub fn note(verb: &str, text: &str) {
    say(verb, Style::new(), text);
}

/// Says what is good to know.
pub fn warn(text: &str) {
    say("warning", AnsiColor::Yellow.on_default().bold(), text);
}

/// Says why it failed.
pub fn error(text: &str) {
    say("error", AnsiColor::Red.on_default().bold(), text);
}

fn say(what: &str, style: Style, text: &str) {
    // Nobody is left to be told that nobody reads this.
    let _: io::Result<()> = writeln!(anstream::stderr().lock(), "{style}{what}:{style:#} {text}");
}
