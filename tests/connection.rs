//! What reaches a store and those who vouch for us: headers, identities, trust.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mo_backup::store::{Bucket, Encryption, Key, Keys, Objects as _, Place, Problem};
use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The end of a request, from its head: `GET /path HTTP/1.1` and lower-cased header lines.
#[derive(Clone, Debug)]
struct Heard {
    head: String,
    body: String,
}

/// The head's first line without its `HTTP/1.1` part, more header lines, and the body of an answer.
struct Answer(u16, &'static str, String);

type Script = fn(&Heard) -> Answer;

/// A server of one answer for each connection, which remembers what it was asked.
struct Fake {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Fake {
    async fn start(script: Script) -> Fake {
        Fake::behind(None, script).await
    }

    /// With TLS inside of a proxy's CONNECT.
    async fn behind(tls: Option<TlsAcceptor>, script: Script) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tls, log) = (tls.clone(), log.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, &log, script).await };
                    let connect = request(&mut stream).await?;
                    log.lock().unwrap().push(connect);
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                    serve(tls.accept(stream).await.ok()?, &log, script).await
                });
            }
        });
        Fake { port, heard }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: &Mutex<Vec<Heard>>, script: Script) -> Option<()> {
    let heard = request(&mut stream).await?;
    let Answer(status, headers, body) = script(&heard);
    log.lock().unwrap().push(heard);
    let text = format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        if body.is_empty() { 0 } else { body.len() }
    );
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let text = String::from_utf8(bytes).ok()?;
    let (line, rest) = text.split_once("\r\n")?;
    let lower = |header: &str| {
        let (name, value) = header.split_once(": ").unwrap_or((header, ""));
        format!("{}: {value}\n", name.to_ascii_lowercase())
    };
    let head = format!("{line}\n{}", rest.trim_end().split("\r\n").map(lower).collect::<String>());
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Heard { head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn place(endpoint: String) -> Place {
    Place {
        bucket: "backups".into(),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        path_style: true,
        checksums: true,
        ..Place::default()
    }
}

fn keys() -> Keys {
    Keys { id: "AKIASTATIC".into(), secret: "canary".into(), session_token: None }
}

/// A store that encrypts what it is asked to.
fn encrypting(heard: &Heard) -> Answer {
    let encrypted = heard.head.contains("x-amz-server-side-encryption: aws:kms\n");
    let headers =
        if encrypted { "etag: \"e\"\r\nx-amz-server-side-encryption: aws:kms\r\n" } else { "etag: \"e\"\r\n" };
    let xml = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let body = if heard.head.contains("?uploads") { xml.to_owned() } else { String::new() };
    Answer(200, headers, body)
}

/// A store that has never heard of encryption.
fn heedless(_: &Heard) -> Answer {
    Answer(
        200,
        "etag: \"e\"\r\n",
        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".into(),
    )
}

#[tokio::test]
async fn every_write_asks_for_class_key_and_checksum() {
    let store = Fake::start(encrypting).await;
    let wanted = Place {
        storage_class: Some("STANDARD_IA".into()),
        encryption: Some(Encryption::Kms(Some("key-1".into()))),
        ..place(store.url())
    };
    let bucket = Bucket::open(&wanted, Some(&keys()), None).unwrap();
    let key = Key::probe("x");
    bucket.put(&key, "x".into()).await.unwrap();
    bucket.create(&key, "x".into()).await.unwrap();
    let mut large = bucket.writer(&key, 11 << 20).await.unwrap();
    large.write(Bytes::from(vec![0; 11 << 20])).await.unwrap();
    // The end of the upload is not what is tried here.
    large.abort().await;
    let asked = [
        "x-amz-storage-class: STANDARD_IA\n",
        "x-amz-server-side-encryption: aws:kms\n",
        "x-amz-server-side-encryption-aws-kms-key-id: key-1\n",
    ];
    let heard = store.heard();
    let whole: Vec<_> = heard.iter().filter(|h| h.head.starts_with("PUT") && !h.head.contains("partNumber")).collect();
    let begun: Vec<_> = heard.iter().filter(|h| h.head.starts_with("POST") && h.head.contains("?uploads")).collect();
    assert_eq!((whole.len(), begun.len()), (2, 1), "{heard:?}");
    for write in whole.iter().chain(&begun) {
        assert!(asked.iter().all(|line| write.head.contains(line)), "{}", write.head);
    }
    assert!(whole.iter().all(|write| write.head.contains("x-amz-checksum-crc32c: ")), "{whole:?}");
}

#[tokio::test]
async fn a_store_that_only_seems_to_encrypt_is_refused() {
    let store = Fake::start(heedless).await;
    let wanted = Place { encryption: Some(Encryption::Aes256), ..place(store.url()) };
    let bucket = Bucket::open(&wanted, Some(&keys()), None).unwrap();
    let key = Key::probe("x");
    let mut large = bucket.writer(&key, 11 << 20).await.unwrap();
    let begun = large.write(Bytes::from(vec![0; 11 << 20])).await;
    let begun = match begun {
        Ok(()) => large.close().await,
        Err(e) => Err(e),
    };
    for outcome in [bucket.put(&key, "x".into()).await, bucket.create(&key, "x".into()).await, begun] {
        let e = outcome.unwrap_err();
        assert_eq!((e.problem, e.temporary), (Problem::Setting, false), "{e}");
        assert!(e.to_string().contains("without encrypting"), "{e}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    static ELSEWHERE: Mutex<String> = Mutex::new(String::new());
    fn redirecting(_: &Heard) -> Answer {
        Answer(307, ELSEWHERE.lock().unwrap().clone().leak(), String::new())
    }
    let elsewhere = Fake::start(heedless).await;
    *ELSEWHERE.lock().unwrap() = format!("location: {}/backups/x\r\n", elsewhere.url());
    let store = Fake::start(redirecting).await;
    let bucket = Bucket::open(&place(store.url()), Some(&keys()), None).unwrap();
    let e = bucket.put(&Key::probe("x"), "x".into()).await.unwrap_err();
    assert_eq!(e.problem, Problem::Region, "{e}");
    assert!(elsewhere.heard().is_empty(), "{:?}", elsewhere.heard());
}

// ---- identities. Clients find them in the environment, which a process cannot change safely while it runs: each is
// tried by a process of its own.

#[tokio::test]
#[ignore = "the others start it, each with an environment of its own"]
async fn child() {
    let endpoint = std::env::var("TRY_STORE").unwrap();
    let wanted = Place { role_arn: std::env::var("TRY_ROLE").ok(), ..place(endpoint) };
    let keys = std::env::var("TRY_KEYS").is_ok().then(keys);
    let outcome = Bucket::open(&wanted, keys.as_ref(), None).unwrap().put(&Key::probe("x"), "x".into()).await;
    println!("outcome: {:?}", outcome.map_err(|e| (e.problem, e.to_string())));
}

const TOKEN: &str = "token-of-the-pod";
const ROLE: &str = "arn:aws:iam::123456789012:role/backups";

/// What vouches for us: AWS' token service, or an agent on the node.
fn vouching(heard: &Heard) -> Answer {
    let asked = format!("{}{}", heard.head, heard.body);
    let (id, secret, session) = ("ASIAVOUCHED00000", "vouched-secret", "vouched-session");
    let json = format!(
        r#"{{"Code": "Success", "AccessKeyId": "{id}", "SecretAccessKey": "{secret}", "Token": "{session}",
            "Expiration": "2099-01-01T00:00:00Z"}}"#
    );
    if asked.contains("/latest/api/token") {
        return Answer(200, "", "session-of-the-node".into());
    }
    if asked.contains("/security-credentials/ HTTP") {
        return Answer(200, "", "role-of-the-node".into());
    }
    let Some(action) = ["AssumeRoleWithWebIdentity", "AssumeRole"].into_iter().find(|a| asked.contains(a)) else {
        return Answer(200, "", json);
    };
    let credentials = format!(
        "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{session}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    );
    let xml = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{credentials}\
         <AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser>\
         </{action}Result></{action}Response>"
    );
    Answer(200, "content-type: text/xml\r\n", xml)
}

/// AWS' token service behind a proxy, and the file of the authority that its certificate is from.
async fn token_service(folder: &std::path::Path) -> (Fake, String) {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["sts.us-east-1.amazonaws.com".into()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let file = folder.join("authority.pem");
    std::fs::write(&file, root.pem()).unwrap();
    (Fake::behind(Some(TlsAcceptor::from(Arc::new(config))), vouching).await, file.display().to_string())
}

/// Lets a process with this environment and no other write to the store; gives its outcome.
async fn attempt(store: &Fake, environment: &[(&str, String)]) -> String {
    let environment: BTreeMap<&str, String> = environment.iter().cloned().collect();
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child", "--ignored", "--nocapture"]).env_clear().envs(environment);
    child.env("TRY_STORE", store.url()).env("NO_PROXY", "127.0.0.1");
    let output = child.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = said.lines().find_map(|line| line.split_once("outcome: ")).map(|(_, outcome)| outcome.to_owned());
    outcome.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The store was written to with these credentials and no others.
fn written_by(store: &Fake, id: &str) {
    let heard = store.heard();
    assert!(!heard.is_empty());
    for Heard { head, .. } in heard {
        assert!(head.contains(&format!("Credential={id}/")), "{head}");
        assert_eq!(head.contains("x-amz-security-token: vouched-session\n"), id == "ASIAVOUCHED00000", "{head}");
    }
}

fn web_identity(folder: &std::path::Path, proxy: &Fake, authority: String) -> Vec<(&'static str, String)> {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    vec![
        ("AWS_ROLE_ARN", ROLE.into()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional".into()),
        ("HTTPS_PROXY", proxy.url()),
        ("SSL_CERT_FILE", authority),
    ]
}

#[tokio::test]
async fn the_pods_token_is_exchanged_for_a_role() {
    let folder = tempfile::tempdir().unwrap();
    let (sts, authority) = token_service(folder.path()).await;
    let store = Fake::start(encrypting).await;
    assert_eq!(attempt(&store, &web_identity(folder.path(), &sts, authority)).await, "Ok(())");
    let asked = sts.heard();
    let exchange = asked.iter().find(|h| h.body.contains("AssumeRoleWithWebIdentity")).unwrap();
    assert!(exchange.body.contains(TOKEN) && exchange.body.contains("role%2Fbackups"), "{exchange:?}");
    written_by(&store, "ASIAVOUCHED00000");
}

#[tokio::test]
async fn a_role_is_assumed_with_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (sts, authority) = token_service(folder.path()).await;
    let store = Fake::start(encrypting).await;
    let environment = [
        ("TRY_ROLE", ROLE.into()),
        ("TRY_KEYS", "yes".into()),
        ("HTTPS_PROXY", sts.url()),
        ("SSL_CERT_FILE", authority),
    ];
    let outcome = attempt(&store, &environment).await;
    let asked = sts.heard();
    assert_eq!(outcome, "Ok(())", "{asked:?}");
    let exchange = asked.iter().find(|h| h.head.contains("Credential=AKIASTATIC/")).unwrap();
    assert!(format!("{}{}", exchange.head, exchange.body).contains("Action=AssumeRole&"), "{exchange:?}");
    written_by(&store, "ASIAVOUCHED00000");
}

#[rstest]
#[case::pod_identity("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v1/credentials", "authorization: token-of-the-pod\n")]
#[case::node("AWS_EC2_METADATA_SERVICE_ENDPOINT", "", "x-aws-ec2-metadata-token: session-of-the-node\n")]
#[tokio::test]
async fn an_agent_vouches_for_us(#[case] variable: &'static str, #[case] path: &str, #[case] proof: &str) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let (agent, store) = (Fake::start(vouching).await, Fake::start(encrypting).await);
    let environment =
        [(variable, agent.url() + path), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.display().to_string())];
    assert_eq!(attempt(&store, &environment).await, "Ok(())");
    assert!(agent.heard().iter().any(|h| h.head.contains(proof)), "{:?}", agent.heard());
    written_by(&store, "ASIAVOUCHED00000");
}

#[tokio::test]
async fn keys_silence_every_other_identity() {
    let folder = tempfile::tempdir().unwrap();
    let (sts, authority) = token_service(folder.path()).await;
    let (agent, store) = (Fake::start(vouching).await, Fake::start(encrypting).await);
    let mut environment = web_identity(folder.path(), &sts, authority);
    environment.push(("AWS_ACCESS_KEY_ID", "AKIAOTHER".into()));
    environment.push(("AWS_SECRET_ACCESS_KEY", "other".into()));
    environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", agent.url()));
    environment.push(("TRY_KEYS", "yes".into()));
    assert_eq!(attempt(&store, &environment).await, "Ok(())");
    assert!(sts.heard().is_empty() && agent.heard().is_empty());
    written_by(&store, "AKIASTATIC");
}

#[rstest]
#[case::not_asked("AWS_EC2_METADATA_DISABLED", "true")]
#[case::not_there("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]
#[tokio::test]
async fn nobody_vouches_and_nothing_is_sent(#[case] variable: &'static str, #[case] value: &str) {
    let store = Fake::start(encrypting).await;
    let outcome = attempt(&store, &[(variable, value.into())]).await;
    assert!(outcome.contains("NoCredentials"), "{outcome}");
    assert!(store.heard().is_empty(), "an unsigned request was sent: {:?}", store.heard());
}
