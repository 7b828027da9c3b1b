//! The store: not there, not for these keys, or not any more.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::evidence::{probed, refused};
use crate::harness::fault::Fault;
use crate::harness::http_proxy::HttpProxy;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{ACCESS_KEY, Kind, S3, SECRET_KEY};
use crate::scene::{Scene, apply_storage, files_below, is_ready, merge, s3_spec, secret, secrets, staged};

/// Longer than any test.
const EVER: Duration = Duration::from_secs(3600);

const WRONG: [(&str, [(&str, &str); 2]); 2] = [
    ("wrong-id", [("access_key_id", "nobody-at-all"), ("secret_access_key", SECRET_KEY)]),
    ("wrong-secret", [("access_key_id", ACCESS_KEY), ("secret_access_key", "wrong-secret")]),
];

/// Storages that cannot work from the start: the probe says why.
pub(super) async fn what_a_probe_refuses(rig: &Rig) -> anyhow::Result<()> {
    rig.product().await?;
    let namespace = Namespace::create(rig.cluster().await?, "bad-stores").await?;
    secrets(&namespace).await?;
    for (name, keys) in WRONG {
        secret(&namespace, name, &keys).await?;
    }
    let store = rig.s3(Kind::Versitygw).await?;
    store.create_bucket(&namespace.name).await?;
    let silent = silent(store).await?;
    let nobody = crate::harness::ports::reserve()?;
    let keys = |name: &str| json!({"credentialsSecret": {"name": name}});
    let nowhere = format!("{}-no-such-bucket", namespace.name);
    let cases = [
        ("no-bucket", json!({"bucket": nowhere}), "BucketNotFound"),
        ("wrong-id", keys("wrong-id"), "StorageCredentialsRejected"),
        ("wrong-secret", keys("wrong-secret"), "StorageCredentialsRejected"),
        ("wrong-region", json!({"region": "eu-west-9"}), "RegionMismatch"),
        ("nobody", json!({"endpoint": format!("http://127.0.0.1:{}", nobody.first)}), "StorageUnreachable"),
        ("no-such-name", json!({"endpoint": "http://no-such-host.invalid:9000"}), "StorageUnreachable"),
        ("no-tls", json!({"endpoint": store.endpoint().replace("http:", "https:")}), "StorageTlsUntrusted"),
        ("silent", json!({"endpoint": silent.endpoint()}), "StorageUnreachable"),
    ];
    for (name, patch, _) in &cases {
        let mut s3 = s3_spec(&store.endpoint(), &namespace.name);
        merge(&mut s3, patch.clone());
        apply_storage(&namespace, name, json!({"type": "S3", "s3": s3})).await?;
    }
    for (name, _, reason) in &cases {
        probed(&namespace, name, reason).await?;
    }
    let written = store.bucket(&namespace.name)?.list("").await?;
    ensure!(written.is_empty(), "something was written: {written:?}");
    ensure!(store.bucket(&nowhere)?.list("").await.is_err(), "the bucket that did not exist was made");
    namespace.delete().await
}

/// Storages that were ready, and what the worker of a Backup says when they are no more.
pub(super) async fn what_became_of_a_ready_storage(rig: &Rig) -> anyhow::Result<()> {
    let scene = Scene::set(rig, "lost-stores", Kind::Versitygw).await?;
    let Scene { namespace, matrixone, staging, bucket: _ } = &scene;
    let store = rig.s3(Kind::Versitygw).await?;
    let proxy = HttpProxy::before_s3(store).await?;
    let cases = [
        ("wrong-id", "StorageCredentialsRejected"),
        ("wrong-secret", "StorageCredentialsRejected"),
        ("gone", "BucketNotFound"),
        ("silent", "StorageUnreachable"),
    ];
    let bucket = |case: &str| format!("{}-{case}", namespace.name);
    for (case, _) in cases {
        secret(namespace, case, &[("access_key_id", ACCESS_KEY), ("secret_access_key", SECRET_KEY)]).await?;
        store.create_bucket(&bucket(case)).await?;
        let endpoint = if case == "silent" { proxy.endpoint() } else { store.endpoint() };
        let mut s3 = s3_spec(&endpoint, &bucket(case));
        merge(&mut s3, json!({"credentialsSecret": {"name": case}}));
        apply_storage(namespace, case, json!({"type": "S3", "s3": s3})).await?;
    }
    for (case, _) in cases {
        is_ready(namespace, case).await?;
    }
    for (name, keys) in WRONG {
        secret(namespace, name, &keys).await?;
    }
    store.delete_bucket(&bucket("gone")).await?;
    proxy.faults.arm_times(usize::MAX, |_| true, Fault::Stall(EVER), |_| {});
    let sql = MysqlProxy::before(matrixone.port()).await?;
    for (case, _) in cases {
        let patch: Value = json!({"storage": case, "cluster": {"address": {"port": sql.port}}, "retry": {"limit": 0}});
        namespace.apply(&staged(case, matrixone, staging, patch).to_string()).await?;
    }
    for (case, reason) in cases {
        refused(namespace, &matrixone.version, case, reason).await?;
    }
    for case in ["wrong-id", "wrong-secret", "silent"] {
        let found = store.bucket(&bucket(case))?.list("").await?;
        ensure!(found.len() == 1 && found[0].0 == "prod/mo-backup.json", "{case}: there is {found:?}");
    }
    ensure!(store.bucket(&bucket("gone"))?.list("").await.is_err(), "the bucket that was deleted is back");
    let left = files_below(staging)?;
    ensure!(left.is_empty(), "left in the staging folder: {left:?}");
    // It is looked for a running BACKUP, and what a killed worker may have left held is released. Nothing else is sent.
    const SENT: [&str; 3] =
        ["SELECT @@max_allowed_packet", "select conn_id, left(info", "select mo_ctl('dn', 'DiskCleaner', 'remove_"];
    let is_other = |text: &str| !SENT.iter().any(|sent| text.starts_with(sent));
    let others: Vec<_> = sql.faults.seen().into_iter().filter(|seen| is_other(&seen.text)).collect();
    ensure!(others.is_empty(), "MatrixOne was asked: {others:?}");
    scene.namespace.delete().await
}

/// A way to the store on which no request arrives.
async fn silent(store: &S3) -> anyhow::Result<HttpProxy> {
    let proxy = HttpProxy::before_s3(store).await?;
    proxy.faults.arm_times(usize::MAX, |_| true, Fault::Stall(EVER), |_| {});
    Ok(proxy)
}
