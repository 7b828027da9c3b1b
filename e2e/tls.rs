//! Encrypted ways to the store and to `MatrixOne`, with an authority of one's own, and what the store encrypts itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mo_backup::store::{Bucket, Encryption, Key, Objects as _, Place, Problem, conformance::conformance};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::authority::Authority;
use crate::harness::matrixone::MatrixOne;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{KMS_KEY, Kind, Options, S3};
use crate::harness::trial::Test;
use crate::scene::{Scene, completed, condition, failed, keys, merge, place, s3_spec, secret, staged};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test!(store_of_a_private_authority),
        test!(versitygw_is_trusted_for_its_certificate),
        test!(minio_is_trusted_for_its_certificate),
        test!(minio_encrypts_and_files_by_class),
        test!(versitygw_that_does_not_encrypt_is_refused),
        test!(server_of_a_private_authority),
    ]
}

async fn versitygw_is_trusted_for_its_certificate(_: &Rig) -> anyhow::Result<()> {
    trusted_for_its_certificate(Kind::Versitygw).await
}

async fn minio_is_trusted_for_its_certificate(_: &Rig) -> anyhow::Result<()> {
    trusted_for_its_certificate(Kind::Minio).await
}

async fn trusted_for_its_certificate(kind: Kind) -> anyhow::Result<()> {
    let (ours, other) = (Authority::found()?, Authority::found()?);
    let of = |certificate| Options { certificate: Some(certificate), ..Options::default() };
    let good = S3::start_with(kind, of(ours.certify("127.0.0.1")?)).await?;
    good.create_bucket("private").await?;
    let both = format!("{}{}", other.pem, ours.pem);
    for authorities in [&ours.pem, &both] {
        let open = |bucket| Bucket::open(&place(&good, bucket), Some(&keys()), Some(authorities.as_bytes()));
        conformance(&open("private")?, &open("never-made")?).await.map_err(anyhow::Error::msg)?;
    }
    let misnamed = S3::start_with(kind, of(ours.certify("s3.example.com")?)).await?;
    let expired = S3::start_with(kind, of(ours.certify_expired("127.0.0.1")?)).await?;
    for (what, server, authority) in [
        ("the image's authorities", &good, None),
        ("another authority", &good, Some(&other)),
        ("a certificate for another name", &misnamed, Some(&ours)),
        ("an expired certificate", &expired, Some(&ours)),
    ] {
        let bucket = Bucket::open(&place(server, "private"), Some(&keys()), authority.map(|a| a.pem.as_bytes()))?;
        let e = bucket.put(&Key::probe("x"), "x".into()).await.err().with_context(|| format!("{what} is believed"))?;
        ensure!(e.problem == Problem::Tls && !e.temporary, "{what}: {:?}: {e}", e.problem);
        ensure!(!e.to_string().contains("127.0.0.1"), "{what}: {e}");
    }
    Ok(())
}

async fn store_of_a_private_authority(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "private", Kind::Versitygw).await?;
    let Scene { namespace, .. } = &scene;
    let (ours, other) = (Authority::found()?, Authority::found()?);
    let options = Options { certificate: Some(ours.certify("127.0.0.1")?), ..Options::default() };
    let s3 = S3::start_with(Kind::Versitygw, options).await?;
    s3.create_bucket(&namespace.name).await?;
    secret(namespace, "ours", &[("ca.crt", &ours.pem)]).await?;
    secret(namespace, "other", &[("bundle.pem", &other.pem)]).await?;
    secret(namespace, "rubbish", &[("ca.crt", "rubbish")]).await?;
    let plain = s3.endpoint().replace("https:", "http:");
    let cases = [
        ("trusted", json!({"caSecret": {"name": "ours"}}), "StorageReady"),
        ("no-authority", json!({}), "StorageTlsUntrusted"),
        ("other", json!({"caSecret": {"name": "other", "key": "bundle.pem"}}), "StorageTlsUntrusted"),
        ("rubbish", json!({"caSecret": {"name": "rubbish"}}), "StorageTlsUntrusted"),
        ("plain", json!({"endpoint": plain}), "StorageUnreachable"),
    ];
    for (name, patch, _) in &cases {
        storage(namespace, name, &s3, patch.clone()).await?;
    }
    for (name, _, reason) in &cases {
        says(namespace, name, reason).await?;
    }
    scene.back_up("encrypted", json!({"storage": "trusted", "type": "Full", "verify": "Full"})).await?;
    completed(namespace, "encrypted").await?;
    scene.namespace.delete().await
}

/// A BackupStorage in the bucket that is called as the namespace.
async fn storage(namespace: &Namespace<'_>, name: &str, s3: &S3, patch: Value) -> anyhow::Result<()> {
    let mut spec = s3_spec(&s3.endpoint(), &namespace.name);
    merge(&mut spec, patch);
    merge(&mut spec, json!({"prefix": name}));
    let storage = json!({"apiVersion": "mo-backup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": name}, "spec": {"type": "S3", "s3": spec}});
    namespace.apply(&storage.to_string()).await.map(drop)
}

/// Waits until the BackupStorage is ready, or is not, for this reason.
async fn says(namespace: &Namespace<'_>, name: &str, reason: &str) -> anyhow::Result<()> {
    let seen = Mutex::new(String::new());
    let look = || async {
        let storage: mo_backup::api::BackupStorage = namespace.api().get(name).await?;
        let (_, why, message) = condition(storage.status.as_ref().map(|s| &s.run.conditions), "Ready");
        *seen.lock().expect("seen") = format!("{why}: {message}");
        Ok((why == reason).then_some(message))
    };
    let message =
        namespace.until(&format!("BackupStorage {name} to say {reason}"), Duration::from_secs(120), look).await;
    let message = message.with_context(|| format!("it says {}", seen.lock().expect("seen")))?;
    let remedy = mo_backup::api::Reason::parse(reason).context("no such reason")?.remedy();
    ensure!(reason == "StorageReady" || message.contains(remedy), "{name} does not say what to do: {message}");
    Ok(())
}

async fn minio_encrypts_and_files_by_class(rig: &Rig) -> anyhow::Result<()> {
    let able = S3::start_with(Kind::Minio, Options { kms: true, ..Options::default() }).await?;
    able.create_bucket("encrypted").await?;
    let at = |place: Place| Bucket::open(&place, Some(&keys()), None);
    let encrypted = |server: &S3, encryption| at(Place { encryption: Some(encryption), ..place(server, "encrypted") });
    let nowhere = at(place(&able, "never-made"))?;
    for encryption in [Encryption::Aes256, Encryption::Kms(None), Encryption::Kms(Some(KMS_KEY.into()))] {
        let said = format!("{encryption:?}");
        let outcome = conformance(&encrypted(&able, encryption)?, &nowhere).await;
        outcome.map_err(|e| anyhow::Error::msg(format!("{said}: {e}")))?;
    }
    let unable = rig.s3(Kind::Minio).await?;
    unable.create_bucket("encrypted").await?;
    let class = |class: &str| at(Place { storage_class: Some(class.into()), ..place(&able, "encrypted") });
    class("REDUCED_REDUNDANCY")?.put(&Key::probe("x"), "x".into()).await?;
    for (what, bucket) in [
        ("a key that is not there", encrypted(&able, Encryption::Kms(Some("no-such-key".into())))?),
        ("no key service", encrypted(unable, Encryption::Aes256)?),
        ("a class that it does not have", class("STANDARD_IA")?),
    ] {
        let e = bucket.put(&Key::probe("x"), "x".into()).await.err().with_context(|| format!("{what} is fine"))?;
        ensure!(e.problem == Problem::Setting && !e.temporary, "{what}: {:?}: {e}", e.problem);
    }
    Ok(())
}

async fn versitygw_that_does_not_encrypt_is_refused(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let s3 = rig.s3(Kind::Versitygw).await?;
    let namespace = Namespace::create(rig.cluster().await?, "encrypt").await?;
    crate::scene::secrets(&namespace).await?;
    s3.create_bucket(&namespace.name).await?;
    storage(&namespace, "encrypted", s3, json!({"serverSideEncryption": {"type": "AES256"}})).await?;
    says(&namespace, "encrypted", "StorageSettingRefused").await?;
    storage(&namespace, "filed", s3, json!({"storageClass": "STANDARD_IA"})).await?;
    says(&namespace, "filed", "StorageReady").await?;
    namespace.delete().await
}

/// What clients have sent to a server, as bytes. The first wish for TLS reaches the server in one piece with what begins
/// it, as on a busy machine, and a server can lose the latter then; every later one is well apart.
struct Tap {
    port: u16,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    sent: Mutex<Vec<u8>>,
    merged: AtomicBool,
}

/// Length of a wish for TLS, its header included.
const WISH: usize = 36;

impl Tap {
    async fn before(server: u16) -> anyhow::Result<Tap> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let log = Arc::new(Log::default());
        let known = log.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let log = known.clone();
                tokio::spawn(async move { drop(copy(client, server, &log).await) });
            }
        });
        Ok(Tap { port, log })
    }

    /// Whether a statement could be read on the way.
    fn readable(&self) -> bool {
        let sent = self.log.sent.lock().expect("sent");
        sent.windows(7).any(|word| word.eq_ignore_ascii_case(b"backup "))
    }
}

async fn copy(client: TcpStream, server: u16, log: &Log) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let forward = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let mut length = from_client.read(&mut bytes).await?;
            if length == 0 {
                return Ok(());
            }
            let mut begin = 0;
            if bytes.starts_with(&[32, 0, 0, 1]) && length >= WISH {
                if log.merged.swap(true, Ordering::SeqCst) {
                    to_server.write_all(&bytes[..WISH]).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    begin = WISH;
                } else if length == WISH {
                    length += from_client.read(&mut bytes[length..]).await?;
                }
            }
            log.sent.lock().expect("sent").extend_from_slice(&bytes[..length]);
            to_server.write_all(&bytes[begin..length]).await?;
            bytes[..WISH].fill(0);
        }
    };
    tokio::select! {
        end = forward => end,
        end = tokio::io::copy(&mut from_server, &mut to_client) => end.map(drop),
    }
}

async fn server_of_a_private_authority(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "sql-tls", Kind::Versitygw).await?;
    let Scene { namespace, .. } = &scene;
    let (ours, other) = (Authority::found()?, Authority::found()?);
    let server = MatrixOne::start_encrypted(&ours.certify("mo.example.com")?).await?;
    let folder = server.shared_folder("tls")?;
    crate::scene::claim(namespace, "tls", &folder).await?;
    secret(namespace, "ours", &[("ca.crt", &ours.pem)]).await?;
    secret(namespace, "other", &[("ca.crt", &other.pem)]).await?;
    let named = |mode: &str, ca: &str, name: &str| json!({"mode": mode, "caSecret": {"name": ca}, "serverName": name});
    let right = "mo.example.com";
    let back_up = async |name: &str, port: u16, tls: Value| {
        let mut backup = staged(name, &server, &folder, json!({"type": "Full", "retry": {"limit": 0}}));
        merge(&mut backup["spec"], json!({"cluster": {"address": {"port": port}, "tls": tls}}));
        merge(&mut backup["spec"], json!({"staging": {"volume": {"claim": "tls"}}}));
        namespace.apply(&backup.to_string()).await.map(drop)
    };
    let refusals = [
        ("no-authority", server.port(), json!({"mode": "Required"}), "ServerTlsUntrusted"),
        ("other-authority", server.port(), named("Required", "other", right), "ServerTlsUntrusted"),
        ("other-name", server.port(), named("Required", "ours", "db.example.com"), "ServerTlsUntrusted"),
        ("preferred-and-wrong", server.port(), named("Preferred", "other", right), "ServerTlsUntrusted"),
        ("no-tls", scene.matrixone.port(), named("Required", "ours", right), "ServerTlsUnavailable"),
    ];
    for (name, port, tls, _) in &refusals {
        back_up(name, *port, tls.clone()).await?;
    }
    for (name, _, _, reason) in &refusals {
        let message = failed(namespace, name, reason).await?;
        let remedy = mo_backup::api::Reason::parse(reason).context("no such reason")?.remedy();
        ensure!(message.contains(remedy), "{name} does not say what to do: {message}");
    }
    let backups = [
        ("required", named("Required", "ours", right), false),
        ("preferred", json!({"mode": "Preferred"}), false),
        ("disabled", json!({"mode": "Disabled"}), true),
    ];
    for (name, tls, readable) in backups {
        let tap = Tap::before(server.port()).await?;
        back_up(name, tap.port, tls).await?;
        completed(namespace, name).await?;
        ensure!(tap.log.merged.load(Ordering::SeqCst) != readable, "{name}: TLS was not begun as the mode says");
        ensure!(tap.readable() == readable, "{name}: the statements were readable on their way: {}", !readable);
    }
    scene.namespace.delete().await
}
