//! The server: not there, not MatrixOne, or not for this user.

use std::time::Duration;

use anyhow::ensure;
use kube::ResourceExt as _;
use mo_backup::api::Backup;
use mo_backup::sql::Version;
use mo_backup::task::backup_id;
use serde_json::{Value, json};

use super::{evidence::refused, lasting};
use crate::harness::fault::{Fault, with_text};
use crate::harness::matrixone::MatrixOne;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::Kind;
use crate::scene::{Scene, files_below, merge, secret, staged};

/// Longer than any test.
const EVER: Duration = Duration::from_secs(3600);

pub(super) async fn what_a_server_refuses(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "refusals", Kind::Versitygw).await?;
    let Scene { namespace, matrixone, bucket, staging } = &scene;
    logins(namespace, matrixone).await?;
    // What workers say to the server passes here.
    let sql = MysqlProxy::before(matrixone.port()).await?;
    let hangs = MysqlProxy::before(matrixone.port()).await?;
    hangs.faults.arm_times(usize::MAX, with_text("current_account_name"), Fault::Stall(EVER), |_| {});
    let nobody = crate::harness::ports::reserve()?;
    let ports = Ports {
        nobody: nobody.first,
        silent: listener(Vec::new()).await?,
        other: listener(another_database()?).await?,
        hangs: hangs.port,
    };
    let cases = cases(&ports, matrixone.release()?);
    let apply = async |name: &str, patch: Value| {
        let through = json!({"cluster": {"address": {"port": sql.port}}, "retry": {"limit": 0}});
        let mut backup = staged(name, matrixone, staging, through);
        merge(&mut backup["spec"], patch);
        namespace.apply(&backup.to_string()).await
    };
    // Its place is known beforehand, and somebody else has put something there.
    apply("full-place", json!({"suspend": true})).await?;
    let place = backup_id(&namespace.api::<Backup>().get("full-place").await?)?;
    bucket.put(&format!("prod/data/{place}/1/tae/stray"), "somebody else's").await?;
    let before = lasting(bucket).await?;
    for (name, patch, _) in &cases {
        apply(name, patch.clone()).await?;
    }
    for (name, _, reason) in &cases {
        refused(namespace, &matrixone.version, name, reason).await?;
    }
    let after = lasting(bucket).await?;
    ensure!(after == before, "something was written to the bucket: {after:?}, before {before:?}");
    let left = files_below(staging)?;
    ensure!(left.is_empty(), "left in the staging folder: {left:?}");
    let said: Vec<_> = sql.faults.seen().into_iter().chain(hangs.faults.seen()).map(|seen| seen.text).collect();
    ensure!(said.iter().any(|text| text.contains("current_account_name")), "the workers did not come by the proxy");
    ensure!(!said.iter().any(|text| text.starts_with("BACKUP")), "a BACKUP was sent");
    none_runs(namespace, matrixone).await?;
    scene.namespace.delete().await
}

struct Ports {
    nobody: u16,
    silent: u16,
    other: u16,
    hangs: u16,
}

fn cases(ports: &Ports, release: Version) -> Vec<(&'static str, Value, &'static str)> {
    let login = |secret: &str| json!({"cluster": {"credentialsSecret": {"name": secret}}});
    let port = |port: u16| json!({"cluster": {"address": {"port": port}}});
    let mut cases = vec![
        ("wrong-password", login("wrong"), "LoginFailed"),
        ("no-such-user", login("stranger"), "LoginFailed"),
        ("tenant-account", login("tenant"), "NotSysAccount"),
        ("weak-role", login("weak"), "RoleTooWeak"),
        ("nobody-there", port(ports.nobody), "ServerUnreachable"),
        ("no-such-name", json!({"cluster": {"address": {"host": "no-such-host.invalid"}}}), "ServerUnreachable"),
        ("silent", port(ports.silent), "ServerUnreachable"),
        ("query-hangs", port(ports.hangs), "ServerUnreachable"),
        ("no-matrixone", port(ports.other), "NotMatrixOne"),
        ("no-base", json!({"type": "Incremental"}), "BaseNotUsable"),
        ("full-place", json!({"suspend": false}), "PrefixNotEmpty"),
    ];
    let direct = || json!({"staging": null, "method": "Direct"});
    if !release.writes_to_s3() {
        cases.push(("direct-to-s3", direct(), "MethodNotSupported"));
    } else if !release.hides_keys() {
        cases.push(("direct-to-s3", direct(), "KeysInSql"));
    }
    cases
}

/// Users that may not take a backup, and Secrets for them.
async fn logins(namespace: &Namespace<'_>, matrixone: &MatrixOne) -> anyhow::Result<()> {
    let name = format!("acc{}", namespace.name.replace('-', ""));
    let account = format!("create account {name} admin_name 'admin' identified by '111'");
    matrixone.execute(&[&account, &format!("create user {name} identified by '111'")]).await?;
    for (secret_name, user, password) in [
        ("wrong", "root".to_owned(), "not-it"),
        ("stranger", "nobody_at_all".to_owned(), "111"),
        ("tenant", format!("{name}#admin"), "111"),
        ("weak", name, "111"),
    ] {
        secret(namespace, secret_name, &[("username", &user), ("password", password)]).await?;
    }
    Ok(())
}

/// The server itself knows of no BACKUP of these objects.
async fn none_runs(namespace: &Namespace<'_>, matrixone: &MatrixOne) -> anyhow::Result<()> {
    let query = "select left(info, 80) from mo_catalog.mo_sessions where statement_type = 'Backup Start'";
    let running: Vec<String> = matrixone.sql(query).await?.into_iter().filter_map(|row| row.get(0)).collect();
    for backup in namespace.api::<Backup>().list(&kube::api::ListParams::default()).await? {
        let uid = backup.uid().unwrap_or_default();
        ensure!(!running.iter().any(|text| text.contains(&uid)), "a BACKUP of {} runs", backup.name_any());
    }
    Ok(())
}

/// A server that says this to everybody, and nothing more.
async fn listener(said: Vec<u8>) -> anyhow::Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &said).await;
            open.push(stream);
        }
    });
    Ok(port)
}

/// The greeting of a database that speaks the protocol and is no MatrixOne.
fn another_database() -> anyhow::Result<Vec<u8>> {
    let mut greeting = b"\x0a8.0.36\0\x07\0\0\0saltsalt\0\xff\xf7\x2e\x02\0\xff\xdf\x15".to_vec();
    greeting.extend([0; 10]);
    greeting.extend(b"saltsaltsalt\0mysql_native_password\0");
    let mut packet = vec![u8::try_from(greeting.len())?, 0, 0, 0];
    packet.extend(greeting);
    Ok(packet)
}
