//! Who writes a backup into the repository, MatrixOne or this program, and the folder that they share for that.

use std::{
    net::IpAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{BackupFlags, NAMES};
use crate::{
    api::Method,
    cli::{
        ending::{Ending, Refusal},
        place::{self, Place},
    },
    plan::BackupId,
    sql::{MatrixOne, Version},
    store::{Keys, Volume},
    task::Location,
    worker::{self, Asked, Failure, Staging},
};

/// A folder shared with MatrixOne.
#[derive(Debug)]
pub struct Shared {
    path: PathBuf,
    /// The folder as MatrixOne sees it.
    pub server_path: String,
    /// Made for this backup, and removed with it.
    own: bool,
}

impl Shared {
    /// Opens it. Nothing is asked yet.
    pub fn open(&self) -> Result<Staging, Failure> {
        let volume = Volume::open(&self.path, "").map_err(|e| Failure::of_store(worker::Place::Staging, &e))?;
        Ok(Staging { objects: Arc::new(volume.clone()), folder: volume })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        // Empty folders only: what the worker could not remove, it has told.
        for folder in [self.path.join("data"), self.path.join("unfinished~"), self.path.clone()] {
            let _: std::io::Result<()> = std::fs::remove_dir(folder);
        }
    }
}

/// Who writes into the repository: MatrixOne itself where it can and may, else this program from a shared folder.
///
/// # Errors
/// When it can be neither.
pub async fn way(
    flags: &BackupFlags,
    place: &Place,
    server: &MatrixOne,
    id: BackupId,
) -> Result<(Method, Option<Shared>), Refusal> {
    if let Some(path) = &flags.staging {
        let shared = shared("--staging", path, flags.staging_server_path.as_deref())?;
        if !shared.path.is_dir() {
            return Err(Refusal::usage(format!("--staging {} is no folder", shared.path.display())));
        }
        return Ok((Method::Staged, Some(shared)));
    }
    let Location::S3(s3) = &place.location else { return Ok((Method::Direct, None)) };
    let asked = worker::soon(Asked::Server, worker::preflight(server)).await;
    let facts = asked.map_err(|failure| Refusal::of(&failure, NAMES))?;
    let unsaid = [(s3.role_arn.is_some(), "--role-arn"), (place.authorities.is_some(), "--ca-file")];
    let unsaid = unsaid.into_iter().find_map(|(said, flag)| said.then_some(flag));
    let Some(why) = obstacle(facts.version, place.keys.as_ref(), unsaid, flags.allow_keys_in_sql) else {
        sayable(place)?;
        return Ok((Method::Direct, None));
    };
    let local = flags.host == "localhost" || flags.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !local {
        let text = format!("{why}; give a folder that it shares with this machine with --staging");
        return Err(Refusal { ending: Ending::Final, message: text });
    }
    let path = std::env::temp_dir().join(format!("mo-backup-{id}"));
    let mut made = shared("TMPDIR", &path, None)?;
    // What is staged is the whole database: nobody else on this machine may read it.
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| Refusal {
        ending: Ending::Final,
        message: format!("{why}, and no folder could be made for it: {}: {e}; name one with --staging", path.display()),
    })?;
    made.own = true;
    Ok((Method::Staged, Some(made)))
}

/// Refuses a place that MatrixOne cannot be told to write to.
///
/// # Errors
/// When it is one.
pub fn sayable(place: &Place) -> Result<(), Refusal> {
    match &place.location {
        Location::Volume(volume) if volume.path.is_empty() => {
            Err(Refusal::usage("--path / is the root of this machine; name a folder"))
        }
        Location::Volume(volume) => place::parts("--path", &format!("/{}", volume.path)),
        Location::S3(s3) => place::parts("--filepath", &s3.prefix),
    }
}

/// What keeps MatrixOne from writing into the bucket itself.
pub fn obstacle(
    version: Version,
    keys: Option<&Keys>,
    unsaid: Option<&str>,
    allow_keys_in_sql: bool,
) -> Option<String> {
    let says = |what: &str| format!("MatrixOne's BACKUP statement cannot express {what}");
    match keys {
        _ if !version.writes_to_s3() => Some(format!("MatrixOne {version} cannot be trusted to write to S3 itself")),
        _ if unsaid.is_some() => unsaid.map(says),
        Some(keys) if keys.session_token.is_some() => Some(says("a session token")),
        Some(_) if !version.hides_keys() && !allow_keys_in_sql => Some(format!(
            "the log of MatrixOne {version} can show keys that it is sent (--allow-keys-in-sql sends them all the same)"
        )),
        Some(_) | None => None,
    }
}

fn shared(flag: &str, path: &Path, server_path: Option<&Path>) -> Result<Shared, Refusal> {
    let path = place::absolute(flag, path)?;
    let seen = match server_path {
        Some(seen) if seen.is_absolute() => place::absolute("--staging-server-path", seen)?,
        Some(seen) => {
            return Err(Refusal::usage(format!("--staging-server-path {} must begin with '/'", seen.display())));
        }
        None => path.clone(),
    };
    let flag = if server_path.is_some() { "--staging-server-path" } else { flag };
    let text = seen.to_str().ok_or_else(|| Refusal::usage(format!("{flag} is no text in UTF-8")))?;
    place::parts(flag, text.trim_matches('/'))?;
    Ok(Shared { server_path: text.to_owned(), path, own: false })
}
