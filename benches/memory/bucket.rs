//! An S3 server in a process of its own: what it holds is not the worker's memory. Content that it has seen before is
//! kept once, so that a hundred thousand objects fit.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Name of its bucket.
pub const BUCKET: &str = "bench";
/// Whose content is to be copied.
const COPY_SOURCE: &str = "x-amz-copy-source";
/// Objects in one answer to a listing.
const PAGE: usize = 1000;

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Bytes>,
    contents: HashMap<(usize, u32), Bytes>,
    /// SHA-256 of contents that were copied, in Base64.
    sums: HashMap<String, String>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
}

type Shared = Arc<Mutex<Store>>;

/// Says its port and serves until it is killed.
pub fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        Ok(axum::serve(listener, Router::new().fallback(answer).with_state(Shared::default())).await?)
    })
}

/// What is asked for.
struct Asked {
    method: Method,
    key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

async fn answer(State(store): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let no = |status: StatusCode| response(status, "", Body::empty());
    let Ok(body) = to_bytes(body, 64 << 20).await else { return no(StatusCode::BAD_REQUEST) };
    let Ok(url) = reqwest::Url::parse(&format!("http://bench{}", parts.uri)) else {
        return no(StatusCode::BAD_REQUEST);
    };
    let key = url.path().trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default().trim_start_matches('/');
    let asked = Asked {
        method: parts.method,
        key: key.to_owned(),
        query: url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect(),
        headers: parts.headers,
        body,
    };
    store.lock().unwrap_or_else(PoisonError::into_inner).answer(asked)
}

/// The tag of a content. It looks like those of other stores.
fn tag(content: &[u8]) -> String {
    format!("\"{:08x}{:024x}\"", crc32c::crc32c(content), content.len())
}

/// An object, or a part of it: reading is gone on with where a connection broke.
fn object(content: Bytes, range: Option<&str>) -> Response {
    let (tag, size) = (tag(&content).parse(), content.len());
    let asked = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let part = asked.and_then(|(from, to)| {
        let from: usize = from.parse().ok()?;
        let end = to.parse::<usize>().map_or(size, |last| size.min(last + 1));
        (from < end).then_some((from, end))
    });
    let mut response = match part {
        Some((from, end)) => {
            let content = content.slice(from..end);
            let mut response = response(StatusCode::PARTIAL_CONTENT, "application/octet-stream", content);
            if let Ok(said) = format!("bytes {from}-{}/{size}", end - 1).parse() {
                response.headers_mut().insert(axum::http::header::CONTENT_RANGE, said);
            }
            response
        }
        None => response(StatusCode::OK, "application/octet-stream", content),
    };
    // In place of the one that all answers have.
    if let Ok(tag) = tag {
        response.headers_mut().insert(axum::http::header::ETAG, tag);
    }
    response
}

fn response(status: StatusCode, kind: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("etag", axum::http::HeaderValue::from_static("\"e\""));
    headers.extend(kind.parse().ok().map(|kind| (axum::http::header::CONTENT_TYPE, kind)));
    response
}

fn xml(body: String) -> Response {
    response(StatusCode::OK, "application/xml", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}"))
}

impl Store {
    fn answer(&mut self, asked: Asked) -> Response {
        let Asked { method, key, query, headers, body } = asked;
        let upload = query.get("uploadId").cloned();
        match (method, upload) {
            (Method::GET, None) if key.is_empty() => self.list(&query),
            (Method::GET | Method::HEAD, None) => match self.objects.get(&key) {
                Some(content) => object(content.clone(), headers.get("range").and_then(|range| range.to_str().ok())),
                None => response(StatusCode::NOT_FOUND, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
            },
            (Method::PUT, None) if headers.contains_key("if-none-match") && self.objects.contains_key(&key) => {
                let said = "<Error><Code>PreconditionFailed</Code></Error>";
                response(StatusCode::PRECONDITION_FAILED, "application/xml", said)
            }
            (Method::PUT, None) if headers.contains_key(COPY_SOURCE) => self.copy(key, &headers),
            (Method::PUT, None) => {
                self.put(key, body);
                response(StatusCode::OK, "", Body::empty())
            }
            (Method::POST, None) if query.contains_key("uploads") => {
                let id = self.uploads.len().to_string();
                self.uploads.insert(id.clone(), BTreeMap::new());
                let named = format!("<Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
                xml(format!("<InitiateMultipartUploadResult>{named}</InitiateMultipartUploadResult>"))
            }
            (Method::PUT, Some(id)) => {
                let number = query.get("partNumber").and_then(|n| n.parse().ok()).unwrap_or_default();
                self.uploads.entry(id).or_default().insert(number, body);
                response(StatusCode::OK, "", Body::empty())
            }
            (Method::POST, Some(id)) => {
                let parts: Vec<Bytes> = std::mem::take(self.uploads.entry(id).or_default()).into_values().collect();
                self.put(key.clone(), parts.concat().into());
                let named = format!("<Bucket>{BUCKET}</Bucket><Key>{key}</Key><ETag>\"e\"</ETag>");
                xml(format!("<CompleteMultipartUploadResult>{named}</CompleteMultipartUploadResult>"))
            }
            (Method::DELETE, None) => {
                self.objects.remove(&key);
                response(StatusCode::NO_CONTENT, "", Body::empty())
            }
            (method, _) => {
                eprintln!("the bucket does not know {method} {key} {query:?}");
                response(StatusCode::NOT_IMPLEMENTED, "", Body::empty())
            }
        }
    }

    fn copy(&mut self, key: String, headers: &HeaderMap) -> Response {
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let from = said(COPY_SOURCE).trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
        let Some(content) = self.objects.get(from.trim_start_matches('/')).cloned() else {
            return response(StatusCode::NOT_FOUND, "application/xml", "<Error><Code>NoSuchKey</Code></Error>");
        };
        let tag = tag(&content);
        if said("x-amz-copy-source-if-match") != tag {
            let said = "<Error><Code>PreconditionFailed</Code></Error>";
            return response(StatusCode::PRECONDITION_FAILED, "application/xml", said);
        }
        let sum = self.sums.entry(tag.clone()).or_insert_with(|| STANDARD.encode(Sha256::digest(&content))).clone();
        self.objects.insert(key, content);
        xml(format!("<CopyObjectResult><ETag>{tag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></CopyObjectResult>"))
    }

    fn put(&mut self, key: String, content: Bytes) {
        let known = self.contents.entry((content.len(), crc32c::crc32c(&content))).or_insert_with(|| content.clone());
        let kept = if *known == content { known.clone() } else { content };
        self.objects.insert(key, kept);
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let after = query.get("continuation-token").or(query.get("start-after")).map_or("", String::as_str);
        let page = query.get("max-keys").and_then(|n| n.parse().ok()).unwrap_or(PAGE).min(PAGE);
        let below = self.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let mut rest = below.filter(|(key, _)| key.as_str() > after);
        let found: Vec<_> = rest.by_ref().take(page).collect();
        let contents: String = found
            .iter()
            .map(|(key, content)| {
                let size = content.len();
                let dates = "<LastModified>2026-11-21T00:00:00.000Z</LastModified><ETag>\"e\"</ETag>";
                format!("<Contents><Key>{key}</Key>{dates}<Size>{size}</Size></Contents>")
            })
            .collect();
        let more = match (found.last(), rest.next()) {
            (Some((last, _)), Some(_)) => {
                format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>")
            }
            _ => "<IsTruncated>false</IsTruncated>".into(),
        };
        xml(format!(
            "<ListBucketResult><Name>{BUCKET}</Name><Prefix>{prefix}</Prefix>{more}{contents}</ListBucketResult>"
        ))
    }
}
