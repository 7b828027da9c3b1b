//! The base of an incremental backup is deleted with its data, and the incremental one still comes back.

use anyhow::{Context as _, ensure};
use mo_backup::api::Backup;
use serde_json::json;

use super::{backed_up, boot_files, in_place, is_right, restore};
use crate::harness::matrixone::Empty;
use crate::harness::rig::Rig;
use crate::scene::{PATIENCE, claim};

/// What the deleted one shares with the other stays in the bucket, what it had alone goes; and a MatrixOne boots from the
/// other with the values of then.
pub async fn an_incremental_comes_back_without_its_base(rig: &Rig) -> anyhow::Result<()> {
    let (namespace, bucket, lost, at) = backed_up(rig, "base-deleted").await?;
    // Not dropped: the removal empties the staging folder that it shared with its backups.
    lost.stop().await;

    let base: Backup = namespace.api().get("first").await?;
    let id = base.status.and_then(|s| s.report).and_then(|r| r.id).context("the base has no id")?;
    let data = format!("prod/data/{id}/");
    let before = bucket.list(&data).await?.len();
    let delete = json!({"spec": {"deletionPolicy": "Delete"}}).to_string();
    namespace.kubectl(&["patch", "backup.mo-backup.io", "first", "--type", "merge", "-p", &delete]).await?;
    namespace.kubectl(&["delete", "backup.mo-backup.io", "first", "--wait=false"]).await?;
    let gone = || async { Ok(namespace.api::<Backup>().get_opt("first").await?.is_none().then_some(())) };
    namespace.until("the base and its data to be gone", PATIENCE, gone).await?;
    ensure!(bucket.list(&format!("prod/catalog/{id}")).await?.is_empty(), "the base is still in the catalogue");
    let kept = bucket.list(&data).await?.len();
    ensure!(kept > 0 && kept < before, "{kept} of {before} objects of the base are kept");

    let empty = Empty::prepare()?;
    claim(&namespace, "new", &empty.home()).await?;
    let source = json!({"type": "Repository", "repository": {"storage": "store", "latest": true}});
    namespace.apply(&restore("new", source, "new").to_string()).await?;
    in_place(&namespace, "new", "NotBooted").await?;
    let back = empty.boot(&boot_files(&namespace, "new").await?, &[]).await?;
    is_right(&back, &at[1]).await?;
    back.stop().await;
    namespace.delete().await
}
