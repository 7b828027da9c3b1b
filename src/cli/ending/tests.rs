use rstest::rstest;

use super::*;
use crate::store::{Error, Problem};

const ONLY: Names = Names { repository: "" };
const OF_MANY: Names = Names { repository: "backup-" };

#[rstest]
#[case::repository(Place::Volume, ONLY, Problem::Denied, "--path must be a folder that MatrixOne sees")]
#[case::one_of_two(Place::Volume, OF_MANY, Problem::Denied, "--backup-path must be a folder")]
#[case::staging(Place::Staging, ONLY, Problem::Denied, "--staging must be a folder")]
#[case::target(Place::TargetVolume, OF_MANY, Problem::Denied, "--restore-path must be a folder")]
#[case::bucket(Place::Bucket, OF_MANY, Problem::Denied, "--backup-access-key-id")]
#[case::target_bucket(Place::TargetBucket, OF_MANY, Problem::NoBucket, "--restore-bucket")]
#[case::target_store(Place::TargetBucket, OF_MANY, Problem::Unreachable, "--restore-endpoint (or --restore-path)")]
fn the_flag_is_the_one_of_the_place(
    #[case] place: Place,
    #[case] names: Names,
    #[case] problem: Problem,
    #[case] flag: &str,
) {
    let failure = Failure::of_store(
        place,
        &Error { problem, verb: "write", what: "a".into(), detail: "no".into(), temporary: false },
    );
    assert_told(&Refusal::of(&failure, names), flag);
    assert_told(&Refusal::of_said(&failure.said("r"), names), flag);
}

fn assert_told(refusal: &Refusal, flag: &str) {
    assert!(refusal.message.contains(flag), "{}", refusal.message);
    assert!(!refusal.message.contains('\n'), "{}", refusal.message);
}

#[test]
fn what_no_flag_can_mend_is_said_without_one() {
    let interrupted = Failure::interrupted(Reason::Interrupted, "the worker was told to stop");
    assert_eq!(Refusal::of(&interrupted, ONLY).message, "it was told to stop");
    assert_eq!(Refusal::of_said(&interrupted.said("r"), ONLY).ending, Ending::Interrupted);
}
