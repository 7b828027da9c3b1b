//! Real S3 servers on loopback.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, Operator};
use sha2::{Digest as _, Sha256};

use super::authority::Certificate;
use super::ports::{self, Ports};
use super::programs;
use super::run_folder::{Process, RunFolder};
use super::wait::until;

pub const ACCESS_KEY: &str = "test";
pub const SECRET_KEY: &str = "testtest1";
pub const REGION: &str = "us-east-1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Versitygw,
    Minio,
}

/// What a server of its own is to have.
#[derive(Default)]
pub struct Options {
    /// It serves TLS with this certificate.
    pub certificate: Option<Certificate>,
    /// MinIO only: it can encrypt, with a key called [`KMS_KEY`].
    pub kms: bool,
    /// Other keys than [`ACCESS_KEY`] and [`SECRET_KEY`].
    pub keys: Option<(&'static str, &'static str)>,
}

impl Options {
    fn keys(&self) -> (&'static str, &'static str) {
        self.keys.unwrap_or((ACCESS_KEY, SECRET_KEY))
    }
}

/// The one key that MinIO is given.
pub const KMS_KEY: &str = "mo-backup-key";

pub struct S3 {
    pub kind: Kind,
    options: Options,
    process: Process,
    folder: RunFolder,
    ports: Ports,
}

impl S3 {
    pub async fn start(kind: Kind) -> anyhow::Result<S3> {
        S3::start_with(kind, Options::default()).await
    }

    pub async fn start_with(kind: Kind, options: Options) -> anyhow::Result<S3> {
        let folder = RunFolder::create("s3")?;
        let ports = ports::reserve()?;
        let process = launch(kind, &options, &folder, ports.first)?;
        let s3 = S3 { kind, options, process, folder, ports };
        s3.ready().await?;
        Ok(s3)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        until("the S3 server", Duration::from_secs(60), || async {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", self.ports.first)).await.map(Some)?)
        })
        .await
        .with_context(|| self.process.tail(20))?;
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.ports.first
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.options.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports.first)
    }

    /// Kills the server; [`S3::revive`] starts it on the same data.
    pub fn kill(&self) {
        self.process.kill();
    }

    pub async fn revive(&mut self) -> anyhow::Result<()> {
        self.process = launch(self.kind, &self.options, &self.folder, self.ports.first)?;
        self.ready().await
    }

    /// Makes a bucket. A server that has just opened its port may not be willing yet, so it is asked again.
    pub async fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        let limit = Duration::from_secs(90);
        until(&format!("bucket {name}"), limit, || async { self.ask("PUT", name).await.map(Some) }).await
    }

    /// Deletes a bucket with all that is in it.
    pub async fn delete_bucket(&self, name: &str) -> anyhow::Result<()> {
        let bucket = self.bucket(name)?;
        for (key, _) in bucket.list("").await? {
            bucket.delete(&key).await?;
        }
        self.ask("DELETE", name).await
    }

    async fn ask(&self, method: &str, bucket: &str) -> anyhow::Result<()> {
        self.send(method, bucket, &[], "").await
    }

    /// Makes a bucket that can lock its objects; it keeps versions then.
    pub async fn create_locking_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.send("PUT", name, &["-H", "x-amz-bucket-object-lock-enabled: true"], "").await
    }

    /// Sets a property of a bucket, such as `versioning`.
    pub async fn configure(&self, bucket: &str, property: &str, xml: &str) -> anyhow::Result<()> {
        // In base64, as the binary data of a Secret is. Some servers take no lock without a checksum.
        let checksum = serde_json::to_value(k8s_openapi::ByteString(Sha256::digest(xml).to_vec()))?;
        let checksum = format!("x-amz-checksum-sha256: {}", checksum.as_str().unwrap_or_default());
        self.send("PUT", &format!("{bucket}?{property}="), &["-H", &checksum, "-d", xml], xml).await
    }

    /// curl signs the digest of the body, but does not send it by itself.
    async fn send(&self, method: &str, target: &str, options: &[&str], body: &str) -> anyhow::Result<()> {
        let digest = mo_backup::plan::Digest(Sha256::digest(body).into());
        let mut command = tokio::process::Command::new("curl");
        // Whether its certificate is good is not what is tried here.
        command.args(["-fsSk", "--noproxy", "*", "-X", method, "--aws-sigv4", &format!("aws:amz:{REGION}:s3")]);
        command.args(["-H", &format!("x-amz-content-sha256: {digest}")]).args(options);
        let (id, secret) = self.options.keys();
        command.args(["--user", &format!("{id}:{secret}"), &format!("{}/{target}", self.endpoint())]);
        programs::output(&mut command, "").await.map(drop)
    }

    /// A bucket to put, read, list and delete objects in.
    pub fn bucket(&self, name: &str) -> anyhow::Result<Bucket> {
        Bucket::open(&self.endpoint(), name, self.options.keys())
    }
}

impl Bucket {
    /// The same through another endpoint, such as a fault proxy's.
    pub fn at(endpoint: &str, name: &str) -> anyhow::Result<Bucket> {
        Bucket::open(endpoint, name, (ACCESS_KEY, SECRET_KEY))
    }

    fn open(endpoint: &str, name: &str, (id, secret): (&str, &str)) -> anyhow::Result<Bucket> {
        let s3 = opendal::services::S3::default()
            .bucket(name)
            .endpoint(endpoint)
            .region(REGION)
            .access_key_id(id)
            .secret_access_key(secret)
            .disable_config_load();
        let operator = Operator::new(s3)?;
        let context = operator.context().with_http_transport(HttpTransporter::new(Loopback::new()?));
        Ok(Bucket { operator: operator.with_context(context) })
    }
}

fn launch(kind: Kind, options: &Options, folder: &RunFolder, port: u16) -> anyhow::Result<Process> {
    let path = |part: &str| -> anyhow::Result<std::path::PathBuf> {
        let path = folder.path().join(part);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };
    let address = format!("127.0.0.1:{port}");
    let (id, secret) = options.keys();
    let certs = path("certs")?;
    if let Some(Certificate { chain, key }) = &options.certificate {
        std::fs::write(certs.join("public.crt"), chain)?;
        std::fs::write(certs.join("private.key"), key)?;
    }
    let mut command = match kind {
        Kind::Versitygw => {
            let mut command = Command::new(programs::path("versitygw")?);
            command.args(["--port", &address, "--access", id, "--secret", secret, "--region", REGION]);
            if options.certificate.is_some() {
                command.arg("--cert").arg(certs.join("public.crt")).arg("--key").arg(certs.join("private.key"));
            }
            command.args(["--quiet", "posix", "--versioning-dir"]).arg(path("versions")?);
            command.arg("--sidecar").arg(path("meta")?).arg(path("data")?);
            command
        }
        Kind::Minio => {
            let mut command = Command::new(programs::path("minio")?);
            command.env("MINIO_ROOT_USER", id).env("MINIO_ROOT_PASSWORD", secret);
            command.env("MINIO_UPDATE", "off").env("MINIO_BROWSER", "off").env("HOME", folder.path());
            if options.kms {
                command.env("MINIO_KMS_SECRET_KEY", format!("{KMS_KEY}:{}=", "A".repeat(43)));
            }
            command.args(["server", "--quiet", "--address", &address, "--certs-dir"]).arg(certs).arg(path("data")?);
            command
        }
    };
    folder.start("s3", &mut command)
}

/// Plain HTTP without a proxy, so that what a test sees does not depend on how the product connects.
struct Loopback(reqwest::Client);

impl Loopback {
    fn new() -> anyhow::Result<Loopback> {
        // Not used on loopback, but no client is made without one; it fails when there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Loopback(reqwest::Client::builder().no_proxy().build()?))
    }
}

impl HttpTransport for Loopback {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let failed = |error: reqwest::Error| opendal::Error::new(opendal::ErrorKind::Unexpected, error.to_string());
        let (head, body) = request.into_parts();
        let call =
            self.0.request(head.method.clone(), head.uri.to_string()).headers(head.headers).body(body.to_bytes());
        let answer = call.send().await.map_err(failed)?;
        let mut reply = http::Response::builder().status(answer.status());
        if let Some(headers) = reply.headers_mut() {
            headers.clone_from(answer.headers());
        }
        // A HEAD tells the length of what it does not send.
        let size = answer.content_length().filter(|_| head.method != http::Method::HEAD);
        let bytes = answer.bytes().await.map_err(failed)?;
        let body = futures::stream::iter([Ok(Buffer::from(bytes))]);
        let reply = reply.extension(head.uri).body(HttpBody::new(body, size));
        reply.map_err(|error| opendal::Error::new(opendal::ErrorKind::Unexpected, error.to_string()))
    }
}

pub struct Bucket {
    pub operator: Operator,
}

impl Bucket {
    pub async fn put(&self, key: &str, bytes: impl Into<Buffer>) -> anyhow::Result<()> {
        self.operator.write(key, bytes).await?;
        Ok(())
    }

    pub async fn get(&self, key: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.operator.read(key).await?.to_vec())
    }

    pub async fn delete(&self, key: &str) -> anyhow::Result<()> {
        Ok(self.operator.delete(key).await?)
    }

    /// Every key under a prefix with its size, in order.
    pub async fn list(&self, prefix: &str) -> anyhow::Result<Vec<(String, u64)>> {
        let entries = self.operator.list_with(prefix).recursive(true).await?;
        let files = entries.into_iter().filter(|entry| entry.metadata().is_file());
        let mut keys: Vec<_> =
            files.map(|entry| (entry.path().to_string(), entry.metadata().content_length())).collect();
        keys.sort();
        Ok(keys)
    }

    /// Flips one bit of an object and leaves its length as it was.
    pub async fn flip_bit(&self, key: &str, byte: usize) -> anyhow::Result<()> {
        let mut bytes = self.get(key).await?;
        let place = byte % bytes.len().max(1);
        *bytes.get_mut(place).with_context(|| format!("{key} is empty"))? ^= 1;
        self.put(key, bytes).await
    }

    /// Cuts an object off after so many bytes.
    pub async fn truncate(&self, key: &str, length: usize) -> anyhow::Result<()> {
        let mut bytes = self.get(key).await?;
        bytes.truncate(length);
        self.put(key, bytes).await
    }
}
