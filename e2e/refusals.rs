//! What cannot work is refused before anything is written: each thing by its own reason, with what to do about it.

mod evidence;
mod server;
mod spec;
mod store;

use std::time::Duration;

use crate::harness::trial::Test;
use crate::test;

/// Many Backups, one after the other, some of which meet a server that hangs.
const LONG: Duration = Duration::from_secs(900);

pub fn tests() -> Vec<Test> {
    vec![
        test!(server::what_a_server_refuses).within(LONG),
        test!(store::what_a_probe_refuses).within(LONG),
        test!(store::what_became_of_a_ready_storage).within(LONG),
        test!(spec::what_a_spec_may_not_say).within(LONG),
    ]
}
