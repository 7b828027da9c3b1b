//! What can go wrong with a store, told apart by what a person would do about it.

use std::{error, io};

use opendal::ErrorKind;

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
    /// It does not encrypt, or does not know the storage class, as the place says.
    Setting,
    /// The caller has given up.
    Cancelled,
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

/// Longest text of a store that is passed on, in characters.
const WORDS_MAX: usize = 300;

impl Error {
    /// An error that another try does not cure.
    pub(super) fn permanent(
        problem: Problem,
        verb: &'static str,
        what: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { problem, verb, what: what.into(), detail: detail.into(), temporary: false }
    }

    /// The one place that judges what the object store's client says. The client's own text holds addresses and
    /// headers, so only the store's code and message, or the root cause, are passed on.
    pub(super) fn from_opendal(verb: &'static str, what: &str, e: &opendal::Error) -> Self {
        let code = field(e.message(), "code");
        let status = status(&e.to_string());
        let (problem, temporary) = match cause(e) {
            Some(found) if code.is_none() && status.is_none() => found,
            Some(_) | None => judge(e, code.as_deref().unwrap_or_default(), status),
        };
        let detail = match (code, status) {
            (Some(code), _) => match field(e.message(), "message") {
                Some(message) => format!("{code}: {message}"),
                None => code,
            },
            (None, Some(status)) => format!("HTTP status {status}"),
            (None, None) => root(e),
        };
        Self { problem, verb, what: what.into(), detail: words(&detail), temporary }
    }

    /// A failed call to the operating system.
    pub(super) fn from_io(verb: &'static str, what: &str, e: &io::Error) -> Self {
        let problem = io_problem(e);
        let temporary = matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut);
        Self { problem, verb, what: what.into(), detail: words(&e.to_string()), temporary }
    }
}

fn io_problem(e: &io::Error) -> Problem {
    use io::ErrorKind as K;
    // There are many more kinds, and they grow; what is not told apart is `Other`.
    if e.kind() == K::NotFound {
        Problem::Missing
    } else if matches!(e.kind(), K::PermissionDenied | K::ReadOnlyFilesystem | K::InvalidInput) {
        // An invalid path has a link in it, which is never followed: that is the same the next time.
        Problem::Denied
    } else if e.kind() == K::AlreadyExists {
        Problem::Taken
    } else if matches!(e.kind(), K::StorageFull | K::QuotaExceeded) {
        Problem::Full
    } else if matches!(e.kind(), K::UnexpectedEof | K::InvalidData) {
        Problem::Corrupted
    } else if e.kind() == K::Unsupported {
        Problem::Unsupported
    } else {
        Problem::Other
    }
}

/// What the source chain says when no store has answered.
fn cause(e: &opendal::Error) -> Option<(Problem, bool)> {
    let mut link: Option<&(dyn error::Error + 'static)> = Some(e);
    let mut found = None;
    while let Some(this) = link {
        let text = this.to_string().to_lowercase();
        let tls = is_tls(this) || text.contains("certificate") || text.contains("received fatal alert");
        if tls {
            return Some((Problem::Tls, false));
        }
        if text.contains("credential") {
            found = Some((Problem::NoCredentials, false));
        }
        link = this.source();
    }
    found
}

/// An I/O error shows what it wraps, but does not list it as its source; and one may wrap another.
fn is_tls(e: &(dyn error::Error + 'static)) -> bool {
    let wrapped = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    e.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}

fn judge(e: &opendal::Error, code: &str, status: Option<u16>) -> (Problem, bool) {
    let said = e.message().to_lowercase();
    let locked = ["worm protected", "object lock", "retention", "legal hold"].iter().any(|w| said.contains(w));
    // The whole text holds names of objects as well.
    let words = field(e.message(), "message").unwrap_or_default().to_lowercase();
    let encryption = words.contains("server side encryption") || words.contains("kms");
    match code {
        "NoSuchBucket" => (Problem::NoBucket, false),
        "RequestTimeTooSkewed" | "RequestExpired" => (Problem::Clock, false),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            (Problem::Region, false)
        }
        "BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest" | "IncompleteBody" => (Problem::Corrupted, true),
        "XAdminUserNotFound" | "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken" | "SignatureDoesNotMatch" => {
            (Problem::Denied, false)
        }
        "XMinioStorageFull" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage" => {
            (Problem::Full, false)
        }
        "InvalidStorageClass" | "InvalidEncryptionAlgorithmError" => (Problem::Setting, false),
        // AWS says `KMS.NotFoundException`, MinIO `kms:KeyNotFound`.
        code if code.to_ascii_lowercase().starts_with("kms") => (Problem::Setting, false),
        "NotImplemented" | "InvalidRequest" | "InvalidArgument" if encryption => (Problem::Setting, false),
        "NotImplemented" | "MethodNotAllowed" => (Problem::Unsupported, false),
        "ObjectLocked" => (Problem::Locked, false),
        "AccessDenied" | "InvalidRequest" if locked => (Problem::Locked, false),
        _ => judge_kind(e, status),
    }
}

/// The rest, by the client's own kind.
fn judge_kind(e: &opendal::Error, status: Option<u16>) -> (Problem, bool) {
    let temporary = e.is_temporary();
    match (e.kind(), status) {
        (ErrorKind::NotFound, _) => (Problem::Missing, false),
        (ErrorKind::PermissionDenied, _) => (Problem::Denied, false),
        (ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists, _) => (Problem::Taken, false),
        (ErrorKind::RateLimited, _) | (_, Some(429 | 503)) => (Problem::Throttled, true),
        (ErrorKind::RangeNotSatisfied, _) => (Problem::Corrupted, false),
        (ErrorKind::Unsupported, _) if e.message() == super::connection::UNENCRYPTED => (Problem::Setting, false),
        (ErrorKind::Unsupported, _) | (ErrorKind::ConfigInvalid, None) => (Problem::Unsupported, false),
        (_, Some(301 | 307 | 308)) => (Problem::Region, false),
        (_, Some(507)) => (Problem::Full, false),
        (_, Some(_)) => (Problem::Other, temporary),
        // Less came than was promised: of the whole, the connection broke; of a range, the object is too short.
        (_, None) if e.message().contains("too little data") => (Problem::Corrupted, temporary),
        (_, None) if temporary => (Problem::Unreachable, true),
        (_, None) => (Problem::Other, false),
    }
}

/// The text of a field in the client's rendering of the store's answer, `S3Error { code: "…", message: "…", … }`.
fn field(message: &str, name: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!("{name}: \""))?;
    let mut text = String::new();
    let mut escaped = false;
    for c in rest.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return (!text.is_empty()).then_some(text),
            (_, c) => {
                text.push(if escaped && matches!(c, 'n' | 'r' | 't') { ' ' } else { c });
                escaped = false;
            }
        }
    }
    None
}

/// The HTTP status in the client's text.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("response: Parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

/// The last link of the chain. Those before it can hold addresses.
fn root(e: &opendal::Error) -> String {
    let mut last = e.message().to_owned();
    let mut link = error::Error::source(e);
    while let Some(this) = link {
        last = this.to_string();
        link = this.source();
    }
    if last.contains("not valid for name") || last.contains("NotValidForName") {
        // The full text names hosts.
        return "invalid peer certificate: it is for another name than the endpoint's".into();
    }
    last
}

/// One line without control characters.
fn words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
#[path = "error/tests.rs"]
mod tests;
