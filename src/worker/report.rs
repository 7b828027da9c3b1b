//! What an attempt has to say in the end, in the words of the status. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest as _, Sha256};

use super::{
    Failure,
    inventory::{NAME, plain},
    watch::signed,
};
use crate::{
    api::{BackupReport, ManifestRef, Outcome, Reason, Said, ServerSeen, TakenType, Verified, VerifyLevel, Warning},
    plan::{BackupId, Catalog, Digest, Kind},
    store::{Key, Prefix},
    task::BackupTask,
};

/// What an attempt has found out so far; a failed one reports it too.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The server.
    pub server: Option<ServerSeen>,
    /// What is being taken.
    pub kind: Option<TakenType>,
    /// Why it is full where `Auto` looked for a base.
    pub kind_reason: Option<String>,
    /// What is good to know.
    pub warnings: Vec<Warning>,
    /// The commit was sent, and it is not known whether it has arrived or still will.
    pub unsettled: bool,
}

impl Findings {
    /// A full backup is taken because something of the base is damaged or lost: somebody should look at that one too.
    pub fn damaged_base(&mut self, why: String) {
        self.warn(Reason::RepositoryDamaged, why.clone());
        self.kind_reason = Some(why);
    }

    /// Something that does not stop the backup. Said once.
    pub fn warn(&mut self, reason: Reason, message: impl Into<String>) {
        if self.warnings.len() < 16 && !self.warnings.iter().any(|w| w.reason == reason.as_str()) {
            self.warnings.push(Warning { reason: reason.as_str().into(), message: message.into() });
        }
    }
}

/// A committed backup, and what was checked of it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The catalogue entry.
    pub catalog: Catalog,
    /// How deep this attempt has checked it.
    pub level: VerifyLevel,
    /// Objects whose content was read back.
    pub hashed: u64,
}

/// The report of an attempt.
#[must_use]
pub fn backup(
    task: &BackupTask,
    result: &Result<Taken, Failure>,
    findings: &Findings,
    started: Timestamp,
) -> BackupReport {
    let Findings { server, kind, kind_reason, warnings, unsettled: _ } = findings.clone();
    let said = match result {
        Ok(_) => Said { run: task.subject.run.clone(), outcome: Outcome::Succeeded, ..Said::default() },
        Err(failure) => failure.said(&task.subject.run),
    };
    let common = BackupReport {
        said,
        id: Some(task.id.to_string()),
        type_: kind,
        type_reason: kind_reason.map(|r| r.chars().take(1000).collect()),
        method: Some(task.method),
        server,
        start_time: Some(Time(started)),
        warnings,
        ..BackupReport::default()
    };
    match result {
        Ok(taken) => committed(common, taken),
        Err(_) => common,
    }
}

/// The report of a backup that was found in the repository, with the SHA-256 of its stored entry. Nobody has looked at its
/// objects.
#[must_use]
pub fn imported(run: &str, (catalog, sha256): &(Catalog, Digest)) -> BackupReport {
    let found = Taken { catalog: catalog.clone(), level: VerifyLevel::Manifest, hashed: 0 };
    let common = BackupReport {
        said: Said { run: run.into(), outcome: Outcome::Succeeded, ..Said::default() },
        id: Some(catalog.id.to_string()),
        ..BackupReport::default()
    };
    let server = ServerSeen {
        version: plain(&catalog.cluster.matrixone, NAME),
        identity: plain(&catalog.cluster.identity, NAME),
    };
    let manifest = ManifestRef {
        key: Key::catalog(catalog.id).to_string(),
        sha256: sha256.to_string(),
        repository: Some(catalog.repository.to_string()),
    };
    BackupReport { server: Some(server), manifest: Some(manifest), verified: None, ..committed(common, &found) }
}

/// The report of a purge or a sweep that failed. It takes the place of the backup's own report, so it keeps what the next
/// attempt must know.
#[must_use]
pub fn removal(
    run: &str,
    (id, known): (BackupId, Option<&ManifestRef>),
    failure: &Failure,
    started: Timestamp,
) -> BackupReport {
    BackupReport {
        manifest: known.cloned(),
        said: failure.said(run),
        id: Some(id.to_string()),
        start_time: Some(Time(started)),
        ..BackupReport::default()
    }
}

fn committed(common: BackupReport, taken: &Taken) -> BackupReport {
    let Taken { catalog, level, hashed } = taken;
    let totals = catalog.totals;
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let (began, ended) = (time(&catalog.started_at), time(&catalog.completed_at));
    let took = began.zip(ended).and_then(|(from, to)| Duration::try_from(to.duration_since(from)).ok());
    BackupReport {
        type_: Some(match catalog.kind {
            Kind::Full => TakenType::Full,
            Kind::Incremental => TakenType::Incremental,
        }),
        base: catalog.base.map(|b| b.to_string()),
        backup_ts: Some(catalog.backup_ts.to_string()),
        exact_until: Some(catalog.exact_until.to_string()),
        at_time: at_time(catalog.backup_ts.physical),
        start_time: began.map(Time).or(common.start_time.clone()),
        complete_time: ended.map(Time),
        duration: took.map(duration),
        objects: Some(signed(totals.objects)),
        bytes: Some(signed(totals.bytes)),
        size: Some(size(totals.bytes)),
        copied_bytes: Some(signed(totals.copied_bytes)),
        reused_bytes: Some(signed(totals.bytes.saturating_sub(totals.copied_bytes))),
        path: Some(Prefix::attempt(catalog.id, catalog.attempt).as_str().trim_end_matches('/').into()),
        server: Some(ServerSeen {
            version: catalog.cluster.matrixone.clone(),
            identity: catalog.cluster.identity.clone(),
        }),
        manifest: manifest(catalog),
        verified: Some(Verified { level: *level, present: signed(totals.objects), hashed: signed(*hashed) }),
        ..common
    }
}

/// The entry in the catalogue. Its bytes are a function of its content, so the digest needs no look at the store.
fn manifest(catalog: &Catalog) -> Option<ManifestRef> {
    let stored = serde_json::to_vec(catalog).ok()?;
    let sha256 = Digest(Sha256::digest(&stored).into()).to_string();
    let repository = Some(catalog.repository.to_string());
    Some(ManifestRef { key: Key::catalog(catalog.id).to_string(), sha256, repository })
}

/// A consistency point for people, UTC, whole seconds.
pub(super) fn at_time(nanoseconds: i64) -> Option<String> {
    let at = Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()?;
    Some(at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// RFC 3339 UTC with whole seconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Bytes for people: `17.3MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}B"),
        _ => format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// A duration for people: `1h02m`, `4m05s`, `12s`.
#[must_use]
pub fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0B")]
    #[case(1023, "1023B")]
    #[case(1024, "1.0KiB")]
    #[case(1_048_575, "1023.9KiB")]
    #[case(18_120_000, "17.2MiB")]
    #[case(u64::MAX, "16383.9PiB")]
    fn sizes_for_people(#[case] bytes: u64, #[case] expected: &str) {
        assert_eq!(size(bytes), expected);
    }

    #[rstest]
    #[case(0, "0s")]
    #[case(65, "1m05s")]
    #[case(3720, "1h02m")]
    #[case(90_000, "25h00m")]
    fn durations_for_people(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(duration(Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn a_consistency_point_is_utc() {
        assert_eq!(at_time(1_795_220_037_490_199_172).as_deref(), Some("2026-11-21 00:13:57"));
    }

    #[test]
    fn a_failed_removal_keeps_what_the_next_one_must_know() {
        let known = ManifestRef { key: "key".into(), sha256: "digest".into(), repository: Some("id".into()) };
        let failure = Failure::new(Reason::PurgeFailed, "why");
        let report = removal("u-2", (BackupId::fresh(), Some(&known)), &failure, Timestamp::UNIX_EPOCH);
        assert_eq!(report.manifest, Some(known));
    }

    #[test]
    fn a_warning_is_said_once() {
        let mut findings = Findings::default();
        findings.warn(Reason::NoGcProtection, "a");
        findings.warn(Reason::NoGcProtection, "b");
        assert_eq!(findings.warnings.len(), 1);
    }
}
