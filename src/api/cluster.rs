//! How a MatrixOne cluster is reached.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The MatrixOne cluster to work with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.address) != has(self.matrixOneCluster)").message("exactly one of address and matrixOneCluster says where the cluster is"))]
pub struct Cluster {
    /// Where its SQL port is. Name one CN, not a load balancer, when backups are written to a volume:
    /// the CN that holds the session writes the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The MatrixOneCluster of this namespace that matrixone-operator runs, instead of an address: each attempt goes to the
    /// host and port that its status has when the attempt begins. They are those of a Service before its proxies, or before
    /// the first of its sets of CNs. When backups are written to a volume, every CN behind that must have mounted it: the CN
    /// that holds the session writes the files. Backups that name the same MatrixOneCluster take turns. One that gives an
    /// address of the same servers does not wait for them: its attempt fails with `BackupRunning` while theirs runs, and is
    /// repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_one_cluster: Option<MatrixOneClusterRef>,
    /// The Secret with the name and the password of a user of account `sys` with role `moadmin`.
    pub credentials_secret: CredentialsSecret,
    /// Encryption of the connection.
    #[serde(default)]
    pub tls: Tls,
}

/// Host and port of the SQL service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// A DNS name in lower case, or an IP address. Backups of one MatrixOne cluster take turns by this name: spell it the
    /// same everywhere, best as `<service>.<namespace>`. A name without a dot is one of this namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$') || self.matches('^[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*$')").message("host must be a DNS name in lower case or an IP address, without a scheme, a port or a path"))]
    pub host: String,
    /// The SQL port.
    #[serde(default = "sql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A MatrixOneCluster (`core.matrixorigin.io/v1alpha1`) of this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixOneClusterRef {
    /// Name of the MatrixOneCluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn sql_port() -> i32 {
    6001
}

/// A Secret of this namespace with a user name and a password.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name. Forms: `root`, `sys#root`, `sys#root#moadmin`.
    #[serde(default = "user_key")]
    #[schemars(length(min = 1, max = 253))]
    pub user_key: String,
    /// Key of the password.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

fn user_key() -> String {
    "username".into()
}

fn password_key() -> String {
    "password".into()
}

/// Encryption of the SQL connection.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'Disabled' || (!has(self.caSecret) && !has(self.serverName))").message("caSecret and serverName have no meaning with mode Disabled"))]
pub struct Tls {
    /// `Disabled`: never. `Preferred`: when the server offers it; its certificate is verified only with `caSecret`.
    /// `Required`: refuse a server without it, and verify its certificate.
    #[serde(default)]
    pub mode: TlsMode,
    /// Certificate authorities to trust, and no others. Without it: the public ones, which are built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<super::CaSecret>,
    /// The name that the server's certificate must carry. Without it: the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// Whether the SQL connection is encrypted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When the server offers it; its certificate is verified only with `caSecret`.
    #[default]
    Preferred,
    /// Always; a server without it is refused.
    Required,
}
