//! Restores between stores in memory and folders: what comes out, what is refused, and what a crash leaves.

mod base;
mod check;
mod check_foreign;
mod choose;
mod companions;
mod crash;
mod exhibits;
mod folders;
mod foreign;
mod happy;
mod merged;
mod museum;
mod one_store;
mod refuse;
mod repository;
mod rig;
#[allow(dead_code, reason = "other tests ask it for more")]
#[path = "../fixtures/catalog.rs"]
mod sample;
mod stop;
mod volumes;
