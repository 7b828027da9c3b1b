//! Who needs which object: what the removal of a backup may take away.

use super::{AttemptDir, BackupId, Catalog};

/// Whether a backup has bytes in folders of this other one.
#[must_use]
pub fn needs(catalog: &Catalog, id: BackupId) -> bool {
    catalog.id != id && catalog.sources.iter().any(|s| s.backup == id)
}

/// Index of the source of this backup that is the attempt, if it is one.
#[must_use]
pub fn source_index(catalog: &Catalog, id: BackupId, attempt: AttemptDir) -> Option<u32> {
    let at = catalog.sources.iter().position(|s| s.backup == id && s.attempt == attempt)?;
    u32::try_from(at).ok()
}

/// What is to be done next in the join of an attempt's listing with the paths that others need of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody needs the path.
    Delete,
    /// Somebody needs it.
    Keep,
    /// This reader of needed paths must be moved on first.
    Advance(usize),
}

/// Decides about a listed path, given the next needed path of every dependent (`None`: no more). All ascend.
#[must_use]
pub fn step<S: AsRef<str>>(listed: &str, needed: &[Option<S>]) -> Step {
    let behind = |n: &Option<S>| n.as_ref().is_some_and(|path| path.as_ref() < listed);
    if let Some(at) = needed.iter().position(behind) {
        return Step::Advance(at);
    }
    if needed.iter().flatten().any(|path| path.as_ref() == listed) { Step::Keep } else { Step::Delete }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The join says the same as looking every path up.
        #[test]
        fn a_needed_path_is_never_deleted(
            listed in proptest::collection::btree_set("[a-d]{1,3}", 0..40),
            needed in proptest::collection::vec(proptest::collection::btree_set("[a-d]{1,3}", 0..20), 0..4),
        ) {
            let mut readers: Vec<_> = needed.iter().map(|n| n.iter()).collect();
            let mut heads: Vec<Option<&String>> = readers.iter_mut().map(Iterator::next).collect();
            for path in &listed {
                let kept = loop {
                    match step(path, &heads) {
                        Step::Advance(n) => heads[n] = readers[n].next(),
                        Step::Keep => break true,
                        Step::Delete => break false,
                    }
                };
                prop_assert_eq!(kept, needed.iter().any(|n| n.contains(path)));
            }
        }
    }
}
