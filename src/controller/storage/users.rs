//! The Backups of a storage, as far as its counts depend on them. Pure.

use jiff::Timestamp;

use crate::{
    api::Backup,
    controller::{backup::is_awaited, run::open_record},
};

/// What is known of the Backups that name a storage. What they left in the repository was counted by a probe; when other
/// Backups are over than the probe knew of, its counts are old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Backups of which an attempt has ended, well or badly.
    pub over: usize,
    /// When the last of these attempts ended.
    pub last: Option<Timestamp>,
    /// An attempt is under way.
    pub busy: bool,
    /// Imported Backups that a probe is to look up.
    pub awaited: usize,
    /// Imported Backups.
    pub imported: usize,
}

impl Users {
    /// Adds a Backup.
    pub fn add(&mut self, backup: &Backup) {
        self.imported += usize::from(backup.spec.imported.is_some());
        let Some(status) = &backup.status else { return };
        self.awaited += usize::from(is_awaited(backup));
        self.busy |= open_record(&status.run).is_some();
        let ended = status.run.attempts.iter().filter_map(|a| a.end_time.as_ref()).map(|t| t.0).max();
        if ended.is_some() {
            self.over += 1;
            self.last = self.last.max(ended);
        }
    }

    /// In words that differ whenever a Backup has ended or was removed: its end moves the time, its removal the number.
    #[must_use]
    pub fn words(&self) -> String {
        match self.last {
            Some(last) => format!("{}, the last at {last}", self.over),
            None => "none".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn users(attempts: &[Value]) -> Users {
        let mut users = Users::default();
        for attempts in attempts {
            let number = attempts.as_array().map_or(0, Vec::len);
            let object = json!({
                "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": "b"},
                "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}}, "storage": "st"},
                "status": {"attempt": number, "attempts": attempts}
            });
            users.add(&serde_json::from_value(object).unwrap());
        }
        users
    }

    fn ended(number: i32, minute: i32) -> Value {
        json!({"number": number, "endTime": format!("2026-01-01T00:{minute:02}:00Z")})
    }

    #[test]
    fn every_end_and_every_removal_changes_the_words() {
        let none = users(&[json!([])]);
        let begun = users(&[json!([{"number": 1}])]);
        assert_eq!((none.words(), begun.words()), ("none".into(), "none".into()));
        assert_eq!((none.busy, begun.busy), (false, true));
        let once = users(&[json!([ended(1, 1)])]);
        let retried = users(&[json!([ended(1, 1), {"number": 2}])]);
        assert_eq!((once.words(), once.busy), ("1, the last at 2026-01-01T00:01:00Z".into(), false));
        assert_eq!((retried.words(), retried.busy), (once.words(), true));
        let twice = users(&[json!([ended(1, 1), ended(2, 3)])]);
        let both = users(&[json!([ended(1, 1), ended(2, 3)]), json!([ended(1, 2)])]);
        let words = [none.words(), once.words(), twice.words(), both.words()];
        assert!(words.iter().enumerate().all(|(i, w)| !words[..i].contains(w)), "{words:?}");
    }
}
