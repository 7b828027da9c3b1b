//! Faults at chosen statements.

use std::time::Duration;

/// Which statement.
#[derive(Clone, Debug)]
pub enum When {
    /// The one at this place of [`super::Simulator::log`], from 0.
    Index(usize),
    /// Every one with this text in it, whatever its case.
    Contains(String),
}

impl When {
    /// Statements with this text in them, whatever its case.
    pub fn contains(text: &str) -> Self {
        Self::Contains(text.to_lowercase())
    }

    fn is(&self, index: usize, statement: &str) -> bool {
        match self {
            Self::Index(i) => *i == index,
            Self::Contains(text) => statement.to_lowercase().contains(text),
        }
    }
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks; the statement is not executed.
    DropBefore,
    /// The statement is executed, then the connection breaks.
    ReplyLost,
    /// The statement is executed later.
    Delay(Duration),
    /// The statement is neither executed nor answered until it is killed.
    Hang,
    /// This error; the statement is not executed.
    Error(u16, String),
    /// The server process ends; the statement is not executed.
    KillServer,
    /// A BACKUP fails after this many files, as if the disk were full.
    NoSpaceAfter(usize),
}

/// What shall happen, and how often.
#[derive(Debug, Default)]
pub struct Faults(Vec<(When, Fault, Option<u32>)>);

impl Faults {
    /// Adds one; without a count it happens every time.
    pub fn add(&mut self, when: When, fault: Fault, times: Option<u32>) {
        self.0.push((when, fault, times));
    }

    /// The fault of this statement, which is used up by it.
    pub fn take(&mut self, index: usize, statement: &str) -> Option<Fault> {
        let (_, fault, left) =
            self.0.iter_mut().find(|(when, _, left)| *left != Some(0) && when.is(index, statement))?;
        if let Some(left) = left {
            *left -= 1;
        }
        Some(fault.clone())
    }
}
