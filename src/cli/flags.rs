//! The flags of `mo_br`, under their own names.

use std::{fmt::Debug, marker::PhantomData, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, builder::PossibleValuesParser};

/// What kind of place a directory flag names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A bucket of an S3 compatible store.
    S3,
    /// A folder of this machine.
    Filesystem,
}

/// Which place a group of flags is about.
pub trait Side: Clone + Copy + Debug + Send + Sync + 'static {
    /// What the names begin with.
    const PREFIX: &'static str;
    /// The flag that says what kind of place it is.
    const DIR: &'static str;
    /// The heading in the help.
    const HEADING: &'static str;
    /// Whether the names are taken without the prefix too.
    const SHORT: bool;
    /// Whether the short help has the flags of a bucket.
    const IN_SHORT: bool;
}

/// Where `backup` writes.
#[derive(Clone, Copy, Debug)]
pub struct Repository;

/// Where `list`, `check`, `restore` and `delete` find backups.
#[derive(Clone, Copy, Debug)]
pub struct Source;

/// The same for `restore`, which has two places, so that no name is taken without its prefix.
#[derive(Clone, Copy, Debug)]
pub struct Backed;

/// Where `restore` writes.
#[derive(Clone, Copy, Debug)]
pub struct Target;

impl Side for Repository {
    const PREFIX: &'static str = "";
    const DIR: &'static str = "backup-dir";
    const HEADING: &'static str = "Repository";
    const SHORT: bool = false;
    const IN_SHORT: bool = true;
}

impl Side for Source {
    const PREFIX: &'static str = "backup-";
    const DIR: &'static str = "backup-dir";
    const HEADING: &'static str = "Repository (without it: those in the index)";
    const SHORT: bool = true;
    const IN_SHORT: bool = false;
}

impl Side for Backed {
    const PREFIX: &'static str = "backup-";
    const DIR: &'static str = "backup-dir";
    const HEADING: &'static str = "Repository (without it: those in the index)";
    const SHORT: bool = false;
    const IN_SHORT: bool = false;
}

impl Side for Target {
    const PREFIX: &'static str = "restore-";
    const DIR: &'static str = "restore-dir";
    const HEADING: &'static str = "Where to restore to";
    const SHORT: bool = false;
    const IN_SHORT: bool = true;
}

/// What was said of a place. Nothing is judged yet.
#[derive(Clone, Debug)]
pub struct PlaceFlags<S: Side> {
    /// `--backup_dir`, `--restore_dir`.
    pub kind: Option<Kind>,
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--access_key_id`.
    pub access_key_id: Option<String>,
    /// `--secret_access_key`.
    pub secret_access_key: Option<String>,
    /// `--secret-access-key-file`.
    pub secret_access_key_file: Option<PathBuf>,
    /// `--bucket`.
    pub bucket: Option<String>,
    /// `--filepath`.
    pub filepaths: Vec<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--compression`.
    pub compression: Option<String>,
    /// `--role_arn`.
    pub role_arn: Option<String>,
    /// `--is_minio`.
    pub is_minio: bool,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--path`.
    pub paths: Vec<PathBuf>,
    side: PhantomData<S>,
}

impl<S: Side> PlaceFlags<S> {
    /// A flag's name as it is shown.
    #[must_use]
    pub fn name(flag: &str) -> String {
        format!("--{}{flag}", S::PREFIX)
    }

    /// Whether anything was said that names a place; keys alone do not.
    #[must_use]
    pub fn names_a_place(&self) -> bool {
        let Self { kind, endpoint, bucket, filepaths, region, role_arn, is_minio, paths, .. } = self;
        let said = [endpoint, bucket, region, role_arn].into_iter().any(Option::is_some);
        kind.is_some() || said || *is_minio || !filepaths.is_empty() || !paths.is_empty()
    }

    /// Whether several folders were named, which make a chain.
    #[must_use]
    pub fn name_a_chain(&self) -> bool {
        self.paths.len() > 1 || self.filepaths.len() > 1
    }
}

/// The flags of a place: name, name of the value, help, and whether the short help has it.
const TEXTS: [(&str, &str, &str, bool); 8] = [
    ("endpoint", "URL", "Store [default: AWS, by region]", true),
    ("access-key-id", "KEY", "Key id [else AWS_ACCESS_KEY_ID]", true),
    ("secret-access-key", "KEY", "Secret key, in sight of everybody here", true),
    ("bucket", "NAME", "Bucket", true),
    ("filepath", "PATH", "Folder in the bucket", true),
    ("region", "NAME", "Region [default: us-east-1]", false),
    ("compression", "NAME", "No effect: MatrixOne compresses by itself", false),
    ("role-arn", "ARN", "Role to assume", false),
];

fn arg<S: Side>(name: &str) -> Arg {
    let long = format!("{}{name}", S::PREFIX);
    let arg = Arg::new(format!("{}:{name}", S::PREFIX)).long(long).help_heading(S::HEADING);
    if S::SHORT { arg.visible_alias(name.to_owned()) } else { arg }
}

impl<S: Side> Args for PlaceFlags<S> {
    fn augment_args(command: Command) -> Command {
        let kinds = PossibleValuesParser::new(["s3", "filesystem"]);
        let dir = Arg::new(S::DIR).long(S::DIR).value_name("KIND").value_parser(kinds).help_heading(S::HEADING);
        let mut command = command.arg(dir.help("s3 or filesystem").hide_possible_values(true));
        for (name, value, help, short) in TEXTS {
            let action = if name == "filepath" { ArgAction::Append } else { ArgAction::Set };
            let arg = arg::<S>(name).action(action).value_name(value).help(help);
            command = command.arg(arg.hide_short_help(!short || !S::IN_SHORT));
        }
        let file = |name: &str| arg::<S>(name).value_parser(clap::value_parser!(PathBuf)).value_name("FILE");
        let secret = file("secret-access-key-file").help("File with the secret key [else AWS_SECRET_ACCESS_KEY]");
        command
            .arg(secret.hide_short_help(true))
            .arg(file("ca-file").help("Authorities to trust with this store (PEM)").hide_short_help(true))
            .arg(
                arg::<S>("is-minio")
                    .action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_parser(clap::value_parser!(bool))
                    .value_name("BOOL")
                    .hide_possible_values(true)
                    .hide_short_help(!S::IN_SHORT)
                    .help("Bucket in the path: MinIO and most stores"),
            )
            .arg(
                arg::<S>("path")
                    .value_parser(clap::value_parser!(PathBuf))
                    .action(ArgAction::Append)
                    .value_name("PATH")
                    .help("Folder of this machine"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Side> FromArgMatches for PlaceFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let id = |name: &str| format!("{}:{name}", S::PREFIX);
        let text = |name: &str| matches.get_one::<String>(&id(name)).cloned();
        let file = |name: &str| matches.get_one::<PathBuf>(&id(name)).cloned();
        let kind = matches.get_one::<String>(S::DIR);
        Ok(Self {
            kind: kind.map(|kind| if kind == "s3" { Kind::S3 } else { Kind::Filesystem }),
            endpoint: text("endpoint"),
            access_key_id: text("access-key-id"),
            secret_access_key: text("secret-access-key"),
            secret_access_key_file: file("secret-access-key-file"),
            bucket: text("bucket"),
            filepaths: matches.get_many::<String>(&id("filepath")).unwrap_or_default().cloned().collect(),
            region: text("region"),
            compression: text("compression"),
            role_arn: text("role-arn"),
            is_minio: matches.get_one(&id("is-minio")).copied().unwrap_or_default(),
            ca_file: file("ca-file"),
            paths: matches.get_many::<PathBuf>(&id("path")).unwrap_or_default().cloned().collect(),
            side: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Takes every long name with underscores too, as `mo_br` writes them.
#[must_use]
pub fn with_underscores(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_long().map(|long| long.replace('-', "_")) {
        Some(long) if arg.get_long() != Some(&long) => {
            let more: Vec<String> =
                arg.get_all_aliases().unwrap_or_default().iter().map(|a| a.replace('-', "_")).collect();
            arg.alias(long).aliases(more)
        }
        Some(_) | None => arg,
    });
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_underscores))
}
