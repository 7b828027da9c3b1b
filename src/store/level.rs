//! One level of a place: what lies directly in a folder, without what lies below it.

/// What lies directly in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Names of objects.
    pub objects: Vec<String>,
    /// Names of folders, without a `/`.
    pub folders: Vec<String>,
    /// Whether there are more of either.
    pub more: bool,
}

impl Level {
    /// How many names it has.
    #[must_use]
    pub const fn names(&self) -> usize {
        self.objects.len() + self.folders.len()
    }

    /// Takes a name that a store has said, a folder's with a `/` at its end. An empty one is the folder itself. Says whether
    /// another is wanted.
    pub(super) fn take(&mut self, name: &str, most: usize) -> bool {
        match (name, self.names() >= most) {
            ("", _) => {}
            (_, true) => self.more = true,
            (_, false) => self.put(name),
        }
        !self.more
    }

    /// Puts a name behind the others.
    pub(super) fn put(&mut self, name: &str) {
        match name.strip_suffix('/') {
            Some(folder) => self.folders.push(folder.to_owned()),
            None => self.objects.push(name.to_owned()),
        }
    }
}
