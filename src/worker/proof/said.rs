//! What a proof has to say in the end, in the words of the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Known;
use crate::{
    api::{Outcome, RestoreProof, Said},
    sql::Version,
    task::ProofTask,
    worker::{
        Failure, Watch,
        inventory::plain,
        report::{duration, size},
        watch::signed,
    },
};

/// The longest version that a status holds.
const VERSION: usize = 64;

/// The report of a proof, good or not. What was read is said in both cases.
pub(super) fn report(task: &ProofTask, failure: Option<&Failure>, known: &Known, watch: &Watch) -> RestoreProof {
    let run = &task.subject.run;
    let said = match failure {
        None => Said { run: run.clone(), outcome: Outcome::Succeeded, ..Said::default() },
        Some(failure) => failure.said(run),
    };
    let Known { booted, version, read, findings } = known;
    let version =
        version.as_deref().map(|text| Version::parse(text).map_or_else(|| plain(text, VERSION), |v| v.to_string()));
    let began = !read.accounts.is_empty() || read.tables > 0;
    RestoreProof {
        said,
        booted_time: booted.map(Time),
        server_version: version,
        complete_time: Some(Time(watch.now())),
        duration: Some(duration(watch.elapsed())),
        accounts: read.accounts.iter().take(17).cloned().collect(),
        tables: began.then(|| signed(read.tables)),
        rows: began.then(|| signed(read.rows)),
        bytes: began.then(|| signed(read.bytes)),
        size: began.then(|| size(read.bytes)),
        skipped: began.then(|| signed(read.skipped)),
        warnings: findings.warnings.clone(),
    }
}
