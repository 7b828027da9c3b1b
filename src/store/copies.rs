//! Copies that a store makes by itself, from one place in it to another.
//!
//! Such a copy never passes through us, so three things speak for it: what was copied had the tag of the content that we
//! have read and compared, or the store would have refused (`x-amz-copy-source-if-match`); its SHA-256, which the store
//! has computed while it copied; and, where it does not say one, the copy itself, read back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Request, StatusCode, Uri, request::Builder};
use serde::Deserialize;

use super::{
    Encryption, Error, Key, Keys, Place,
    signed::{Reply, Signed, Tried},
};
use crate::plan::Digest;

/// Largest object that is copied like this, in bytes. S3 copies up to 5 GiB at once, and says nothing while it does; what
/// is larger than this would look like a store that has gone silent.
pub const COPY_MAX: u64 = 1 << 30;

/// Where a place lies in a store that can copy by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Equal for places of the same store.
    pub store: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix in it, without slashes at its ends.
    pub prefix: String,
}

impl Address {
    /// The source of a copy, as its header names it. Everything but the unreserved characters of a URL is escaped.
    fn source(&self, key: &Key) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let mut path = String::new();
        for byte in format!("/{}/{}{slash}{}", self.bucket, self.prefix, key.as_str()).bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => path.push(byte.into()),
                other => path.push_str(&format!("%{other:02X}")),
            }
        }
        path
    }
}

/// An entity tag as nearly all stores make them, in 20 bytes: many are kept at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    md5: [u8; 16],
    /// Of an object that was sent in parts: how many.
    parts: Option<u16>,
    upper: bool,
}

impl Tag {
    /// Reads the value of a header; `None` when it has another form.
    #[must_use]
    pub fn read(header: &str) -> Option<Self> {
        let text = header.strip_prefix('"')?.strip_suffix('"')?;
        let (hex, parts) = match text.split_once('-') {
            Some((hex, parts)) => (hex, Some(parts.parse().ok()?)),
            None => (text, None),
        };
        let mut md5 = [0; 16];
        for (byte, pair) in md5.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let tag = Self { md5, parts, upper: hex.bytes().any(|b| b.is_ascii_uppercase()) };
        (tag.header() == header).then_some(tag)
    }

    /// The value of the header, letter for letter.
    #[must_use]
    pub fn header(&self) -> String {
        let hex: String = self.md5.iter().map(|b| format!("{b:02x}")).collect();
        let hex = if self.upper { hex.to_uppercase() } else { hex };
        match self.parts {
            Some(parts) => format!("\"{hex}-{parts}\""),
            None => format!("\"{hex}\""),
        }
    }
}

/// Asks a store to copy into a bucket.
#[derive(Debug)]
pub(super) struct Copier {
    signed: Signed,
    place: Place,
}

/// The answer to `CopyObject`.
#[derive(Deserialize)]
#[serde(rename = "CopyObjectResult", rename_all = "PascalCase")]
struct Copied {
    #[serde(rename = "ETag")]
    _etag: String,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

/// How a SHA-256 is asked for, and told.
const SHA256: &str = "x-amz-checksum-sha256";

impl Copier {
    pub(super) fn open(place: &Place, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Self, Error> {
        Ok(Self { signed: Signed::open(place, keys, ca)?, place: place.clone() })
    }

    /// Where the place lies. AWS is one store in all its regions.
    pub(super) fn address(&self) -> Address {
        let Place { bucket, prefix, endpoint, .. } = &self.place;
        let store = endpoint.clone().unwrap_or_else(|| "AWS".into());
        Address { store: store.trim_end_matches('/').into(), bucket: bucket.clone(), prefix: prefix.clone() }
    }

    /// Copies, and says the SHA-256 of the copy if the store does.
    pub(super) async fn copy(&self, from: (&Address, &Key), tag: &Tag, to: &Key) -> Result<Option<Digest>, Error> {
        let tried = Tried("copy to", to.as_str());
        let address = self.signed.of_object(to, tried).await?;
        let request = self.settings(Request::builder().method(Method::PUT).uri(address.clone()));
        let request = request
            .header("x-amz-copy-source", from.0.source(from.1))
            .header("x-amz-copy-source-if-match", tag.header())
            .header("x-amz-checksum-algorithm", "SHA256");
        let reply = self.signed.send(request, tried).await?;
        // S3 begins its answer before it has copied: an error can follow an OK.
        let copied = match quick_xml::de::from_str::<Copied>(&reply.text) {
            Ok(copied) if reply.status == StatusCode::OK => copied,
            Ok(_) | Err(_) => return Err(reply.refused(tried)),
        };
        match copied.sha256.as_deref().and_then(digest) {
            Some(digest) => Ok(Some(digest)),
            None => self.sum(address, tried).await,
        }
    }

    /// The SHA-256 that the store has kept of an object as a whole.
    async fn sum(&self, address: Uri, tried: Tried<'_>) -> Result<Option<Digest>, Error> {
        let request = Request::builder().method(Method::HEAD).uri(address).header("x-amz-checksum-mode", "ENABLED");
        let Reply { status: _, headers, text: _ } = self.signed.send(request, tried).await?;
        Ok(headers.get(SHA256).and_then(|value| digest(value.to_str().ok()?)))
    }

    /// What is said with every write.
    fn settings(&self, mut request: Builder) -> Builder {
        if let Some(class) = &self.place.storage_class {
            request = request.header("x-amz-storage-class", class);
        }
        let encryption = "x-amz-server-side-encryption";
        match &self.place.encryption {
            None => request,
            Some(Encryption::Aes256) => request.header(encryption, "AES256"),
            Some(Encryption::Kms(key)) => {
                let request = request.header(encryption, "aws:kms");
                match key {
                    Some(key) => request.header("x-amz-server-side-encryption-aws-kms-key-id", key),
                    None => request,
                }
            }
        }
    }
}

/// Of an object in parts the store says the SHA-256 of their sums; that is none of the content, and has another form.
fn digest(text: &str) -> Option<Digest> {
    Some(Digest(STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("\"0cc175b9c0f1b6a831c399e269772661\"", true)]
    #[case::in_parts("\"0cc175b9c0f1b6a831c399e269772661-10000\"", true)]
    #[case::upper("\"0CC175B9C0F1B6A831C399E269772661\"", true)]
    #[case::both("\"0CC175b9C0F1B6A831C399E269772661\"", false)]
    #[case::weak("W/\"0cc175b9c0f1b6a831c399e269772661\"", false)]
    #[case::short("\"0cc175b9\"", false)]
    #[case::odd("\"xyz\"", false)]
    #[case::signed("\"+cc175b9c0f1b6a831c399e269772661\"", false)]
    #[case::zeroed("\"0cc175b9c0f1b6a831c399e269772661-02\"", false)]
    fn a_tag_is_kept_letter_for_letter(#[case] header: &str, #[case] kept: bool) {
        assert_eq!(Tag::read(header).map(|tag| tag.header()).as_deref(), kept.then_some(header));
    }

    #[test]
    fn a_tag_is_small() {
        assert!(size_of::<Option<Tag>>() <= 22);
    }

    #[rstest]
    #[case("", "data/x_1", "/b/data/x_1")]
    #[case("team/mo", "2026-11-21 10:00/tae/ä+", "/b/team/mo/2026-11-21%2010%3A00/tae/%C3%A4%2B")]
    fn the_source_of_a_copy_is_escaped(#[case] prefix: &str, #[case] key: &str, #[case] expected: &str) {
        let address = Address { store: "s".into(), bucket: "b".into(), prefix: prefix.into() };
        assert_eq!(address.source(&Key::placed(key)), expected);
    }

    #[test]
    fn the_sum_of_sums_is_no_digest() {
        assert!(digest("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").is_some());
        assert!(digest("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-3").is_none());
    }
}
