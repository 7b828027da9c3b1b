//! The files of a Job's Pod: Secrets, volumes, scratch space, and who it is.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath,
        ObjectFieldSelector, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource, SecretVolumeSource,
        ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::api::{CredentialsSecret, S3Location};

/// Where clients look for the identity of a Pod.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Volumes and where they are mounted.
#[derive(Default)]
pub(super) struct Files {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
}

impl Files {
    /// Keys and certificates of a store.
    pub(super) fn store(&mut self, s3: &S3Location, keys: (&str, &str), authorities: (&str, &str)) {
        if let Some(secret) = &s3.credentials_secret {
            let mut items = vec![
                (&*secret.access_key_id_key, "access_key_id"),
                (&*secret.secret_access_key_key, "secret_access_key"),
            ];
            items.extend(secret.session_token_key.as_deref().map(|key| (key, "session_token")));
            self.secret(keys.0, keys.1, &secret.name, &items);
        }
        if let Some(ca) = &s3.ca_secret {
            self.secret(authorities.0, authorities.1, &ca.name, &[(&*ca.key, "ca.crt")]);
        }
    }

    fn mount(&mut self, volume: &str, path: &str, read_only: bool) {
        self.mounts.push(VolumeMount {
            name: volume.into(),
            mount_path: path.into(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
    }

    pub(super) fn secret(&mut self, name: &str, path: &str, secret: &str, items: &[(&str, &str)]) {
        let item = |(key, file): &(&str, &str)| KeyToPath { key: (*key).into(), path: (*file).into(), mode: None };
        self.volumes.push(Volume {
            name: name.into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.into()),
                items: Some(items.iter().map(item).collect()),
                default_mode: Some(0o440),
                optional: None,
            }),
            ..Volume::default()
        });
        self.mount(name, path, true);
    }

    /// Name and password of a user of MatrixOne.
    pub(super) fn login(&mut self, name: &str, path: &str, secret: &CredentialsSecret) {
        let items = [(&*secret.user_key, "username"), (&*secret.password_key, "password")];
        self.secret(name, path, &secret.name, &items);
    }

    /// One volume for each claim, however often it is mounted: kubelets have stumbled over a claim named twice.
    pub(super) fn claim(&mut self, name: &str, path: &str, claim: &str) {
        let has_it = |v: &&Volume| v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim);
        let found = self.volumes.iter().find(has_it).map(|volume| volume.name.clone());
        let name = found.unwrap_or_else(|| {
            self.volumes.push(Volume {
                name: name.into(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.into(),
                    read_only: None,
                }),
                ..Volume::default()
            });
            name.to_owned()
        });
        self.mount(&name, path, false);
    }

    pub(super) fn scratch(&mut self) {
        self.volumes.push(Volume {
            name: "tmp".into(),
            empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity("1Gi".into())), medium: None }),
            ..Volume::default()
        });
        self.mount("tmp", "/tmp", false);
    }

    pub(super) fn identity(&mut self) {
        let token = ServiceAccountTokenProjection {
            path: "token".into(),
            expiration_seconds: Some(3607),
            ..ServiceAccountTokenProjection::default()
        };
        let ca = ConfigMapProjection {
            name: "kube-root-ca.crt".into(),
            items: Some(vec![KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), mode: None }]),
            optional: None,
        };
        let namespace = DownwardAPIVolumeFile {
            path: "namespace".into(),
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.namespace".into(),
                api_version: Some("v1".into()),
            }),
            ..DownwardAPIVolumeFile::default()
        };
        self.volumes.push(Volume {
            name: "identity".into(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(0o440),
                sources: Some(vec![
                    VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
                    VolumeProjection { config_map: Some(ca), ..VolumeProjection::default() },
                    VolumeProjection {
                        downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
                        ..VolumeProjection::default()
                    },
                ]),
            }),
            ..Volume::default()
        });
        self.mount("identity", TOKEN_DIR, true);
    }
}
