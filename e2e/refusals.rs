//! What cannot work is refused before anything is written: each thing by its own reason, with what to do about it.

mod evidence;
mod server;
mod spec;
mod store;

use std::time::Duration;

use crate::harness::{s3::Bucket, trial::Test};
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

/// What is in a bucket, but for what a probe of the storage writes and removes again: one follows every Backup that is over.
async fn lasting(bucket: &Bucket) -> anyhow::Result<Vec<(String, u64)>> {
    let mut found = bucket.list("").await?;
    found.retain(|(key, _)| !key.starts_with("prod/probe/"));
    Ok(found)
}
