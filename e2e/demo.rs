//! `make demo`: Kubernetes, an S3 server and a `MatrixOne` on this machine; the chart, a full and an incremental backup; and
//! the database, lost and brought back from the bucket.

#[allow(dead_code, reason = "the rig offers more than any one target uses")]
mod harness;
#[allow(dead_code, reason = "the tests set more scenes than the demo")]
mod scene;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::cluster::{Cluster, Options};
use harness::matrixone::{Empty, MatrixOne};
use harness::namespace::Namespace;
use harness::product::Product;
use harness::s3::{Bucket, Kind, S3};
use k8s_openapi::api::core::v1::ConfigMap;
use mo_backup::api::{Progress, Restore, RestorePhase, RestoreStatus};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = Demo { begin: Instant::now() };
    demo.tell().await?;
    println!("\nEverything that was started is stopped and removed again.");
    Ok(())
}

struct Demo {
    begin: Instant,
}

impl Demo {
    fn say(&self, text: &str) {
        println!("\n[{:>5.1} s] {text}", self.begin.elapsed().as_secs_f32());
    }

    async fn tell(&self) -> anyhow::Result<()> {
        self.say("starting Kubernetes (etcd, API server, controller manager, scheduler, one node), an S3 server and MatrixOne …");
        let cluster = Cluster::boot(Options::default());
        let (cluster, s3, matrixone) = tokio::try_join!(cluster, S3::start(Kind::Versitygw), MatrixOne::start())?;
        print!("{}", cluster.kubectl(&["get", "nodes"]).await?);
        println!("S3 at {}, MatrixOne {} at 127.0.0.1:{}", s3.endpoint(), matrixone.version, matrixone.port());

        self.say("helm install mo-backup charts/mo-backup");
        let _product = Product::install(&cluster).await?;
        print!("{}", cluster.kubectl(&["-n", harness::product::NAMESPACE, "get", "deployments"]).await?);

        let namespace = Namespace::create(&cluster, "demo").await?;
        let bucket = self.place(&namespace, &s3, &matrixone).await?;
        let rows = |from: u32, to: u32| {
            format!("insert into shop.orders select result, md5(result) from generate_series({from},{to}) g")
        };
        self.say("loading 100000 rows, and a full backup: kubectl apply -f examples/backup-full.yaml");
        let tables = ["create database shop", "create table shop.orders(id int primary key, note varchar(40))"];
        matrixone.execute(&tables).await?;
        matrixone.execute(&[&rows(1, 100_000)]).await?;
        self.back_up(&namespace, &matrixone, "backup-full.yaml").await?;

        self.say("5000 more rows, and type Auto: kubectl apply -f examples/backup-incremental.yaml");
        matrixone.execute(&[&rows(100_001, 105_000)]).await?;
        self.back_up(&namespace, &matrixone, "backup-incremental.yaml").await?;

        self.say("kubectl get backups -A -o wide");
        print!("{}", cluster.kubectl(&["get", "backups", "-A", "-o", "wide"]).await?);
        print!("{}", cluster.kubectl(&["get", "backupstorages", "-A"]).await?);
        show(&bucket).await?;

        let lost = sum(&matrixone).await?;
        self.say("MatrixOne is stopped, and its data is deleted");
        matrixone.stop().await;
        drop(matrixone);
        let back = self.restore(&namespace).await?;
        let found = sum(&back).await?;
        println!("rows and checksum of shop.orders: before {lost}, now {found}");
        ensure!(found == lost, "what came back is not what was backed up");
        back.stop().await;
        Ok(())
    }

    /// Restores the last backup into an empty volume, boots a new MatrixOne from it, and sees it proven.
    async fn restore(&self, namespace: &Namespace<'_>) -> anyhow::Result<MatrixOne> {
        self.say("an empty volume: kubectl apply -f examples/restore-to-volume.yaml");
        let empty = Empty::prepare()?;
        scene::claim(namespace, "matrixone-new", &empty.home()).await?;
        let address = json!({"host": "127.0.0.1", "port": empty.port()});
        let here = json!({"spec": {
            "source": {"backup": {"name": "daily-1"}}, "target": {"cluster": {"address": address}},
            "job": {"runAs": {"user": harness::matrixone::USER}}}});
        namespace.apply(&example("restore-to-volume.yaml", "Restore", here)?.to_string()).await?;
        let teller = Teller::new("to-volume");
        let waits = |s: &RestoreStatus| s.phase == Some(RestorePhase::WaitingForBoot) || s.run.end_time.is_some();
        followed(namespace, &teller, "to wait for MatrixOne", waits).await?;
        self.say("a new MatrixOne starts with the files of ConfigMap to-volume-boot");
        let map = namespace.api::<ConfigMap>().get("to-volume-boot").await?;
        let files = map.data.context("the ConfigMap holds nothing")?;
        print!("{}", files.get("README").map_or("", |text| text));
        let back = empty.boot(&files, &[]).await?;
        let status = followed(namespace, &teller, "to end", |s| s.run.end_time.is_some()).await?;
        print!("{}", namespace.kubectl(&["get", "restores", "-o", "wide"]).await?);
        let (complete, reason, message) = scene::condition(Some(&status.run.conditions), "Complete");
        println!("{reason}: {message}");
        ensure!(complete, "the new MatrixOne is not proven");
        Ok(back)
    }

    /// The BackupStorage of the examples, in a bucket of this machine's S3 server.
    async fn place(&self, namespace: &Namespace<'_>, s3: &S3, matrixone: &MatrixOne) -> anyhow::Result<Bucket> {
        self.say("a bucket and its BackupStorage: kubectl apply -f examples/backupstorage-s3.yaml");
        s3.create_bucket("demo").await?;
        scene::secrets(namespace).await?;
        scene::claim(namespace, "staging", &matrixone.shared_folder(&namespace.name)?).await?;
        let here = json!({"metadata": {"name": "store"}, "spec": {"s3": scene::s3_spec(&s3.endpoint(), "demo")}});
        namespace.apply(&example("backupstorage-s3.yaml", "BackupStorage", here)?.to_string()).await?;
        scene::storage_ready(namespace).await?;
        print!("{}", namespace.kubectl(&["get", "backupstorages"]).await?);
        s3.bucket("demo")
    }

    /// Applies an example with the addresses of this machine, and follows it to its end.
    async fn back_up(&self, namespace: &Namespace<'_>, matrixone: &MatrixOne, file: &str) -> anyhow::Result<()> {
        let folder = matrixone.shared_folder(&namespace.name)?;
        let user = json!({"job": {"runAs": {"user": harness::matrixone::USER}}});
        let mut here = scene::staged("", matrixone, &folder, user);
        here.as_object_mut().map(|object| object.remove("metadata"));
        let object = example(file, "Backup", here)?;
        let name = object["metadata"]["name"].as_str().context("the example has no name")?.to_string();
        namespace.apply(&object.to_string()).await?;
        let teller = Teller::new(&name);
        let over = || async {
            let status = scene::status(namespace, &name).await?;
            teller.tell(status.phase, status.progress.as_ref());
            Ok(status.run.end_time.is_some().then_some(()))
        };
        namespace.until("the end of the Backup", Duration::from_secs(300), over).await?;
        scene::completed(namespace, &name).await.map(drop)
    }
}

/// Tells how the Restore stands until it does what is expected of it.
async fn followed(
    namespace: &Namespace<'_>,
    teller: &Teller,
    what: &str,
    so: impl Fn(&RestoreStatus) -> bool,
) -> anyhow::Result<RestoreStatus> {
    let look = || async {
        let status = namespace.api::<Restore>().get("to-volume").await?.status.unwrap_or_default();
        teller.tell(status.phase, status.progress.as_ref());
        Ok(so(&status).then_some(status))
    };
    namespace.until(&format!("the Restore {what}"), Duration::from_secs(300), look).await
}

/// Prints how an object stands, when that has changed.
struct Teller {
    name: String,
    last: std::cell::RefCell<String>,
}

impl Teller {
    fn new(name: &str) -> Teller {
        Teller { name: name.to_string(), last: std::cell::RefCell::default() }
    }

    fn tell(&self, phase: Option<impl std::fmt::Debug>, progress: Option<&Progress>) {
        let progress = progress.map(|p| format!("{} {}", p.step, p.text)).unwrap_or_default();
        let phase = phase.map(|p| format!("{p:?}")).unwrap_or_default();
        let line = format!("{}: {phase} {progress}", self.name);
        if *self.last.borrow() != line {
            println!("          {line}");
            *self.last.borrow_mut() = line;
        }
    }
}

async fn sum(matrixone: &MatrixOne) -> anyhow::Result<String> {
    matrixone.value("select concat_ws(', ', count(*), sum(id * ascii(substring(note, 7, 1))), min(note), max(note)) from shop.orders").await
}

/// The object of this kind in an example, with the names and addresses of this machine.
fn example(file: &str, kind: &str, here: Value) -> anyhow::Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let documents = text.split("\n---\n").map(serde_saphyr::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let mut object =
        documents.into_iter().find(|d| d["kind"] == kind).with_context(|| format!("no {kind} in {file}"))?;
    object["metadata"].as_object_mut().map(|metadata| metadata.remove("namespace"));
    scene::merge(&mut object, here);
    Ok(object)
}

/// What lies in the bucket.
async fn show(bucket: &Bucket) -> anyhow::Result<()> {
    println!("\nIn the bucket:");
    let objects = bucket.list("").await?;
    let mut folders = std::collections::BTreeMap::<String, (u32, u64)>::new();
    for (key, size) in objects {
        let depth = if key.contains("/data/") { 4 } else { usize::MAX };
        let place = key.split('/').take(depth).collect::<Vec<_>>().join("/");
        let entry = folders.entry(place).or_default();
        entry.0 += 1;
        entry.1 += size;
    }
    for (place, (count, bytes)) in folders {
        println!("  {bytes:>10} bytes in {count:>4} object(s)  {place}");
    }
    Ok(())
}
