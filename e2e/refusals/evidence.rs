//! How soon it was said, by the times that Kubernetes has on record. They are printed, not judged: the limit itself is
//! proven on a clock that is not this machine's.

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use mo_backup::api::{Backup, BackupStorage, Reason};

use crate::harness::namespace::Namespace;
use crate::scene::failed;

/// Waits until a Backup is refused for this reason, and judges what is said.
pub async fn refused(namespace: &Namespace<'_>, server: &str, name: &str, reason: &str) -> anyhow::Result<String> {
    let message = failed(namespace, name, reason).await?;
    says_what_to_do(name, reason, &message)?;
    let wait = |condition: &str| format!("--for=condition={condition}");
    let waited = ["wait", &wait("Complete"), &format!("backup/{name}"), "--timeout=1s"];
    ensure!(namespace.kubectl(&waited).await.is_err(), "kubectl wait for Complete returned for {name}");
    namespace.kubectl(&["wait", &wait("Failed"), &format!("backup/{name}"), "--timeout=60s"]).await?;
    let backup: Backup = namespace.api().get(name).await?;
    let conditions = backup.status.map(|status| status.run.conditions).unwrap_or_default();
    let since = conditions.iter().find(|c| c.type_ == "Failed").context("no condition Failed")?.last_transition_time.0;
    tell(namespace, ("Backup", name), server, reason, since).await?;
    Ok(message)
}

/// The same of a BackupStorage that has been probed.
pub async fn probed(namespace: &Namespace<'_>, name: &str, reason: &str) -> anyhow::Result<()> {
    let look = || async {
        let status = namespace.api::<BackupStorage>().get(name).await?.status.unwrap_or_default();
        let said =
            status.run.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False" && c.reason == reason);
        Ok(status.report.filter(|_| said))
    };
    let report =
        namespace.until(&format!("BackupStorage {name} to say {reason}"), crate::scene::PATIENCE, look).await?;
    says_what_to_do(name, reason, report.said.message.as_deref().unwrap_or_default())?;
    let at = report.probed_at.context("no time of the probe")?.0;
    tell(namespace, ("BackupStorage", name), "-", reason, at).await
}

fn says_what_to_do(name: &str, reason: &str, message: &str) -> anyhow::Result<()> {
    let reason = Reason::parse(reason).with_context(|| format!("{reason} is no reason"))?;
    let remedy =
        message.contains(reason.remedy()) || message.contains("use method Staged") || message.contains("write it");
    ensure!(remedy, "{name}: the message does not say what to do: {message:?}");
    Ok(())
}

/// The first Pod's start and end, and when the refusal was known.
async fn tell(
    namespace: &Namespace<'_>,
    (kind, name): (&str, &str),
    server: &str,
    reason: &str,
    known: Timestamp,
) -> anyhow::Result<()> {
    let labels = ListParams::default().labels(&format!("mo-backup.io/name={name},mo-backup.io/kind={kind}"));
    let pods = namespace.api::<Pod>().list(&labels).await?;
    let first = pods.items.into_iter().filter_map(|pod| pod.status).min_by_key(|s| s.start_time.as_ref().map(|t| t.0));
    let Some(start) = first.as_ref().and_then(|status| status.start_time.as_ref()).map(|t| t.0) else {
        println!("[refused] {server} {kind} {name}: {reason}, no Pod was started");
        return Ok(());
    };
    let containers = first.and_then(|status| status.container_statuses).unwrap_or_default();
    let ended = containers.first().and_then(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.clone());
    let after = |at: Timestamp| at.duration_since(start).as_secs();
    let ended = ended.map_or_else(|| "-".to_owned(), |at| after(at.0).to_string());
    println!(
        "[refused] {server} {kind} {name}: {reason}, {} s after its Pod's start (the worker ended after {ended} s)",
        after(known)
    );
    Ok(())
}
