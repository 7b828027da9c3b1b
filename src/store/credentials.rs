//! The keys and certificates of an object store, read from the files of a mounted Secret.

use std::{fs::File, io::Read as _, path::Path};

use secrecy::SecretString;

use super::{Error, Problem};

/// Largest file that is read, in bytes: no Secret is larger.
const FILE_MAX: u64 = 1 << 20;

/// Static keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// File `access_key_id`.
    pub id: SecretString,
    /// File `secret_access_key`.
    pub secret: SecretString,
    /// File `session_token`, for temporary credentials.
    pub session_token: Option<SecretString>,
}

impl Keys {
    /// Reads the keys in a directory, each as [`text`]. Errors name the file, never
    /// what it holds.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let needed = |name| key(directory, name)?.ok_or_else(|| no(name, "the Secret has no such key".into()));
        Ok(Self {
            id: needed("access_key_id")?,
            secret: needed("secret_access_key")?,
            session_token: key(directory, "session_token")?,
        })
    }
}

/// Reads the certificates (PEM) in a file `ca.crt` of a directory.
pub fn read_ca(directory: &Path) -> Result<Vec<u8>, Error> {
    let pem = certificates(&directory.join("ca.crt")).map_err(|e| no("ca.crt", e))?;
    pem.ok_or_else(|| no("ca.crt", "the Secret has no such key".into()))
}

/// The certificates (PEM) in a file; `None` when there is none. The error says what is wrong with the file.
pub fn certificates(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let Some(bytes) = file(path)? else { return Ok(None) };
    if bytes.windows(11).any(|w| w == b"-----BEGIN ") {
        Ok(Some(bytes))
    } else {
        Err("it holds no certificate in PEM".into())
    }
}

fn key(directory: &Path, name: &'static str) -> Result<Option<SecretString>, Error> {
    let Some(text) = text(&directory.join(name)).map_err(|e| no(name, e))? else { return Ok(None) };
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(no(name, "it has a space, a line break or a control character inside".into()));
    }
    Ok(Some(SecretString::from(text)))
}

/// The text in a file, such as a key of a mounted Secret, never empty; `None` when there is no such file. Line ends at its
/// end are no part of it: editors and `kubectl create secret --from-file` leave them behind. The error says what is wrong
/// with the file, never what it holds.
pub fn text(path: &Path) -> Result<Option<String>, String> {
    let Some(bytes) = file(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8")?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("it is empty".into()),
        text => Ok(Some(text.to_owned())),
    }
}

fn file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(FILE_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.to_string()),
        Ok(_) if bytes.len() as u64 > FILE_MAX => Err(format!("it is longer than {FILE_MAX} bytes")),
        Ok(_) => Ok(Some(bytes)),
    }
}

fn no(name: &'static str, detail: String) -> Error {
    Error::permanent(Problem::NoCredentials, "read", format!("key {name} of the store's Secret"), detail)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    #[test]
    fn line_ends_are_no_part_of_a_key() {
        let files = directory(&[("access_key_id", b"AKIA\n\n"), ("secret_access_key", b"s3cr+t/\r\n")]);
        let keys = Keys::read(files.path()).unwrap();
        assert_eq!((keys.id.expose_secret(), keys.secret.expose_secret()), ("AKIA", "s3cr+t/"));
        assert!(keys.session_token.is_none());
        assert!(!format!("{keys:?}").contains("s3cr"));
    }

    #[rstest]
    #[case::empty(b"", "empty")]
    #[case::newline(b"\n", "empty")]
    #[case::newlines(b"canary\n\ncanary", "line break")]
    #[case::space(b"can ary", "space")]
    #[case::nul(b"canary\0", "control")]
    #[case::binary(b"canary\xff", "no text")]
    #[case::huge(&b"c".repeat((1 << 20) + 1), "longer than")]
    fn bad_keys_are_named_and_not_shown(#[case] content: &[u8], #[case] why: &str) {
        let files = directory(&[("access_key_id", b"AKIA"), ("secret_access_key", content)]);
        let e = Keys::read(files.path()).unwrap_err();
        assert_eq!(e.problem, Problem::NoCredentials);
        let said = e.to_string();
        assert!(said.contains("secret_access_key") && said.contains(why) && !said.contains("canary"), "{said}");
    }

    #[test]
    fn missing_keys_are_named() {
        let e = Keys::read(directory(&[("access_key_id", b"AKIA")]).path()).unwrap_err();
        assert!(e.to_string().contains("secret_access_key"));
    }

    #[test]
    fn certificates_are_pem() {
        assert!(read_ca(directory(&[("ca.crt", b"# mine\n-----BEGIN CERTIFICATE-----\n")]).path()).is_ok());
        assert!(read_ca(directory(&[("ca.crt", b"der")]).path()).unwrap_err().to_string().contains("PEM"));
        assert!(read_ca(directory(&[]).path()).is_err());
    }
}
