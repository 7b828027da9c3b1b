//! What runs in a Job: one [`Task`], once, and its report. It looks before it acts, so that every end, also the sudden one,
//! leaves something that the next attempt can start from.

mod adopt;
mod backup;
mod base;
mod clean;
mod commit;
mod copy;
mod failure;
mod farewell;
mod ground;
mod inventory;
mod kubernetes;
mod look;
mod method;
mod orphans;
mod preflight;
mod probe;
mod proof;
mod purge;
mod report;
mod reporter;
mod resolve;
mod restore;
mod run;
mod sequence;
mod server_files;
mod soon;
mod statement;
mod take;
mod trouble;
mod verify;
mod watch;
mod wire;

pub use adopt::import;
pub use backup::{Ports, Staging, backup};
pub use failure::{Failure, Place};
pub use kubernetes::{Backups, Known, Made, imported_name};
pub use probe::probe;
pub use proof::{Login, ProofPorts, prove};
pub use purge::{purge, sweep};
pub use reporter::{Kubernetes, Reporter, Untold};
pub use restore::{RestorePorts, restore};
pub use run::{Exit, run};
pub use soon::SOON;
pub use watch::{Clock, Watch};
pub use wire::{Files, Places};
