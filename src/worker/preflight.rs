//! What is asked of the server before a BACKUP is sent.

use super::{Failure, statement::ask};
use crate::{
    api::Reason,
    plan::Timestamp,
    sql::{Problem, Server, Session, Statement, Version, reply},
};

/// A server that can be backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Release.
    pub version: Version,
    /// Commit it was built from.
    pub commit: String,
    /// What tells its cluster from others.
    pub identity: String,
}

/// Makes sure that this is a MatrixOne, that the account is `sys`, and that the role may call `mo_ctl`.
pub async fn server(server: &dyn Server) -> Result<ServerFacts, Failure> {
    let mut session = server.connect().await?;
    let session = &mut *session;
    if !session.greeting().contains("MatrixOne") {
        let detail = format!("the server calls itself {:?}", session.greeting());
        return Err(Failure::new(Reason::NotMatrixOne, detail));
    }
    let account = value(session, &Statement::CurrentAccount).await?;
    if account != "sys" {
        return Err(Failure::new(Reason::NotSysAccount, format!("the user belongs to account {account:?}")));
    }
    clock(session).await?;
    let text = value(session, &Statement::Version).await?;
    let version = Version::parse(&text).ok_or_else(|| {
        Failure::new(Reason::ServerNotSupported, format!("MatrixOne does not tell its version: {text:?}"))
    })?;
    if version < Version::new(1, 2, 0) {
        let detail = format!("MatrixOne {version} has no incremental physical backups; 1.2.0 and later do");
        return Err(Failure::new(Reason::ServerNotSupported, detail));
    }
    let commit = value(session, &Statement::GitVersion).await?;
    let identity = value(session, &Statement::Identity).await?;
    Ok(ServerFacts { version, commit, identity })
}

/// The cluster's clock.
pub async fn clock(session: &mut dyn Session) -> Result<Timestamp, Failure> {
    let rows = ask(session, &Statement::GetSnapshot).await?;
    let text = reply::snapshot(&rows)?;
    text.parse().map_err(|e| Failure::new(Reason::StatementFailed, format!("failed to read the clock: {e}")))
}

async fn value(session: &mut dyn Session, statement: &Statement) -> Result<String, Failure> {
    let rows = ask(session, statement).await?;
    Ok(reply::value(statement, &rows)?.to_owned())
}

/// What of the server's history a backup carries. `None` where the server could not be asked.
pub async fn history(session: &mut dyn Session, version: Version) -> Result<crate::plan::History, Failure> {
    let cap = |mut names: Vec<String>| {
        names.truncate(1000);
        names
    };
    let snapshots = match ask(session, &Statement::Snapshots).await {
        Ok(rows) => Some(cap(reply::snapshots(&rows))),
        Err(e) => unasked(e)?,
    };
    let pitr = if version.has_pitr() {
        match ask(session, &Statement::PitrPolicies).await {
            Ok(rows) => Some(cap(reply::policies(&rows))),
            Err(e) => unasked(e)?,
        }
    } else {
        None
    };
    Ok(crate::plan::History { snapshots, pitr })
}

/// A list that this session may not read, or that this server does not have, is left out; a broken session is an error.
fn unasked<T>(error: crate::sql::Error) -> Result<Option<T>, Failure> {
    match error.problem {
        Problem::Privilege | Problem::Unsupported | Problem::Refused => {
            tracing::warn!(%error, "left out of the manifest");
            Ok(None)
        }
        Problem::Unreachable
        | Problem::NotMatrixOne
        | Problem::Login
        | Problem::TlsUnavailable
        | Problem::TlsUntrusted
        | Problem::Lost
        | Problem::Cancelled
        | Problem::Reply => Err(error.into()),
    }
}
