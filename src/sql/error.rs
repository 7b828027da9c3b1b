//! What can go wrong between us and MatrixOne.

use secrecy::{ExposeSecret as _, SecretString};

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

impl Error {
    /// Whether a release of the minimum timestamp met none.
    #[must_use]
    pub fn is_nothing_held(&self) -> bool {
        self.code == 20637
    }

    /// Whether it is said of user, account, role or password, and not of something else that came in between.
    #[must_use]
    pub fn is_about_the_login(&self) -> bool {
        classify(self.code, &self.detail) == Problem::Login
    }

    /// Whether the password is wrong: whoever says so has found the user, and will say the same tomorrow.
    #[must_use]
    pub fn is_wrong_password(&self) -> bool {
        self.code == 1045 && self.detail.contains("check password failed")
    }

    /// Whether the server found something with the same id where it wanted to put something new: code 0, no SQLSTATE.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.detail.contains("ExpectedDup")
    }

    /// Whether a KILL met a session that is not there (any more).
    #[must_use]
    pub fn is_unknown_connection(&self) -> bool {
        self.problem == Problem::Refused && self.detail.contains("Unknown connection id")
    }
}

/// What a server's error is about. Codes alone do not tell: a wrong user is 20101 as most errors are, only a wrong
/// password is 1045; a killed BACKUP is 1105 as every error of the operating system is (observed on 3.0.18 and 4.2.0).
pub(super) fn classify(code: u16, message: &str) -> Problem {
    let says = |text: &str| message.contains(text);
    match code {
        1045 => Problem::Login,
        _ if ["user", "tenant", "role"].iter().any(|who| says(&format!("there is no {who}"))) => Problem::Login,
        _ if says("do not have privilege") => Problem::Privilege,
        _ if says("context canceled") => Problem::Cancelled,
        1317 => Problem::Cancelled,
        1064 | 1146 | 20105 => Problem::Unsupported,
        _ => Problem::Refused,
    }
}

/// First line, at most 500 characters, without the secrets.
pub(super) fn presentable(text: &str, secrets: &[&SecretString]) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let hidden =
        secrets.iter().map(|s| s.expose_secret()).filter(|s| !s.is_empty()).fold(line.to_owned(), |line, s| {
            // A parser error quotes the statement, where quotes and backslashes are doubled.
            line.replace(&s.replace('\\', "\\\\").replace('\'', "''"), "******").replace(s, "******")
        });
    hidden.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1045, "Access denied for user root. internal error: check password failed", Problem::Login)]
    #[case(20101, "internal error: there is no user nobody", Problem::Login)]
    #[case(20101, "internal error: there is no tenant nosuchacc", Problem::Login)]
    #[case(20101, "internal error: there is no role nosuchrole", Problem::Login)]
    #[case(20101, "internal error: do not have privilege to execute the statement", Problem::Privilege)]
    #[case(1064, "SQL parser error: table \"mo_pitr\" does not exist", Problem::Unsupported)]
    #[case(20105, "not supported: command NOSUCH not supported", Problem::Unsupported)]
    #[case(1105, "context canceled", Problem::Cancelled)]
    #[case(1105, "write /backup/tiny/b/.tmp.1558634272: no space left on device", Problem::Refused)]
    #[case(20406, "file tae/x already exists", Problem::Refused)]
    fn recorded_errors(#[case] code: u16, #[case] message: &str, #[case] expected: Problem) {
        assert_eq!(classify(code, message), expected);
    }

    #[test]
    fn an_unknown_connection_is_told_apart() {
        let detail = "internal error: Unknown connection id 999999".to_owned();
        let error = Error { problem: Problem::Refused, verb: "cancel a statement".into(), code: 20101, detail };
        assert!(error.is_unknown_connection());
        assert!(!Error { detail: "no".into(), ..error }.is_unknown_connection());
    }

    #[test]
    fn what_people_see_is_one_short_line_without_secrets() {
        let secret = SecretString::from("it's\\secret");
        let text = "near 'it''s\\\\secret' and it's\\secret\ngoroutine 1 [running]";
        assert_eq!(presentable(text, &[&secret, &SecretString::from("")]), "near '******' and ******");
        assert_eq!(presentable(&"x".repeat(2000), &[]).len(), 500);
    }
}
