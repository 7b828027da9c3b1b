//! What a bucket says about itself: the questions that the object store's client has no call for, signed by ourselves.
//!
//! The answers change nothing about how backups are written. A store that does not answer, or may not, is not broken, so
//! every caller must be able to go on without them.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use opendal::{HttpTransporter, Operator};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, EMPTY_STRING_SHA256, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{Error, Key, Keys, Place, Problem};

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
pub struct Questions {
    operator: Operator,
    context: Context,
    signer: Signer<Credential>,
    bucket: String,
    path_style: bool,
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Questions").field(&self.bucket).finish()
    }
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

/// What an S3 server says instead of an answer.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refusal {
    code: String,
    message: String,
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
        let operator = place.operator(keys, ca)?;
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv);
        let context = context.with_http_send(HttpTransporter::new(place.transport(keys, ca)?));
        let identity = identity(place, keys, &context);
        let signer = Signer::new(context.clone(), identity, RequestSigner::new("s3", &place.region));
        Ok(Self { operator, context, signer, bucket: place.bucket.clone(), path_style: place.path_style })
    }

    /// Whether the bucket keeps versions.
    pub async fn versioning(&self) -> Result<Versioning, Error> {
        let text = match self.ask("versioning").await? {
            Answer::Said(text) => text,
            Answer::Refused(status, refusal) => return Err(self.refused("versioning", status, &refusal)),
        };
        Versioning::read(&text).ok_or_else(|| self.strange("versioning"))
    }

    /// Whether the bucket locks objects.
    pub async fn object_lock(&self) -> Result<ObjectLock, Error> {
        let text = match self.ask("object-lock").await? {
            Answer::Said(text) => text,
            Answer::Refused(_, refusal) if refusal.code == "ObjectLockConfigurationNotFoundError" => {
                return Ok(ObjectLock::Off);
            }
            Answer::Refused(status, refusal) => return Err(self.refused("object-lock", status, &refusal)),
        };
        ObjectLock::read(&text).ok_or_else(|| self.strange("object-lock"))
    }

    async fn ask(&self, question: &'static str) -> Result<Answer, Error> {
        let said = tokio::time::timeout(PATIENCE, self.send(question)).await;
        said.unwrap_or_else(|_| Err(self.error(question, Problem::Unreachable, "no answer in time")))
    }

    async fn send(&self, question: &'static str) -> Result<Answer, Error> {
        let request = Request::builder().method(Method::GET).uri(self.address(question).await?);
        let request = request.header("x-amz-content-sha256", EMPTY_STRING_SHA256).body(Bytes::new());
        let request = request.map_err(|_| self.error(question, Problem::Other, "the address is no URL"))?;
        let (mut head, body) = request.into_parts();
        // The errors of both steps name hosts.
        self.signer.sign(&mut head, None).await.map_err(|e| {
            tracing::debug!(error = %e, question, "signing");
            self.error(question, Problem::NoCredentials, "no credentials to sign it with")
        })?;
        let reply = self.context.http_send(Request::from_parts(head, body)).await.map_err(|e| {
            tracing::debug!(error = %e, question, "asking the bucket");
            self.error(question, Problem::Unreachable, "no answer")
        })?;
        let (head, body) = reply.into_parts();
        let text = std::str::from_utf8(&body).map_err(|_| self.strange(question))?;
        Ok(match head.status {
            StatusCode::OK => Answer::Said(text.to_owned()),
            status => Answer::Refused(status, quick_xml::de::from_str(text).unwrap_or_default()),
        })
    }

    /// The bucket's own address. The client knows how hosts are made from endpoint, region and bucket; a signed address
    /// of an object shows it.
    async fn address(&self, question: &'static str) -> Result<Uri, Error> {
        let shown = self.operator.presign_stat(Key::marker().as_str(), PATIENCE).await;
        let shown = shown.map_err(|e| Error::from_opendal("ask", &self.what(question), &e))?;
        let bucket = if self.path_style { &*self.bucket } else { "" };
        let built = Uri::builder()
            .scheme(shown.uri().scheme_str().unwrap_or("https"))
            .authority(shown.uri().authority().map_or("", |a| a.as_str()))
            .path_and_query(format!("/{bucket}?{question}="));
        built.build().map_err(|_| self.error(question, Problem::Other, "the address is no URL"))
    }

    fn what(&self, question: &str) -> String {
        format!("bucket {} for its {question}", self.bucket)
    }

    fn error(&self, question: &str, problem: Problem, detail: impl Into<String>) -> Error {
        Error::permanent(problem, "ask", self.what(question), detail)
    }

    fn strange(&self, question: &str) -> Error {
        self.error(question, Problem::Unsupported, "the answer is not what S3 answers")
    }

    fn refused(&self, question: &str, status: StatusCode, refusal: &Refusal) -> Error {
        let problem = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Problem::Denied,
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Problem::Unsupported,
            _ => Problem::Other,
        };
        let Refusal { code, message } = refusal;
        let words = match (code.is_empty(), message.is_empty()) {
            (true, _) => format!("HTTP status {}", status.as_u16()),
            (false, true) => code.clone(),
            (false, false) => format!("{code}: {message}"),
        };
        self.error(question, problem, words.chars().filter(|c| !c.is_control()).take(300).collect::<String>())
    }
}

enum Answer {
    Said(String),
    Refused(StatusCode, Refusal),
}

/// Who asks: the keys of the Secret, or else the identity of the process, or else the role that either may assume. The
/// client of the operator looks in the same order.
fn identity(place: &Place, keys: Option<&Keys>, context: &Context) -> ProvideCredentialChain<Credential> {
    let chain = ProvideCredentialChain::new();
    let chain = match keys {
        Some(Keys { id, secret, session_token }) => {
            let fixed = StaticCredentialProvider::new(id.expose_secret(), secret.expose_secret());
            chain.push(match session_token {
                Some(token) => fixed.with_session_token(token.expose_secret()),
                None => fixed,
            })
        }
        None => chain.push(DefaultCredentialProvider::builder().build()),
    };
    let Some(role) = &place.role_arn else { return chain };
    let sts = Signer::new(context.clone(), chain, RequestSigner::new("sts", &place.region));
    let role = AssumeRoleCredentialProvider::new(role.clone(), sts);
    ProvideCredentialChain::new().push(role.with_region(place.region.clone()).with_regional_sts_endpoint())
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
