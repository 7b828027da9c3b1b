//! What breaks around a backup: the store, MatrixOne, the worker, its node, the API server, and people.

mod control_plane;
mod node;
mod people;
mod server;
mod store;
mod worker;

use std::time::Duration;

use crate::harness::trial::Test;
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(store::damage_before_the_commit_is_named),
        test!(store::slow_down_is_outlived),
        test!(server::killed_in_mid_backup),
        test!(server::lost_connection_finds_its_statement),
        test!(server::foreign_backup_is_waited_for),
        test!(server::rewound_history_takes_a_full_backup),
        test!(worker::asked_to_stop_it_ends_in_time),
        test!(worker::frozen_it_is_replaced),
        test!(worker::vanished_job_is_noticed),
        test!(people::cancel_and_retry),
        test!(people::recreated_object_is_another),
        test!(control_plane::api_server_dies_in_mid_run),
        test!(node::lost_node_never_makes_two),
        test!(node::deleted_node_frees_the_attempt).within(Duration::from_mins(10)),
        test!(node::node_out_of_service_frees_the_attempt).within(Duration::from_mins(10)),
    ]
}
