//! Where to restore to: the folder of a MatrixOne, or a prefix of a bucket.

use std::path::{Path, PathBuf};

use crate::{
    api::{Format, Placement, RestoreTarget, S3Location, StorageType, TargetVolume},
    cli::{
        config::{self, Kept},
        ending::Refusal,
        flags::{PlaceFlags, Target},
        place::Place,
    },
    task::{InvalidSpec, Location, TargetTask},
};

/// A place that a backup can be restored to.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is written to. It must be empty: of folders, the deepest one that holds all that a restore writes.
    pub place: Place,
    /// The same, for a task.
    pub task: TargetTask,
    /// What the flags name, in lines.
    pub lines: Vec<String>,
    /// Where the objects go, as MatrixOne sees it.
    pub objects: String,
    /// Where `hk_data` goes, as MatrixOne sees it.
    pub ids: String,
}

/// Judges the flags. `dn` and `log` are files of MatrixOne's configuration.
///
/// # Errors
/// When they contradict each other, or name what nothing can be restored to.
pub fn of(flags: &PlaceFlags<Target>, dn: Option<&Path>, log: Option<&Path>) -> Result<Goal, Refusal> {
    let named = Place::of(flags)?;
    let (target, objects, ids) = match &named.location {
        Location::S3(s3) => {
            if dn.or(log).is_some() {
                let text = format!("{} and {} go with --restore-dir filesystem", config::DN, config::LOG);
                return Err(Refusal::usage(text));
            }
            (bucket(s3), "./data".to_owned(), "./hk_data".to_owned())
        }
        Location::Volume(volume) => {
            let home = Path::new("/").join(&volume.path);
            let (objects, ids) = kept(&home, dn, log)?;
            (folder(&home, &objects, &ids)?, seen(&home, &objects), seen(&home, &ids))
        }
    };
    let task = TargetTask::of(&target).map_err(|e| {
        let detail = if let InvalidSpec::Field { field: _, detail } = e { detail } else { e.to_string() };
        Refusal::usage(format!("failed to use the target: {detail}"))
    })?;
    let place = Place { location: task.location.clone(), ..named.clone() };
    Ok(Goal { place, task, lines: named.lines(), objects, ids })
}

fn bucket(s3: &S3Location) -> RestoreTarget {
    RestoreTarget {
        type_: StorageType::S3,
        s3: Some(s3.clone()),
        volume: None,
        data: None,
        hk_data: None,
        cluster: None,
    }
}

/// The deepest folder that holds both objects and `hk_data`: what lies beside it, such as programs and configuration,
/// is not the restore's business.
fn folder(home: &Path, objects: &Kept, ids: &Kept) -> Result<RestoreTarget, Refusal> {
    for (what, Kept { path, .. }) in [("objects", objects), ("hk_data", ids)] {
        if path == home || !path.starts_with(home) {
            let (path, home) = (path.display(), home.display());
            let text = format!("MatrixOne has its {what} in {path}, which is not below --restore-path {home}");
            return Err(Refusal::usage(text));
        }
    }
    let alike = objects.path.components().zip(ids.path.components()).take_while(|(a, b)| a == b);
    let both: PathBuf = alike.map(|(part, _)| part).collect();
    if both == objects.path || both == ids.path {
        let (objects, ids) = (objects.path.display(), ids.path.display());
        let text = format!("objects ({objects}) and hk_data ({ids}) must lie beside each other");
        return Err(Refusal::usage(text));
    }
    let placement = |Kept { path, format }: &Kept| -> Result<_, Refusal> {
        Ok(Placement { path: text(path.strip_prefix(&both).unwrap_or(path))?, format: *format })
    };
    Ok(RestoreTarget {
        type_: StorageType::Volume,
        s3: None,
        // No claim: the volume is this machine.
        volume: Some(TargetVolume { claim: String::new(), path: text(&both)?.trim_matches('/').to_owned() }),
        data: Some(placement(objects)?),
        hk_data: Some(placement(ids)?),
        cluster: None,
    })
}

/// A path as the MatrixOne that works in this folder sees it.
fn seen(home: &Path, kept: &Kept) -> String {
    let below = kept.path.strip_prefix(home).unwrap_or(&kept.path);
    format!("./{}", below.display())
}

/// Where the MatrixOne that works in this folder looks for its objects, and for the ids of a backup. Without its
/// configuration: where every version does by default.
fn kept(home: &Path, dn: Option<&Path>, log: Option<&Path>) -> Result<(Kept, Kept), Refusal> {
    let usual = |path: &str| Kept { path: home.join("mo-data").join(path), format: Format::Framed };
    let told = dn.map(|file| Ok::<_, Refusal>((file, config::shared(file, home)?))).transpose()?;
    if let (Some((file, config::Shared { data_dir, .. })), None) = (&told, log)
        && *data_dir != home.join("mo-data")
    {
        let text = format!(
            "{} {}: data-dir is {}, so where the log service looks for hk_data is not known; give {}",
            config::DN,
            file.display(),
            data_dir.display(),
            config::LOG
        );
        return Err(Refusal::usage(text));
    }
    let ids = log.map_or_else(|| Ok(usual("local/hk_data")), |file| config::ids(file, home))?;
    let Some((file, config::Shared { objects, local, data_dir: _ })) = told else { return Ok((usual("shared"), ids)) };
    // MatrixOne looks at its folders when it starts, and ends where files are framed that it would read raw.
    match local {
        Some(local) if local.format != ids.format && ids.path.parent() == Some(&local.path) => {
            Err(Refusal::usage(format!(
                "{} {}: its file service LOCAL is in {}, where the log service has hk_data in another form: MatrixOne does \
             not start on both. Give LOCAL another data-dir, or the log service with {}",
                config::DN,
                file.display(),
                local.path.display(),
                config::LOG
            )))
        }
        Some(_) | None => Ok((objects, ids)),
    }
}

/// A path that files can be written below.
fn text(path: &Path) -> Result<String, Refusal> {
    let good = |text: &&str| !text.contains(|c: char| c.is_control() || c == '~');
    let text = path.to_str().filter(good).map(str::to_owned);
    text.ok_or_else(|| {
        Refusal::usage(format!("failed to use the target {}: it has a '~' or a sign of control", path.display()))
    })
}
