//! What a check says: for people and for programs.

use serde_json::json;

use super::{Subject, TEXT};
use crate::{
    cli::{
        Output,
        ending::{Ending, Refusal},
        words,
    },
    worker::{Checked, Depth, plain},
};

/// Why nothing more was found.
pub(super) fn untold(subject: &Subject<'_>, output: Output, refusal: &Refusal) -> Result<String, Refusal> {
    let why = plain(&refusal.message, TEXT);
    match output {
        Output::Table if refusal.ending == Ending::Damaged => Ok(format!("fault: {why}\n")),
        Output::Table => Ok(format!("not checked: {why}\n")),
        Output::Json => super::json(subject.told(None).checked(json!({"good": false, "error": why}))),
    }
}

/// What was found, for programs.
pub(super) fn found(checked: &Checked, depth: Depth) -> serde_json::Value {
    let Checked { name: _, catalog: _, objects, elsewhere, bytes, hashed, faults, first, lost, warnings } = checked;
    json!({
        "good": *faults == 0 && *elsewhere == 0 && lost.is_none(),
        "depth": match depth {
            Depth::Presence => "presence",
            Depth::Content => "content",
        },
        "objects": objects,
        "elsewhere": elsewhere,
        "bytes": bytes,
        "hashed": hashed,
        "faults": faults,
        "first": first.iter().map(|fault| plain(fault, TEXT)).collect::<Vec<_>>(),
        "lost": lost,
        "warnings": warnings.iter().map(|warning| plain(&warning.message, TEXT)).collect::<Vec<_>>(),
    })
}

/// What was found, for people.
pub(super) fn in_words(checked: &Checked, depth: Depth) -> String {
    let Checked { name: _, catalog: _, objects, elsewhere, bytes, hashed, faults, first, lost, warnings: _ } = checked;
    let mut text: String = lost.iter().chain(first).map(|fault| format!("fault: {}\n", plain(fault, TEXT))).collect();
    match faults.saturating_sub(first.len() as u64) {
        0 => {}
        more => text += &format!("and {more} more\n"),
    }
    let size = words::size(*bytes);
    text += &match (depth, *faults) {
        (Depth::Presence, 0) if *elsewhere > 0 => format!("found {objects} objects ({size})"),
        (Depth::Presence, 0) => format!("found {objects} objects ({size}), all that there must be"),
        (Depth::Presence, faults) => format!("{faults} of {objects} objects are missing or have another size"),
        (Depth::Content, 0) if hashed < objects => format!(
            "checked {objects} objects ({size}): {hashed} are as they were written, {} have no SHA-256 on record and could \
             only be read",
            objects - hashed
        ),
        (Depth::Content, 0) => format!("checked {objects} objects ({size}), all as they were written"),
        (Depth::Content, faults) => format!("{faults} of {objects} objects are damaged or missing"),
    };
    if *elsewhere > 0 {
        text += &format!("; {elsewhere} more lie in earlier folders and were not looked at");
    }
    text + "\n"
}

/// What is said in the place of a backup that is not there any more. For programs there is no such backup.
pub(super) const fn gone(output: Output) -> &'static str {
    match output {
        Output::Table => "deleted meanwhile\n",
        Output::Json => "",
    }
}

/// What came of checking several backups.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Whether anything was said of one.
    pub begun: bool,
    /// Those that were checked, or should have been.
    pub backups: u64,
    /// Those of which something is damaged.
    pub damaged: u64,
    /// Those of which it could not be told, or not of everything.
    pub open: u64,
    /// What is said of places without any, and of backups that were deleted meanwhile.
    pub aside: Vec<String>,
}

impl Tally {
    /// For people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self { backups: 0, .. } => String::new(),
            Self { backups, damaged, open, .. } => {
                let damaged =
                    if *damaged == 0 { "nothing damaged was found".into() } else { format!("{damaged} damaged") };
                let open = if *open == 0 { String::new() } else { format!(", {open} could not be checked whole") };
                format!("\nBackups checked: {backups}; {damaged}{open}\n")
            }
        }
    }
}
