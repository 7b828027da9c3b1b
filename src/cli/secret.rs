//! Passwords and keys: from the environment, a file or a prompt; on the command line too, where everybody can see them.

use std::{io::IsTerminal as _, path::Path};

use secrecy::SecretString;

use super::{ending::Refusal, screen};
use crate::store::{Keys, credentials};

/// The keys of a store that were given. `None`: the identity that this machine has by itself is used.
///
/// # Errors
/// When only one of the two is given, or a file cannot be read.
pub fn keys(
    (id, secret, file): (Option<&str>, Option<&str>, Option<&Path>),
    name: impl Fn(&str) -> String,
) -> Result<Option<Keys>, Refusal> {
    let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (flag_id, flag_secret) = (name("access-key-id"), name("secret-access-key"));
    let secret = match (secret, file) {
        (Some(_), Some(_)) => return Err(Refusal::usage(format!("give one of {flag_secret} and {flag_secret}-file"))),
        (Some(secret), None) => {
            screen::warn(&format!(
                "{flag_secret} can be seen by everybody on this machine; {flag_secret}-file and AWS_SECRET_ACCESS_KEY cannot"
            ));
            Some(secret.to_owned())
        }
        (None, Some(file)) => Some(of_file(&format!("{flag_secret}-file"), file)?),
        (None, None) => None,
    };
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(of(id.to_owned(), secret, None))),
        (Some(id), None) => match set("AWS_SECRET_ACCESS_KEY") {
            Some(secret) => Ok(Some(of(id.to_owned(), secret, set("AWS_SESSION_TOKEN")))),
            None => Err(Refusal::usage(format!(
                "{flag_id} needs {flag_secret}-file, {flag_secret} or AWS_SECRET_ACCESS_KEY"
            ))),
        },
        (None, Some(secret)) => match set("AWS_ACCESS_KEY_ID") {
            Some(id) => Ok(Some(of(id, secret, set("AWS_SESSION_TOKEN")))),
            None => Err(Refusal::usage(format!("{flag_secret} needs {flag_id} or AWS_ACCESS_KEY_ID"))),
        },
        (None, None) => Ok(set("AWS_ACCESS_KEY_ID")
            .zip(set("AWS_SECRET_ACCESS_KEY"))
            .map(|(id, secret)| of(id, secret, set("AWS_SESSION_TOKEN")))),
    }
}

fn of(id: String, secret: String, token: Option<String>) -> Keys {
    Keys { id: id.into(), secret: secret.into(), session_token: token.map(SecretString::from) }
}

/// The password of MatrixOne: from the command line, a file, `MO_BACKUP_PASSWORD`, or a prompt on a terminal.
///
/// # Errors
/// When there is none, or the file cannot be read.
pub fn password(flag: Option<&str>, file: Option<&Path>) -> Result<SecretString, Refusal> {
    match (flag, file, std::env::var("MO_BACKUP_PASSWORD")) {
        (Some(_), Some(_), _) => Err(Refusal::usage("give one of --password and --password-file")),
        (Some(password), None, _) => {
            screen::warn(
                "--password can be seen by everybody on this machine; --password-file, MO_BACKUP_PASSWORD and the prompt \
                 cannot",
            );
            Ok(password.to_owned().into())
        }
        (None, Some(file), _) => Ok(of_file("--password-file", file)?.into()),
        (None, None, Ok(password)) => Ok(password.into()),
        (None, None, Err(_)) if std::io::stdin().is_terminal() => {
            let asked = rpassword::prompt_password("Password: ");
            Ok(asked.map_err(|e| Refusal::usage(format!("failed to ask for the password: {e}")))?.into())
        }
        (None, None, Err(_)) => {
            Err(Refusal::usage("there is no password: give --password-file, MO_BACKUP_PASSWORD or --password"))
        }
    }
}

/// The text in a file, without the line ends at its end.
fn of_file(flag: &str, path: &Path) -> Result<String, Refusal> {
    there(flag, path, credentials::text(path))
}

/// What was read of a file that a flag names.
///
/// # Errors
/// When it could not be read, or is not there.
pub fn there<T>(flag: &str, path: &Path, read: Result<Option<T>, String>) -> Result<T, Refusal> {
    let found = read.and_then(|found| found.ok_or_else(|| "there is no such file".into()));
    found.map_err(|why| Refusal::usage(format!("failed to read {flag} {}: {why}", path.display())))
}
