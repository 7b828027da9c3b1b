//! The `mo-backup` program: reads the command line, wires the rooms together, decides nothing.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::panic,
        clippy::unwrap_used,
        clippy::wildcard_enum_match_arm
    )
)]

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use mo_backup::{
    api,
    cli::{self, Ending, People},
    controller::{job::WorkerImage, operator},
    telemetry, worker,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Backups of MatrixOne: the operator of a Kubernetes cluster, and what `mo_br` does without one.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    People(Box<People>),
    /// Run the operator.
    Operator(OperatorArguments),
    /// Do one piece of work: what runs in a Job.
    Worker,
    /// Print the custom resource definitions as YAML.
    Crds,
}

#[derive(clap::Args)]
struct OperatorArguments {
    /// Namespace to watch; may be given several times. Without it: all.
    #[arg(long = "watch-namespace")]
    watch_namespaces: Vec<String>,
    /// Image of the workers: the one this operator runs from.
    #[arg(long)]
    worker_image: String,
    /// Pull policy of the workers' image.
    #[arg(long, value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// Work only while holding the Lease mo-backup-operator; needed for two replicas.
    #[arg(long)]
    leader_election: bool,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Namespace of this Pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pod_namespace: String,
    /// Name of this Pod.
    #[arg(long, env = "POD_NAME")]
    pod_name: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut program = cli::with_underscores(Arguments::command());
    let parsed = program.clone().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    match arguments.command {
        Command::People(people) => return run_people(*people, &mut program),
        Command::Operator(options) => run_operator(options)?,
        Command::Worker => return run_worker(),
        Command::Crds => print_crds()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Help and version as they are; of what is wrong, one line.
fn refused(error: &clap::Error) -> anyhow::Result<ExitCode> {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader who has read enough, such as `head`, is no error.
        return match error.print() {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
            Ok(()) | Err(_) => Ok(ExitCode::from(if asked { Ending::Done } else { Ending::Usage } as u8)),
        };
    }
    let text = error.render().to_string();
    let words = text.split("\n\nUsage:").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    cli::say_error(words.strip_prefix("error: ").unwrap_or(&words));
    Ok(ExitCode::from(Ending::Usage as u8))
}

fn run_people(people: People, program: &mut clap::Command) -> anyhow::Result<ExitCode> {
    if std::env::var_os("RUST_LOG").is_some() {
        telemetry::start();
    }
    encryption();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ending = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let gone = terminal_gone()?;
        let work = cli::run(people, program, stop.clone());
        tokio::pin!(work);
        tokio::select! {
            ending = &mut work => return anyhow::Ok(ending),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = gone => {}
        }
        stop.cancel();
        Ok(work.await)
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::from(ending as u8))
}

/// Comes when the terminal is gone: what runs is stopped in order, as by Ctrl-C. Never under `nohup`, which has it ignored.
fn terminal_gone() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signal = if is_ignored(SignalKind::hangup()) { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        match &mut signal {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
    })
}

/// Whether this signal is ignored, as the kernel says (`proc_pid_status(5)`, a mask in hexadecimal with signal 1 as its lowest
/// bit). Where it does not say, it is not.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

fn run_worker() -> anyhow::Result<ExitCode> {
    telemetry::start();
    encryption();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let work = worker::run(stop.clone());
        tokio::pin!(work);
        tokio::select! {
            exit = &mut work => return anyhow::Ok(exit),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told to stop");
        stop.cancel();
        Ok(work.await)
    })?;
    // A call to a dead mount can block for ever; the report is out.
    runtime.shutdown_background();
    Ok(ExitCode::from(exit as u8))
}

fn run_operator(arguments: OperatorArguments) -> anyhow::Result<()> {
    telemetry::start();
    encryption();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(operator::run(operator::Options {
        watch_namespaces: arguments.watch_namespaces,
        image: WorkerImage { image: arguments.worker_image, pull_policy: arguments.image_pull_policy },
        leader_election: arguments.leader_election,
        listen: arguments.listen,
        pod_namespace: arguments.pod_namespace,
        pod_name: arguments.pod_name,
    }))?;
    Ok(())
}

/// Names the one implementation of TLS; several are linked in, and none would be chosen.
fn encryption() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("an implementation of TLS was chosen before");
    }
}

/// Prints one YAML document for each kind.
fn print_crds() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for (at, crd) in api::crds().iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b"---\n" })?;
        out.write_all(api::crd_yaml(crd)?.as_bytes())?;
    }
    Ok(())
}
