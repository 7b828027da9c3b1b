//! The places that a double of MatrixOne writes to.

use std::path::PathBuf;

use bytes::Bytes;
use mo_backup::store::memory::Memory;

/// Where the server writes to.
#[derive(Clone)]
pub enum Target {
    /// A folder that the worker sees too.
    Folder(PathBuf),
    /// The bucket.
    Bucket(Memory),
}

impl Target {
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(key).exists(),
            Self::Bucket(memory) => memory.get(key).is_some(),
        }
    }

    pub fn set(&self, key: &str, bytes: Bytes) {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(key);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
            Self::Bucket(memory) => memory.set(key, bytes),
        }
    }
}
