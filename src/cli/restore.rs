//! `mo-backup restore`.

mod said;
mod source;
mod target;

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    ending::{Ending, Refusal},
    flags::{Backed, PlaceFlags, Target},
    index::Index,
    known::NAMES,
    place, progress, screen,
};
use crate::{
    api::{Outcome, Reason, RestoreReport, Warning},
    plan::BackupId,
    store::{Key, Objects as _, Patience, Retrying},
    task::{Choice, RestoreTask, WhoseTask},
    worker::{self, Asked, Failure, RestorePorts, Watch, plain},
};
use source::Origin;
use target::Goal;

/// Longest text that is told of something that somebody else has written.
const TEXT: usize = 1000;

/// The flags of `restore`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RestoreFlags {
    /// The backup
    #[arg(value_name = "ID", conflicts_with_all = ["named", "latest"])]
    id: Option<String>,
    /// The backup
    #[arg(
        id = "named",
        long = "id",
        alias = "ID",
        value_name = "ID",
        conflicts_with = "latest",
        hide_short_help = true
    )]
    named: Option<String>,
    /// The backup with the newest data
    #[arg(long)]
    latest: bool,
    /// With --latest: of the MatrixOne with this identity
    #[arg(
        long,
        value_name = "ID",
        requires = "latest",
        conflicts_with_all = ["id", "named"],
        hide_short_help = true
    )]
    identity: Option<String>,
    /// With --latest: of the MatrixOne that was reached there
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "latest",
        conflicts_with_all = ["id", "named"],
        hide_short_help = true
    )]
    address: Option<String>,
    #[command(flatten)]
    source: PlaceFlags<Backed>,
    #[command(flatten)]
    target: PlaceFlags<Target>,
    /// Configuration of the TN: where SHARED is
    #[arg(long, value_name = "FILE", help_heading = "Where to restore to")]
    dn_config_path: Option<PathBuf>,
    /// Configuration of the log service, for ids
    #[arg(long, value_name = "FILE", help_heading = "Where to restore to", hide_short_help = true)]
    log_config_path: Option<PathBuf>,
    /// Taken and without effect: every object is always compared with its digest
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        hide_default_value = true,
        hide_possible_values = true,
        hide_short_help = true
    )]
    checksum: bool,
    /// Copies at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallelism: u16,
    /// Show what would be done, and write nothing
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  mo-backup restore ID --restore-path /home/mo/matrixone
  mo-backup restore --latest --backup-path /backups/prod --restore-is-minio \\
      --restore-endpoint http://127.0.0.1:9000 --restore-bucket mo
Folders of mo_br, oldest first:
  mo-backup restore --backup-path /old/full --backup-path /old/incr \\
      --restore-path /home/mo/matrixone

Stop MatrixOne and remove its mo-data first: nothing is ever overwritten.
Flags are taken with underscores too, as mo_br writes them. --help shows all.";

/// Restores a backup.
///
/// # Errors
/// When it was not restored.
pub async fn run(flags: &RestoreFlags, stop: CancellationToken) -> Result<Ending, Refusal> {
    let order = Order::of(flags, &stop).await?;
    if !flags.checksum {
        screen::warn("--checksum=false has no effect: every object is compared with its digest");
    }
    if flags.common.output == Output::Table {
        screen::print(&said::head(&order))?;
    }
    let watch = progress::brisk("restore", &order.task.subject.run, stop);
    let report = order.carry_out(&watch).await;
    // The bar goes before anything is said.
    drop(watch);
    let report = report?;
    report.warnings.iter().for_each(warn);
    order.judge(&report)?;
    let text = match flags.common.output {
        Output::Table => said::done(&order, &report),
        Output::Json => {
            let text = serde_json::to_string_pretty(&report)
                .map_err(|e| failed(&Failure::new(Reason::Internal, e.to_string())))?;
            format!("{text}\n")
        }
    };
    let printed = screen::print(&text);
    // Last, where it is seen; and on standard error, as programs that read the result should not miss it either.
    said::trap(&order, &report).into_iter().for_each(screen::warn);
    printed.map(|()| Ending::Done)
}

fn warn(warning: &Warning) {
    screen::warn(&plain(&warning.message, TEXT));
}

fn failed(failure: &Failure) -> Refusal {
    Refusal::of(failure, NAMES)
}

/// What was ordered: every flag was judged, and the backup was found. Nothing was written.
struct Order {
    origin: Origin,
    goal: Goal,
    task: RestoreTask,
    /// Whether the configuration of MatrixOne was looked at.
    configured: bool,
}

impl Order {
    async fn of(flags: &RestoreFlags, stop: &CancellationToken) -> Result<Self, Refusal> {
        let goal = target::of(&flags.target, flags.dn_config_path.as_deref(), flags.log_config_path.as_deref())?;
        let index = Index::open_beside(flags.common.meta_path.as_deref(), flags.source.names_a_place())?;
        let origin = source::of(flags, &index, stop).await?;
        let task = RestoreTask {
            // The name is always the same: so the same command goes on with what was begun, or says that it is done.
            subject: place::subject(BackupId::fresh().to_string()),
            storage: origin.place.storage(),
            choice: origin.choice.clone(),
            // It is chosen already.
            whose: WhoseTask::default(),
            target: goal.task.clone(),
            plan_only: flags.plan,
            approved_plan: None,
            parallelism: flags.parallelism,
            run_deadline: Watch::NEVER,
            stall_deadline: progress::STALL,
        };
        Ok(Self { origin, goal, task, configured: flags.dn_config_path.is_some() })
    }

    /// Restores. The report says how it ended.
    async fn carry_out(&self, watch: &Watch) -> Result<RestoreReport, Refusal> {
        let source = self.origin.place.open().map_err(|failure| failed(&failure))?;
        let kind = worker::Place::of_target(&self.goal.place.location);
        let target = self.goal.place.open_as(kind).map_err(|failure| failed(&failure))?;
        // Somebody waits: what is wrong from the start is said soon.
        let asking = Retrying::new(target.clone(), Patience::soon(), watch.token().clone());
        let asked = async { asking.stat(&Key::restored()).await.map_err(|e| Failure::of_store(kind, &e)) };
        worker::soon(Asked::Store(kind), asked).await.map_err(|failure| failed(&failure))?;
        let ports = RestorePorts { source, target, patience: Patience::default() };
        Ok(worker::restore(&self.task, &ports, watch).await)
    }

    /// Refuses to call a failed restore done.
    fn judge(&self, report: &RestoreReport) -> Result<(), Refusal> {
        if report.said.outcome == Outcome::Succeeded {
            return Ok(());
        }
        let refusal = Refusal::of_said(&report.said, NAMES);
        let more = self.advice(report.said.reason.as_deref().and_then(Reason::parse));
        Err(Refusal { message: format!("{}{more}", refusal.message), ..refusal })
    }

    /// What there is to add to a reason.
    fn advice(&self, reason: Option<Reason>) -> String {
        match (reason, &self.task.choice) {
            // What must be empty is seldom the folder that was named.
            (Some(Reason::TargetNotEmpty), _) => format!(". The target is {}", self.goal.place.lines().join(" ")),
            (Some(Reason::ObjectMissing), Choice::Paths(paths)) if paths.len() == 1 => {
                ". A chain is given with a --backup-path or --backup-filepath for each, or with the folder that holds them \
                 and --latest"
                    .into()
            }
            (Some(Reason::InvalidSpec), Choice::Id(_)) => ". Name another --restore-path or --restore-filepath".into(),
            (Some(Reason::Interrupted), _) => ". The same command goes on with what it has begun".into(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
