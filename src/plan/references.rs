//! Who needs which object: what the removal of a backup may take away.

use super::{BackupId, Catalog};

/// Whether a backup has bytes in folders of this other one.
#[must_use]
pub fn needs(catalog: &Catalog, id: BackupId) -> bool {
    catalog.id != id && catalog.sources.iter().any(|s| s.backup == id)
}
