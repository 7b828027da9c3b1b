//! What can go wrong with a store, told apart by what a person would do about it.

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// No object has this key.
    Missing,
    /// The bucket, or the folder of a volume, does not exist.
    NoBucket,
    /// Keys or rights are refused.
    Denied,
    /// No credentials were found.
    NoCredentials,
    /// The bucket lies in another region.
    Region,
    /// Clocks differ too much.
    Clock,
    /// A conditional create met an existing object.
    Taken,
    /// The store asks to slow down.
    Throttled,
    /// No answer, or a broken connection.
    Unreachable,
    /// The store's certificate is not trusted.
    Tls,
    /// A body was changed on its way, or less came than was promised.
    Corrupted,
    /// Retention or a legal hold forbids it.
    Locked,
    /// No space left.
    Full,
    /// The store cannot do what was asked.
    Unsupported,
    /// Something else; the text has the store's own words.
    Other,
}

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {verb} {what}: {detail}")]
pub struct Error {
    /// Told apart by what to do.
    pub problem: Problem,
    /// What was tried: `read`, `write`, `list` …
    pub verb: &'static str,
    /// On which key, or which place.
    pub what: String,
    /// The store's code and message, without hosts, headers and keys.
    pub detail: String,
    /// Whether another try can help. Problems that are usually passing can be known to be permanent, and the reverse.
    pub temporary: bool,
}
