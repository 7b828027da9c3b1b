//! Where a BACKUP writes to.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
};

use opendal::{ErrorKind, HttpTransporter, Operator, services::S3};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::{
    Version, framing,
    recorded::{self, Fact},
    tree::File,
    wire::Reply,
};

/// Characters a path may have beside letters and digits.
const ALLOWED: &str = "!-_.*'()@/=%";

/// A folder or a prefix.
#[derive(Debug)]
pub enum Target {
    Folder {
        version: Version,
        /// As the statement names it.
        name: String,
        /// Where that is on this machine.
        root: PathBuf,
    },
    Bucket {
        version: Version,
        bucket: Operator,
        /// `http://host:port/bucket`, as errors show it.
        url: String,
        prefix: String,
    },
    /// v1.2.4 looks for `<bucket>.<host>` for hours when nobody knows that name.
    Unresolvable,
}

/// "Target directories" of v1.2.4, "BACKUP: syntax, path and privilege errors" of v4.2.0.
fn check_path(path: &str) -> Result<(), Reply> {
    if let Some((before, _)) = path.split_once(':') {
        return Err(recorded::COLON_IN_PATH.error(&[before]));
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || ALLOWED.contains(c) || !c.is_ascii());
    if path.contains(odd) { Err(recorded::BAD_PATH.error(&[path])) } else { Ok(()) }
}

impl Target {
    /// A folder; `root` is put before its name.
    pub fn folder(version: Version, path: &str, root: Option<&Path>) -> Result<Self, Reply> {
        if path.is_empty() {
            return Err(recorded::EMPTY_PATH.error(&[]));
        }
        check_path(path)?;
        let name = path.trim_end_matches('/').to_owned();
        let root = root.map_or_else(|| PathBuf::from(&name), |root| root.join(name.trim_start_matches('/')));
        Ok(Self::Folder { version, name, root })
    }

    /// A prefix of a bucket, from the options of the statement.
    pub fn bucket(version: Version, options: &[(String, String)]) -> Result<Self, Reply> {
        let find = |key: &str| options.iter().rfind(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.as_str());
        let get = |key: &str| find(key).unwrap_or_default();
        check_options(options)?;
        let prefix = get("filepath").trim_matches('/').to_owned();
        check_path(&prefix)?;
        let keys = (get("access_key_id"), get("secret_access_key"));
        let minio = get("is_minio").eq_ignore_ascii_case("true");
        match (version, minio) {
            (Version::V1_2_4, false) => return Ok(Self::Unresolvable),
            (Version::V1_2_4, true) if get("region").is_empty() => return Err(recorded::NO_REGION.error(&[])),
            (Version::V4_2_0, true) => return Err(recorded::MINIO_CLIENT_DENIED.error(&[])),
            (Version::V4_2_0, false) if get("region").is_empty() => return Err(recorded::BAD_REGION.error(&[])),
            (Version::V1_2_4, true) if keys.0.is_empty() => return Err(recorded::NO_KEYS_1.error(&[])),
            (Version::V4_2_0, false) if keys.0.is_empty() => return Err(recorded::NO_KEYS_4.error(&[])),
            (Version::V1_2_4, true) | (Version::V4_2_0, false) => {}
        }
        // The client has no cryptography of its own; whoever was first has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = get("endpoint").trim_end_matches('/');
        let builder = S3::default()
            .endpoint(endpoint)
            .region(get("region"))
            .bucket(get("bucket"))
            .access_key_id(keys.0)
            .secret_access_key(keys.1)
            .disable_config_load()
            .disable_ec2_metadata();
        let broken = |text: String| Reply::Error { code: 1105, text };
        let client = reqwest::Client::builder().no_proxy().build().map_err(|e| broken(e.to_string()))?;
        let bucket = Operator::new(builder).map_err(|e| broken(e.to_string()))?;
        let context = bucket.context().with_http_transport(HttpTransporter::new(ReqwestTransport::new(client)));
        let bucket = bucket.with_context(context);
        Ok(Self::Bucket { version, bucket, url: format!("{endpoint}/{}", get("bucket")), prefix })
    }

    /// Writes a file that must not be there yet.
    pub async fn write(&self, file: &File) -> Result<(), Reply> {
        match self {
            Self::Folder { version, name, root } => {
                let bytes = match version {
                    Version::V1_2_4 if file.framed => framing::framed(&file.content),
                    Version::V1_2_4 | Version::V4_2_0 => file.content.clone(),
                };
                let path = root.join(&file.path);
                if path.exists() {
                    return Err(recorded::EXISTS.error(&[&file.path]));
                }
                write_file(&path, root, &bytes).map_err(|e| folder_error(&e, name))
            }
            Self::Bucket { version, bucket, url, prefix } => {
                let key = format!("{prefix}/{}", file.path);
                let key = key.trim_start_matches('/');
                match bucket.stat(key).await {
                    Ok(_) => return Err(recorded::EXISTS.error(&[key])),
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(bucket_error(*version, &e, url, key)),
                }
                let written = bucket.write(key, file.content.clone()).await;
                written.map(drop).map_err(|e| bucket_error(*version, &e, url, key))
            }
            Self::Unresolvable => Ok(()),
        }
    }

    /// The error of a full disk.
    pub fn no_space(&self) -> Reply {
        let name = match self {
            Self::Folder { name, .. } => name.as_str(),
            Self::Bucket { .. } | Self::Unresolvable => "",
        };
        recorded::NO_SPACE.error(&[name, "1558634272"])
    }
}

fn check_options(options: &[(String, String)]) -> Result<(), Reply> {
    for (key, value) in options {
        let fact = match key.to_lowercase().as_str() {
            "is_minio" if !["true", "false"].contains(&value.to_lowercase().as_str()) => &recorded::BAD_IS_MINIO,
            "parallelism" if value.parse::<u16>().is_err() => &recorded::BAD_PARALLELISM,
            "endpoint" | "region" | "bucket" | "filepath" | "access_key_id" | "secret_access_key" | "role_arn"
            | "is_minio" | "parallelism" => continue,
            _ => return Err(recorded::BAD_KEYWORD.error(&[key])),
        };
        return Err(fact.error(&[value]));
    }
    Ok(())
}

/// Folders 0755, files 0600; first under another name. "BACKUP to a directory: modes…".
fn write_file(path: &Path, root: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    make_folder(root)?;
    let temporary = root.join(format!(".tmp.{}", uuid::Uuid::now_v7().as_u128() % 4_000_000_000));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    inherit(&temporary, root)?;
    fs::rename(&temporary, path)
}

/// Makes a folder, and those above it that are missing.
fn make_folder(folder: &Path) -> io::Result<()> {
    let Some(above) = folder.parent().filter(|_| !folder.exists()) else { return Ok(()) };
    make_folder(above)?;
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| inherit(folder, above)),
    }
}

/// The double may run as root, where a server has a user of its own: what it writes belongs to whoever owns the folder.
fn inherit(path: &Path, from: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(from)?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn folder_error(error: &io::Error, name: &str) -> Reply {
    match error.kind() {
        io::ErrorKind::NotFound => recorded::NO_MKDIR.error(&[name]),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => recorded::NOT_A_FOLDER.error(&[name]),
        io::ErrorKind::StorageFull => recorded::NO_SPACE.error(&[name, "1558634272"]),
        // No other error of a file system is recorded.
        _ => Reply::Error { code: 1105, text: format!("open {name}: {}", error.kind()) },
    }
}

fn bucket_error(version: Version, error: &opendal::Error, url: &str, key: &str) -> Reply {
    let text = format!("{error} {error:?}");
    let by_version = |v1: &Fact, v4: &Fact| match version {
        Version::V1_2_4 => v1.error(&[]),
        Version::V4_2_0 => v4.error(&[]),
    };
    if text.contains("NoSuchBucket") {
        by_version(&recorded::NO_BUCKET_1, &recorded::NO_BUCKET_4)
    } else if error.kind() == ErrorKind::PermissionDenied {
        by_version(&recorded::FORBIDDEN_1, &recorded::FORBIDDEN_4)
    } else if text.contains("onnection refused") {
        let host = url.split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        recorded::NOBODY_LISTENS.error(&[&format!("{url}/{key}"), host])
    } else {
        // No other error of a bucket is recorded.
        Reply::Error { code: 1105, text: format!("operation error S3: {error}") }
    }
}
