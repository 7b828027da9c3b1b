//! What tests share: each part boots when the first test asks for it, and all go when the run is over.

use std::sync::Mutex;

use tokio::sync::OnceCell;

use super::cluster::{Cluster, Options};
use super::http_proxy::HttpProxy;
use super::matrixone::MatrixOne;
use super::product::{self, Product};
use super::s3::{Kind, S3};

/// A cluster with everything of the chart but the operator.
pub struct Bare {
    pub cluster: Cluster,
    /// Through which its Pods reach the API server.
    pub pods: HttpProxy,
}

impl Bare {
    pub async fn boot(options: Options) -> anyhow::Result<Bare> {
        let cluster = Cluster::boot(options).await?;
        product::ground(&cluster).await?;
        let pods = HttpProxy::before_api(&cluster).await?;
        cluster.nodes().iter().for_each(|node| node.set_api_port(pods.port));
        Ok(Bare { cluster, pods })
    }
}

#[derive(Default)]
pub struct Rig {
    product: OnceCell<Product>,
    cluster: OnceCell<Cluster>,
    bare: OnceCell<Bare>,
    versitygw: OnceCell<S3>,
    minio: OnceCell<S3>,
    matrixone: OnceCell<MatrixOne>,
    said: Mutex<Vec<String>>,
}

impl Rig {
    /// One node, default settings. A test that loses nodes or kills the control plane boots its own.
    pub async fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster.get_or_try_init(|| timed("Kubernetes", Cluster::boot(Options::default()))).await
    }

    /// Where tests run operators of their own, each for a namespace.
    pub async fn bare(&self) -> anyhow::Result<&Bare> {
        self.bare.get_or_try_init(|| timed("Kubernetes without an operator", Bare::boot(Options::default()))).await
    }

    /// The chart, installed into [`Rig::cluster`].
    pub async fn product(&self) -> anyhow::Result<&Product> {
        let cluster = self.cluster().await?;
        self.product.get_or_try_init(|| timed("the operator", Product::install(cluster))).await
    }

    pub async fn s3(&self, kind: Kind) -> anyhow::Result<&S3> {
        let cell = match kind {
            Kind::Versitygw => &self.versitygw,
            Kind::Minio => &self.minio,
        };
        cell.get_or_try_init(|| timed("S3", S3::start(kind))).await
    }

    /// Tests that share it work in databases of their own.
    pub async fn matrixone(&self) -> anyhow::Result<&MatrixOne> {
        let started = self.matrixone.get_or_try_init(|| timed("MatrixOne", MatrixOne::start())).await?;
        let line = format!("MatrixOne: {} ({})", started.version, super::matrixone::program()?.display());
        let mut said = self.said.lock().expect("said");
        if !said.contains(&line) {
            said.push(line);
        }
        Ok(started)
    }

    /// Lines for the end of the run.
    pub fn facts(&self) -> Vec<String> {
        self.said.lock().expect("said").clone()
    }
}

async fn timed<T>(what: &str, boot: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let begin = std::time::Instant::now();
    let booted = boot.await;
    if booted.is_ok() {
        eprintln!("[rig] {what} is up after {:.1} s", begin.elapsed().as_secs_f32());
    }
    booted
}
