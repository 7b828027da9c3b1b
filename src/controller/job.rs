//! From a Task to its Job. Pure.
//!
//! The Pod meets the restricted Pod Security profile. Secrets come as files of named keys; the Task itself names things
//! and holds no secret. Names and labels derive from object and attempt, so that a second `create` meets the first.

mod files;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
            SeccompProfile, SecurityContext,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};

use files::Files;

use crate::{
    api::{
        AttemptRecord, Backup, BackupStorageSpec, Cluster, CredentialsSecret, GROUP, JobOptions, RestoreTarget, RunAs,
        StagingVolume,
    },
    task::{InvalidSpec, Subject, TASK_ENV, Task, mount},
};

/// Label: the run of a Job and its Pod, `<uid>-<attempt>`.
pub const RUN_LABEL: &str = "mo-backup.io/run";
/// Label: kind of the object.
pub const KIND_LABEL: &str = "mo-backup.io/kind";
/// Label: name of the object.
pub const NAME_LABEL: &str = "mo-backup.io/name";
/// Name of the worker's container.
pub const WORKER: &str = "worker";
/// A ServiceAccount of Jobs, made in each namespace where one is needed, and the ClusterRole of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// May patch the status of our kinds and nothing else.
    Worker,
    /// May besides list Backups, and create imported ones.
    Catalog,
}

impl Account {
    /// Its name, and that of its role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker => "mo-backup-worker",
            Self::Catalog => "mo-backup-catalog",
        }
    }

    /// The account that a Job with this Task runs as.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        match task {
            Task::Probe(probe) if probe.imports.is_some() => Self::Catalog,
            Task::Backup(_) | Task::Purge(_) | Task::Sweep(_) | Task::Probe(_) | Task::Restore(_) | Task::Proof(_) => {
                Self::Worker
            }
        }
    }

    /// The account that a Job runs as.
    #[must_use]
    pub fn of_job(job: &Job) -> Self {
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let name = pod.and_then(|pod| pod.service_account_name.as_deref());
        if name == Some(Self::Catalog.name()) { Self::Catalog } else { Self::Worker }
    }
}
/// User and groups of a Pod that names none.
const NOBODY: i64 = 65532;

/// What all Jobs have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerImage {
    /// Image reference.
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`, or the cluster's default.
    pub pull_policy: Option<String>,
}

/// A Job to be made.
#[derive(Clone, Debug)]
pub struct JobPlan<'a> {
    /// What its worker does, and for which object.
    pub task: &'a Task,
    /// What the user says about the Pod.
    pub options: &'a JobOptions,
    /// What it runs.
    pub image: &'a WorkerImage,
    /// When Kubernetes stops it: a backstop beyond all other deadlines.
    pub deadline: Duration,
    /// The MatrixOne cluster, for its Secrets.
    pub cluster: Option<&'a Cluster>,
    /// The storage, for its Secrets and its volume.
    pub storage: Option<&'a BackupStorageSpec>,
    /// The staging volume.
    pub staging: Option<&'a StagingVolume>,
    /// The place that is restored to.
    pub target: Option<&'a RestoreTarget>,
    /// Logins of further accounts.
    pub accounts: &'a [CredentialsSecret],
}

/// Name of the Job of an attempt.
#[must_use]
pub fn attempt_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-{attempt}")
}

/// Name of the Job of an attempt to purge.
#[must_use]
pub fn purge_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-purge-{attempt}")
}

/// Name of the Job of an attempt to empty the staging folder.
#[must_use]
pub fn sweep_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-sweep-{attempt}")
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// It takes the backup.
    Backup,
    /// It removes its data.
    Purge,
    /// It removes what a stopped worker left in the staging folder.
    Sweep,
}

/// What this attempt of a Backup is for: its Job's name says it.
#[must_use]
pub fn errand(backup: &Backup, record: &AttemptRecord) -> Errand {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    if record.job == purge_name(name, record.number) {
        Errand::Purge
    } else if record.job == sweep_name(name, record.number) {
        Errand::Sweep
    } else {
        Errand::Backup
    }
}

/// Name of the Job of an attempt to restore.
#[must_use]
pub fn restore_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-restore-{attempt}")
}

/// Name of the Job of an attempt to prove what was restored.
#[must_use]
pub fn proof_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-proof-{attempt}")
}

/// Name of the Job of a probe.
#[must_use]
pub fn probe_name(object: &str, attempt: impl Display) -> String {
    format!("{object}-probe-{attempt}")
}

/// For whom, the kind of that object, and how a Job of its attempt is called.
fn subject(task: &Task) -> (&Subject, &'static str, String) {
    match task {
        Task::Backup(t) => (&t.subject, "Backup", attempt_name(&t.subject.name, t.subject.attempt)),
        Task::Purge(t) => (&t.subject, "Backup", purge_name(&t.subject.name, t.subject.attempt)),
        Task::Sweep(t) => (&t.subject, "Backup", sweep_name(&t.subject.name, t.subject.attempt)),
        Task::Probe(t) => (&t.subject, "BackupStorage", probe_name(&t.subject.name, t.subject.attempt)),
        Task::Restore(t) => (&t.subject, "Restore", restore_name(&t.subject.name, t.subject.attempt)),
        Task::Proof(t) => (&t.subject, "Restore", proof_name(&t.subject.name, t.subject.attempt)),
    }
}

impl JobPlan<'_> {
    /// The Job.
    ///
    /// # Errors
    /// When the Task cannot be written as JSON.
    pub fn render(&self) -> Result<Job, InvalidSpec> {
        let (subject, kind, name) = subject(self.task);
        let task = serde_json::to_string(self.task)
            .map_err(|e| InvalidSpec::Field { field: "spec", detail: format!("it cannot be written as JSON: {e}") })?;
        let ours = BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "mo-backup".to_owned()),
            ("app.kubernetes.io/component".to_owned(), WORKER.to_owned()),
            (RUN_LABEL.to_owned(), subject.run.clone()),
            (KIND_LABEL.to_owned(), kind.to_owned()),
            (NAME_LABEL.to_owned(), subject.name.clone()),
        ]);
        // Ours come last: a user's label must not hide a Pod from us.
        let mut pod_labels = self.options.labels.clone();
        pod_labels.extend(ours.clone());
        Ok(Job {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(subject.namespace.clone()),
                labels: Some(ours),
                owner_references: Some(vec![owner(kind, &subject.name, &subject.uid)]),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                backoff_limit: Some(0),
                completions: Some(1),
                parallelism: Some(1),
                pod_replacement_policy: Some("Failed".into()),
                active_deadline_seconds: Some(i64::try_from(self.deadline.as_secs()).unwrap_or(i64::MAX)),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(pod_labels),
                        annotations: Some(self.options.annotations.clone()).filter(|a| !a.is_empty()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(task)),
                },
                ..JobSpec::default()
            }),
            status: None,
        })
    }

    fn pod(&self, task: String) -> PodSpec {
        let run_as = self.options.run_as.unwrap_or(RunAs { user: NOBODY, group: None, fs_group: None });
        let group = run_as.group.unwrap_or(run_as.user);
        let mut files = Files::default();
        self.mounts(&mut files);
        PodSpec {
            service_account_name: Some(Account::of(self.task).name().into()),
            // The token is mounted by name below, so that its lifetime is ours to say.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            restart_policy: Some("Never".into()),
            termination_grace_period_seconds: Some(60),
            node_selector: Some(self.options.node_selector.clone()).filter(|s| !s.is_empty()),
            tolerations: Some(self.options.tolerations.clone()).filter(|t| !t.is_empty()),
            affinity: self.options.affinity.clone(),
            priority_class_name: self.options.priority_class_name.clone(),
            image_pull_secrets: Some(self.options.image_pull_secrets.clone()).filter(|s| !s.is_empty()),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(run_as.user),
                run_as_group: Some(group),
                fs_group: Some(run_as.fs_group.unwrap_or(group)),
                fs_group_change_policy: Some("OnRootMismatch".into()),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
                ..PodSecurityContext::default()
            }),
            containers: vec![Container {
                name: WORKER.into(),
                image: Some(self.image.image.clone()),
                image_pull_policy: self.image.pull_policy.clone(),
                args: Some(vec!["worker".into()]),
                env: Some(vec![EnvVar { name: TASK_ENV.into(), value: Some(task), value_from: None }]),
                resources: Some(self.options.resources.clone().unwrap_or_else(modest)),
                termination_message_path: Some(mount::TERMINATION_LOG.into()),
                security_context: Some(SecurityContext {
                    allow_privilege_escalation: Some(false),
                    privileged: Some(false),
                    read_only_root_filesystem: Some(true),
                    run_as_non_root: Some(true),
                    capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
                    ..SecurityContext::default()
                }),
                volume_mounts: Some(files.mounts),
                ..Container::default()
            }],
            volumes: Some(files.volumes),
            ..PodSpec::default()
        }
    }

    fn mounts(&self, files: &mut Files) {
        if let Some(cluster) = self.cluster {
            files.login("sql", mount::SQL, &cluster.credentials_secret);
            if let Some(ca) = &cluster.tls.ca_secret {
                files.secret("sql-ca", mount::SQL_CA, &ca.name, &[(&*ca.key, "ca.crt")]);
            }
        }
        for (number, secret) in self.accounts.iter().enumerate() {
            files.login(&format!("account-{number}"), &format!("{}/{number}", mount::ACCOUNTS), secret);
        }
        if let Some(s3) = self.storage.and_then(|s| s.s3.as_ref()) {
            files.store(s3, ("store", mount::STORE), ("store-ca", mount::STORE_CA));
        }
        if let Some(volume) = self.storage.and_then(|s| s.volume.as_ref()) {
            files.claim("repository", mount::REPOSITORY, &volume.claim);
        }
        if let Some(volume) = self.staging {
            files.claim("staging", mount::STAGING, &volume.claim);
        }
        if let Some(s3) = self.target.and_then(|t| t.s3.as_ref()) {
            files.store(s3, ("target-store", mount::TARGET_STORE), ("target-store-ca", mount::TARGET_STORE_CA));
        }
        if let Some(volume) = self.target.and_then(|t| t.volume.as_ref()) {
            files.claim("target", mount::TARGET, &volume.claim);
        }
        files.scratch();
        files.identity();
    }
}

/// CPU and memory of a Pod that asks for none.
fn modest() -> ResourceRequirements {
    let of = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: of(&[("cpu", "100m"), ("memory", "128Mi")]),
        limits: of(&[("memory", "512Mi")]),
        claims: None,
    }
}

/// The reference that makes an object the controller of a Job.
fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{}", crate::api::VERSION),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests;
