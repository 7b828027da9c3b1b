//! SIGKILL at every request: whatever moment the operator or a worker dies at, what comes out is a whole backup or none.

mod operator;
mod restore;
pub(crate) mod trace;
mod worker;

use crate::harness::trial::{Need, Test};
use crate::test;

pub fn tests() -> Vec<Test> {
    let long = std::time::Duration::from_secs(3600);
    vec![
        test!(operator::operator_at_every_index).within(std::time::Duration::from_secs(900)),
        test!(worker::worker_at_sampled_indices).within(std::time::Duration::from_secs(900)),
        test!(restore::restore_at_sampled_indices).within(std::time::Duration::from_secs(900)),
        test!(restore::restore_at_every_index).needs(Need::Sweep).within(long),
        test!(worker::worker_at_every_index).needs(Need::Sweep).within(long),
    ]
}
