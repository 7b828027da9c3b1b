//! `mo-backup backup`.

mod way;

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    ending::{Ending, Names, Refusal},
    flags::{PlaceFlags, Repository},
    index::Index,
    known, list,
    place::{self, Place},
    progress, screen, secret,
};
use crate::{
    api::{BackupReport, BackupType, Method, Outcome, Reason, TlsMode, VerifyLevel},
    plan::BackupId,
    sql::{Encryption, MatrixOne},
    store::{Key, Objects, Patience, Prefix, Retrying},
    task::{BackupTask, ClusterTask, Location, StagingTask},
    worker::{self, Asked, Failure, Ports, SOON, Watch},
};
use way::{Shared, sayable, way};

const NAMES: Names = Names { repository: "" };

/// The flags of `backup`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BackupFlags {
    /// Host of MatrixOne
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of MatrixOne
    #[arg(long, default_value_t = 6001, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// User of account sys
    #[arg(long, default_value = "dump")]
    user: String,
    /// Password, in sight of everybody here [else asked]
    #[arg(long, allow_hyphen_values = true)]
    password: Option<String>,
    #[arg(long, value_name = "FILE", help = "File with the password [else MO_BACKUP_PASSWORD]")]
    password_file: Option<PathBuf>,
    /// Encryption of the connection
    #[arg(long, value_enum, default_value_t = Tls::Preferred, hide_short_help = true)]
    tls: Tls,
    /// Authorities to trust with MatrixOne (PEM)
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    tls_ca_file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceFlags<Repository>,
    /// full, incremental, or auto [default: full]
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Taken::Full, hide_possible_values = true, hide_default_value = true)]
    backup_type: Taken,
    /// What an incremental backup is based on
    #[arg(long, value_name = "ID")]
    base_id: Option<String>,
    /// Copies at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=511))]
    parallelism: u16,
    /// Read objects back: none, one of a hundred, or all
    #[arg(long, value_enum, default_value_t = Verify::Manifest, hide_short_help = true)]
    verify: Verify,
    /// Folder shared with MatrixOne: it need not know S3
    #[arg(long, value_name = "PATH")]
    staging: Option<PathBuf>,
    /// The same folder as MatrixOne sees it [default: the same path]
    #[arg(long, value_name = "PATH", requires = "staging", hide_short_help = true)]
    staging_server_path: Option<PathBuf>,
    /// Send the keys of the store to a MatrixOne before 4.2, whose log can show them
    #[arg(long, hide_short_help = true)]
    allow_keys_in_sql: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  mo-backup backup --host 127.0.0.1 --port 6001 --user dump --password-file pw \\
      --backup-dir filesystem --path /backups/prod
  mo-backup backup --user dump --backup-dir s3 --endpoint http://127.0.0.1:9000 \\
      --is-minio --bucket backups --filepath prod \\
      --backup-type incremental --base-id ID

Flags are taken with underscores too, as mo_br writes them. --help shows all.";

/// Encryption of the connection to MatrixOne.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// Never.
    Disabled,
    /// Where the server offers it.
    Preferred,
    /// Always.
    Required,
}

/// What is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Taken {
    /// All objects.
    Full,
    /// What changed since the base.
    Incremental,
    /// Incremental where a base can be used, else full.
    Auto,
}

/// How deep it is checked before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verify {
    /// Every object is there with its size.
    Manifest,
    /// One of a hundred is read back.
    Sample,
    /// All are read back.
    Full,
}

/// Takes a backup.
///
/// # Errors
/// When it was not taken.
pub async fn run(flags: &BackupFlags, stop: CancellationToken) -> Result<Ending, Refusal> {
    let base = base(flags)?;
    let place = Place::of(&flags.place)?;
    if flags.staging.is_none() && matches!(place.location, Location::Volume(_)) {
        sayable(&place)?;
    }
    let mut index = Index::open_beside(flags.common.meta_path.as_deref(), true)?;
    let server = server(flags)?;
    let id = BackupId::fresh();
    let failed = |failure: Failure| Refusal::of(&failure, NAMES);
    let repository = place.open().map_err(failed)?;
    // Somebody waits: what is wrong from the start is said soon.
    let asking = Retrying::new(repository.clone(), Patience::soon(), stop.clone());
    let marked = async { asking.stat(&Key::marker()).await.map_err(|e| Failure::of_store(place.kind(), &e)) };
    if worker::soon(Asked::Store(place.kind()), marked).await.map_err(failed)?.is_none() {
        refuse_foreign(&asking, &place).await?;
    }
    let of_store = |e| failed(Failure::of_store(place.kind(), &e));
    if let Some(base) = base
        && asking.stat(&Key::catalog(base)).await.map_err(of_store)?.is_none()
    {
        let detail = format!("--base-id {base}: the repository has no such backup");
        return Err(failed(Failure::new(Reason::BaseNotFound, detail)));
    }
    let (method, staging) = way(flags, &place, &server, id).await?;
    let task = task(flags, (id, base), &place, method, staging.as_ref());
    let ports = Ports {
        repository: repository.clone(),
        staging: staging.as_ref().map(Shared::open).transpose().map_err(failed)?,
        server: Arc::new(server),
        keys: place.keys.clone(),
        patience: Patience::default(),
    };
    // Whoever ends this by force knows what to delete.
    screen::note("backup", &format!("ID {id}"));
    let watch = progress::watch("backup", &task.subject.run, stop);
    let report = worker::backup(&task, &ports, &watch).await;
    // The bar goes before anything is said.
    drop((watch, staging));
    let told = told(flags, &place, &mut index, &report);
    match (told, report.said.outcome) {
        (Err(refusal), Outcome::Failed | Outcome::Interrupted) => {
            let left = left(&*repository, id, &place, &mut index).await;
            Err(Refusal { message: format!("{}{left}", refusal.message), ..refusal })
        }
        (told, _) => told,
    }
}

/// What is left of a backup that failed, and how to remove it. It is not removed here: a commit whose reply was lost may
/// still come about.
async fn left(repository: &dyn Objects, id: BackupId, place: &Place, index: &mut Index) -> String {
    let below = Prefix::backup(id);
    match tokio::time::timeout(SOON, repository.list(&below).try_next()).await {
        Ok(Ok(None)) => return String::new(),
        Ok(Ok(Some(_))) => {}
        Ok(Err(_)) | Err(_) => return format!(". Whether anything of backup {id} is left could not be seen"),
    }
    if let Err(refusal) = index.remember(&place.location) {
        screen::warn(&refusal.message);
    }
    format!(". If it left anything, run: mo-backup delete {id} --force")
}

/// Says what came of it.
fn told(flags: &BackupFlags, place: &Place, index: &mut Index, report: &BackupReport) -> Result<Ending, Refusal> {
    for warning in &report.warnings {
        screen::warn(&warning.message);
    }
    if report.said.outcome != Outcome::Succeeded {
        let refusal = Refusal::of_said(&report.said, NAMES);
        // That a backup is damaged is said of one that is there.
        let ending = if report.said.retryable { Ending::Again } else { Ending::Final };
        return Err(if refusal.ending == Ending::Damaged { Refusal { ending, ..refusal } } else { refusal });
    }
    if let Some(why) = &report.type_reason {
        screen::note("backup", &format!("full, because {why}"));
    }
    if let Err(refusal) = index.remember(&place.location) {
        screen::warn(&format!("the backup is there, and the index does not know its repository: {}", refusal.message));
    }
    let id = report.id.as_deref().unwrap_or_default();
    let text = match flags.common.output {
        Output::Table => format!("Backup ID\n    {id}\n"),
        Output::Json => {
            let told = serde_json::json!({"location": place.location, "report": report});
            format!("{}\n", serde_json::to_string_pretty(&told).map_err(|e| Refusal::usage(e.to_string()))?)
        }
    };
    screen::print(&text)?;
    Ok(Ending::Done)
}

/// Refuses a place with backups that something else made: in a repository nobody would look for them.
async fn refuse_foreign(objects: &dyn Objects, place: &Place) -> Result<(), Refusal> {
    let looked = worker::folders(objects, place.kind()).await;
    let found = looked.map_err(|failure| Refusal::of(&failure, NAMES))?.found;
    match found.first() {
        None => Ok(()),
        Some(first) => Err(Refusal::usage(format!(
            "{} has backups that mo_br or a BACKUP statement made ({}), which nobody would look for in a repository; give \
             a folder of its own",
            list::name(place),
            if first.path.is_empty() { "itself" } else { &first.path },
        ))),
    }
}

fn base(flags: &BackupFlags) -> Result<Option<BackupId>, Refusal> {
    match (flags.backup_type, &flags.base_id) {
        (Taken::Full, Some(_)) => Err(Refusal::usage("--base-id goes with --backup-type incremental")),
        (Taken::Incremental, None) => {
            Err(Refusal::usage("--backup-type incremental needs --base-id; with --backup-type auto the base is found"))
        }
        (Taken::Full | Taken::Auto, None) => Ok(None),
        (Taken::Incremental | Taken::Auto, Some(id)) => known::id(id).map(Some),
    }
}

fn server(flags: &BackupFlags) -> Result<MatrixOne, Refusal> {
    if flags.host.is_empty() || flags.host.contains(['/', ' ', '@']) {
        return Err(Refusal::usage(format!("--host {:?} is no name and no address of a host", flags.host)));
    }
    Ok(MatrixOne {
        host: flags.host.clone(),
        port: flags.port,
        user: flags.user.clone(),
        encryption: match flags.tls {
            Tls::Disabled => Encryption::Disabled,
            Tls::Preferred => Encryption::Preferred,
            Tls::Required => Encryption::Required,
        },
        authorities: place::authorities("--tls-ca-file", flags.tls_ca_file.as_deref())?,
        server_name: None,
        // Last, because it may be asked for.
        password: secret::password(flags.password.as_deref(), flags.password_file.as_deref())?,
    })
}

fn task(
    flags: &BackupFlags,
    (id, base): (BackupId, Option<BackupId>),
    place: &Place,
    method: Method,
    staging: Option<&Shared>,
) -> BackupTask {
    BackupTask {
        subject: place::subject(id.to_string()),
        id,
        cluster: ClusterTask {
            host: flags.host.clone(),
            port: flags.port,
            tls: match flags.tls {
                Tls::Disabled => TlsMode::Disabled,
                Tls::Preferred => TlsMode::Preferred,
                Tls::Required => TlsMode::Required,
            },
            tls_ca: flags.tls_ca_file.is_some(),
            server_name: None,
        },
        storage: place.storage(),
        kind: match flags.backup_type {
            Taken::Full => BackupType::Full,
            Taken::Incremental => BackupType::Incremental,
            Taken::Auto => BackupType::Auto,
        },
        base,
        method,
        staging: staging.map(|s| StagingTask { path: String::new(), server_path: s.server_path.clone() }),
        parallelism: flags.parallelism,
        allow_keys_in_sql: flags.allow_keys_in_sql,
        verify: match flags.verify {
            Verify::Manifest => VerifyLevel::Manifest,
            Verify::Sample => VerifyLevel::Sample,
            Verify::Full => VerifyLevel::Full,
        },
        run_deadline: Watch::NEVER,
        stall_deadline: progress::STALL,
    }
}

#[cfg(test)]
mod tests;
