//! `BACKUP`.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Version, control,
    login::Identity,
    recorded,
    state::Shared,
    syntax,
    target::Target,
    tree::{File, Step},
    wire::{AUTOCOMMIT, Reply},
};

/// Runs a BACKUP to its end, whether or not its client is still there.
pub async fn run(
    shared: Arc<Shared>,
    id: u32,
    me: Identity,
    statement: syntax::Backup,
    kill: CancellationToken,
    no_space_after: Option<usize>,
) -> Reply {
    // Any user of account sys may, whatever its role: "Rights" of v1.2.4.
    if !me.is_sys() {
        return recorded::NO_PRIVILEGE.error(&[]);
    }
    let target = match check(&shared, &statement) {
        Ok(target) => target,
        Err(reply) => return reply,
    };
    if !enter(&shared) {
        return recorded::SECOND_BACKUP.error(&[]);
    }
    let done = write(&shared, id, &statement, &target, &kill, no_space_after).await;
    shared.state().backups -= 1;
    match done {
        Ok(()) => Reply::Ok { status: AUTOCOMMIT },
        Err(reply) => reply,
    }
}

/// "two BACKUPs at the same time": v1.2.4 fails the second, v4.2.0 runs both.
fn enter(shared: &Shared) -> bool {
    let mut state = shared.state();
    let free = match shared.version {
        Version::V1_2_4 => state.backups == 0,
        Version::V4_2_0 => true,
    };
    state.backups += usize::from(free);
    free
}

fn check(shared: &Shared, statement: &syntax::Backup) -> Result<Target, Reply> {
    let since = statement.since.as_deref().unwrap_or_default();
    if !since.is_empty() && !control::is_timestamp(since) {
        return Err(recorded::BAD_TIMESTAMP.error(&[]));
    }
    match &statement.target {
        syntax::Target::S3(options) => Target::bucket(shared.version, options),
        syntax::Target::FileSystem { path, parallelism } => {
            if !parallelism.bytes().all(|b| b.is_ascii_digit()) || parallelism.is_empty() {
                return Err(recorded::NOT_A_NUMBER.error(&[parallelism]));
            }
            if parallelism.parse::<u16>().is_err() {
                return Err(recorded::NUMBER_TOO_LARGE.error(&[parallelism]));
            }
            Target::folder(shared.version, path, shared.options.files_root.as_deref())
        }
    }
}

async fn write(
    shared: &Shared,
    id: u32,
    statement: &syntax::Backup,
    target: &Target,
    kill: &CancellationToken,
    no_space_after: Option<usize>,
) -> Result<(), Reply> {
    if let Target::Unresolvable = target {
        kill.cancelled().await;
        return Err(recorded::KILLED_LOOKUP.error(&[]));
    }
    let (files, pause) = plan(shared, id, statement);
    for (written, file) in files.iter().enumerate() {
        stopped(shared.version, kill, file.step)?;
        if no_space_after == Some(written) {
            return Err(target.no_space());
        }
        target.write(file).await?;
        note(shared, id, written + 1);
        match (shared.version, file.step) {
            // The copying of objects does not hear of it.
            (Version::V1_2_4, Step::Objects) => sleep(pause).await,
            (Version::V1_2_4, Step::Config | Step::Rest) | (Version::V4_2_0, _) => {
                tokio::select! { () = sleep(pause) => {} () = kill.cancelled() => {} }
            }
        }
    }
    if kill.is_cancelled() { Err(recorded::CANCELED.error(&[])) } else { Ok(()) }
}

/// Whether a KILL ends the statement before this file: "KILL QUERY, KILL and disconnect during the copy".
fn stopped(version: Version, kill: &CancellationToken, step: Step) -> Result<(), Reply> {
    match (version, step) {
        (Version::V1_2_4, Step::Objects) => Ok(()),
        (Version::V1_2_4, Step::Config | Step::Rest) | (Version::V4_2_0, Step::Config | Step::Objects | Step::Rest) => {
            if kill.is_cancelled() {
                Err(recorded::CANCELED.error(&[]))
            } else {
                Ok(())
            }
        }
    }
}

fn plan(shared: &Shared, id: u32, statement: &syntax::Backup) -> (Vec<File>, Duration) {
    let since = statement.since.as_deref().filter(|since| !since.is_empty());
    let mut state = shared.state();
    let files = state.history.backup(since, statement.kind.as_deref().unwrap_or_default());
    if let Some(running) = state.sessions.get_mut(&id).and_then(|session| session.running.as_mut()) {
        running.total = files.len();
    }
    let pause = state.backup_duration / u32::try_from(files.len().max(1)).unwrap_or(u32::MAX);
    drop(state);
    (files, pause)
}

fn note(shared: &Shared, id: u32, written: usize) {
    if let Some(running) = shared.state().sessions.get_mut(&id).and_then(|session| session.running.as_mut()) {
        running.written = written;
    }
    shared.tell();
}
