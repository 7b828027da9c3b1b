//! What to copy, what belongs to what, who needs which object: pure computation, no I/O.

pub mod ids;
pub mod manifest;

pub use ids::{AttemptDir, BackupId, Digest, RepositoryId, Timestamp};
pub use manifest::{Catalog, ClusterSeen, EntriesRef, Entry, Framing, History, Kind, Marker, Owner, Source, Totals};
