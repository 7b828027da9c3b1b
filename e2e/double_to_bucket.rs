//! The `MatrixOne` double writes its backups to a real S3 server, and says of one what was recorded.

use anyhow::{Context as _, ensure};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};

use crate::{
    harness::{
        rig::Rig,
        s3::{ACCESS_KEY, Kind, REGION, S3, SECRET_KEY},
        trial::Test,
    },
    simulator::{Options, Simulator, Version},
    test,
};

pub fn tests() -> Vec<Test> {
    vec![test!(backup_to_versitygw), test!(backup_to_minio)]
}

async fn backup_to_versitygw(rig: &Rig) -> anyhow::Result<()> {
    backup(rig.s3(Kind::Versitygw).await?).await
}

async fn backup_to_minio(rig: &Rig) -> anyhow::Result<()> {
    backup(rig.s3(Kind::Minio).await?).await
}

async fn backup(s3: &S3) -> anyhow::Result<()> {
    s3.create_bucket("double").await?;
    for version in [Version::V1_2_4, Version::V4_2_0] {
        let simulator = Simulator::start(version, Options::default())?;
        let prefix = version.file().replace('.', "-");
        let say = |bucket: &str, secret: &str, prefix: &str| {
            let minio = match version {
                Version::V1_2_4 => ", 'is_minio'='true'",
                Version::V4_2_0 => "",
            };
            format!(
                "BACKUP 'x' S3OPTION {{'endpoint'='{}', 'region'='{REGION}', 'bucket'='{bucket}', 'filepath'='{prefix}', \
                 'access_key_id'='{ACCESS_KEY}', 'secret_access_key'='{secret}', 'parallelism'='4'{minio}}} TYPE 'full'",
                s3.endpoint()
            )
        };
        run(&simulator, &say("double", SECRET_KEY, &prefix)).await?.map_err(anyhow::Error::msg)?;
        let bucket = s3.bucket("double")?;
        let keys = bucket.list(&format!("{prefix}/")).await?;
        ensure!(keys.iter().any(|(key, _)| key.ends_with("mo_meta.sha256")), "no end of the backup: {keys:?}");
        // A bucket holds the content without blocks, whatever the version.
        let list = String::from_utf8(bucket.get(&format!("{prefix}/tae/tae_list")).await?)?;
        for line in list.lines() {
            let (path, rest) = line.split_once(',').context("no path")?;
            let size = rest.split(',').next().context("no size")?.parse()?;
            ensure!(keys.contains(&(format!("{prefix}/tae/{path}"), size)), "{line} is not there");
        }
        for (statement, expected) in [
            (say("double", SECRET_KEY, &prefix), "20406 file "),
            (say("double", "WRONGSECRET", "w"), "StatusCode: 403"),
            (say("nosuchbucket", SECRET_KEY, "b"), "api error NoSuchBucket: The specified bucket does not exist"),
        ] {
            let error = run(&simulator, &statement).await?.err().unwrap_or_default();
            ensure!(error.contains(expected), "{error:?} instead of {expected:?}");
        }
        ensure!(simulator.unknown().is_empty(), "{:?}", simulator.unknown());
    }
    Ok(())
}

/// Runs a statement; gives the error as `code text`.
async fn run(simulator: &Simulator, statement: &str) -> anyhow::Result<Result<(), String>> {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(simulator.port);
    let mut conn = Conn::new(options.user(Some("root")).pass(Some("111")).prefer_socket(false)).await?;
    match conn.query_drop(statement).await {
        Ok(()) => Ok(Ok(())),
        Err(mysql_async::Error::Server(e)) => Ok(Err(format!("{} {}", e.code, e.message))),
        Err(other) => Err(other.into()),
    }
}
