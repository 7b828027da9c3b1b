//! Requests that the object store's client has no call for, signed by ourselves.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, request::Builder};
use opendal::{HttpTransporter, Operator};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, EMPTY_STRING_SHA256, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{Error, Key, Keys, Place, Problem, connection::UNENCRYPTED};

/// How long a signed address of an object is good for. Nobody follows it.
const SHOWN: Duration = Duration::from_secs(20);

/// Sends requests without a body to a bucket, as [`super::Bucket`] would.
pub(super) struct Signed {
    operator: Operator,
    context: Context,
    signer: Signer<Credential>,
    bucket: String,
    path_style: bool,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signed").field(&self.bucket).finish()
    }
}

/// What was tried, for an error: the verb, and on what.
#[derive(Clone, Copy)]
pub(super) struct Tried<'a>(pub &'static str, pub &'a str);

impl Tried<'_> {
    pub(super) fn error(self, problem: Problem, detail: impl Into<String>) -> Error {
        Error::permanent(problem, self.0, self.1, detail)
    }

    pub(super) fn strange(self) -> Error {
        self.error(Problem::Unsupported, "the answer is not what S3 answers")
    }
}

/// What the store has answered.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// What an S3 server says instead of an answer.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Refusal {
    pub code: String,
    message: String,
}

impl Reply {
    /// What the text says, when it is a refusal.
    pub(super) fn refusal(&self) -> Refusal {
        quick_xml::de::from_str(&self.text).unwrap_or_default()
    }

    /// The refusal as an error.
    pub(super) fn refused(&self, tried: Tried<'_>) -> Error {
        let Refusal { code, message } = self.refusal();
        let busy =
            self.status.is_server_error() || matches!(&*code, "InternalError" | "SlowDown" | "ServiceUnavailable");
        let problem = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Problem::Denied,
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Problem::Unsupported,
            StatusCode::PRECONDITION_FAILED => Problem::Taken,
            StatusCode::NOT_FOUND => Problem::Missing,
            StatusCode::TOO_MANY_REQUESTS => Problem::Throttled,
            _ if busy => Problem::Throttled,
            _ => Problem::Other,
        };
        let words = match (code.is_empty(), message.is_empty()) {
            (true, _) => format!("HTTP status {}", self.status.as_u16()),
            (false, true) => code,
            (false, false) => format!("{code}: {message}"),
        };
        let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
        Error { temporary: problem == Problem::Throttled, ..tried.error(problem, words) }
    }
}

impl Signed {
    /// The same place, with the same identity and certificates, as [`super::Bucket::open`] makes it.
    pub(super) fn open(place: &Place, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Self, Error> {
        let operator = place.operator(keys, ca)?;
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv);
        let context = context.with_http_send(HttpTransporter::new(place.transport(keys, ca)?));
        let identity = identity(place, keys, &context);
        let signer = Signer::new(context.clone(), identity, RequestSigner::new("s3", &place.region));
        Ok(Self { operator, context, signer, bucket: place.bucket.clone(), path_style: place.path_style })
    }

    /// The address of the bucket with a question, such as `versioning`.
    pub(super) async fn of_bucket(&self, question: &str, tried: Tried<'_>) -> Result<Uri, Error> {
        let bucket = if self.path_style { &*self.bucket } else { "" };
        self.address(&Key::marker(), tried, |_| format!("/{bucket}?{question}=")).await
    }

    /// The address of an object.
    pub(super) async fn of_object(&self, key: &Key, tried: Tried<'_>) -> Result<Uri, Error> {
        self.address(key, tried, |shown| shown.path().to_owned()).await
    }

    /// The client knows how hosts are made from endpoint, region and bucket; a signed address of an object shows it.
    async fn address(&self, key: &Key, tried: Tried<'_>, path: impl Fn(&Uri) -> String) -> Result<Uri, Error> {
        let shown = self.operator.presign_stat(key.as_str(), SHOWN).await;
        let shown = shown.map_err(|e| Error::from_opendal(tried.0, tried.1, &e))?;
        let built = Uri::builder()
            .scheme(shown.uri().scheme_str().unwrap_or("https"))
            .authority(shown.uri().authority().map_or("", |a| a.as_str()))
            .path_and_query(path(shown.uri()));
        built.build().map_err(|_| tried.error(Problem::Other, "the address is no URL"))
    }

    /// Sends a request once. Errors say nothing of hosts.
    pub(super) async fn send(&self, request: Builder, tried: Tried<'_>) -> Result<Reply, Error> {
        let request = request.header("x-amz-content-sha256", EMPTY_STRING_SHA256).body(Bytes::new());
        let request = request.map_err(|_| tried.error(Problem::Other, "the request is none of HTTP"))?;
        let (mut head, body) = request.into_parts();
        self.signer.sign(&mut head, None).await.map_err(|e| {
            tracing::debug!(error = %e, verb = tried.0, what = tried.1, "signing");
            tried.error(Problem::NoCredentials, "no credentials to sign it with")
        })?;
        let reply = self.context.http_send(Request::from_parts(head, body)).await.map_err(|e| {
            tracing::debug!(error = %e, verb = tried.0, what = tried.1, "asking the store");
            if format!("{e:?}").contains(UNENCRYPTED) {
                tried.error(Problem::Setting, UNENCRYPTED)
            } else {
                Error { temporary: true, ..tried.error(Problem::Unreachable, "no answer") }
            }
        })?;
        let (head, body) = reply.into_parts();
        let text = std::str::from_utf8(&body).map_err(|_| tried.strange())?.to_owned();
        Ok(Reply { status: head.status, headers: head.headers, text })
    }
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
