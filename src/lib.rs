//! Backup operator and command line for MatrixOne. The rooms, from the ground up:
//!
//! * [`api`]: what users write and read. No I/O.
//! * [`plan`]: what to copy, what belongs to what. Pure.
//! * [`sql`]: what to say to MatrixOne; `sql/session.rs` is its only I/O.
//! * [`store`]: where bytes live: object stores and volumes.
//! * [`task`]: the treaty between the operator and its workers.
//! * [`controller`]: the operator: looks, decides, acts. Knows Kubernetes; no SQL, no bucket, no Secret.
//! * [`worker`]: what runs in a Job: SQL and objects; of Kubernetes only the status of its own object.
//! * [`cli`]: what people type: the flags of `mo_br`, through the rooms below.
//! * [`metrics`]: what the operator counts.
//! * [`telemetry`]: how it logs.
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

#[cfg(test)]
extern crate self as mo_backup;

pub mod api;
pub mod cli;
pub mod controller;
pub mod metrics;
pub mod plan;
pub mod sql;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod worker;

#[cfg(test)]
#[path = "../tests/fixtures/catalog.rs"]
mod sample;
