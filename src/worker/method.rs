//! Whether a method can be had, and what the server is told to write to. Pure.

use super::Failure;
use crate::{
    api::{Method, Reason, S3Location, ServerCredentials},
    sql::{BackupTarget, S3Target, Version},
    store::{Keys, Prefix},
    task::{BackupTask, Location},
};

/// Refuses what this server, this storage and this method cannot do together, before anything is sent.
pub fn check(task: &BackupTask, keys: Option<&Keys>, version: Version) -> Result<(), Failure> {
    let refused = |detail: String| Err(Failure::new(Reason::MethodNotSupported, detail));
    match (task.method, &task.storage.location) {
        (Method::Staged, _) if task.staging.is_none() => refused("method Staged has no staging folder".into()),
        (Method::Direct, Location::Volume(volume)) if volume.server_path.is_none() => {
            refused("method Direct to a volume needs volume.serverPath, where MatrixOne has mounted it".into())
        }
        (Method::Staged, _) | (Method::Direct, Location::Volume(_)) => Ok(()),
        (Method::Direct, Location::S3(s3)) => {
            if let Some(what) = unspeakable(s3) {
                return refused(format!("MatrixOne's BACKUP statement cannot express {what}"));
            }
            if !version.writes_to_s3() {
                return refused(format!("MatrixOne {version} cannot be trusted to write to S3 itself"));
            }
            let sent = keys.filter(|_| task.storage.server_credentials == ServerCredentials::FromSecret);
            match sent {
                Some(keys) if keys.session_token.is_some() => {
                    refused("MatrixOne's BACKUP statement cannot express a session token".into())
                }
                Some(_) if !version.hides_keys() && !task.allow_keys_in_sql => {
                    let detail = format!("the log of MatrixOne {version} can show the keys of a BACKUP statement");
                    Err(Failure::new(Reason::KeysInSql, detail))
                }
                Some(_) | None => Ok(()),
            }
        }
    }
}

fn unspeakable(s3: &S3Location) -> Option<&'static str> {
    let options = [
        (s3.ca_secret.is_some(), "a CA bundle"),
        (s3.storage_class.is_some(), "a storage class"),
        (s3.server_side_encryption.is_some(), "an encryption"),
        (s3.role_arn.is_some(), "a role"),
    ];
    options.into_iter().find_map(|(used, what)| used.then_some(what))
}

/// What the server is told to write to, for the attempt whose objects have this prefix.
pub fn target(task: &BackupTask, keys: Option<&Keys>, attempt: &Prefix) -> Result<BackupTarget, Failure> {
    let below = attempt.as_str().trim_end_matches('/');
    let join = |parts: &[&str]| parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join("/");
    let missing = |what: &str| Failure::new(Reason::InvalidSpec, format!("the task has no {what}"));
    match (task.method, &task.storage.location) {
        (Method::Staged, _) => {
            let staging = task.staging.as_ref().ok_or_else(|| missing("staging folder"))?;
            Ok(BackupTarget::FileSystem { path: join(&[staging.server_path.trim_end_matches('/'), below]) })
        }
        (Method::Direct, Location::Volume(volume)) => {
            let root = volume.server_path.as_deref().ok_or_else(|| missing("serverPath"))?;
            Ok(BackupTarget::FileSystem { path: format!("/{}", join(&[root.trim_matches('/'), &volume.path, below])) })
        }
        (Method::Direct, Location::S3(s3)) => {
            let sent = keys.filter(|_| task.storage.server_credentials == ServerCredentials::FromSecret);
            let default = || format!("https://s3.{}.amazonaws.com", s3.region);
            Ok(BackupTarget::S3(Box::new(S3Target {
                endpoint: s3.endpoint.clone().unwrap_or_else(default),
                region: s3.region.clone(),
                bucket: s3.bucket.clone(),
                filepath: join(&[&s3.prefix, below]),
                keys: sent.map(|k| (k.id.clone(), k.secret.clone())),
            })))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::{plan::AttemptDir, sql::Statement};

    fn task(method: &str, location: &Value, staging: &Value) -> BackupTask {
        serde_json::from_value(json!({
            "subject": {"namespace": "ns", "name": "b", "uid": "u", "attempt": 1, "run": "u-1"},
            "id": "01a1fb92-c001-7000-8000-000000000002",
            "cluster": {"host": "mo", "port": 6001, "tls": "Disabled", "tlsCa": false, "serverName": null},
            "storage": {
                "namespace": "ns", "name": "main", "uid": "s", "location": location, "readOnly": false,
                "serverCredentials": "FromSecret",
            },
            "kind": "Full", "base": null, "method": method, "staging": staging, "parallelism": 4,
            "allowKeysInSql": false, "verify": "Manifest",
            "runDeadline": {"secs": 60, "nanos": 0}, "stallDeadline": {"secs": 60, "nanos": 0},
        }))
        .unwrap()
    }

    fn statement(task: &BackupTask) -> String {
        let dir = AttemptDir { attempt: 3, fallback: false };
        let target = target(task, None, &Prefix::attempt(task.id, dir)).unwrap();
        let backup = Statement::Backup { label: "u-3".into(), target, parallelism: 4, since: None };
        backup.text().expose_secret().to_owned()
    }

    const DATA: &str = "data/01a1fb92-c001-7000-8000-000000000002/3";

    #[rstest]
    #[case::staged("Staged", json!({"s3": {"bucket": "bkt", "region": "r"}}), json!({"path": "in", "serverPath": "/mnt/x/in"}), "FILESYSTEM '/mnt/x/in/", "'")]
    #[case::volume("Direct", json!({"volume": {"claim": "c", "path": "prod", "serverPath": "/mnt/repo"}}), Value::Null, "FILESYSTEM '/mnt/repo/prod/", "'")]
    #[case::whole_volume("Direct", json!({"volume": {"claim": "c", "path": "", "serverPath": "/mnt/repo/"}}), Value::Null, "FILESYSTEM '/mnt/repo/", "'")]
    #[case::bucket("Direct", json!({"s3": {"bucket": "bkt", "prefix": "a/b", "region": "eu-1", "endpoint": "http://s3:9"}}), Value::Null, "'endpoint'='http://s3:9', 'region'='eu-1', 'bucket'='bkt', 'filepath'='a/b/", "'")]
    #[case::aws("Direct", json!({"s3": {"bucket": "bkt", "region": "eu-1"}}), Value::Null, "'endpoint'='https://s3.eu-1.amazonaws.com', 'region'='eu-1', 'bucket'='bkt', 'filepath'='", "'")]
    fn the_server_is_told_where(
        #[case] method: &str,
        #[case] location: Value,
        #[case] staging: Value,
        #[case] before: &str,
        #[case] after: &str,
    ) {
        let text = statement(&task(method, &location, &staging));
        assert!(text.contains(&format!("{before}{DATA}{after}")), "{text}");
    }
}
