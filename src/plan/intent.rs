//! The file that says which objects a backup under way may come to need.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AttemptDir, BackupId, Catalog};

/// `intents/<backup-id>/<attempt>.json`: written before an attempt writes or relies on any object, and removed when it is
/// over. What it names is needed like what a committed backup names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// [`super::manifest::FORMAT`].
    pub format: u32,
    /// Id of the backup.
    pub id: BackupId,
    /// Number of the attempt.
    pub attempt: u32,
    /// The Kubernetes object it is made for, `<namespace>/<name>`.
    pub object: String,
    /// Unique to the process.
    pub nonce: String,
    /// The backup that it may be based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BackupId>,
    /// Every folder that its commit may name, whole: its own, and those of the base.
    pub holds: Vec<Held>,
    /// When the attempt began, RFC 3339 UTC.
    pub started: String,
    /// Seconds after which the attempt is over in any case, and its intent counts no more.
    pub lasts: u64,
}

/// A folder of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// Backup of the attempt.
    pub backup: BackupId,
    /// Folder of the attempt.
    pub attempt: AttemptDir,
}

/// Time for the last words of an attempt whose deadline has passed.
const GRACE: Duration = Duration::from_hours(1);

/// Longest time for which an intent counts, whatever it says.
pub const LONGEST: Duration = Duration::from_hours(24 * 31);

impl Intent {
    /// The folders that an attempt on this base may come to name: its own two, and every source of the base.
    #[must_use]
    pub fn folders(id: BackupId, attempt: u32, base: Option<&Catalog>) -> Vec<Held> {
        let own = [false, true].map(|fallback| Held { backup: id, attempt: AttemptDir { attempt, fallback } });
        let sources = base.map_or(&[][..], |base| &base.sources);
        own.into_iter().chain(sources.iter().map(|s| Held { backup: s.backup, attempt: s.attempt })).collect()
    }

    /// Seconds for which an intent counts, given the longest time that its attempt may take.
    #[must_use]
    pub fn lasting(run_deadline: Duration) -> u64 {
        run_deadline.saturating_add(GRACE).min(LONGEST).as_secs()
    }

    /// How long it counts.
    #[must_use]
    pub fn life(&self) -> Duration {
        Duration::from_secs(self.lasts).min(LONGEST)
    }
}
