//! Where a MatrixOne keeps its files, as the configuration of its services says.
//!
//! Names of keys are taken in any case, and what is not said has the defaults of `mo-service`: file services LOCAL and
//! SHARED in `local` and `shared` below `data-dir`, which is `./mo-data`, with backend DISK.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{ending::Refusal, place};
use crate::api::Format;

/// Longest configuration that is read, in bytes.
const MOST: u64 = 1 << 20;

/// The flag with the configuration of the TN.
pub const DN: &str = "--dn-config-path";
/// The flag with the configuration of the log service.
pub const LOG: &str = "--log-config-path";

/// Where something is kept, and in which frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The path from the root.
    pub path: PathBuf,
    /// The form in which MatrixOne reads it there.
    pub format: Format,
}

/// What the configuration of the TN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The objects.
    pub objects: Kept,
    /// Its file service LOCAL, if that is a folder.
    pub local: Option<Kept>,
    /// The folder that file services which are not mentioned lie in.
    pub data_dir: PathBuf,
}

/// Where the TN keeps its objects. `home` is the folder that MatrixOne works in.
///
/// # Errors
/// When it is not the configuration of a TN, or does not keep them in a folder.
pub fn shared(file: &Path, home: &Path) -> Result<Shared, Refusal> {
    let config = Config::read(DN, file, home)?;
    config.must_be(&["TN", "DN"], ["tnservices", "dnservices"])?;
    let objects = config.service("SHARED")?;
    Ok(Shared { objects, local: config.service("LOCAL").ok(), data_dir: config.data_dir()? })
}

/// Where the log service looks for the ids of a backup. `home` is the folder that MatrixOne works in.
///
/// # Errors
/// When it is not the configuration of a log service, or does not read them from a folder.
pub fn ids(file: &Path, home: &Path) -> Result<Kept, Refusal> {
    let config = Config::read(LOG, file, home)?;
    config.must_be(&["LOG"], ["logservices", "logservices"])?;
    let name = config.restored()?.unwrap_or("hk_data");
    if name.starts_with('/') {
        // Read as it is, by MatrixOne from 4.2 on.
        return Ok(Kept { path: place::absolute(LOG, Path::new(name))?, format: Format::Raw });
    }
    let (service, name) = name.rsplit_once(':').unwrap_or(("LOCAL", name));
    let Kept { path: folder, format } = config.service(service)?;
    let path = place::absolute(LOG, &folder.join(name.trim_start_matches('/')))?;
    if path == folder || !path.starts_with(&folder) {
        return Err(config.refused(format!("file-path {name:?} is no file in file service {service}")));
    }
    Ok(Kept { path, format })
}

/// A configuration that was read.
struct Config<'a> {
    flag: &'static str,
    file: &'a Path,
    home: &'a Path,
    table: Table,
}

impl<'a> Config<'a> {
    fn read(flag: &'static str, file: &'a Path, home: &'a Path) -> Result<Self, Refusal> {
        let refused = |why: String| refused(flag, file, &why);
        let mut text = String::new();
        let read = File::open(file).and_then(|opened| opened.take(MOST).read_to_string(&mut text));
        if read.map_err(|e| refused(e.to_string()))? as u64 == MOST {
            return Err(refused(format!("it is longer than {MOST} bytes")));
        }
        // Not in the words of the parser, which show the line: it can hold keys.
        let table = text.parse().map_err(|e: toml::de::Error| {
            let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            refused(format!("line {} is no TOML: {}", before.matches('\n').count() + 1, e.message()))
        })?;
        Ok(Self { flag, file, home, table })
    }

    fn refused(&self, why: impl AsRef<str>) -> Refusal {
        refused(self.flag, self.file, why.as_ref())
    }

    /// Another service's configuration says nothing of the kind, and its defaults can be wrong.
    fn must_be(&self, types: &[&str], listed: [&str; 2]) -> Result<(), Refusal> {
        let [name, old] = listed;
        if find(&self.table, name).or(find(&self.table, old)).is_some() {
            return Err(
                self.refused(format!("it is what mo-service -launch takes; give the file that it names in {name}"))
            );
        }
        let found = self.text(&self.table, "service-type")?.unwrap_or_default();
        if found.is_empty() || types.iter().any(|known| known.eq_ignore_ascii_case(found)) {
            return Ok(());
        }
        Err(self.refused(format!("it is of service-type {found:?} and not {}", types.join(" or "))))
    }

    /// A file service that keeps its files in a folder.
    fn service(&self, name: &str) -> Result<Kept, Refusal> {
        let no = || self.refused("its fileservice is no list of tables");
        let services = match find(&self.table, "fileservice") {
            None => &[][..],
            Some(Value::Array(services)) => services,
            Some(_) => return Err(no()),
        };
        for service in services {
            let Value::Table(service) = service else { return Err(no()) };
            let found = self.text(service, "name")?.unwrap_or_default();
            // The older name.
            let alias = name == "SHARED" && found.eq_ignore_ascii_case("s3");
            if found.eq_ignore_ascii_case(name) || alias {
                return self.folder(name, service);
            }
        }
        match name.to_ascii_uppercase().as_str() {
            "LOCAL" | "SHARED" => Ok(Kept { path: self.unsaid(name)?, format: Format::Framed }),
            _ => Err(self.refused(format!("it has no file service {name}"))),
        }
    }

    fn folder(&self, name: &str, service: &Table) -> Result<Kept, Refusal> {
        let backend = self.text(service, "backend")?.unwrap_or_default().to_ascii_uppercase();
        let format = match backend.as_str() {
            "DISK" => Format::Framed,
            "DISK-V2" => Format::Raw,
            "S3" | "MINIO" => {
                let text = format!("its file service {name} is in a bucket; restore there, with --restore-dir s3");
                return Err(self.refused(text));
            }
            other => {
                return Err(
                    self.refused(format!("its file service {name} has backend {other:?}, which keeps no backup"))
                );
            }
        };
        let path = match self.text(service, "data-dir")?.filter(|path| !path.is_empty()) {
            Some(path) => self.path(path)?,
            None => self.unsaid(name)?,
        };
        Ok(Kept { path, format })
    }

    /// The folder of a file service that does not say one.
    fn unsaid(&self, name: &str) -> Result<PathBuf, Refusal> {
        Ok(self.data_dir()?.join(name.to_ascii_lowercase()))
    }

    fn data_dir(&self) -> Result<PathBuf, Refusal> {
        let said = self.text(&self.table, "data-dir")?.filter(|path| !path.is_empty());
        self.path(said.unwrap_or("mo-data"))
    }

    /// A path of the configuration, from the root.
    fn path(&self, said: &str) -> Result<PathBuf, Refusal> {
        place::absolute(self.flag, &self.home.join(said))
    }

    /// `file-path` of the restore section.
    fn restored(&self) -> Result<Option<&str>, Refusal> {
        let mut table = &self.table;
        for name in ["logservice", "BootstrapConfig", "restore"] {
            match find(table, name) {
                None => return Ok(None),
                Some(Value::Table(inner)) => table = inner,
                Some(_) => return Err(self.refused(format!("its {name} is no table"))),
            }
        }
        match self.text(table, "file-path")? {
            Some("") => Err(self.refused("its file-path is empty, so that MatrixOne would give ids twice")),
            said => Ok(said),
        }
    }

    fn text<'b>(&self, table: &'b Table, name: &str) -> Result<Option<&'b str>, Refusal> {
        match find(table, name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refused(format!("its {name} is no text"))),
        }
    }
}

fn refused(flag: &str, file: &Path, why: &str) -> Refusal {
    Refusal::usage(format!("failed to use {flag} {}: {why}", file.display()))
}

/// The value of a key in any case, as `mo-service` finds it.
fn find<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    let alike = || table.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    table.get(name).or_else(alike)
}

#[cfg(test)]
mod tests;
