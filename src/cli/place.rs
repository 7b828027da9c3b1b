//! From flags to a place that can be opened.

use std::{
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    ending::Refusal,
    flags::{Kind, PlaceFlags, Side},
    screen, secret,
};
use crate::{
    api::{S3Location, ServerCredentials, VolumeLocation},
    store::{Bucket, Keys, Objects, Volume, credentials},
    task::{Location, StorageTask, Subject, run_name},
    worker::{self, Failure},
};

/// The owner of a repository that the command line has made. Every command line is the same one: who may write there is a
/// matter of keys and rights.
const OWNER: &str = "command-line";

/// A repository or the place of a restored MatrixOne, with what opens it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it is.
    pub location: Location,
    /// The keys of its store.
    pub keys: Option<Keys>,
    /// Whom to trust with its store.
    pub authorities: Option<Vec<u8>>,
}

impl Place {
    /// The one place that the flags name.
    ///
    /// # Errors
    /// When a flag is missing, or does not fit the others.
    pub fn of<S: Side>(flags: &PlaceFlags<S>) -> Result<Self, Refusal> {
        let name = PlaceFlags::<S>::name;
        let location = match kind(flags)? {
            Kind::S3 => Location::S3(Box::new(s3(flags)?)),
            Kind::Filesystem => {
                refuse_s3(flags)?;
                match &flags.paths[..] {
                    [path] => folder(&name("path"), path)?,
                    [] => return Err(Refusal::usage(format!("--{} filesystem needs {}", S::DIR, name("path")))),
                    _ => return Err(twice(&name("path"))),
                }
            }
        };
        Self::known(location, flags)
    }

    /// A place that is known, with the keys that the flags give.
    ///
    /// # Errors
    /// When only one of two keys is given, or a file cannot be read.
    pub fn known<S: Side>(location: Location, flags: &PlaceFlags<S>) -> Result<Self, Refusal> {
        let name = PlaceFlags::<S>::name;
        let (keys, authorities) = match location {
            Location::S3(_) => {
                let given = (
                    flags.access_key_id.as_deref(),
                    flags.secret_access_key.as_deref(),
                    flags.secret_access_key_file.as_deref(),
                );
                (secret::keys(given, name)?, authorities(&name("ca-file"), flags.ca_file.as_deref())?)
            }
            Location::Volume(_) => (None, None),
        };
        Ok(Self { location, keys, authorities })
    }

    /// Opens it. Nothing is asked yet.
    pub fn open(&self) -> Result<Arc<dyn Objects>, Failure> {
        self.open_as(self.kind())
    }

    /// The same for a place that a failure calls by this name.
    pub fn open_as(&self, kind: worker::Place) -> Result<Arc<dyn Objects>, Failure> {
        let failed = |e| Failure::of_store(kind, &e);
        Ok(match &self.location {
            Location::S3(s3) => {
                let place = worker::place(s3);
                Arc::new(Bucket::open(&place, self.keys.as_ref(), self.authorities.as_deref()).map_err(failed)?)
            }
            Location::Volume(volume) => {
                let (mount, below) = standing(&volume.path);
                Arc::new(Volume::open(&mount, &below).map_err(failed)?)
            }
        })
    }

    /// What kind of place it is, as a repository.
    #[must_use]
    pub fn kind(&self) -> worker::Place {
        worker::Place::of(&self.location)
    }

    /// The repository, for a task.
    #[must_use]
    pub fn storage(&self) -> StorageTask {
        StorageTask {
            namespace: String::new(),
            name: OWNER.into(),
            uid: OWNER.into(),
            location: self.location.clone(),
            read_only: false,
            server_credentials: if self.keys.is_some() {
                ServerCredentials::FromSecret
            } else {
                ServerCredentials::Ambient
            },
        }
    }

    /// The place in lines, as `mo_br` shows it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lines(&self.location)
    }
}

/// For whom a task is: the command line, whose name is always the same, in a run of its own.
#[must_use]
pub fn subject(uid: String) -> Subject {
    Subject { namespace: String::new(), name: OWNER.into(), run: run_name(&uid, 1), uid, attempt: 1 }
}

/// A place in lines, as `mo_br` shows it.
#[must_use]
pub fn lines(location: &Location) -> Vec<String> {
    match location {
        Location::S3(s3) => {
            let mut lines = vec!["BackupDir: s3".to_owned()];
            lines.extend(s3.endpoint.as_ref().map(|endpoint| format!("Endpoint: {endpoint}")));
            lines.push(format!("Bucket: {}", s3.bucket));
            lines.push(format!("Path: {}", s3.prefix));
            lines
        }
        Location::Volume(volume) => vec!["BackupDir: filesystem".into(), format!("Path: /{}", volume.path)],
    }
}

fn kind<S: Side>(flags: &PlaceFlags<S>) -> Result<Kind, Refusal> {
    let told = flags.kind.or(flags.bucket.as_ref().map(|_| Kind::S3));
    told.or((!flags.paths.is_empty()).then_some(Kind::Filesystem))
        .ok_or_else(|| Refusal::usage(format!("--{} is missing: s3 or filesystem", S::DIR)))
}

fn refuse_s3<S: Side>(flags: &PlaceFlags<S>) -> Result<(), Refusal> {
    let name = PlaceFlags::<S>::name;
    let said = [
        ("endpoint", flags.endpoint.is_some()),
        ("bucket", flags.bucket.is_some()),
        ("filepath", !flags.filepaths.is_empty()),
        ("is-minio", flags.is_minio),
        ("region", flags.region.is_some()),
        ("role-arn", flags.role_arn.is_some()),
        ("access-key-id", flags.access_key_id.is_some()),
        ("secret-access-key", flags.secret_access_key.is_some()),
        ("secret-access-key-file", flags.secret_access_key_file.is_some()),
        ("ca-file", flags.ca_file.is_some()),
    ];
    match said.iter().find(|(_, said)| *said) {
        Some((flag, _)) => Err(Refusal::usage(format!("{} goes with --{} s3", name(flag), S::DIR))),
        None => Ok(()),
    }
}

fn s3<S: Side>(flags: &PlaceFlags<S>) -> Result<S3Location, Refusal> {
    let name = PlaceFlags::<S>::name;
    if !flags.paths.is_empty() {
        return Err(Refusal::usage(format!(
            "{} goes with --{} filesystem; with s3 it is {}",
            name("path"),
            S::DIR,
            name("filepath")
        )));
    }
    let bucket =
        flags.bucket.clone().ok_or_else(|| Refusal::usage(format!("--{} s3 needs {}", S::DIR, name("bucket"))))?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(good) {
        let text = format!("{} {bucket:?} is no bucket name: 3 to 63 of a-z, 0-9, '.' and '-'", name("bucket"));
        return Err(Refusal::usage(text));
    }
    if let Some(endpoint) = &flags.endpoint {
        let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.trim_end_matches('/').contains(['/', '@', ' '])) {
            let text = format!("{} {endpoint:?} is no URL such as http://127.0.0.1:9000", name("endpoint"));
            return Err(Refusal::usage(text));
        }
        if !flags.is_minio && rest.is_some_and(is_address) {
            let text = format!(
                "{} {endpoint} is an address, before which no bucket's name can stand: give {}",
                name("endpoint"),
                name("is-minio")
            );
            return Err(Refusal::usage(text));
        }
    }
    if flags.compression.as_deref().is_some_and(|c| !c.is_empty() && c != "none") {
        screen::warn(&format!("{} has no effect: MatrixOne compresses its objects itself", name("compression")));
    }
    let prefix = match &flags.filepaths[..] {
        [] => "",
        [path] => prefix::<S>(path)?,
        _ => return Err(twice(&name("filepath"))),
    };
    Ok(S3Location {
        bucket,
        prefix: prefix.to_owned(),
        endpoint: flags.endpoint.as_ref().map(|e| e.trim_end_matches('/').to_owned()),
        region: flags.region.clone().unwrap_or_else(|| "us-east-1".into()),
        path_style: flags.is_minio,
        credentials_secret: None,
        role_arn: flags.role_arn.clone(),
        ca_secret: None,
        storage_class: None,
        server_side_encryption: None,
        checksums: true,
    })
}

/// Whether a host, perhaps with a port, is an IP address.
fn is_address(host: &str) -> bool {
    let host = host.trim_end_matches('/');
    host.starts_with('[') || host.split(':').next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok())
}

fn twice(flag: &str) -> Refusal {
    Refusal::usage(format!("{flag} is given more than once"))
}

/// A folder in a bucket.
fn prefix<S: Side>(path: &str) -> Result<&str, Refusal> {
    let flag = PlaceFlags::<S>::name("filepath");
    let prefix = path.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let text = format!("{flag} {prefix:?} must be parts divided by '/', none of them '.' or '..'");
        return Err(Refusal::usage(text));
    }
    Ok(prefix)
}

/// A folder of this machine. Nobody mounts it: the whole machine is the volume.
///
/// # Errors
/// When the path leads above the root or through a file, or is no text.
pub fn folder(flag: &str, path: &Path) -> Result<Location, Refusal> {
    let absolute = absolute(flag, path)?;
    let path = absolute.to_str().ok_or_else(|| Refusal::usage(format!("{flag} is no text in UTF-8")))?;
    let path = path.trim_matches('/').to_owned();
    let (mount, below) = standing(&path);
    let next = mount.join(below.split('/').next().unwrap_or_default());
    // A link that leads nowhere does not exist, and is in the way.
    if !below.is_empty() && next.symlink_metadata().is_ok() {
        return Err(Refusal::usage(format!("{flag} {}: {} is no folder", absolute.display(), next.display())));
    }
    let server_path = Some("/".to_owned());
    Ok(Location::Volume(Box::new(VolumeLocation { claim: String::new(), path, server_path })))
}

/// The place of several folders, the deepest that holds them all, and the folders below it in the order that was given.
///
/// # Errors
/// When a path is none.
pub fn chain<S: Side>(flags: &PlaceFlags<S>) -> Result<(Place, Vec<String>), Refusal> {
    let mut alone = flags.clone();
    let below = if flags.filepaths.len() > 1 {
        let whole: Result<Vec<_>, _> =
            flags.filepaths.iter().map(|path| prefix::<S>(path).map(PathBuf::from)).collect();
        let (common, below) = split(&PlaceFlags::<S>::name("filepath"), &whole?)?;
        alone.filepaths = vec![common.to_string_lossy().into_owned()];
        below
    } else {
        let flag = PlaceFlags::<S>::name("path");
        let whole: Result<Vec<_>, _> = flags.paths.iter().map(|path| absolute(&flag, path)).collect();
        let (common, below) = split(&flag, &whole?)?;
        alone.paths = vec![common];
        below
    };
    Ok((Place::of(&alone)?, below))
}

/// The deepest folder that holds all of these, and what of each lies below it.
fn split(flag: &str, whole: &[PathBuf]) -> Result<(PathBuf, Vec<String>), Refusal> {
    let mut common = whole.first().cloned().unwrap_or_default();
    while !whole.iter().all(|path| path.starts_with(&common)) {
        common.pop();
    }
    let below = |path: &PathBuf| {
        let below = path.strip_prefix(&common).ok().and_then(|path| path.to_str());
        below.map(str::to_owned).ok_or_else(|| Refusal::usage(format!("{flag} is no text in UTF-8")))
    };
    let below: Result<_, _> = whole.iter().map(below).collect();
    Ok((common, below?))
}

/// The deepest folder of a path that exists, and what lies below it: of the folders above, this user may have no right
/// but to pass.
fn standing(path: &str) -> (PathBuf, String) {
    let whole = Path::new("/").join(path);
    let mount = whole.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let below = whole.strip_prefix(mount).unwrap_or(&whole).to_string_lossy().into_owned();
    (mount.to_owned(), below)
}

/// The path from the root, without `.` and `..`; nothing is looked up.
///
/// # Errors
/// When the working directory is not known, or the path leads above the root.
pub fn absolute(flag: &str, path: &Path) -> Result<PathBuf, Refusal> {
    let refused = |why: String| Refusal::usage(format!("failed to use {flag} {}: {why}", path.display()));
    if path.as_os_str().is_empty() {
        return Err(refused("it is empty".into()));
    }
    let whole = std::path::absolute(path).map_err(|e| refused(e.to_string()))?;
    let mut plain = PathBuf::from("/");
    for part in whole.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => {
                if !plain.pop() {
                    return Err(refused("it leads above the root".into()));
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(plain)
}

/// Refuses what MatrixOne cannot write to, and what a store would take for another path.
///
/// # Errors
/// When there is a part of that kind.
pub fn parts(flag: &str, path: &str) -> Result<(), Refusal> {
    let good = |c: char| c.is_ascii_alphanumeric() || "!_.*()=@%-".contains(c);
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || !part.chars().all(good);
    let below = path.trim_start_matches('/');
    if !below.is_empty() && below.split('/').any(bad) {
        let text = format!(
            "{flag} {path:?} may have letters, digits and !_.*()=@%- in parts divided by '/': MatrixOne cannot write to other paths"
        );
        return Err(Refusal::usage(text));
    }
    Ok(())
}

/// Certificates of authorities, from a file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn authorities(flag: &str, file: Option<&Path>) -> Result<Option<Vec<u8>>, Refusal> {
    file.map(|file| secret::there(flag, file, credentials::certificates(file))).transpose()
}
