//! What to copy, what belongs to what, who needs which object: pure computation, no I/O.

pub mod base;
pub mod chain;
pub mod checkpoint;
pub mod entries;
pub mod error;
pub mod ids;
pub mod intent;
pub mod manifest;
pub mod newest;
pub mod path;
pub mod references;
pub mod resolve;
pub mod restored;
pub mod server_files;
pub mod tae_list;
pub mod versions;

pub use chain::{Chain, Link};
pub use entries::{EntriesReader, EntriesWriter, Written};
pub use error::Error;
pub use ids::{AttemptDir, BackupId, Digest, RepositoryId, Timestamp};
pub use intent::{Held, Intent};
pub use manifest::{Catalog, ClusterSeen, EntriesRef, Entry, Framing, History, Kind, Marker, Owner, Source, Totals};
pub use resolve::{Assembled, BaseNotUsable, CopiedRow, Resolved, Resolver};
pub use restored::{Placed, Planned, Restored};
pub use server_files::{MoMeta, TaeSum};
pub use tae_list::{RowId, TaeList, TaeListReader};
