//! What can go wrong between us and MatrixOne.

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// No connection could be made.
    Unreachable,
    /// What answers is no MatrixOne.
    NotMatrixOne,
    /// User or password are refused.
    Login,
    /// TLS is required and not offered.
    TlsUnavailable,
    /// The certificate is not trusted.
    TlsUntrusted,
    /// The connection broke after a statement was sent: how it ended is not known.
    Lost,
    /// The statement was cancelled: `KILL`, or the server ended the session.
    Cancelled,
    /// The session may not do this.
    Privilege,
    /// The server does not know this statement, function or table.
    Unsupported,
    /// The server answered with another error.
    Refused,
    /// The reply is not what it must be.
    Reply,
}

/// A failed connection or statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {verb}: {detail}")]
pub struct Error {
    /// Told apart by what to do.
    pub problem: Problem,
    /// What was tried, such as `connect to 10.0.0.7:6001`; never a secret.
    pub verb: String,
    /// The server's error code, or 0.
    pub code: u16,
    /// The server's own words, first line, at most 500 characters, secrets removed.
    pub detail: String,
}
