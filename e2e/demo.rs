//! `make demo`: a Kubernetes cluster, an S3 server and a `MatrixOne` on this machine, and a backup made with them.

#[allow(dead_code, reason = "the rig offers more than any one target uses")]
mod harness;

use std::time::Instant;

use harness::cluster::{Cluster, Options};
use harness::matrixone::MatrixOne;
use harness::s3::{Kind, S3};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = tell();
    demo.await?;
    println!("\nEverything that was started is stopped and removed again.");
    Ok(())
}

async fn tell() -> anyhow::Result<()> {
    let begin = Instant::now();
    let say = |text: &str| println!("[{:>5.1} s] {text}", begin.elapsed().as_secs_f32());
    say("starting Kubernetes (etcd, API server, controller manager, scheduler, one node) …");
    let cluster = Cluster::boot(Options::default()).await?;
    print!("{}", cluster.kubectl(&["get", "nodes"]).await?);
    say("starting an S3 server …");
    let s3 = S3::start(Kind::Versitygw).await?;
    s3.create_bucket("demo").await?;
    say(&format!("bucket demo at {}", s3.endpoint()));
    say("starting MatrixOne …");
    let matrixone = MatrixOne::start().await?;
    say(&format!("MatrixOne {} at 127.0.0.1:{}", matrixone.version, matrixone.port()));
    Ok(())
}
