//! The boot contract: with what a new MatrixOne must be started on a restored place. Pure.
//!
//! MatrixOne starts without complaint when `hk_data` is not found, and then gives ids twice; it ends at once, or after half
//! a minute, when a file service is told the wrong format. So nothing of this is left to memory.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use crate::{
    api::{Format, Placement, RestorePlan, S3Location},
    plan::versions,
    task::{Location, TargetTask},
};

/// Name of the ConfigMap.
#[must_use]
pub fn name(restore: &str) -> String {
    format!("{restore}-boot")
}

/// Label: the Restore that a ConfigMap is of.
const RESTORE_LABEL: &str = "mo-backup.io/restore";

/// The ConfigMap. It has no owner: Pods of the new MatrixOne may have mounted it when the Restore is long deleted.
#[must_use]
pub fn config_map(namespace: &str, restore: &str, files: BTreeMap<String, String>) -> ConfigMap {
    let labels = [("app.kubernetes.io/name", "mo-backup"), (RESTORE_LABEL, restore)];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(restore)),
            namespace: Some(namespace.into()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(files),
        ..ConfigMap::default()
    }
}

/// Whether we have written it, for this Restore.
#[must_use]
pub fn is_of(map: &ConfigMap, restore: &str) -> bool {
    map.metadata.labels.as_ref().and_then(|l| l.get(RESTORE_LABEL)).is_some_and(|name| name == restore)
}

/// The files, by name. `plan` says what the worker has done; `server` is the version that was backed up.
#[must_use]
pub fn files(target: &TargetTask, plan: &RestorePlan, server: &str) -> BTreeMap<String, String> {
    let data = Placement { path: plan.data_path.clone(), format: plan.data_format };
    let hk_data = Placement { path: plan.hk_data_path.clone(), format: plan.hk_data_format };
    let place = Place::of(target, &data, &hk_data);
    let mut files = BTreeMap::from([
        ("README".to_owned(), place.readme(server)),
        ("launch.toml".to_owned(), LAUNCH.to_owned()),
        ("log.toml".to_owned(), place.log()),
        ("tn.toml".to_owned(), place.tn()),
        ("cn.toml".to_owned(), place.cn()),
    ]);
    files.extend(place.custom_resource(server).map(|text| ("matrixone-cluster.yaml".to_owned(), text)));
    files
}

const LAUNCH: &str = r#"logservices = ["./etc/log.toml"]
tnservices = ["./etc/tn.toml"]
cnservices = ["./etc/cn.toml"]
"#;

/// File services, as the services of the new MatrixOne are told them.
struct Place<'a> {
    /// LOCAL, SHARED and ETL of TN and CN; SHARED and ETL of the log service as well, where they are in a bucket.
    local: String,
    shared: String,
    /// The file service that `hk_data` is read through, when that is not the log service's own LOCAL.
    backup: String,
    /// `file-path` of the restore section.
    file_path: String,
    s3: Option<(&'a S3Location, bool)>,
}

/// Where the log service's own file service LOCAL lies when nothing is said about it, and how it stores its files.
const LOG_LOCAL: (&str, Format) = ("mo-data/local/hk_data", Format::Framed);

impl<'a> Place<'a> {
    fn of(target: &'a TargetTask, data: &Placement, hk_data: &Placement) -> Self {
        let (folder, file) = hk_data.path.rsplit_once('/').unwrap_or(("", &hk_data.path));
        match &target.location {
            Location::Volume(_) => {
                let (backend, local) = disk(data.format);
                let own = (hk_data.path.as_str(), hk_data.format) == LOG_LOCAL;
                let backup = if own { String::new() } else { disk_service("BACKUP", disk(hk_data.format).0, folder) };
                Self {
                    local: disk_service("LOCAL", backend, local),
                    shared: disk_service("SHARED", backend, &data.path),
                    backup,
                    file_path: if own { file.to_owned() } else { format!("BACKUP:{file}") },
                    s3: None,
                }
            }
            Location::S3(s3) => Self {
                local: disk_service("LOCAL", "DISK", "mo-data/local"),
                shared: bucket_service("SHARED", s3, &data.path) + &bucket_service("ETL", s3, "etl"),
                backup: bucket_service("BACKUP", s3, folder),
                file_path: format!("BACKUP:{file}"),
                s3: Some((s3, (data.path.as_str(), hk_data.path.as_str()) == ("data", "hk_data"))),
            },
        }
    }

    fn log(&self) -> String {
        let services = match self.s3 {
            Some(_) => format!("{}{}", self.local, self.shared),
            None => String::new(),
        };
        format!(
            r#"{}{services}{}[logservice]
logservice-port = 32001
raft-port = 32000
gossip-port = 32002
gossip-seed-addresses = ["127.0.0.1:32002"]

# Without this file MatrixOne starts, and gives ids twice. It is read at the first start only.
[logservice.BootstrapConfig.restore]
file-path = "{}"
"#,
            head("LOG", 7001),
            self.backup,
            self.file_path
        )
    }

    fn tn(&self) -> String {
        format!(
            r#"{}{}{}[tn]
uuid = "dd4dccb4-4d3c-41f8-b482-5251dc7a41bf"
port-base = 19000

# History that snapshots and policies need must outlive the first start. Take this out once the data is checked.
[tn.GCCfg]
disable-gc = true
"#,
            head("TN", 7002),
            self.local,
            self.shared
        )
    }

    fn cn(&self) -> String {
        format!(
            r#"{}{}{}[cn]
uuid = "dd1dccb4-4d3c-41f8-b482-5251dc7a41bf"
port-base = 18000

[cn.frontend]
host = "0.0.0.0"
port = 6001
"#,
            head("CN", 7003),
            self.local,
            self.shared
        )
    }

    /// What makes matrix-origin's operator start a `MatrixOneCluster` on the place. It knows one layout only.
    fn custom_resource(&self, server: &str) -> Option<String> {
        let (s3, true) = self.s3? else { return None };
        let path = match s3.prefix.as_str() {
            "" => s3.bucket.clone(),
            prefix => format!("{}/{prefix}", s3.bucket),
        };
        let kind = if s3.path_style { "minio" } else { "aws" };
        let endpoint = s3.endpoint.as_ref().map(|e| format!("        endpoint: {e}\n")).unwrap_or_default();
        let secret = s3.credentials_secret.as_ref().map_or_else(String::new, |_| {
            "        secretRef: {name: <a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY>}\n".to_owned()
        });
        Some(format!(
            r"# The fields of a MatrixOneCluster that start it on the restored place; the rest of its spec is as ever.
spec:
  version: {server}   # the version that was backed up
  logService:
    initialConfig:
      restoreFrom: hk_data
    sharedStorage:
      s3:
        type: {kind}
        path: {path}
        region: {region}
{endpoint}{secret}        s3RetentionPolicy: Retain   # else the data goes with the MatrixOneCluster
  tn:
    config: |
      [tn.GCCfg]
      disable-gc = true
",
            region = s3.region,
        ))
    }

    fn readme(&self, server: &str) -> String {
        let keys = match &self.s3 {
            Some((s3, _)) if s3.credentials_secret.is_some() => {
                "The files hold no keys: give MatrixOne AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment.\n"
            }
            Some(_) => "MatrixOne reaches the bucket with its own identity.\n",
            None => "A standalone MatrixOne, one Pod, works in the target folder: the files go to its folder etc/.\n",
        };
        format!(
            "Start MatrixOne {}\n\
             Start it with these files: mo-service -launch ./etc/launch.toml\n\
             MatrixOne does not check the version, nor that hk_data is found.\n\
             {keys}\
             Everything beside the restored files must be new: no folder of the old log service or TN.\n\
             Sign of success: the log service writes \"restore hakeeper data\" at its first start.\n\
             Then read values from every table: counts are right even where objects are missing.\n",
            versions::fit(server),
        )
    }
}

fn head(kind: &str, status: u16) -> String {
    format!(
        r#"service-type = "{kind}"
data-dir = "./mo-data"

[log]
level = "info"
format = "console"

[hakeeper-client]
service-addresses = ["127.0.0.1:32001"]

[observability]
disableTrace = true
disableMetric = true
status-port = {status}

"#
    )
}

/// The backend that reads this format, and a folder for LOCAL that no other format has been written to.
const fn disk(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Framed => ("DISK", "mo-data/local"),
        Format::Raw => ("DISK-V2", "mo-data/local2"),
    }
}

fn disk_service(name: &str, backend: &str, folder: &str) -> String {
    let folder = if folder.is_empty() { "." } else { folder };
    format!("[[fileservice]]\nname = \"{name}\"\nbackend = \"{backend}\"\ndata-dir = \"./{folder}\"\n\n")
}

fn bucket_service(name: &str, s3: &S3Location, folder: &str) -> String {
    let prefix = [s3.prefix.as_str(), folder].into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/");
    // As S3 it puts the bucket's name before the host.
    let backend = if s3.path_style { "MINIO" } else { "S3" };
    let endpoint = s3.endpoint.as_ref().map(|e| format!("endpoint = \"{e}\"\n")).unwrap_or_default();
    format!(
        "[[fileservice]]\nname = \"{name}\"\nbackend = \"{backend}\"\n[fileservice.s3]\nbucket = \"{}\"\n{endpoint}\
         region = \"{}\"\nkey-prefix = \"{prefix}\"\n\n",
        s3.bucket, s3.region
    )
}

#[cfg(test)]
mod tests;
