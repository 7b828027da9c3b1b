//! Where a repository lies.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of place.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageType {
    /// A bucket of an S3 compatible object store.
    S3,
    /// A folder of a PersistentVolumeClaim.
    Volume,
}

/// A prefix in a bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.caSecret) || !has(self.endpoint) || self.endpoint.startsWith('https://')").message("caSecret has no meaning with an endpoint that is not https"))]
pub struct S3Location {
    /// Name of the bucket. It must exist.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')").message("bucket must be a bucket name: 3 to 63 characters of a-z, 0-9, '.' and '-'"))]
    pub bucket: String,
    /// Prefix of everything that is written, without slashes at its ends. Empty: the whole bucket is the repository.
    #[serde(default)]
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9!_.*()=@%-]+(/[A-Za-z0-9!_.*()=@%-]+)*)?$') && !self.split('/').exists(p, p == '.' || p == '..')").message("prefix may have letters, digits and !_.*()=@%- in parts divided by '/', no part '.' or '..', no '/' at its ends: MatrixOne cannot write to other paths"))]
    pub prefix: String,
    /// URL of the store, for example `https://minio.example.com:9000`. Without it: AWS, by region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getEscapedPath() in ['', '/'] && !self.contains('@')").message("endpoint must be a URL with http or https, without a user and without a path, such as https://minio.example.com:9000"))]
    pub endpoint: Option<String>,
    /// Region, for example `us-east-1`. Stores without regions take any name; MatrixOne refuses an empty one.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')").message("region must be a region name such as us-east-1"))]
    pub region: String,
    /// Address the bucket in the path (`host/bucket`) and not in the host name. Most stores that are not AWS want it.
    #[serde(default)]
    pub path_style: bool,
    /// Keys. Without it: the identity of the Job's Pod, as AWS knows it: what EKS gives to the ServiceAccount
    /// mo-backup-worker of this namespace (role for service accounts, pod identity), else the role of the node.
    /// With it, none of these is asked. Requests are always signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<S3Credentials>,
    /// A role to assume with these credentials. AWS is asked for it, at its own address for the region (STS); stores that
    /// have a token service of their own cannot be used with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('arn:')").message("roleArn must be an ARN, it begins with arn:"))]
    pub role_arn: Option<String>,
    /// Certificate authorities to trust with this store, instead of those of the image. A store whose certificate is not
    /// from one of them, not for the host of the endpoint, or expired, is refused; nothing switches that off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
    /// Storage class of the objects, for example `STANDARD_IA`. Objects must stay readable at once: no archive class.
    /// A store refuses a class that it does not know; some, such as versitygw, ignore every class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("!(self in ['GLACIER', 'DEEP_ARCHIVE'])").message("a backup in an archive class cannot be read back at once; choose another storageClass"))]
    pub storage_class: Option<String>,
    /// Encryption by the store. A store that does not confirm it for each object is refused. Without it: what the bucket
    /// itself is set to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Send a CRC32C of every object, so that the store refuses what was changed on its way. Switch off only for stores that refuse the header.
    #[serde(default = "yes")]
    pub checksums: bool,
}

fn yes() -> bool {
    true
}

/// A Secret of this namespace with the keys of an object store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Credentials {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the access key id.
    #[serde(default = "access_key_id")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id_key: String,
    /// Key of the secret access key.
    #[serde(default = "secret_access_key")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key_key: String,
    /// Key of a session token, for temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub session_token_key: Option<String>,
}

fn access_key_id() -> String {
    "access_key_id".into()
}

fn secret_access_key() -> String {
    "secret_access_key".into()
}

/// A Secret of this namespace with certificates in PEM.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the certificates.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}

/// Encryption by the store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type == 'KMS' || !has(self.kmsKeyId)").message("kmsKeyId goes with type KMS"))]
pub struct ServerSideEncryption {
    /// `AES256`: keys of the store. `KMS`: keys of a key management service.
    #[serde(rename = "type")]
    pub type_: ServerSideEncryptionType,
    /// Id of the key. Without it: the bucket's default key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// Whose keys encrypt the objects.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerSideEncryptionType {
    /// Keys of the store.
    AES256,
    /// Keys of a key management service.
    KMS,
}

/// A folder of a PersistentVolumeClaim.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeLocation {
    /// Name of the PersistentVolumeClaim in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim: String,
    /// Folder inside the volume, without slashes at its ends. Empty: the whole volume is the repository.
    #[serde(default)]
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9!_.*()=@%-]+(/[A-Za-z0-9!_.*()=@%-]+)*)?$') && !self.split('/').exists(p, p == '.' || p == '..')").message("path may have letters, digits and !_.*()=@%- in parts divided by '/', no part '.' or '..', no '/' at its ends: MatrixOne cannot write to other paths"))]
    pub path: String,
    /// Where MatrixOne's own Pods have mounted the same volume. With it, MatrixOne can write backups here itself (method Direct).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^(/[A-Za-z0-9!_.*()=@%-]+)+$') && !self.split('/').exists(p, p == '.' || p == '..')").message("serverPath must be an absolute path of letters, digits and !_.*()=@%-, without '.' or '..' parts: MatrixOne cannot write to other paths"))]
    pub server_path: Option<String>,
}
