//! The fault proxies of the rig: what they are asked to break breaks, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use mysql_async::prelude::Queryable as _;

use crate::harness::fault::{Fault, Kind, Seen, nth, with_text};
use crate::harness::http_proxy::HttpProxy;
use crate::harness::mysql_proxy::MysqlProxy;
use crate::harness::namespace::Namespace;
use crate::harness::rig::Rig;
use crate::harness::s3::{Bucket, Kind as Server};
use crate::harness::trial::Test;
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test!(api_requests_break), test!(pods_pass_the_proxy), test!(s3_requests_break), test!(statements_break)]
}

/// A hook that counts how often it ran.
fn counting(count: &Arc<AtomicUsize>) -> impl Fn(&Seen) + Send + Sync + use<> {
    let count = count.clone();
    move |_: &Seen| {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

async fn api_requests_break(rig: &Rig) -> anyhow::Result<()> {
    let namespace = Namespace::create(rig.cluster().await?, "faults").await?;
    let proxy = HttpProxy::before_api(namespace.cluster).await?;
    let kubeconfig = Kubeconfig::read_from(proxy.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config)?, &namespace.name);
    let struck = Arc::new(AtomicUsize::new(0));
    proxy.faults.arm(nth(Kind::Write, 0), Fault::Drop, counting(&struck));
    proxy.faults.arm(nth(Kind::Write, 1), Fault::Swallow, counting(&struck));
    let map = |name: &str| {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_string());
        map
    };
    let create = PostParams::default();
    ensure!(maps.create(&create, &map("dropped")).await.is_err(), "the first write must not arrive");
    ensure!(maps.create(&create, &map("swallowed")).await.is_err(), "the reply to the second must be lost");
    ensure!(struck.load(Ordering::SeqCst) == 2, "both hooks run");
    maps.create(&create, &map("created")).await?;
    let names: Vec<_> =
        maps.list(&ListParams::default()).await?.into_iter().filter_map(|map| map.metadata.name).collect();
    ensure!(names == ["created", "kube-root-ca.crt", "swallowed"], "there is {names:?}");
    ensure!(proxy.faults.count(Kind::Write) == 3 && proxy.faults.count(Kind::Read) == 1, "counted wrongly");
    namespace.delete().await
}

/// A Pod with plain in-cluster configuration reaches the API server through the proxy without noticing.
async fn pods_pass_the_proxy(rig: &Rig) -> anyhow::Result<()> {
    let cluster = rig.cluster().await?;
    let namespace = Namespace::create(cluster, "through").await?;
    let proxy = HttpProxy::before_api(cluster).await?;
    let script = "d=/var/run/secrets/kubernetes.io/serviceaccount; exec curl -sS --noproxy '*' --cacert $d/ca.crt \
                  -H \"Authorization: Bearer $(cat $d/token)\" \
                  https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/through.test/v1";
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asks"},
        "spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "localhost/machine:dev", "command": ["sh", "-c", script],
             "env": [{"name": "KUBERNETES_SERVICE_PORT", "value": proxy.port.to_string()}]}]},
    });
    namespace.apply(&pod.to_string()).await?;
    let pods: Api<Pod> = namespace.api();
    namespace
        .until("the Pod to end", Duration::from_secs(60), || async {
            let phase = pods.get("asks").await?.status.and_then(|status| status.phase);
            Ok(phase.filter(|phase| phase != "Pending" && phase != "Running"))
        })
        .await?;
    let said = cluster.logs(&namespace.name, "asks");
    ensure!(said.contains("404") || said.contains("forbidden"), "the Pod was told {said:?}");
    let asked = proxy.faults.seen().iter().any(|seen| seen.text == "GET /apis/through.test/v1");
    ensure!(asked, "the proxy saw {:?}", proxy.faults.seen());
    namespace.delete().await
}

async fn s3_requests_break(rig: &Rig) -> anyhow::Result<()> {
    let s3 = rig.s3(Server::Versitygw).await?;
    s3.create_bucket("faults").await?;
    let proxy = HttpProxy::before_s3(s3).await?;
    let (direct, broken) = (s3.bucket("faults")?, Bucket::at(&proxy.endpoint(), "faults")?);
    broken.put("whole", vec![7; 3_000_000]).await?;
    ensure!(direct.get("whole").await? == vec![7; 3_000_000], "the proxy changed the bytes");
    let struck = Arc::new(AtomicUsize::new(0));
    proxy.faults.arm(with_text("PUT /faults/swallowed"), Fault::Swallow, counting(&struck));
    ensure!(broken.put("swallowed", vec![1]).await.is_err(), "the reply must be lost");
    ensure!(struck.load(Ordering::SeqCst) == 1 && direct.get("swallowed").await? == [1], "it must have arrived");
    proxy.faults.arm(with_text("PUT /faults/dropped"), Fault::Drop, |_| {});
    ensure!(broken.put("dropped", vec![1]).await.is_err(), "it must not arrive");
    ensure!(direct.get("dropped").await.is_err(), "it arrived");
    let slow = "<Error><Code>SlowDown</Code></Error>".to_string();
    proxy.faults.arm(with_text("PUT /faults/slow"), Fault::Answer(503, slow), |_| {});
    ensure!(broken.put("slow", vec![1]).await.is_err_and(|error| format!("{error:#}").contains("SlowDown")), "no 503");
    proxy.faults.arm(with_text("GET /faults/whole"), Fault::FlipReply, |_| {});
    let flipped = broken.get("whole").await?;
    ensure!(flipped.last() == Some(&6) && flipped.len() == 3_000_000, "the reply came through unchanged");
    Ok(())
}

async fn statements_break(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = rig.matrixone().await?;
    matrixone.execute(&["create database faults", "create table faults.t (a int)"]).await?;
    let proxy = MysqlProxy::before(matrixone.port()).await?;
    for (fault, arrives) in [(Fault::Drop, "0"), (Fault::Swallow, "1"), (Fault::After, "2")] {
        let mut connection = matrixone.connect_through(proxy.port).await?;
        let struck = Arc::new(AtomicUsize::new(0));
        proxy.faults.arm(with_text("insert into faults.t"), fault.clone(), counting(&struck));
        let told = connection.query_drop("insert into faults.t values (1)").await;
        ensure!(told.is_ok() == (fault == Fault::After), "{fault:?}: the client was told {told:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        ensure!(struck.load(Ordering::SeqCst) == 1, "{fault:?}: the hook did not run");
        let rows = matrixone.value("select count(*) from faults.t").await?;
        ensure!(rows == arrives, "{fault:?}: there are {rows} rows");
    }
    matrixone.execute(&["drop database faults"]).await
}
