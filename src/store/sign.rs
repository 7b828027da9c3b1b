//! What a bucket says about itself: the questions that the object store's client has no call for, signed by ourselves.
//!
//! The answers change nothing about how backups are written. A store that does not answer, or may not, is not broken, so
//! every caller must be able to go on without them.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use serde::Deserialize;

use super::{
    Error, Keys, Place, Problem,
    signed::{Reply, Signed, Tried},
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a bucket keeps what is overwritten and deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// Every version is kept.
    Enabled,
    /// It was enabled once: old versions are still there, new ones are not kept.
    Suspended,
    /// It was never enabled.
    Off,
}

/// Whether a bucket locks objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectLock {
    /// It does, and every new object for this long, when the bucket has a default.
    Enabled(Option<Retention>),
    /// It does not.
    Off,
}

/// How long every new object is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `COMPLIANCE`: nobody can delete earlier. `GOVERNANCE`: those with a special right can.
    pub mode: String,
    /// In the unit that the bucket's owner chose, such as `30 days`.
    pub period: String,
}

/// Asks a bucket about itself.
#[derive(Debug)]
pub struct Questions {
    signed: Signed,
    bucket: String,
}

/// The answer to `GetBucketVersioning`.
#[derive(Deserialize)]
struct VersioningAnswer {
    #[serde(rename = "Status")]
    status: Option<String>,
}

/// The answer to `GetObjectLockConfiguration`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockAnswer {
    object_lock_enabled: Option<String>,
    rule: Option<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    default_retention: Option<DefaultRetention>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DefaultRetention {
    mode: String,
    days: Option<u32>,
    years: Option<u32>,
}

impl Versioning {
    fn read(answer: &str) -> Option<Self> {
        let answer: VersioningAnswer = quick_xml::de::from_str(answer).ok()?;
        match answer.status.as_deref() {
            Some("Enabled") => Some(Self::Enabled),
            Some("Suspended") => Some(Self::Suspended),
            None => Some(Self::Off),
            Some(_) => None,
        }
    }
}

impl ObjectLock {
    fn read(answer: &str) -> Option<Self> {
        let answer: LockAnswer = quick_xml::de::from_str(answer).ok()?;
        if answer.object_lock_enabled.as_deref() != Some("Enabled") {
            return Some(Self::Off);
        }
        let Some(DefaultRetention { mode, days, years }) = answer.rule.and_then(|r| r.default_retention) else {
            return Some(Self::Enabled(None));
        };
        let period = match (days, years) {
            (Some(days), _) => format!("{days} days"),
            (None, Some(years)) => format!("{years} years"),
            (None, None) => return None,
        };
        Some(Self::Enabled(Some(Retention { mode, period })))
    }
}

impl Questions {
    /// Asks the same place, with the same identity and certificates, as [`super::Bucket::open`] does.
    pub fn open(place: &Place, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Self, Error> {
        Ok(Self { signed: Signed::open(place, keys, ca)?, bucket: place.bucket.clone() })
    }

    /// Whether the bucket keeps versions.
    pub async fn versioning(&self) -> Result<Versioning, Error> {
        let what = self.what("versioning");
        let tried = Tried("ask", &what);
        match self.ask("versioning", tried).await? {
            reply if reply.status == StatusCode::OK => Versioning::read(&reply.text).ok_or_else(|| tried.strange()),
            reply => Err(reply.refused(tried)),
        }
    }

    /// Whether the bucket locks objects.
    pub async fn object_lock(&self) -> Result<ObjectLock, Error> {
        let what = self.what("object-lock");
        let tried = Tried("ask", &what);
        match self.ask("object-lock", tried).await? {
            reply if reply.status == StatusCode::OK => ObjectLock::read(&reply.text).ok_or_else(|| tried.strange()),
            reply if reply.refusal().code == "ObjectLockConfigurationNotFoundError" => Ok(ObjectLock::Off),
            reply => Err(reply.refused(tried)),
        }
    }

    async fn ask(&self, question: &str, tried: Tried<'_>) -> Result<Reply, Error> {
        let asking = async {
            let address = self.signed.of_bucket(question, tried).await?;
            self.signed.send(Request::builder().method(Method::GET).uri(address), tried).await
        };
        let said = tokio::time::timeout(PATIENCE, asking).await;
        said.unwrap_or_else(|_| Err(tried.error(Problem::Unreachable, "no answer in time")))
    }

    fn what(&self, question: &str) -> String {
        format!("bucket {} for its {question}", self.bucket)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

    #[rstest]
    #[case::never("", Some(Versioning::Off))]
    #[case::enabled("<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>", Some(Versioning::Enabled))]
    #[case::suspended("<Status>Suspended</Status>", Some(Versioning::Suspended))]
    #[case::unheard_of("<Status>Perhaps</Status>", None)]
    fn versioning_is_read(#[case] inner: &str, #[case] expected: Option<Versioning>) {
        let answer = format!("<VersioningConfiguration xmlns=\"{NS}\">{inner}</VersioningConfiguration>");
        assert_eq!(Versioning::read(&answer), expected);
    }

    fn locked(mode: &str, period: &str) -> Option<ObjectLock> {
        Some(ObjectLock::Enabled(Some(Retention { mode: mode.into(), period: period.into() })))
    }

    #[rstest]
    #[case::off("", Some(ObjectLock::Off))]
    #[case::no_default("<ObjectLockEnabled>Enabled</ObjectLockEnabled>", Some(ObjectLock::Enabled(None)))]
    #[case::days(
        "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days>\
         </DefaultRetention></Rule>",
        locked("COMPLIANCE", "30 days")
    )]
    #[case::years(
        "<Rule><DefaultRetention><Years>2</Years><Mode>GOVERNANCE</Mode></DefaultRetention></Rule>\
         <ObjectLockEnabled>Enabled</ObjectLockEnabled>",
        locked("GOVERNANCE", "2 years")
    )]
    fn object_lock_is_read(#[case] inner: &str, #[case] expected: Option<ObjectLock>) {
        let answer = format!("<ObjectLockConfiguration xmlns=\"{NS}\">{inner}</ObjectLockConfiguration>");
        assert_eq!(ObjectLock::read(&answer), expected);
    }

    #[test]
    fn what_is_no_answer_of_s3_is_not_taken_for_one() {
        for text in ["", "<html>", "{}"] {
            assert_eq!((Versioning::read(text), ObjectLock::read(text)), (None, None), "{text}");
        }
    }
}
