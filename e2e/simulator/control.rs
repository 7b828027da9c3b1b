//! `mo_ctl`, recorded under the heading of that name in both versions, and under "Checkers again…" of v1.2.4.

use super::{
    Version,
    login::Identity,
    recorded::{self, Fact},
    select::Refusal,
    state::Shared,
};

/// Carries out `mo_ctl(service, command, argument)`.
pub fn run(shared: &Shared, me: &Identity, service: &str, command: &str, argument: &str) -> Result<String, Refusal> {
    if !me.is_admin() {
        return refuse(&recorded::NO_PRIVILEGE, &[]);
    }
    if !["cn", "dn"].contains(&service) {
        return refuse(&recorded::NO_SERVICE, &[&service.to_uppercase()]);
    }
    match (service, command.to_lowercase().as_str()) {
        ("cn", "getsnapshot") => Ok(recorded::SNAPSHOT.fill(&[&shared.state().history.now()])),
        ("dn", "checkpoint") if !is_duration(argument) => refuse(&recorded::BAD_DURATION, &[argument]),
        ("dn", "checkpoint") => Ok(recorded::DONE.fill(&["Checkpoint"])),
        ("dn", "diskcleaner") => match shared.version {
            Version::V1_2_4 => clean_v1(shared, argument),
            Version::V4_2_0 => clean_v4(shared, argument),
        },
        ("dn", "nosuch") => refuse(&recorded::NO_COMMAND, &["NOSUCH"]),
        _ => Err(Refusal::Unknown),
    }
}

/// Three parts are needed, the text of the third of `remove_checker` is not looked at.
fn clean_v1(shared: &Shared, argument: &str) -> Result<String, Refusal> {
    let parts: Vec<&str> = argument.split('.').collect();
    match parts.as_slice() {
        ["add_checker", "min_ts", ts] => hold(shared, ts),
        ["remove_checker", "min_ts"] => refuse(&recorded::CHECKER_PANIC, &[]),
        ["remove_checker", "min_ts", _] => release(shared),
        ["add_checker" | "remove_checker", "backup", _] => refuse(&recorded::BAD_CLEANER_KEY, &[]),
        ["" | "details" | "stop_gc" | "start_gc" | "nonsense" | "remove_checker"] => {
            refuse(&recorded::BAD_CLEANER_ARGUMENT, &[])
        }
        _ => Err(Refusal::Unknown),
    }
}

fn clean_v4(shared: &Shared, argument: &str) -> Result<String, Refusal> {
    let parts: Vec<&str> = argument.split('.').collect();
    match parts.as_slice() {
        ["add_checker", "min_ts", ts] if is_timestamp(ts) => hold(shared, ts),
        ["remove_checker", "min_ts"] => release(shared),
        ["" | "nonsense"] => refuse(&recorded::BAD_CLEANER_OPERATION, &[]),
        _ => Err(Refusal::Unknown),
    }
}

fn hold(shared: &Shared, ts: &str) -> Result<String, Refusal> {
    if !is_timestamp(ts) {
        return refuse(&recorded::BAD_MIN_TS, &[ts]);
    }
    shared.state().min_ts = Some(ts.to_owned());
    Ok(recorded::DONE.fill(&["DiskCleaner"]))
}

fn release(shared: &Shared) -> Result<String, Refusal> {
    match shared.state().min_ts.take() {
        Some(_) => Ok(recorded::DONE.fill(&["DiskCleaner"])),
        None => refuse(&recorded::NO_CHECKER, &[]),
    }
}

fn refuse(fact: &Fact, values: &[&str]) -> Result<String, Refusal> {
    Err(Refusal::Recorded(fact.error(values)))
}

/// `<phys>-<logical>`.
pub fn is_timestamp(text: &str) -> bool {
    let number = |part: &str| part.parse::<u64>().is_ok();
    text.split_once('-').is_some_and(|(physical, logical)| number(physical) && number(logical))
}

/// Nothing, or a number and a unit: `10m`.
fn is_duration(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    text.is_empty() || (digits != text && digits.parse::<u32>().is_ok())
}
