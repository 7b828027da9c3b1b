//! The end-to-end tests: a real Kubernetes control plane, real S3 servers, a real `MatrixOne`.
//!
//! `cargo test --test e2e` runs all, `cargo test --test e2e smoke::` those of one module. Set `E2E_KEEP=1` to keep the
//! run folders, `MATRIXONE_BIN` to test against a newer server.

mod double_to_bucket;
#[allow(dead_code, reason = "the rig offers more than any one target uses")]
mod harness;
#[allow(dead_code, unused_imports, reason = "the double offers more than any one target uses")]
mod simulator;
mod smoke;
mod smoke_faults;

fn main() -> std::process::ExitCode {
    harness::trial::run(
        [double_to_bucket::tests(), smoke::tests(), smoke_faults::tests()].into_iter().flatten().collect(),
    )
}
