//! The names of things in a repository.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use uuid::Uuid;

/// Why a text is not the id, digest or timestamp it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct NotA {
    what: &'static str,
    text: String,
}

impl NotA {
    fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(80).collect() }
    }
}

/// Id of a backup: a UUIDv7, so that ids sort by the time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(Uuid);

impl BackupId {
    /// The id of the object with this UID and creation time (milliseconds since 1970). The same object always gets the
    /// same id, so that every attempt finds what an earlier one has committed.
    #[must_use]
    pub fn of_object(uid: Uuid, created_ms: u64) -> Self {
        let bytes = uid.as_bytes();
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[6..16]);
        // Bytes 6 and 8 of a version 4 UUID hold fixed bits; mix in the ones that would be dropped.
        for (r, b) in random.iter_mut().zip(&bytes[..6]) {
            *r ^= b.rotate_left(3);
        }
        Self(uuid::Builder::from_unix_timestamp_millis(created_ms, &random).into_uuid())
    }

    /// A fresh id, for backups without a Kubernetes object.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

/// Id of a repository, from its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub Uuid);

macro_rules! uuid_text {
    ($t:ident, $what:literal) => {
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl FromStr for $t {
            type Err = NotA;
            /// Accepts the canonical lower-case form with hyphens alone: other forms would be other keys.
            fn from_str(s: &str) -> Result<Self, NotA> {
                let id = Uuid::try_parse(s).map_err(|_| NotA::new($what, s))?;
                let mut buffer = Uuid::encode_buffer();
                if *id.hyphenated().encode_lower(&mut buffer) == *s { Ok(Self(id)) } else { Err(NotA::new($what, s)) }
            }
        }
    };
}
uuid_text!(BackupId, "backup id");
uuid_text!(RepositoryId, "repository id");

/// Folder of one attempt below its backup: `<attempt>`, or `<attempt>-full` when an incremental try of the same attempt
/// turned out to have no usable base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptDir {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Whether this is the full backup after an incremental try.
    pub fallback: bool,
}

impl fmt::Display for AttemptDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.attempt, if self.fallback { "-full" } else { "" })
    }
}

impl FromStr for AttemptDir {
    type Err = NotA;
    fn from_str(s: &str) -> Result<Self, NotA> {
        let (number, fallback) = s.strip_suffix("-full").map_or((s, false), |n| (n, true));
        let attempt = number.parse::<u32>().ok().filter(|n| *n > 0 && n.to_string() == number);
        attempt.map(|attempt| Self { attempt, fallback }).ok_or_else(|| NotA::new("attempt", s))
    }
}

impl Serialize for AttemptDir {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptDir {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// SHA-256 of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotA;
    /// Accepts 64 lower-case hexadecimal digits.
    fn from_str(s: &str) -> Result<Self, NotA> {
        let no = || NotA::new("SHA-256", s);
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(no()),
        };
        let text = s.as_bytes();
        if text.len() != 64 {
            return Err(no());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// A moment in MatrixOne's own notation, `<nanoseconds since 1970>-<logical>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Nanoseconds since 1970.
    pub physical: i64,
    /// Order within a nanosecond.
    pub logical: u32,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.physical, self.logical)
    }
}

impl FromStr for Timestamp {
    type Err = NotA;
    fn from_str(s: &str) -> Result<Self, NotA> {
        let no = || NotA::new("MatrixOne timestamp", s);
        let (physical, logical) = s.split_once('-').ok_or_else(no)?;
        Ok(Self { physical: physical.parse().map_err(|_| no())?, logical: logical.parse().map_err(|_| no())? })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
