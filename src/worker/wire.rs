//! From a Task and the files of the Pod to the ports of a worker.

mod proof;
mod target;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{Failure, Place, Ports, Staging, Watch, backup, soon::Asked};
use crate::{
    api::{Reason, S3Location, ServerSideEncryptionType, TlsMode},
    sql::{Encryption, MatrixOne},
    store::{self, Bucket, Key, Keys, Objects, Patience, Questions, Volume, credentials},
    task::{BackupTask, ClusterTask, Location, StagingTask, StorageTask, mount},
};

/// Where the files of the Pod lie; tests put them elsewhere.
#[derive(Clone, Debug)]
pub struct Files {
    /// See [`mount::SQL`].
    pub sql: PathBuf,
    /// See [`mount::SQL_CA`].
    pub sql_ca: PathBuf,
    /// See [`mount::ACCOUNTS`].
    pub accounts: PathBuf,
    /// See [`mount::STORE`].
    pub store: PathBuf,
    /// See [`mount::STORE_CA`].
    pub store_ca: PathBuf,
    /// See [`mount::STAGING`].
    pub staging: PathBuf,
    /// See [`mount::REPOSITORY`].
    pub repository: PathBuf,
    /// See [`mount::TARGET`].
    pub target: PathBuf,
    /// See [`mount::TARGET_STORE`].
    pub target_store: PathBuf,
    /// See [`mount::TARGET_STORE_CA`].
    pub target_store_ca: PathBuf,
}

/// Where bytes lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The repository.
    pub repository: Arc<dyn Objects>,
    /// What kind of place it is, for the words of an error.
    pub kind: Place,
    /// The folder shared with MatrixOne.
    pub staging: Option<Staging>,
}

impl Places {
    /// The same, with calls that are repeated while their trouble may pass, until the token is cancelled.
    #[must_use]
    pub fn patient(&self, patience: Patience, stop: &CancellationToken) -> Self {
        let staging = self.staging.as_ref().map(|staging| staging.patient(patience, stop));
        Self { repository: backup::patient(&self.repository, patience, stop), kind: self.kind, staging }
    }
}

impl Files {
    /// Where the operator mounts them.
    #[must_use]
    pub fn of_the_pod() -> Self {
        Self {
            sql: mount::SQL.into(),
            sql_ca: mount::SQL_CA.into(),
            accounts: mount::ACCOUNTS.into(),
            store: mount::STORE.into(),
            store_ca: mount::STORE_CA.into(),
            staging: mount::STAGING.into(),
            repository: mount::REPOSITORY.into(),
            target: mount::TARGET.into(),
            target_store: mount::TARGET_STORE.into(),
            target_store_ca: mount::TARGET_STORE_CA.into(),
        }
    }

    /// What a backup works with.
    pub async fn ports(&self, task: &BackupTask, watch: &Watch) -> Result<Ports, Failure> {
        let Places { repository, kind: _, staging } = self.places(&task.storage, task.staging.as_ref(), watch).await?;
        Ok(Ports {
            repository,
            staging,
            server: Arc::new(self.server(&task.cluster)?),
            keys: self.keys(&task.storage)?,
            patience: Patience::default(),
        })
    }

    /// The repository and the staging folder, bare. The repository has answered once: what is wrong with it from the
    /// start is said soon, while the patience of the work itself outlasts an outage of minutes.
    pub async fn places(
        &self,
        storage: &StorageTask,
        staging: Option<&StagingTask>,
        watch: &Watch,
    ) -> Result<Places, Failure> {
        let kind = Place::of(&storage.location);
        let repository = self.repository(storage, kind)?;
        let asking = backup::patient(&repository, Patience::soon(), watch.token());
        let asked = async { asking.stat(&Key::marker()).await.map_err(|e| Failure::of_store(kind, &e)) };
        watch.soon(Asked::Store(kind), asked).await?;
        let staging = staging.map(|staging| self.staging(staging)).transpose()?;
        Ok(Places { repository, kind, staging })
    }

    /// Questions about the bucket of the repository, if it is one.
    pub fn questions(&self, storage: &StorageTask) -> Result<Option<Questions>, Failure> {
        let kind = Place::of(&storage.location);
        match &storage.location {
            Location::S3(s3) => {
                let (keys, ca) = (self.keys(storage)?, self.authorities(s3)?);
                let questions = Questions::open(&place(s3), keys.as_ref(), ca.as_deref());
                questions.map(Some).map_err(|e| Failure::of_store(kind, &e))
            }
            Location::Volume(_) => Ok(None),
        }
    }

    /// Certificates that the store's must be signed by, when its BackupStorage names a Secret with them.
    fn authorities(&self, s3: &S3Location) -> Result<Option<Vec<u8>>, Failure> {
        let ca = s3.ca_secret.as_ref().map(|_| credentials::read_ca(&self.store_ca)).transpose();
        ca.map_err(|e| Failure::new(Reason::StorageTlsUntrusted, e.to_string()))
    }

    /// The staging folder alone.
    pub fn staging(&self, staging: &StagingTask) -> Result<Staging, Failure> {
        let volume = Volume::open(&self.staging, &staging.path);
        let volume = volume.map_err(|e| Failure::of_store(Place::Staging, &e))?;
        Ok(Staging { objects: Arc::new(volume.clone()), folder: volume })
    }

    fn repository(&self, storage: &StorageTask, kind: Place) -> Result<Arc<dyn Objects>, Failure> {
        let failed = |e: store::Error| Failure::of_store(kind, &e);
        Ok(match &storage.location {
            Location::S3(s3) => {
                let (keys, ca) = (self.keys(storage)?, self.authorities(s3)?);
                Arc::new(Bucket::open(&place(s3), keys.as_ref(), ca.as_deref()).map_err(failed)?)
            }
            Location::Volume(volume) => Arc::new(Volume::open(&self.repository, &volume.path).map_err(failed)?),
        })
    }

    /// The server, with the login of its Secret.
    pub fn server(&self, cluster: &ClusterTask) -> Result<MatrixOne, Failure> {
        let login = |name| required(&self.sql, name, Reason::LoginFailed);
        let user = login("username")?;
        let password = login("password")?;
        let authorities = if cluster.tls_ca {
            let pem = required(&self.sql_ca, "ca.crt", Reason::ServerTlsUntrusted)?;
            Some(pem.into_bytes())
        } else {
            None
        };
        Ok(MatrixOne {
            host: cluster.host.clone(),
            port: cluster.port,
            user,
            password: SecretString::from(password),
            encryption: match cluster.tls {
                TlsMode::Disabled => Encryption::Disabled,
                TlsMode::Preferred => Encryption::Preferred,
                TlsMode::Required => Encryption::Required,
            },
            authorities,
            server_name: cluster.server_name.clone(),
        })
    }

    /// The keys of the store, when its BackupStorage names a Secret.
    fn keys(&self, storage: &StorageTask) -> Result<Option<Keys>, Failure> {
        match &storage.location {
            Location::S3(s3) if s3.credentials_secret.is_some() => {
                let keys = Keys::read(&self.store);
                keys.map(Some).map_err(|e| Failure::new(Reason::StorageCredentialsMissing, e.to_string()))
            }
            Location::S3(_) | Location::Volume(_) => Ok(None),
        }
    }
}

/// Where a bucket is and what is sent with every write.
#[must_use]
pub fn place(s3: &S3Location) -> store::Place {
    store::Place {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        path_style: s3.path_style,
        role_arn: s3.role_arn.clone(),
        storage_class: s3.storage_class.clone(),
        encryption: s3.server_side_encryption.as_ref().map(|sse| match sse.type_ {
            ServerSideEncryptionType::AES256 => store::Encryption::Aes256,
            ServerSideEncryptionType::KMS => store::Encryption::Kms(sse.kms_key_id.clone()),
        }),
        checksums: s3.checksums,
    }
}

/// A file of a Secret that must be there.
fn required(directory: &Path, name: &str, reason: Reason) -> Result<String, Failure> {
    let why = match credentials::text(&directory.join(name)) {
        Ok(Some(text)) if text.contains('\0') => "it holds a NUL".to_owned(),
        Ok(Some(text)) => return Ok(text),
        Ok(None) => "the Secret has no such key".to_owned(),
        Err(why) => why,
    };
    Err(Failure::new(reason, format!("failed to read {name} of the Secret: {why}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn cluster() -> ClusterTask {
        ClusterTask { host: "mo".into(), port: 6001, tls: TlsMode::Required, tls_ca: false, server_name: None }
    }

    #[rstest]
    #[case(Some(&b"111\n"[..]), Ok("111"))]
    #[case(Some(&b"1 1\r\n"[..]), Ok("1 1"))]
    #[case(Some(&b"\n"[..]), Err("empty"))]
    #[case(Some(&b"canary\0"[..]), Err("NUL"))]
    #[case(Some(&b"\xffcanary"[..]), Err("UTF-8"))]
    #[case(Some(&b"c".repeat((1 << 20) + 1)[..]), Err("longer than"))]
    #[case(None, Err("password"))]
    fn a_login_comes_from_files(#[case] password: Option<&[u8]>, #[case] expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("username"), "sys#dump").unwrap();
        if let Some(password) = password {
            std::fs::write(folder.path().join("password"), password).unwrap();
        }
        let files = Files { sql: folder.path().into(), ..Files::of_the_pod() };
        match (files.server(&cluster()), expected) {
            (Ok(server), Ok(password)) => {
                assert_eq!((server.user.as_str(), server.password.expose_secret()), ("sys#dump", password));
                assert_eq!(server.encryption, Encryption::Required);
            }
            (Err(failure), Err(why)) => {
                assert!(failure.detail.contains(why) && !failure.detail.contains("canary"), "{failure}");
            }
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}
