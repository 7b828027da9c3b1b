//! A proxy that breaks HTTP at a chosen request: before an API server or an S3 server.
//!
//! Each request gets a connection of its own on both sides (`Connection: close`), so that breaking one request breaks
//! nothing else, and the bytes pass as they are: a signature over host, path and headers stays valid.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::cluster::Cluster;
use super::fault::{Fault, Faults, Kind, Verdict};
use super::s3::S3;

/// The longest request head that is read.
const HEAD: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct HttpProxy {
    pub port: u16,
    pub faults: Faults,
    kubeconfig: Option<PathBuf>,
    task: JoinHandle<()>,
}

struct Route {
    port: u16,
    /// To and from an API server.
    tls: Option<(TlsConnector, TlsAcceptor)>,
    faults: Faults,
}

impl HttpProxy {
    /// Before the API server. Programs of the test speak plain HTTP to it ([`HttpProxy::kubeconfig`]) and act as the
    /// administrator unless they bring a token; Pods speak TLS to it, once `Node::set_api_port` points them here.
    pub async fn before_api(cluster: &Cluster) -> anyhow::Result<HttpProxy> {
        let tls = Some(tls(&cluster.pki())?);
        let mut proxy = HttpProxy::start(cluster.port(), tls).await?;
        let file = cluster.folder().path().join(format!("proxy-{}.kubeconfig", proxy.port));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             current-context: x\n",
            proxy.port
        );
        std::fs::write(&file, text)?;
        proxy.kubeconfig = Some(file);
        Ok(proxy)
    }

    /// Before an S3 server; use [`HttpProxy::endpoint`] in place of the server's.
    pub async fn before_s3(s3: &S3) -> anyhow::Result<HttpProxy> {
        HttpProxy::start(s3.port(), None).await
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For a program that is to reach the API server through this proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone().unwrap_or_default()
    }

    async fn start(port: u16, tls: Option<(TlsConnector, TlsAcceptor)>) -> anyhow::Result<HttpProxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let faults = Faults::default();
        let route = Arc::new(Route { port, tls, faults: faults.clone() });
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let route = route.clone();
                // A broken connection is the point here, not an error to tell.
                tokio::spawn(async move { drop(route.serve(client).await) });
            }
        });
        Ok(HttpProxy { port: own, faults, kubeconfig: None, task })
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Route {
    async fn serve(&self, client: TcpStream) -> anyhow::Result<()> {
        client.set_nodelay(true)?;
        let mut first = [0];
        client.peek(&mut first).await?;
        let mut client: Box<dyn Stream> = match &self.tls {
            Some((_, acceptor)) if first[0] == 0x16 => Box::new(acceptor.accept(client).await?),
            _ => Box::new(client),
        };
        let (head, mut body) = read_head(&mut client).await?;
        let (kind, text) = classify(&head);
        let verdict = self.faults.judge(kind, text);
        match &verdict.fault {
            Some(Fault::Drop) => {
                verdict.strike();
                return Ok(());
            }
            Some(Fault::Answer(status, content)) => {
                verdict.strike();
                return answer(&mut client, *status, content).await;
            }
            Some(Fault::Stall(time)) => {
                verdict.strike();
                tokio::time::sleep(*time).await;
            }
            Some(Fault::Hold(gate)) => {
                verdict.strike();
                gate.passed().await;
            }
            _ => {}
        }
        if verdict.fault == Some(Fault::FlipRequest) {
            verdict.strike();
            if body.is_empty() {
                body = vec![0; 1];
                ensure!(client.read(&mut body).await? > 0, "a request without a body");
            }
            body[0] ^= 1;
        }
        let mut server = self.connect().await?;
        server.write_all(&[close_after(&head).as_bytes(), &body].concat()).await?;
        self.exchange(client, server, &verdict).await
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let Some((connector, _)) = &self.tls else { return Ok(Box::new(stream)) };
        Ok(Box::new(connector.connect(ServerName::try_from("127.0.0.1")?, stream).await?))
    }

    async fn exchange(
        &self,
        mut client: Box<dyn Stream>,
        mut server: Box<dyn Stream>,
        verdict: &Verdict,
    ) -> anyhow::Result<()> {
        if let Some(Fault::Swallow | Fault::FlipReply) = verdict.fault {
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let (mut from_server, mut to_server) = tokio::io::split(server);
            let mut reply = Vec::new();
            let upload = tokio::io::copy(&mut from_client, &mut to_server);
            let download = from_server.read_to_end(&mut reply);
            tokio::select! {
                // The client has sent all and waits; only the reply ends this.
                () = async { let _ = upload.await; std::future::pending::<()>().await } => {}
                read = download => { read?; }
            }
            verdict.strike();
            if verdict.fault == Some(Fault::FlipReply) {
                if let Some(last) = reply.last_mut() {
                    *last ^= 1;
                }
                to_client.write_all(&reply).await?;
                to_client.shutdown().await?;
            }
        } else {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            if verdict.fault == Some(Fault::After) {
                verdict.strike();
            }
        }
        Ok(())
    }
}

/// The head of a request, and what of its body came with it.
async fn read_head(client: &mut Box<dyn Stream>) -> anyhow::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes)?, body));
        }
        ensure!(bytes.len() < HEAD, "the request's head has no end");
        ensure!(client.read_buf(&mut bytes).await? > 0, "the client went away");
    }
}

fn classify(head: &str) -> (Kind, String) {
    let line = head.lines().next().unwrap_or_default();
    let text = line.rsplit_once(' ').map_or(line, |(text, _version)| text).to_string();
    let reads = text.starts_with("GET ") || text.starts_with("HEAD ");
    let watches = ["watch=true", "watch=1"].iter().any(|flag| text.contains(flag));
    let kind = match (reads, watches) {
        (true, true) => Kind::Watch,
        (true, false) => Kind::Read,
        (false, _) => Kind::Write,
    };
    (kind, text)
}

fn close_after(head: &str) -> String {
    let kept = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let lines: Vec<&str> = kept.take_while(|line| !line.is_empty()).collect();
    format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))
}

async fn answer(client: &mut Box<dyn Stream>, status: u16, content: &str) -> anyhow::Result<()> {
    let kind = if content.starts_with('<') { "application/xml" } else { "application/json" };
    let length = content.len();
    let head = format!("HTTP/1.1 {status} Fault\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    client.write_all(format!("{head}Connection: close\r\n\r\n{content}").as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}

/// Towards the server as the administrator, towards Pods as the API server itself.
fn tls(pki: &std::path::Path) -> anyhow::Result<(TlsConnector, TlsAcceptor)> {
    let chain = |name: &str| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let certificates = CertificateDer::pem_file_iter(pki.join(name))?.collect::<Result<Vec<_>, _>>();
        certificates.with_context(|| format!("failed to read {name}"))
    };
    let key = |name: &str| PrivateKeyDer::from_pem_file(pki.join(name));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(chain("ca.crt")?);
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain("admin.crt")?, key("admin.key")?)?;
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain("apiserver.crt")?, key("apiserver.key")?)?;
    Ok((TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server))))
}
