//! A backup that was made without us: its last folder says what belongs to it, and earlier folders of its chain hold what
//! that one did not copy.

use super::{
    Digest,
    error::Error,
    resolve::is_exact,
    tae_list::{Cursor, Row, RowId, TaeList},
};

/// Names that are told of those that are nowhere.
const NAMED: usize = 5;

/// The rows of the last folder's list, each with the folder that holds its bytes.
///
/// A row that is not copied in the last folder lies in the newest earlier one that has copied it: by its name, for the
/// times in the lists do not say it (public design note of `mo_br`).
#[derive(Debug)]
pub struct Chain {
    list: TaeList,
    folders: u32,
}

/// A row, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The row, for [`Chain::found`].
    pub id: RowId,
    /// Path below the folder.
    pub path: String,
    /// The folder: 0 is the last one, 1 the one before it.
    pub folder: usize,
    /// Bytes of the content, as listed or as found.
    pub size: u64,
    /// SHA-256 of the content, as listed or as found.
    pub digest: Option<Digest>,
    /// Whether the listed size is that of the content. Servers before 4.2 do not know it of files below `gc/`.
    pub exact: bool,
}

impl Chain {
    /// Begins with the list of the last folder.
    #[must_use]
    pub fn new(list: TaeList) -> Self {
        Self { list, folders: 0 }
    }

    /// Takes the list of the folder before those that were taken.
    ///
    /// # Errors
    /// When it has an object in another size than the last folder says.
    pub fn earlier(&mut self, earlier: &TaeList) -> Result<(), Error> {
        self.folders += 1;
        let (mut mine, mut theirs) = (Cursor::default(), Cursor::default());
        while let (Some(id), Some(other)) = (mine.peek(&self.list), theirs.peek(earlier)) {
            let (path, other_path) = (self.list.path(id), earlier.path(other));
            if path <= other_path {
                mine.advance(id);
            }
            if other_path <= path {
                theirs.advance(other);
            }
            if path == other_path {
                self.join(id, path, earlier, other)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, id: RowId, path: String, earlier: &TaeList, other: RowId) -> Result<(), Error> {
        let (Some(row), Some(found)) = (self.list.row_mut(id), earlier.row(other)) else { return Ok(()) };
        if row.is_copied() || row.from > 0 || !found.is_copied() {
            return Ok(());
        }
        if row.size != found.size {
            let detail = format!("{} bytes in the last folder's list, {} where it was copied", row.size, found.size);
            return Err(Error::Differs { path, detail });
        }
        row.from = self.folders;
        if let (Some(digest), None) = (found.digest(), row.digest()) {
            row.set_digest(digest);
        }
        Ok(())
    }

    /// Names of objects that no folder has copied, and how many there are.
    #[must_use]
    pub fn nowhere(&self) -> (u64, Vec<String>) {
        let mut first = Vec::new();
        let mut count = 0;
        for id in self.list.ids() {
            if self.list.row(id).is_some_and(is_nowhere) {
                count += 1;
                if first.len() < NAMED {
                    first.push(self.list.path(id));
                }
            }
        }
        (count, first)
    }

    /// The paths of all rows, ascending.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.list.ids().map(|id| self.list.path(id))
    }

    /// All rows whose folder is known, ascending by path.
    pub fn links(&self) -> impl Iterator<Item = Link> + '_ {
        self.list.ids().filter_map(|id| {
            let row = self.list.row(id).filter(|row| !is_nowhere(row))?;
            let path = self.list.path(id);
            let exact = is_exact(&path);
            let folder = usize::try_from(row.from).ok()?;
            Some(Link { id, path, folder, size: row.size, digest: row.digest(), exact })
        })
    }

    /// Bytes that the rows take in memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.list.memory()
    }

    /// Records what was found by reading a row's content.
    ///
    /// # Errors
    /// When it is not what the lists say.
    pub fn found(&mut self, link: &Link, size: u64, digest: Digest) -> Result<(), Error> {
        self.list.found(link.id, size, digest)
    }
}

/// Whether no folder that was taken has copied it.
fn is_nowhere(row: &Row) -> bool {
    !row.is_copied() && row.from == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::plan::TaeListReader;

    fn list(text: &str) -> TaeList {
        let mut reader = TaeListReader::default();
        reader.push(text.as_bytes()).unwrap();
        reader.finish().unwrap()
    }

    fn row(name: &str, size: u64, copied: bool) -> String {
        format!("{name},{size},,{copied},0-0\n")
    }

    #[test]
    fn the_newest_folder_that_has_copied_a_name_holds_it() {
        let full = list(&[row("a", 1, true), row("b", 2, true), row("c", 3, true)].concat());
        let digest = "07".repeat(32);
        let first = list(&format!("{}{}b,2,{digest},true,0-0\n", row("a", 1, false), row("d", 4, true)));
        let mut chain =
            Chain::new(list(&[row("a", 1, false), row("b", 2, false), row("d", 4, false), row("e", 5, true)].concat()));
        chain.earlier(&first).unwrap();
        chain.earlier(&full).unwrap();
        let found: Vec<_> = chain.links().map(|l| (l.path, l.folder, l.digest.is_some())).collect();
        let expected = [("tae/a", 2, false), ("tae/b", 1, true), ("tae/d", 1, false), ("tae/e", 0, false)];
        assert_eq!(found, expected.map(|(path, folder, known)| (path.to_owned(), folder, known)));
        assert_eq!(chain.nowhere(), (0, vec![]));
    }

    #[test]
    fn what_is_nowhere_is_named_and_what_differs_is_refused() {
        let mut chain = Chain::new(list(&[row("a", 1, false), row("b", 2, false)].concat()));
        chain.earlier(&list(&[row("a", 1, false), row("b", 2, true)].concat())).unwrap();
        assert_eq!(chain.nowhere(), (1, vec!["tae/a".to_owned()]));
        let said = chain.earlier(&list(&row("a", 7, true))).unwrap_err().to_string();
        assert!(said.contains("tae/a") && said.contains("7 where"), "{said}");
    }

    #[rstest]
    #[case("a", 5, true)]
    #[case("a", 6, false)]
    #[case("gc/a", 6, true)]
    fn what_is_read_must_be_what_is_listed(#[case] name: &str, #[case] size: u64, #[case] right: bool) {
        let mut chain = Chain::new(list(&row(name, 5, true)));
        let link = chain.links().next().unwrap();
        assert_eq!(chain.found(&link, size, Digest([1; 32])).is_ok(), right);
        if right {
            assert!(chain.found(&link, size, Digest([2; 32])).is_err(), "another content");
            let link = chain.links().next().unwrap();
            assert_eq!((link.size, link.digest), (size, Some(Digest([1; 32]))));
        }
    }

    proptest! {
        /// The joins say the same as looking every name up in an index.
        #[test]
        fn a_chain_is_an_index_by_name(
            folders in proptest::collection::vec(proptest::collection::btree_map("[a-d]{1,2}", any::<bool>(), 1..12), 1..5),
        ) {
            let lists: Vec<_> = folders.iter().map(|f| list(&f.iter().map(|(n, c)| row(n, 1, *c)).collect::<String>())).collect();
            let mut lists = lists.into_iter();
            let mut chain = Chain::new(lists.next().unwrap());
            for earlier in lists {
                chain.earlier(&earlier).unwrap();
            }
            let holds = |name: &str| folders.iter().position(|f| f.get(name) == Some(&true));
            let nowhere = folders[0].keys().filter(|name| holds(name).is_none()).count();
            prop_assert_eq!(chain.nowhere().0, nowhere as u64);
            for link in chain.links() {
                prop_assert_eq!(holds(&link.path["tae/".len()..]), Some(link.folder));
            }
            prop_assert_eq!(chain.links().count(), folders[0].len() - nowhere);
        }
    }
}
