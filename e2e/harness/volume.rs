//! The volumes of a Pod on a process node.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, PersistentVolume, PersistentVolumeClaim, Pod,
    Secret, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::node::Machine;

type Files = BTreeMap<String, Vec<u8>>;

/// Makes the volume and returns the folder on this machine that holds it.
pub async fn make(machine: &Machine, pod: &Pod, volume: &Volume, folder: &Path) -> anyhow::Result<PathBuf> {
    if let Some(host) = &volume.host_path {
        return Ok(PathBuf::from(&host.path));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return claimed(machine, pod, &claim.claim_name).await;
    }
    let path = folder.join("volumes").join(&volume.name);
    std::fs::create_dir_all(&path)?;
    if let Some(empty) = &volume.empty_dir {
        empty_dir(empty, &path)?;
        return Ok(path);
    }
    let (files, mode) = content(machine, pod, volume).await?;
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    for (name, bytes) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().context("a file without a folder")?)?;
        std::fs::write(&file, bytes)?;
        let mut mode = u32::try_from(mode.unwrap_or(0o644))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&file, None, Some(u32::try_from(group)?))?;
            mode |= 0o440;
        }
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode))?;
    }
    Ok(path)
}

async fn claimed(machine: &Machine, pod: &Pod, name: &str) -> anyhow::Result<PathBuf> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(machine.client.clone(), &namespace(pod));
    let claim = claims.get(name).await?;
    let volume = claim.spec.and_then(|spec| spec.volume_name).with_context(|| format!("claim {name} is not bound"))?;
    let volume = Api::<PersistentVolume>::all(machine.client.clone()).get(&volume).await?;
    let spec = volume.spec.context("a volume without spec")?;
    let path = spec.local.map(|local| local.path).or_else(|| spec.host_path.map(|host| host.path));
    Ok(PathBuf::from(path.context("a process node mounts only local and hostPath volumes")?))
}

/// A sized one is a tmpfs, so that a full disk is real.
fn empty_dir(source: &EmptyDirVolumeSource, path: &Path) -> anyhow::Result<()> {
    let Some(limit) = &source.size_limit else {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o1777))?;
        return Ok(());
    };
    let options = format!("size={},mode=1777", bytes(&limit.0)?);
    let status =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status()?;
    if !status.success() {
        bail!("failed to mount an emptyDir of {} on {}", limit.0, path.display());
    }
    Ok(())
}

/// A Kubernetes quantity in bytes.
fn bytes(quantity: &str) -> anyhow::Result<u64> {
    let units: [(&str, u64); 6] =
        [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, unit)))
        .unwrap_or((quantity, 1));
    Ok(number.parse::<u64>().with_context(|| format!("cannot read the size {quantity}"))? * unit)
}

async fn content(machine: &Machine, pod: &Pod, volume: &Volume) -> anyhow::Result<(Files, Option<i32>)> {
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = secret(machine, pod, name, source.optional == Some(true)).await?;
        return Ok((chosen(data, source.items.as_deref())?, source.default_mode));
    }
    if let Some(source) = &volume.config_map {
        let data = config_map(machine, pod, &source.name, source.optional == Some(true)).await?;
        return Ok((chosen(data, source.items.as_deref())?, source.default_mode));
    }
    if let Some(source) = &volume.downward_api {
        return Ok((downward(machine, pod, source.items.as_deref().unwrap_or_default())?, source.default_mode));
    }
    if let Some(source) = &volume.projected {
        let mut files = Files::new();
        for part in source.sources.iter().flatten() {
            files.extend(projected(machine, pod, part).await?);
        }
        return Ok((files, source.default_mode));
    }
    bail!("a process node has no volume of the kind of {}", volume.name)
}

async fn projected(machine: &Machine, pod: &Pod, part: &VolumeProjection) -> anyhow::Result<Files> {
    if let Some(source) = &part.secret {
        let data = secret(machine, pod, &source.name, source.optional == Some(true)).await?;
        return chosen(data, source.items.as_deref());
    }
    if let Some(source) = &part.config_map {
        let data = config_map(machine, pod, &source.name, source.optional == Some(true)).await?;
        return chosen(data, source.items.as_deref());
    }
    if let Some(source) = &part.downward_api {
        return downward(machine, pod, source.items.as_deref().unwrap_or_default());
    }
    let source = part.service_account_token.as_ref().context("a process node does not know this projection")?;
    Ok(Files::from([(source.path.clone(), token(machine, pod, source).await?)]))
}

fn chosen(mut data: Files, items: Option<&[KeyToPath]>) -> anyhow::Result<Files> {
    let Some(items) = items else { return Ok(data) };
    let take = |item: &KeyToPath| {
        let bytes = data.remove(&item.key).with_context(|| format!("references non-existent key: {}", item.key))?;
        Ok((item.path.clone(), bytes))
    };
    items.iter().map(take).collect()
}

fn downward(machine: &Machine, pod: &Pod, items: &[DownwardAPIVolumeFile]) -> anyhow::Result<Files> {
    let file = |item: &DownwardAPIVolumeFile| {
        let path = &item.field_ref.as_ref().context("only fieldRef is known here")?.field_path;
        Ok((item.path.clone(), field(machine, pod, path)?.into_bytes()))
    };
    items.iter().map(file).collect()
}

/// The content of a Secret. A missing one is an error that names it, as the kubelet's does.
pub async fn secret(machine: &Machine, pod: &Pod, name: &str, optional: bool) -> anyhow::Result<Files> {
    let found = Api::<Secret>::namespaced(machine.client.clone(), &namespace(pod)).get_opt(name).await?;
    match found {
        Some(secret) => Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()),
        None if optional => Ok(Files::new()),
        None => bail!("secret \"{name}\" not found"),
    }
}

pub async fn config_map(machine: &Machine, pod: &Pod, name: &str, optional: bool) -> anyhow::Result<Files> {
    let found = Api::<ConfigMap>::namespaced(machine.client.clone(), &namespace(pod)).get_opt(name).await?;
    match found {
        Some(map) => {
            let texts = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            Ok(texts.chain(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0))).collect())
        }
        None if optional => Ok(Files::new()),
        None => bail!("configmap \"{name}\" not found"),
    }
}

async fn token(machine: &Machine, pod: &Pod, source: &ServiceAccountTokenProjection) -> anyhow::Result<Vec<u8>> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audience.iter().cloned().collect(),
            expiration_seconds: source.expiration_seconds,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(machine.client.clone(), &namespace(pod));
    let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server gave no token")?.token.into_bytes())
}

/// What a fieldRef means for this Pod.
pub fn field(machine: &Machine, pod: &Pod, path: &str) -> anyhow::Result<String> {
    let keyed = |part: &str| path.strip_prefix(part)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = keyed("metadata.labels") {
        return Ok(pod.labels().get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Ok(pod.annotations().get(key).cloned().unwrap_or_default());
    }
    if path == "status.podIP" || path == "status.hostIP" {
        return Ok(machine.address.clone());
    }
    let value = serde_json::to_value(pod)?;
    let found = value.pointer(&format!("/{}", path.replace('.', "/")));
    Ok(found.map(|value| value.as_str().map_or_else(|| value.to_string(), String::from)).unwrap_or_default())
}

pub fn namespace(pod: &Pod) -> String {
    pod.namespace().unwrap_or_default()
}
