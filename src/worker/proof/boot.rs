//! Waiting until MatrixOne answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Proof;
use crate::{
    api::Reason,
    sql::{self, Problem, Session, Statement, reply},
    worker::{Failure, statement::ask},
};

/// First pause between two tries; it doubles up to the pace of the watch.
const FIRST: Duration = Duration::from_millis(500);

/// How long users, accounts and roles that are not there are looked for. MatrixOne opens its port only when its catalogue
/// is there (executed on 1.2.4 and 4.2.0, first and second start); a proxy before it may be faster.
const UNKNOWN: Duration = Duration::from_mins(1);

impl Proof<'_> {
    /// A session of a server that answers, and its version in its own words.
    pub(super) async fn boot(&self) -> Result<(Box<dyn Session>, String), Failure> {
        let mut pause = FIRST;
        let mut refused = None;
        loop {
            let error = match self.answer().await {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            tracing::info!(%error, "not yet");
            self.watch.alive();
            if error.problem == Problem::Login {
                refused.get_or_insert_with(Instant::now);
            } else {
                refused = None;
            }
            if is_final(&error, refused.map(|since: Instant| since.elapsed())) {
                return Err(error.into());
            }
            let limit = self.task.boot_deadline;
            if self.watch.elapsed() >= limit {
                return Err(self.never(&error, limit));
            }
            sleep(pause.min(limit.saturating_sub(self.watch.elapsed()))).await;
            pause = self.watch.pace().min(pause * 2);
        }
    }

    async fn answer(&self) -> Result<(Box<dyn Session>, String), sql::Error> {
        let mut session = self.ports.server.connect().await?;
        let rows = ask(&mut *session, &Statement::Version).await?;
        let version = reply::value(&Statement::Version, &rows)?.to_owned();
        Ok((session, version))
    }

    fn never(&self, last: &sql::Error, limit: Duration) -> Failure {
        let boot = format!("{}-boot", self.task.subject.name);
        let detail = format!(
            "MatrixOne did not answer within {} s; at last: {last}. It must be started with the files of ConfigMap {boot}: \
             one whose file service has the wrong backend ends soon after its start",
            limit.as_secs()
        );
        Failure::new(Reason::BootDeadlineExceeded, detail)
    }
}

/// Whether more patience is in vain. `refused`: how long it has been nothing but refused logins.
fn is_final(error: &sql::Error, refused: Option<Duration>) -> bool {
    match error.problem {
        Problem::NotMatrixOne | Problem::TlsUnavailable | Problem::TlsUntrusted => true,
        Problem::Login if error.is_wrong_password() => true,
        // Others are such as a proxy's that has no server yet.
        Problem::Login => error.is_about_the_login() && refused.is_some_and(|time| time >= UNKNOWN),
        Problem::Unreachable
        | Problem::Lost
        | Problem::Cancelled
        | Problem::Privilege
        | Problem::Unsupported
        | Problem::Refused
        | Problem::Reply => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::wrong_password(
        Problem::Login,
        1045,
        "Access denied for user root. internal error: check password failed",
        0,
        true
    )]
    #[case::no_user_yet(Problem::Login, 20101, "internal error: there is no user nobody", 5, false)]
    #[case::no_user(Problem::Login, 20101, "internal error: there is no user nobody", 60, true)]
    #[case::suspended(
        Problem::Login,
        1045,
        "Access denied for user acc#admin. internal error: Account acc is suspended",
        60,
        true
    )]
    #[case::something_else(Problem::Login, 20101, "internal error: no available CN server", 600, false)]
    #[case::refused(Problem::Unreachable, 0, "Connection refused (os error 111)", 600, false)]
    #[case::half_up(Problem::Refused, 20101, "internal error", 600, false)]
    #[case::stranger(Problem::NotMatrixOne, 0, "the server calls itself \"8.4.2\"", 0, true)]
    #[case::no_tls(Problem::TlsUnavailable, 0, "the server does not offer TLS", 0, true)]
    fn only_what_will_not_pass_ends_the_wait(
        #[case] problem: Problem,
        #[case] code: u16,
        #[case] detail: &str,
        #[case] refused: u64,
        #[case] expected: bool,
    ) {
        let error = sql::Error { problem, verb: "connect".into(), code, detail: detail.into() };
        assert_eq!(is_final(&error, Some(Duration::from_secs(refused))), expected);
    }
}
