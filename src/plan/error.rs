//! What can be wrong with the files of a backup.

/// A file that is not what it must be, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file was cut, changed or never was what its name says.
    #[error("failed to read {file}: {detail}; the file is damaged or not from a backup")]
    Damaged {
        /// Which file, such as `tae/tae_list`.
        file: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A list for a backup cannot be written.
    #[error("failed to write {file}: {detail}")]
    Unwritable {
        /// Which file.
        file: &'static str,
        /// Why not.
        detail: String,
    },
    /// Content differs from what the server has written about it.
    #[error("failed to verify {path}: {detail}; the copy or its original is damaged, take another backup")]
    Differs {
        /// Path below the attempt's folder.
        path: String,
        /// What was expected and what was found.
        detail: String,
    },
}

impl Error {
    pub(super) fn damaged(file: &'static str, detail: impl Into<String>) -> Self {
        Self::Damaged { file, detail: detail.into() }
    }

    pub(super) fn line(file: &'static str, line: u64, detail: impl std::fmt::Display) -> Self {
        Self::Damaged { file, detail: format!("line {line}: {detail}") }
    }
}
