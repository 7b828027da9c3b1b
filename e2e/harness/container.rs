//! One container of a process node: a process with its own mount namespace, user, groups and capabilities.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use kube::ResourceExt as _;

use super::node::Machine;
use super::volume;

pub type Environment = BTreeMap<String, String>;

/// The user that an image of ours names, and that a container asking only for "not root" gets.
const NONROOT: i64 = 65532;

/// What stands for a container image: programs of this machine.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub entrypoint: Vec<String>,
    /// Programs of this machine and where the container sees them.
    pub programs: Vec<(PathBuf, String)>,
    pub nonroot: bool,
}

pub async fn environment(machine: &Machine, pod: &Pod, container: &Container) -> anyhow::Result<Environment> {
    let mut env: Environment = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()),
        ("HOME", "/".to_string()),
        ("HOSTNAME", pod.name_any()),
        ("KUBERNETES_SERVICE_HOST", machine.address.clone()),
        ("KUBERNETES_SERVICE_PORT", machine.port().to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into();
    for source in container.env_from.iter().flatten() {
        let mut found = BTreeMap::new();
        if let Some(from) = &source.secret_ref {
            found.extend(volume::secret(machine, pod, &from.name, from.optional == Some(true)).await?);
        }
        if let Some(from) = &source.config_map_ref {
            found.extend(volume::config_map(machine, pod, &from.name, from.optional == Some(true)).await?);
        }
        let prefix = source.prefix.clone().unwrap_or_default();
        for (key, value) in found {
            env.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(machine, pod, variable, &env).await? {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

async fn value_of(
    machine: &Machine,
    pod: &Pod,
    variable: &EnvVar,
    env: &Environment,
) -> anyhow::Result<Option<String>> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env)));
    };
    if let Some(from) = &source.field_ref {
        return volume::field(machine, pod, &from.field_path).map(Some);
    }
    let (data, name, key, optional) = if let Some(from) = &source.secret_key_ref {
        let optional = from.optional == Some(true);
        (volume::secret(machine, pod, &from.name, optional).await?, &from.name, &from.key, optional)
    } else if let Some(from) = &source.config_map_key_ref {
        let optional = from.optional == Some(true);
        (volume::config_map(machine, pod, &from.name, optional).await?, &from.name, &from.key, optional)
    } else {
        bail!("variable {}: a process node does not know this source", variable.name);
    };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None => bail!("couldn't find key {key} in {name}"),
    }
}

fn expand(text: &str, env: &Environment) -> String {
    env.iter().fold(text.to_string(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

/// The command line, or None when the image is unknown here.
pub fn argv(machine: &Machine, container: &Container, env: &Environment) -> Option<Vec<String>> {
    let image = machine.images.get(container.image.as_deref().unwrap_or_default())?;
    let command = container.command.clone().filter(|command| !command.is_empty());
    let mut argv = command.unwrap_or_else(|| image.entrypoint.clone());
    argv.extend(container.args.iter().flatten().cloned());
    Some(argv.iter().map(|word| expand(word, env)).collect())
}

/// The shell script that becomes the container: an overlay of this machine's root, the volumes at their mountPath,
/// then the user and the capabilities. It is run by `unshare --mount`, and every step ends in an `exec`, so the pid
/// that is started is the pid of the program.
pub fn isolation(
    machine: &Machine,
    pod: &PodSpec,
    container: &Container,
    argv: &[String],
    folder: &Path,
    volumes: &HashMap<String, PathBuf>,
) -> anyhow::Result<String> {
    let (root, scratch) = (folder.join("root"), folder.join("scratch"));
    std::fs::create_dir_all(&root)?;
    std::fs::create_dir_all(&scratch)?;
    let mut script = root_filesystem(&root, &scratch);
    let image = machine.images.get(container.image.as_deref().unwrap_or_default()).cloned().unwrap_or_default();
    for (program, inside) in &image.programs {
        bind(&mut script, &root, program, inside, "touch");
    }
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes.get(&mount.name).with_context(|| format!("no volume {}", mount.name))?;
        let source = volume.join(mount.sub_path.as_deref().unwrap_or_default());
        bind(&mut script, &root, &source, &mount.mount_path, "mkdir -p");
        if mount.read_only == Some(true) {
            script.push_str("mount -o remount,ro,bind \"$t\"\n");
        }
    }
    let message = folder.join("termination-log");
    std::fs::write(&message, "")?;
    std::fs::set_permissions(&message, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let inside = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    bind(&mut script, &root, &message, inside, "touch");
    let context = container.security_context.clone().unwrap_or_default();
    if context.read_only_root_filesystem == Some(true) {
        writeln!(script, "mount -o remount,ro,bind {}", quote(&root))?;
    }
    let words = [vec![root.display().to_string()], become_user(pod, container, image.nonroot), argv.to_vec()].concat();
    writeln!(script, "exec chroot {}", words.iter().map(quote).collect::<Vec<_>>().join(" "))?;
    Ok(script)
}

fn root_filesystem(root: &Path, scratch: &Path) -> String {
    let (r, s) = (quote(root), quote(scratch));
    // The upper folder must not lie inside the lower one, so it is on a mount of its own.
    let mut script = format!(
        "set -e\nmount -t tmpfs tmpfs {s}\nmkdir {s}/up {s}/work\n\
         mount -t overlay overlay -o lowerdir=/,upperdir={s}/up,workdir={s}/work {r}\n\
         mount --rbind /proc {r}/proc\nmount --rbind /sys {r}/sys\n\
         mount -t tmpfs -o mode=755 tmpfs {r}/dev\nmkdir -m 1777 {r}/dev/shm\nln -s /proc/self/fd {r}/dev/fd\n"
    );
    for device in ["null", "zero", "full", "random", "urandom"] {
        let _ = writeln!(script, "touch {r}/dev/{device}; mount --bind /dev/{device} {r}/dev/{device}");
    }
    script
}

/// Binds a file or folder of this machine into the new root. The path may run over a link such as /var/run, which must
/// be resolved inside the new root: outside it would name this machine's own /run.
fn bind(script: &mut String, root: &Path, source: &Path, inside: &str, make: &str) {
    let (root, source, inside) = (quote(root), quote(source), quote(inside));
    let _ = writeln!(
        script,
        "t={root}$(chroot {root} realpath -m -- {inside})\nmkdir -p \"$(dirname \"$t\")\"; {make} \"$t\"\n\
         mount --bind {source} \"$t\""
    );
}

fn become_user(pod: &PodSpec, container: &Container, nonroot_image: bool) -> Vec<String> {
    let all = pod.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let nonroot = nonroot_image || own.run_as_non_root.or(all.run_as_non_root) == Some(true);
    let user = own.run_as_user.or(all.run_as_user).unwrap_or(if nonroot { NONROOT } else { 0 });
    let group = own.run_as_group.or(all.run_as_group).unwrap_or(if nonroot { user } else { 0 });
    let groups: Vec<String> =
        all.fs_group.iter().chain(all.supplemental_groups.iter().flatten()).map(ToString::to_string).collect();
    let mut words = vec!["setpriv".to_string(), format!("--reuid={user}"), format!("--regid={group}")];
    words.push(if groups.is_empty() { "--clear-groups".into() } else { format!("--groups={}", groups.join(",")) });
    if own.allow_privilege_escalation == Some(false) {
        words.push("--no-new-privs".into());
    }
    let dropped = own.capabilities.and_then(|capabilities| capabilities.drop).unwrap_or_default();
    if dropped.iter().any(|name| name == "ALL") {
        words.extend(["--inh-caps=-all".into(), "--bounding-set=-all".into()]);
    }
    words
}

/// One word for the shell.
fn quote(word: impl AsRef<std::ffi::OsStr>) -> String {
    format!("'{}'", word.as_ref().to_string_lossy().replace('\'', r"'\''"))
}
