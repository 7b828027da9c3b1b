//! Whether the cluster's CRDs know every field that this version writes or reads.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::api::{Reason, crds};

const POLL: Duration = Duration::from_secs(10);

/// Waits until the CRDs in the cluster are at least those of this version. An operator that may not read CRDs goes on:
/// the API server then says at the first write what it does not know.
pub async fn wait_until_current(client: &Client, stop: &CancellationToken) {
    let installed: Api<CustomResourceDefinition> = Api::all(client.clone());
    for own in crds() {
        let name = own.name_any();
        loop {
            match installed.get_opt(&name).await {
                Ok(Some(theirs)) => match missing(&own, &theirs) {
                    None => break,
                    Some(field) => {
                        let (meaning, remedy) = (Reason::CrdOutdated.meaning(), Reason::CrdOutdated.remedy());
                        tracing::error!(crd = name, field, reason = %Reason::CrdOutdated, "{meaning} {remedy}");
                    }
                },
                Ok(None) => tracing::error!(crd = name, "the CRD is not installed; apply `mo-backup crds`"),
                Err(kube::Error::Api(e)) if e.code == 403 => {
                    tracing::info!(crd = name, "not allowed to read the CRD; its version is not checked");
                    break;
                }
                Err(error) => tracing::warn!(crd = name, %error, "failed to read the CRD; it is tried again"),
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// The first field of our schema that the installed one lacks.
#[must_use]
pub fn missing(own: &CustomResourceDefinition, installed: &CustomResourceDefinition) -> Option<String> {
    own.spec.versions.iter().find_map(|version| {
        let ours = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        let theirs = installed.spec.versions.iter().find(|v| v.name == version.name && v.served);
        match theirs.and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref()) {
            Some(theirs) => missing_in(ours, theirs, ""),
            None => Some(format!("version {}", version.name)),
        }
    })
}

fn missing_in(ours: &JSONSchemaProps, theirs: &JSONSchemaProps, path: &str) -> Option<String> {
    for (name, schema) in ours.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let Some(found) = theirs.properties.as_ref().and_then(|p| p.get(name)) else { return Some(path) };
        if let Some(deeper) = missing_in(schema, found, &path) {
            return Some(deeper);
        }
    }
    match (&ours.items, &theirs.items) {
        (Some(JSONSchemaPropsOrArray::Schema(ours)), Some(JSONSchemaPropsOrArray::Schema(theirs))) => {
            missing_in(ours, theirs, &format!("{path}[]"))
        }
        _ => None,
    }
}
