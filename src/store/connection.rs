//! How a bucket is reached: address, trust, identity, and what is sent with every write.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, Uri};
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport, HttpTransporter, Operator, services::S3};
use opendal_http_transport_reqwest::ReqwestTransport;
use secrecy::ExposeSecret as _;

use super::{Error, Keys, Problem};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of the store. Completing a large object takes S3 a while.
const SILENCE: Duration = Duration::from_mins(2);
/// In the reply to a write: it was encrypted, and how.
const ENCRYPTION: &str = "x-amz-server-side-encryption";

/// Where a bucket is and what is sent with every write.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix without slashes at its ends; may be empty.
    pub prefix: String,
    /// URL of the store; without it: AWS by region.
    pub endpoint: Option<String>,
    /// Region.
    pub region: String,
    /// The bucket's name goes into the path.
    pub path_style: bool,
    /// A role to assume.
    pub role_arn: Option<String>,
    /// Storage class of what is written.
    pub storage_class: Option<String>,
    /// Encryption by the store.
    pub encryption: Option<Encryption>,
    /// Send a CRC32C with every write.
    pub checksums: bool,
}

/// Encryption by the store.
#[derive(Clone, Debug)]
pub enum Encryption {
    /// With keys of the store.
    Aes256,
    /// With a key of a key management service; without an id, the bucket's.
    Kms(Option<String>),
}

impl Place {
    /// A client of the bucket; nothing is sent yet.
    pub(super) fn operator(&self, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Operator, Error> {
        // The first provider wins; a second call says so, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let named = format!("bucket {}", self.bucket);
        let transport = HttpTransporter::new(self.transport(keys, ca)?);
        if self.role_arn.is_some() {
            // The identity that is to assume the role is found without the operator below, and its transport.
            HttpTransporter::install_default(ReqwestTransport::new(client(Trust::Image)?));
        }
        let operator = Operator::new(self.service(keys)).map_err(|e| Error::from_opendal("open", &named, &e))?;
        let context = operator.context().with_http_transport(transport);
        Ok(operator.with_context(context))
    }

    pub(super) fn transport(&self, keys: Option<&Keys>, ca: Option<&[u8]>) -> Result<Transport, Error> {
        let plain = self.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
        let store = client(match ca {
            Some(pem) => Trust::Only(pem),
            // Nothing is encrypted, so an image without any certificates must do.
            None if plain => Trust::Nobody,
            None => Trust::Image,
        })?;
        // Without keys, or to assume a role, AWS or an agent on the node is asked as well. The store's own authorities do
        // not speak for them.
        let asks = keys.is_none() || self.role_arn.is_some();
        let host = self.endpoint.as_ref().and_then(|e| e.parse::<Uri>().ok()?.host().map(str::to_owned));
        let others = match host.filter(|_| asks) {
            Some(host) => Some((host, ReqwestTransport::new(client(Trust::Image)?))),
            None => None,
        };
        let encryption = self.encryption.as_ref().map(|encryption| match encryption {
            Encryption::Aes256 => "AES256",
            Encryption::Kms(_) => "aws:kms",
        });
        Ok(Transport { store: ReqwestTransport::new(store), others, encryption })
    }

    fn service(&self, keys: Option<&Keys>) -> S3 {
        let mut s3 = S3::default().bucket(&self.bucket).root(&self.prefix).region(&self.region);
        if let Some(endpoint) = &self.endpoint {
            s3 = s3.endpoint(endpoint);
        }
        if !self.path_style {
            s3 = s3.enable_virtual_host_style();
        }
        if let Some(keys) = keys {
            s3 = s3.access_key_id(keys.id.expose_secret()).secret_access_key(keys.secret.expose_secret());
            s3 = s3.disable_config_load().disable_ec2_metadata();
            if let Some(token) = &keys.session_token {
                s3 = s3.session_token(token.expose_secret());
            }
        }
        if let Some(role) = &self.role_arn {
            s3 = s3.role_arn(role);
        }
        if let Some(class) = &self.storage_class {
            s3 = s3.default_storage_class(class);
        }
        s3 = match &self.encryption {
            None => s3,
            Some(Encryption::Aes256) => s3.server_side_encryption_with_s3_key(),
            Some(Encryption::Kms(None)) => s3.server_side_encryption_with_aws_managed_kms_key(),
            Some(Encryption::Kms(Some(id))) => s3.server_side_encryption_with_customer_managed_kms_key(id),
        };
        if self.checksums { s3.checksum_algorithm("crc32c") } else { s3 }
    }
}

/// Whose certificates are believed.
enum Trust<'a> {
    /// Those that the image brings.
    Image,
    /// Those of these authorities (PEM) and no others.
    Only(&'a [u8]),
    /// None: everything encrypted is refused.
    Nobody,
}

fn client(trust: Trust<'_>) -> Result<reqwest::Client, Error> {
    let no = |detail: String| Error::permanent(Problem::Tls, "read", "the store's certificates", detail);
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE);
    // A redirected request would not be signed for where it goes, and could leave TLS behind.
    builder = builder.redirect(reqwest::redirect::Policy::none());
    builder = match trust {
        Trust::Image => builder,
        Trust::Nobody => builder.tls_certs_only([]),
        Trust::Only(pem) => {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|e| no(e.to_string()))?;
            if certificates.is_empty() {
                return Err(no("there are none".into()));
            }
            builder.tls_certs_only(certificates)
        }
    };
    builder.build().map_err(|e| no(std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)))
}

/// The way to the store and to those who vouch for us.
///
/// Refuses a store that takes what it was asked to encrypt and does not say that it has encrypted it: there are some
/// that do not know the header.
pub(super) struct Transport {
    store: ReqwestTransport,
    /// For every host but the store's, and the store's.
    others: Option<(String, ReqwestTransport)>,
    /// What the store must say of each write.
    encryption: Option<&'static str>,
}

impl Transport {
    fn to(&self, uri: &Uri) -> &ReqwestTransport {
        // The bucket can stand before the host.
        let of_store =
            |host: &str, store: &str| host.strip_suffix(store).is_some_and(|b| b.is_empty() || b.ends_with('.'));
        match (&self.others, uri.host()) {
            (Some((store, others)), Some(host)) if !of_store(host, store) => others,
            (Some(_) | None, Some(_) | None) => &self.store,
        }
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        // Whole objects and parts. What begins an upload of parts is not confirmed by every store that encrypts.
        let wanted = self.encryption.filter(|_| request.method() == Method::PUT);
        let reply = self.to(request.uri()).fetch(request).await?;
        let said = reply.headers().get(ENCRYPTION).map(HeaderValue::as_bytes);
        match wanted {
            Some(wanted) if reply.status().is_success() && said != Some(wanted.as_bytes()) => {
                Err(opendal::Error::new(ErrorKind::Unsupported, UNENCRYPTED))
            }
            Some(_) | None => Ok(reply),
        }
    }
}

/// Known to the judge of errors.
pub(super) const UNENCRYPTED: &str = "the store took the object without encrypting it as serverSideEncryption asks";
