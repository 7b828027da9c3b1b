//! What a worker is to restore, from where, and to where.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InvalidSpec, Location, StorageTask, Subject, duration, from_spec::stays_inside};
use crate::{
    api::{BackupStorage, Format, Placement, Restore, RestoreMode, RestoreTarget, StorageType, VolumeLocation},
    plan::{BackupId, newest::Whose},
    store::Key,
};

/// A backup to be restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTask {
    /// For whom.
    pub subject: Subject,
    /// The repository. Only read.
    pub storage: StorageTask,
    /// Which backup of it.
    pub choice: Choice,
    /// Of which MatrixOne, where a backup is chosen by its time.
    #[serde(default)]
    pub whose: WhoseTask,
    /// Where to.
    pub target: TargetTask,
    /// Nothing is written: only the plan is reported.
    pub plan_only: bool,
    /// The only plan that may be carried out.
    pub approved_plan: Option<String>,
    /// Copies at the same time.
    pub parallelism: u16,
    /// Limit of the whole attempt.
    pub run_deadline: Duration,
    /// Limit of standing still.
    pub stall_deadline: Duration,
}

/// Which backup of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// This one.
    Id(BackupId),
    /// The one with the newest data.
    Latest,
    /// The one with the newest data that is not younger than this.
    Before(Timestamp),
    /// The last of these folders, made without us: a full backup and its incremental ones, oldest first.
    Paths(Vec<String>),
}

/// Of which MatrixOne a backup must be that is chosen by its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WhoseTask {
    /// Its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where it was reached, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl WhoseTask {
    /// The same, for the choice.
    #[must_use]
    pub fn asked(&self) -> Whose<'_> {
        Whose { identity: self.identity.as_deref(), address: self.address.as_deref() }
    }
}

/// Where a backup is restored to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTask {
    /// The place. A volume lies under [`super::mount::TARGET`]; keys and certificates of a store beside it.
    pub location: Location,
    /// Where the objects go, below the place.
    pub data: Placement,
    /// Where `hk_data` goes, below the place.
    pub hk_data: Placement,
}

impl RestoreTask {
    /// The Task of an attempt. `backup` is the id of the Backup that the source names, once it is complete.
    pub fn for_attempt(
        restore: &Restore,
        storage: &BackupStorage,
        backup: Option<BackupId>,
        attempt: u32,
    ) -> Result<Self, InvalidSpec> {
        let spec = &restore.spec;
        let parallelism = u16::try_from(spec.parallelism).ok().filter(|n| (1..=64).contains(n));
        Ok(Self {
            subject: Subject::of(&restore.metadata, attempt)?,
            storage: StorageTask::of(storage)?,
            choice: choice(restore, backup)?,
            whose: whose(restore),
            target: TargetTask::of(&spec.target)?,
            plan_only: spec.mode == RestoreMode::Plan,
            approved_plan: spec.approved_plan.clone(),
            parallelism: parallelism
                .ok_or_else(|| InvalidSpec::field("spec.parallelism", "it must be between 1 and 64"))?,
            run_deadline: duration("spec.deadlines.run", &spec.deadlines.run)?,
            stall_deadline: duration("spec.deadlines.stall", &spec.deadlines.stall)?,
        })
    }
}

fn whose(restore: &Restore) -> WhoseTask {
    let repository = restore.spec.source.repository.as_ref();
    WhoseTask {
        identity: repository.and_then(|repository| repository.identity.clone()),
        address: repository.and_then(|repository| repository.address.clone()),
    }
}

fn choice(restore: &Restore, backup: Option<BackupId>) -> Result<Choice, InvalidSpec> {
    let Some(repository) = &restore.spec.source.repository else {
        return backup.map(Choice::Id).ok_or(InvalidSpec::field("spec.source.backup", "it has no id yet"));
    };
    let wrong = |field, detail: String| InvalidSpec::field(field, detail);
    match (&repository.id, repository.latest, &repository.before, &repository.paths) {
        (Some(id), None, None, None) => {
            let id = id.parse().map_err(|_| wrong("spec.source.repository.id", format!("{id:?} is no id")))?;
            Ok(Choice::Id(id))
        }
        (None, Some(true), None, None) => Ok(Choice::Latest),
        (None, None, Some(before), None) => {
            let time =
                before.parse().map_err(|e| wrong("spec.source.repository.before", format!("{before:?}: {e}")))?;
            Ok(Choice::Before(time))
        }
        (None, None, None, Some(paths)) if !paths.is_empty() => Ok(Choice::Paths(paths.clone())),
        _ => Err(wrong("spec.source.repository", "give exactly one of id, latest, before and paths".into())),
    }
}

impl TargetTask {
    /// The target of a spec, with the defaults of its kind.
    ///
    /// # Errors
    /// When the members do not fit the type.
    pub fn of(target: &RestoreTarget) -> Result<Self, InvalidSpec> {
        let (location, format, data, hk_data) = match (target.type_, &target.s3, &target.volume) {
            (StorageType::S3, Some(s3), None) => (Location::S3(Box::new(s3.clone())), Format::Raw, "data", "hk_data"),
            (StorageType::Volume, None, Some(volume)) => {
                let place =
                    VolumeLocation { claim: volume.claim.clone(), path: volume.path.clone(), server_path: None };
                (Location::Volume(Box::new(place)), Format::Framed, "mo-data/shared", "mo-data/local/hk_data")
            }
            (StorageType::S3 | StorageType::Volume, _, _) => {
                return Err(InvalidSpec::field("spec.target", "its type and its members do not fit"));
            }
        };
        let folder = match &location {
            Location::S3(s3) => &s3.prefix,
            Location::Volume(volume) => &volume.path,
        };
        stays_inside("spec.target", folder)?;
        let or = |placement: &Option<Placement>, path: &str| {
            placement.clone().unwrap_or_else(|| Placement { path: path.into(), format })
        };
        let (data, hk_data) = (or(&target.data, data), or(&target.hk_data, hk_data));
        let inside = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        if inside(&data.path, &hk_data.path) || inside(&hk_data.path, &data.path) {
            return Err(InvalidSpec::field("spec.target", "data.path and hkData.path must lie beside each other"));
        }
        for (field, path) in [("spec.target.data.path", &data.path), ("spec.target.hkData.path", &hk_data.path)] {
            stays_inside(field, path)?;
            if path.is_empty() || inside(path, Key::restored().as_str()) {
                return Err(InvalidSpec::field(field, format!("{path:?} is none that can be written to")));
            }
        }
        Ok(Self { location, data, hk_data })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn target(data: &str, hk_data: &str) -> Result<TargetTask, InvalidSpec> {
        let placed = |path: &str| json!({"path": path, "format": "Raw"});
        let volume = json!({"claim": "c", "path": "home"});
        let target = json!({"type": "Volume", "volume": volume, "data": placed(data), "hkData": placed(hk_data)});
        TargetTask::of(&serde_json::from_value(target).unwrap())
    }

    #[rstest]
    #[case("data", "hk_data", true)]
    #[case("a/data", "a/hk_data", true)]
    #[case("data", "data/hk_data", false)]
    #[case("data", "data", false)]
    #[case("../data", "hk_data", false)]
    #[case("data", "a/../../hk_data", false)]
    #[case("/data", "hk_data", false)]
    #[case("", "hk_data", false)]
    #[case("data", "mo-backup-restore.json", false)]
    #[case("mo-backup-restore.json/x", "hk_data", false)]
    fn placements_lie_in_the_target_and_beside_each_other(
        #[case] data: &str,
        #[case] hk_data: &str,
        #[case] right: bool,
    ) {
        assert_eq!(target(data, hk_data).is_ok(), right);
    }
}
