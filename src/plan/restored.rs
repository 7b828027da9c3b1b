//! What a place says about the backup that was restored to it, and which restore may go on there.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Digest, Framing};

/// `mo-backup-restore.json`: written before the first object of a restore, and once more when everything is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restored {
    /// [`super::manifest::FORMAT`].
    pub format: u32,
    /// Namespace of the Restore.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID then. The same Restore on another Kubernetes has another one.
    pub uid: String,
    /// Id of the backup; of one made without us, the path of its last folder.
    pub backup: String,
    /// What the place holds once it is done.
    pub plan: Planned,
    /// SHA-256 of the plan.
    pub hash: Digest,
    /// The server that was backed up, as far as its backup says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Its identity, as far as its backup says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_identity: Option<String>,
    /// The moment of the data, nanoseconds since 1970.
    pub at: i64,
    /// Objects of the backup that belong here.
    pub objects: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// When everything was in place, RFC 3339 UTC. Without it the restore is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

/// What a restore does: the same plan has the same hash, whoever carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Planned {
    /// SHA-256 over all that tells the content of the backup from any other: the lines of its entry list.
    pub list: Digest,
    /// The place, without secrets.
    pub place: String,
    /// The objects.
    pub data: Placed,
    /// The file with the ids that MatrixOne goes on from.
    pub hk_data: Placed,
}

/// Where something goes below the place, and how it is stored there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// The path.
    pub path: String,
    /// The framing.
    pub framing: Framing,
}

impl Planned {
    /// The hash of the plan. Its bytes are a function of its content: no map, no float, no free order.
    ///
    /// # Errors
    /// Never with these members; serialisation itself says that it can.
    pub fn hash(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest(Sha256::digest(serde_json::to_vec(self)?).into()))
    }
}

/// What a path of a backup becomes in a restored place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A file below the objects, by its path there.
    Data(&'a str),
    /// The file with the ids.
    HkData,
    /// A word about the backup; MatrixOne would take it for a file of its own.
    Apart,
}

/// What becomes of a checked path of a backup.
#[must_use]
pub fn part(path: &str) -> Part<'_> {
    match path.split_once('/') {
        Some(("hakeeper", "hk_data")) => Part::HkData,
        Some(("tae", "tae_list" | "tae_sum")) => Part::Apart,
        Some(("tae", rest)) => Part::Data(rest),
        Some(_) | None => Part::Apart,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("tae/01a1fb92-a5a1-7a9e-bffc-b11511d5c2f8_00000", Part::Data("01a1fb92-a5a1-7a9e-bffc-b11511d5c2f8_00000"))]
    #[case("tae/ckp/meta_0-0_1-1.ckp", Part::Data("ckp/meta_0-0_1-1.ckp"))]
    #[case("tae/gc/gc_1.ckp", Part::Data("gc/gc_1.ckp"))]
    #[case("hakeeper/hk_data", Part::HkData)]
    #[case("tae/tae_list", Part::Apart)]
    #[case("tae/tae_sum", Part::Apart)]
    #[case("mo_meta", Part::Apart)]
    #[case("config/cn.toml_01a1", Part::Apart)]
    fn only_what_matrixone_reads_is_placed(#[case] path: &str, #[case] expected: Part<'_>) {
        assert_eq!(part(path), expected);
    }

    fn planned() -> Planned {
        let placed = |path: &str| Placed { path: path.into(), framing: Framing::Raw };
        Planned { list: Digest([1; 32]), place: "s3".into(), data: placed("data"), hk_data: placed("hk_data") }
    }

    #[rstest]
    #[case::list(Planned { list: Digest([2; 32]), ..planned() })]
    #[case::place(Planned { place: "s4".into(), ..planned() })]
    #[case::path(Planned { data: Placed { path: "d".into(), framing: Framing::Raw }, ..planned() })]
    #[case::framing(Planned { data: Placed { path: "data".into(), framing: Framing::Crc2048 }, ..planned() })]
    #[case::hk_data(Planned { hk_data: Placed { path: "h".into(), framing: Framing::Raw }, ..planned() })]
    fn another_plan_has_another_hash(#[case] other: Planned) {
        assert_ne!(planned().hash().unwrap(), other.hash().unwrap());
        assert_eq!(planned().hash().unwrap(), planned().hash().unwrap());
    }
}
