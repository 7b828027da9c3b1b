//! From specs to Tasks: the one place where specs are validated. A Task that was made here has no invalid state left.

use std::time::Duration;

use kube::api::ObjectMeta;
use uuid::Uuid;

use super::{
    BackupTask, ClusterTask, ImportTask, Location, ProbeTask, PurgeTask, StagingTask, StorageTask, Subject, SweepTask,
    quantity, run_name,
};
use crate::{
    api::{
        AccessMode, Address, Adopt, Backup, BackupSpec, BackupStorage, BackupStorageSpec, BackupType, Cluster,
        Imported, Method, Reason, S3Location, StagingVolume, StorageType,
    },
    plan::BackupId,
};

/// A spec that no worker could follow. Another try without a change cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A field has a value that is impossible, or contradicts another one.
    #[error("failed to use {field}: {detail}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// The storage cannot serve the method.
    #[error("failed to plan method {method:?}: {detail}")]
    Method {
        /// The method that was asked for.
        method: Method,
        /// What stands in its way and what to do.
        detail: String,
    },
    /// The API server has not filled in what identifies an object.
    #[error("failed to identify the object: it has no {0}; it must come from the API server")]
    NoIdentity(&'static str),
}

impl InvalidSpec {
    /// The reason for conditions.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Field { .. } | Self::NoIdentity(_) => Reason::InvalidSpec,
            Self::Method { .. } => Reason::MethodNotSupported,
        }
    }

    pub(super) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Field { field, detail: detail.into() }
    }
}

/// Reads a Go duration of hours, minutes and seconds, such as `1h30m`, of at least one second.
pub fn duration(field: &'static str, text: &str) -> Result<Duration, InvalidSpec> {
    let wrong = || InvalidSpec::field(field, format!("{text:?} is no duration such as 90s or 1h30m, of at least 1s"));
    let mut seconds: u64 = 0;
    let mut number: Option<u64> = None;
    for c in text.chars() {
        let unit: u64 = match c {
            '0'..='9' => {
                let digit = u64::from(c.to_digit(10).ok_or_else(wrong)?);
                number =
                    Some(number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or_else(wrong)?);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let part = number.take().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
        seconds = seconds.checked_add(part).ok_or_else(wrong)?;
    }
    // Ten years: far beyond any use, and safe in every sum with a timestamp.
    if number.is_some() || seconds == 0 || seconds > 10 * 366 * 86_400 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// The id of this Backup in the repository: the imported one, or that which every attempt writes under. The same object
/// always has the same.
pub fn backup_id(backup: &Backup) -> Result<BackupId, InvalidSpec> {
    id_of(&backup.metadata, backup.spec.imported.as_ref())
}

/// The same, of a Backup of which only this is known.
pub fn id_of(meta: &ObjectMeta, imported: Option<&Imported>) -> Result<BackupId, InvalidSpec> {
    if let Some(imported) = imported {
        return imported.id.parse().map_err(|e| InvalidSpec::field("spec.imported.id", format!("{e}")));
    }
    let uid = meta.uid.as_deref().ok_or(InvalidSpec::NoIdentity("uid"))?;
    let uid = Uuid::try_parse(uid).map_err(|_| InvalidSpec::field("metadata.uid", "it is no UUID"))?;
    let created = meta.creation_timestamp.as_ref().ok_or(InvalidSpec::NoIdentity("creationTimestamp"))?;
    let created = u64::try_from(created.0.as_millisecond())
        .map_err(|_| InvalidSpec::field("metadata.creationTimestamp", "it lies before 1970"))?;
    Ok(BackupId::of_object(uid, created))
}

/// The method a spec asks for: Staged when there is a staging volume, else Direct.
#[must_use]
pub fn method(spec: &BackupSpec) -> Method {
    spec.method.unwrap_or(if spec.staging.is_some() { Method::Staged } else { Method::Direct })
}

impl Subject {
    pub(super) fn of(meta: &ObjectMeta, attempt: u32) -> Result<Self, InvalidSpec> {
        let uid = meta.uid.clone().ok_or(InvalidSpec::NoIdentity("uid"))?;
        Ok(Self {
            namespace: meta.namespace.clone().ok_or(InvalidSpec::NoIdentity("namespace"))?,
            name: meta.name.clone().ok_or(InvalidSpec::NoIdentity("name"))?,
            run: run_name(&uid, attempt),
            uid,
            attempt,
        })
    }
}

impl BackupTask {
    /// What the worker of this attempt is to do. `address` is where its MatrixOne cluster is: that of the spec, or the one
    /// that the MatrixOneCluster has which the spec names.
    ///
    /// # Errors
    /// When the spec contradicts itself, or the storage cannot serve its method.
    pub fn for_attempt(
        backup: &Backup,
        address: &Address,
        storage: &BackupStorage,
        base: Option<BackupId>,
        attempt: u32,
    ) -> Result<Self, InvalidSpec> {
        let spec = &backup.spec;
        let Some(cluster) = &spec.cluster else {
            return Err(InvalidSpec::field("spec.imported", "an imported Backup never runs"));
        };
        if spec.base.is_some() && spec.type_ == BackupType::Full {
            return Err(InvalidSpec::field("spec.base", "a full backup has none; leave it out, or use another type"));
        }
        quantity::check(&spec.job)?;
        let method = method(spec);
        let staging = match (method, &spec.staging) {
            (Method::Staged, Some(staging)) => Some(StagingTask::of(&staging.volume)?),
            (Method::Staged, None) => {
                return Err(InvalidSpec::field("spec.staging", "method Staged needs staging.volume"));
            }
            (Method::Direct, None) => None,
            (Method::Direct, Some(_)) => {
                return Err(InvalidSpec::field("spec.staging", "it goes with method Staged; leave it out with Direct"));
            }
        };
        let task = Self {
            subject: Subject::of(&backup.metadata, attempt)?,
            id: backup_id(backup)?,
            cluster: ClusterTask::of(cluster, address)?,
            storage: StorageTask::of(storage)?,
            kind: spec.type_,
            base,
            method,
            staging,
            parallelism: u16::try_from(spec.parallelism)
                .ok()
                .filter(|n| (1..=511).contains(n))
                .ok_or_else(|| InvalidSpec::field("spec.parallelism", "it must be between 1 and 511"))?,
            allow_keys_in_sql: spec.allow_keys_in_sql,
            verify: spec.verify,
            run_deadline: duration("spec.deadlines.run", &spec.deadlines.run)?,
            stall_deadline: duration("spec.deadlines.stall", &spec.deadlines.stall)?,
        };
        if method == Method::Direct {
            direct_is_possible(&task.storage.location)?;
        }
        Ok(task)
    }
}

/// The server writes by itself: it can do only what its BACKUP statement can say.
fn direct_is_possible(location: &Location) -> Result<(), InvalidSpec> {
    let refused = |detail: String| Err(InvalidSpec::Method { method: Method::Direct, detail });
    match location {
        Location::S3(s3) => {
            let unsaid = [
                ("s3.caSecret", s3.ca_secret.is_some()),
                ("s3.storageClass", s3.storage_class.is_some()),
                ("s3.serverSideEncryption", s3.server_side_encryption.is_some()),
                ("s3.roleArn", s3.role_arn.is_some()),
            ];
            match unsaid.iter().find(|(_, used)| *used) {
                Some((field, _)) => refused(format!(
                    "the storage uses {field}, which MatrixOne's BACKUP statement cannot express; use method Staged, or a \
                     storage without it"
                )),
                None => Ok(()),
            }
        }
        Location::Volume(volume) if volume.server_path.is_none() => refused(
            "the storage is a volume without volume.serverPath, so that MatrixOne does not know where to write; set \
             serverPath, or use method Staged"
                .into(),
        ),
        Location::Volume(_) => Ok(()),
    }
}

impl ClusterTask {
    pub(super) fn of(cluster: &Cluster, address: &Address) -> Result<Self, InvalidSpec> {
        let port = u16::try_from(address.port)
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| InvalidSpec::field("spec.cluster.address.port", "it must be between 1 and 65535"))?;
        if address.host.is_empty() || address.host.contains(['/', ' ', '@']) {
            return Err(InvalidSpec::field("spec.cluster.address.host", "it must be a DNS name or an IP address"));
        }
        Ok(Self {
            host: address.host.clone(),
            port,
            tls: cluster.tls.mode,
            tls_ca: cluster.tls.ca_secret.is_some(),
            server_name: cluster.tls.server_name.clone(),
        })
    }
}

impl StagingTask {
    /// The staging folder, as the worker and as MatrixOne see it.
    ///
    /// # Errors
    /// When a path could leave its volume.
    pub fn of(volume: &StagingVolume) -> Result<Self, InvalidSpec> {
        stays_inside("spec.staging.volume.path", &volume.path)?;
        let root = volume.server_path.trim_end_matches('/');
        if !root.starts_with('/') {
            return Err(InvalidSpec::field("spec.staging.volume.serverPath", "it must be an absolute path"));
        }
        stays_inside("spec.staging.volume.serverPath", root.trim_start_matches('/'))?;
        let server_path = if volume.path.is_empty() { root.to_owned() } else { format!("{root}/{}", volume.path) };
        Ok(Self { path: volume.path.clone(), server_path })
    }
}

/// A relative path without parts that climb.
pub(super) fn stays_inside(field: &'static str, path: &str) -> Result<(), InvalidSpec> {
    let climbs = path.split('/').any(|part| part == "." || part == "..");
    let hollow = !path.is_empty() && path.split('/').any(str::is_empty);
    if climbs || hollow || path.contains('\0') {
        return Err(InvalidSpec::field(
            field,
            format!("{path:?} must be parts divided by '/', none of them '.' or '..'"),
        ));
    }
    Ok(())
}

impl StorageTask {
    /// The repository that a BackupStorage names.
    ///
    /// # Errors
    /// When its spec contradicts itself.
    pub fn of(storage: &BackupStorage) -> Result<Self, InvalidSpec> {
        Ok(Self {
            namespace: storage.metadata.namespace.clone().ok_or(InvalidSpec::NoIdentity("namespace"))?,
            name: storage.metadata.name.clone().ok_or(InvalidSpec::NoIdentity("name"))?,
            uid: storage.metadata.uid.clone().ok_or(InvalidSpec::NoIdentity("uid"))?,
            location: Location::of(&storage.spec)?,
            read_only: match storage.spec.access_mode {
                AccessMode::ReadWrite => false,
                AccessMode::ReadOnly => true,
            },
            server_credentials: storage.spec.server_credentials,
        })
    }
}

impl Location {
    fn of(spec: &BackupStorageSpec) -> Result<Self, InvalidSpec> {
        match (spec.type_, &spec.s3, &spec.volume) {
            (StorageType::S3, Some(s3), None) => Self::bucket(s3),
            (StorageType::Volume, None, Some(volume)) => {
                stays_inside("spec.volume.path", &volume.path)?;
                Ok(Self::Volume(Box::new(volume.clone())))
            }
            (StorageType::S3, _, _) => Err(InvalidSpec::field("spec.s3", "type S3 needs s3, and no volume")),
            (StorageType::Volume, _, _) => {
                Err(InvalidSpec::field("spec.volume", "type Volume needs volume, and no s3"))
            }
        }
    }

    fn bucket(s3: &S3Location) -> Result<Self, InvalidSpec> {
        stays_inside("spec.s3.prefix", &s3.prefix)?;
        if s3.bucket.is_empty() || s3.bucket.contains('/') {
            return Err(InvalidSpec::field("spec.s3.bucket", "it must be a bucket name"));
        }
        if s3.region.is_empty() {
            return Err(InvalidSpec::field(
                "spec.s3.region",
                "MatrixOne refuses an empty region; any name serves where the store has none",
            ));
        }
        Ok(Self::S3(Box::new(s3.clone())))
    }
}

impl PurgeTask {
    /// What removes the data of this Backup.
    ///
    /// # Errors
    /// When the object or the storage cannot be identified.
    pub fn for_attempt(backup: &Backup, storage: &BackupStorage, attempt: u32) -> Result<Self, InvalidSpec> {
        Ok(Self {
            subject: Subject::of(&backup.metadata, attempt)?,
            id: backup_id(backup)?,
            storage: StorageTask::of(storage)?,
            known: backup.status.as_ref().and_then(|s| s.report.as_ref()?.manifest.clone()),
            staging: backup.spec.staging.as_ref().map(|s| StagingTask::of(&s.volume)).transpose()?,
        })
    }
}

impl SweepTask {
    /// What empties the staging folder of this Backup.
    ///
    /// # Errors
    /// When there is none, or the object cannot be identified.
    pub fn for_attempt(backup: &Backup, attempt: u32) -> Result<Self, InvalidSpec> {
        let staging = backup.spec.staging.as_ref();
        let staging = staging.ok_or_else(|| InvalidSpec::field("spec.staging", "there is none to be emptied"))?;
        Ok(Self {
            subject: Subject::of(&backup.metadata, attempt)?,
            id: backup_id(backup)?,
            staging: StagingTask::of(&staging.volume)?,
        })
    }
}

impl ProbeTask {
    /// What tries out this storage. `awaited`: imported Backups wait to be looked up.
    ///
    /// # Errors
    /// When the spec contradicts itself.
    pub fn for_attempt(
        storage: &BackupStorage,
        backups_over: String,
        awaited: bool,
        attempt: u32,
    ) -> Result<Self, InvalidSpec> {
        quantity::check(&storage.spec.job)?;
        duration("spec.probeEvery", &storage.spec.probe_every)?;
        let adopt = match storage.spec.adopt {
            Adopt::None => false,
            Adopt::All => true,
        };
        Ok(Self {
            subject: Subject::of(&storage.metadata, attempt)?,
            storage: StorageTask::of(storage)?,
            backups_over,
            imports: (adopt || awaited).then_some(ImportTask { adopt, sweep: None }),
            swept: storage.status.as_ref().and_then(|s| s.report.as_ref()?.swept.clone()),
        })
    }
}

#[cfg(test)]
mod tests;
