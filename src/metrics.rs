//! What the operator counts, in the text format of OpenMetrics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::api::{Backup, BackupPhase, Cluster, Reason};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    kind: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabel {
    namespace: String,
    cluster: String,
}

/// The counters of one process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<KindLabel, Counter>,
    errors: Family<KindLabel, Counter>,
    jobs: Family<KindLabel, Counter>,
    released: Family<KindLabel, Counter>,
    attempts: Family<AttemptLabel, Counter>,
    backups: Family<PhaseLabel, Gauge>,
    last_success: Family<ClusterLabel, Gauge<f64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mo_backup");
        let new = Self {
            registry: Arc::new(Registry::default()),
            reconciles: Family::default(),
            errors: Family::default(),
            jobs: Family::default(),
            released: Family::default(),
            attempts: Family::default(),
            backups: Family::default(),
            last_success: Family::default(),
        };
        registry.register("reconciles", "Passes over objects", new.reconciles.clone());
        registry.register("reconcile_errors", "Passes that failed and are repeated", new.errors.clone());
        registry.register("jobs_created", "Jobs made", new.jobs.clone());
        registry.register(
            "released_with_data",
            "Objects released because their namespace is being deleted; their data stays in the repository",
            new.released.clone(),
        );
        registry.register("attempts", "Attempts that ended, by reason", new.attempts.clone());
        registry.register("backups", "Backups, by phase", new.backups.clone());
        registry.register(
            "last_success_timestamp_seconds",
            "When the newest complete backup of a MatrixOne cluster was committed",
            new.last_success.clone(),
        );
        Self { registry: Arc::new(registry), ..new }
    }
}

/// `<host>:<port>`, or the name of the MatrixOneCluster.
fn told(cluster: &Cluster) -> String {
    let address = cluster.address.as_ref().map(|a| format!("{}:{}", a.host.to_ascii_lowercase(), a.port));
    let name = || cluster.matrix_one_cluster.as_ref().map(|named| named.name.clone());
    address.or_else(name).unwrap_or_default()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// A pass over an object begins.
    pub fn reconciled(&self, kind: &str) {
        self.reconciles.get_or_create(&KindLabel { kind: kind.into() }).inc();
    }

    /// A pass over an object failed.
    pub fn reconcile_failed(&self, kind: &str) {
        self.errors.get_or_create(&KindLabel { kind: kind.into() }).inc();
    }

    /// A Job was made.
    pub fn job_created(&self, kind: &str) {
        self.jobs.get_or_create(&KindLabel { kind: kind.into() }).inc();
    }

    /// An object was released without its data being dealt with.
    pub fn released_with_data(&self, kind: &str) {
        self.released.get_or_create(&KindLabel { kind: kind.into() }).inc();
    }

    /// An attempt was judged.
    pub fn attempt_ended(&self, kind: &str, reason: Reason) {
        self.attempts.get_or_create(&AttemptLabel { kind: kind.into(), reason: reason.as_str().into() }).inc();
    }

    /// Takes the gauges from the Backups there are, and writes everything in the text format.
    ///
    /// # Errors
    /// Never in practice: writing to a `String` cannot fail.
    pub fn encode<'a>(&self, backups: impl Iterator<Item = &'a Backup>) -> Result<String, fmt::Error> {
        let mut phases: BTreeMap<String, i64> = BTreeMap::new();
        self.last_success.clear();
        for backup in backups {
            let Some(status) = &backup.status else {
                *phases.entry("None".into()).or_default() += 1;
                continue;
            };
            let phase = status.phase.map_or("None".into(), |p| format!("{p:?}"));
            *phases.entry(phase).or_default() += 1;
            let committed = status.report.as_ref().and_then(|r| r.complete_time.as_ref());
            // Of which cluster an imported one is, its object does not say.
            if let (Some(BackupPhase::Completed), Some(at), Some(cluster)) =
                (status.phase, committed, &backup.spec.cluster)
            {
                let label = ClusterLabel {
                    namespace: backup.metadata.namespace.clone().unwrap_or_default(),
                    cluster: told(cluster),
                };
                let gauge = self.last_success.get_or_create(&label);
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
                let seconds = at.0.as_second() as f64;
                gauge.set(gauge.get().max(seconds));
            }
        }
        self.backups.clear();
        for (phase, count) in phases {
            self.backups.get_or_create(&PhaseLabel { phase }).set(count);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::by_address(json!({"address": {"host": "mo.shop"}}), "mo.shop:6001")]
    #[case::by_name(json!({"matrixOneCluster": {"name": "prod"}}), "prod")]
    fn the_last_success_is_told_of_each_cluster(#[case] mut cluster: Value, #[case] label: &str) {
        cluster["credentialsSecret"] = json!({"name": "s"});
        let object = json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup", "metadata": {"name": "b", "namespace": "ns"},
            "spec": {"cluster": cluster, "storage": "st"},
            "status": {"phase": "Completed", "attempt": 1, "report": {"run": "u-1", "outcome": "Succeeded",
                "retryable": false, "completeTime": "2027-01-01T00:00:00Z"}}
        });
        let backup: Backup = serde_json::from_value(object).unwrap();
        let text = Metrics::default().encode(std::iter::once(&backup)).unwrap();
        let line = format!("last_success_timestamp_seconds{{namespace=\"ns\",cluster=\"{label}\"}} 1798761600.0");
        assert!(text.contains(&line), "{text}");
    }
}
