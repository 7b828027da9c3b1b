//! Command lines that are killed beside removals, on real stores: whatever the list shows afterwards is whole.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};

use crate::crash::trace::Dice;
use crate::harness::fault::{Fault, Gate, Kind as Of};
use crate::harness::http_proxy::HttpProxy;
use crate::harness::matrixone::{MatrixOne, PASSWORD};
use crate::harness::programs;
use crate::harness::rig::Rig;
use crate::harness::run_folder::RunFolder;
use crate::harness::s3::{ACCESS_KEY, Kind, S3, SECRET_KEY};
use crate::harness::trial::{Need, Test};
use crate::harness::wait::until;
use crate::test;

pub fn tests() -> Vec<Test> {
    let long = Duration::from_secs(3600);
    vec![
        test!(a_commit_held_while_its_base_is_deleted),
        test!(a_few_killed_backups_beside_removals),
        test!(fifty_killed_backups_beside_removals_on_every_store).needs(Need::Sweep).within(long),
    ]
}

/// Each store, and whether its bucket keeps versions.
const STORES: [(Kind, bool); 4] =
    [(Kind::Versitygw, false), (Kind::Versitygw, true), (Kind::Minio, false), (Kind::Minio, true)];
const VERSIONS: &str = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status>\
                        </VersioningConfiguration>";
/// A few, and what a sweep kills.
const FEW: usize = 5;
const MANY: usize = 50;

/// One repository in a bucket of its own, a proxy before it, and a MatrixOne that is backed up to it.
struct Scene<'a> {
    matrixone: &'a MatrixOne,
    s3: &'a S3,
    proxy: HttpProxy,
    bucket: String,
    staging: PathBuf,
    folder: RunFolder,
}

impl<'a> Scene<'a> {
    async fn set(matrixone: &'a MatrixOne, s3: &'a S3, versions: bool, name: &str) -> anyhow::Result<Scene<'a>> {
        let bucket = format!("{name}-{}", if versions { "versions" } else { "plain" });
        s3.create_bucket(&bucket).await?;
        if versions {
            s3.configure(&bucket, "versioning", VERSIONS).await?;
        }
        let staging = matrixone.shared_folder(&format!("{bucket}-{:?}", s3.kind).to_lowercase())?;
        let proxy = HttpProxy::before_s3(s3).await?;
        Ok(Scene { matrixone, s3, proxy, bucket, staging, folder: RunFolder::create("killed")? })
    }

    /// A command with the repository that it is about.
    fn command(&self, endpoint: &str, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::mo_backup()?);
        command.args(args).args(["--backup-dir", "s3", "--endpoint", endpoint, "--bucket", &self.bucket]);
        command.args(["--filepath", "prod", "--access-key-id", ACCESS_KEY, "--is-minio"]);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("HOME", self.folder.path());
        command.arg("--meta-path").arg(self.folder.path().join("index"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// A backup that goes through the proxy.
    fn backup(&self, kind: &str, base: Option<&str>) -> anyhow::Result<Child> {
        let port = self.matrixone.port().to_string();
        let mut args = vec!["backup", "--host", "127.0.0.1", "--port", &port, "--user", "dump", "--backup-type", kind];
        args.extend(base.iter().flat_map(|base| ["--base-id", *base]));
        let mut command = self.command(&self.proxy.endpoint(), &args)?;
        command.arg("--staging").arg(&self.staging).env("MO_BACKUP_PASSWORD", PASSWORD);
        Ok(command.spawn()?)
    }

    /// What a command says, and its exit code. It goes to the store straight.
    async fn said(&self, args: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let done = self.command(&self.s3.endpoint(), args)?.output().await?;
        let text = [done.stdout, done.stderr].concat();
        Ok((done.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    async fn listed(&self) -> anyhow::Result<Vec<String>> {
        let keys = self.s3.bucket(&self.bucket)?.list("prod/catalog/").await?;
        let names = keys.iter().filter_map(|(key, _)| key.strip_prefix("prod/catalog/")?.strip_suffix(".json"));
        Ok(names.map(str::to_owned).collect())
    }

    /// List and check are green, also for each backup by itself.
    async fn judge(&self) -> anyhow::Result<usize> {
        let ids = self.listed().await?;
        let (code, said) = self.said(&["list"]).await?;
        // What a kill leaves is told; nothing that is listed may be missing from the list.
        ensure!(code == Some(0), "list ended with {code:?}:\n{said}");
        for id in &ids {
            ensure!(said.contains(id.as_str()), "{id} is not in\n{said}");
            let (code, said) = self.said(&["check", id]).await?;
            ensure!(code == Some(0), "check of {id} ended with {code:?}:\n{said}");
        }
        Ok(ids.len())
    }

    /// No BACKUP runs any more on the server: that of a program that was killed goes on by itself.
    async fn quiet(&self) -> anyhow::Result<()> {
        let running = "select count(*) from mo_catalog.mo_sessions where statement_type = 'Backup Start'";
        let over = || async { Ok((self.matrixone.value(running).await? == "0").then_some(())) };
        until("the BACKUP to be over", Duration::from_secs(60), over).await
    }
}

async fn finished(child: Child) -> anyhow::Result<()> {
    let done = child.wait_with_output().await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

async fn begin() -> anyhow::Result<MatrixOne> {
    let matrixone = MatrixOne::start().await?;
    let rows = "insert into shop.t select result, md5(result) from generate_series(1,2000) g";
    matrixone.execute(&["create database shop", "create table shop.t(id int, v varchar(40))", rows]).await?;
    Ok(matrixone)
}

async fn a_commit_held_while_its_base_is_deleted(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = begin().await?;
    for (kind, versions) in STORES {
        let scene = Scene::set(&matrixone, rig.s3(kind).await?, versions, "held").await?;
        held(&scene).await.with_context(|| format!("{kind:?}, versions: {versions}"))?;
    }
    matrixone.stop().await;
    Ok(())
}

/// The last PUT of an incremental backup waits while its base is deleted; it is done, and the program is killed before it
/// hears so.
async fn held(scene: &Scene<'_>) -> anyhow::Result<()> {
    finished(scene.backup("full", None)?).await?;
    let base = scene.listed().await?.pop().context("no base")?;
    let (entry, never, reached) = (Gate::closed(), Gate::closed(), Arc::new(AtomicBool::new(false)));
    let seen = reached.clone();
    let commits = |text: &str| text.starts_with("PUT ") && text.contains("/prod/catalog/");
    let hold = Fault::Hold(entry.clone());
    scene.proxy.faults.arm(move |s| commits(&s.text), hold, move |_| seen.store(true, Ordering::SeqCst));
    let after = reached.clone();
    let silent = move |_: &_| after.load(Ordering::SeqCst);
    scene.proxy.faults.arm_times(usize::MAX, silent, Fault::Hold(never), |_| {});
    let mut child = scene.backup("incremental", Some(&base))?;
    let arrives = || async { Ok(reached.load(Ordering::SeqCst).then_some(())) };
    until("the last PUT", Duration::from_secs(60), arrives).await?;
    // Whether it is refused or done: what the list shows afterwards must be whole.
    let (code, said) = scene.said(&["delete", &base]).await?;
    eprintln!("[killed] the base's removal ended with {code:?}: {}", said.lines().last().unwrap_or_default());
    entry.open();
    let committed = || async { Ok(scene.listed().await?.iter().any(|id| *id != base).then_some(())) };
    // Where the removal has come first, the commit may be refused.
    let _ = until("the commit", Duration::from_secs(5), committed).await;
    child.kill().await?;
    scene.proxy.faults.reset();
    scene.judge().await.map(drop)
}

async fn a_few_killed_backups_beside_removals(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = begin().await?;
    let scene = Scene::set(&matrixone, rig.s3(Kind::Versitygw).await?, false, "few").await?;
    killed(&scene, FEW).await?;
    matrixone.stop().await;
    Ok(())
}

async fn fifty_killed_backups_beside_removals_on_every_store(rig: &Rig) -> anyhow::Result<()> {
    let matrixone = begin().await?;
    for (kind, versions) in STORES {
        let scene = Scene::set(&matrixone, rig.s3(kind).await?, versions, "fifty").await?;
        killed(&scene, MANY).await.with_context(|| format!("{kind:?}, versions: {versions}"))?;
    }
    matrixone.stop().await;
    Ok(())
}

/// A chain of backups, each of which dies at one of its requests, beside a removal of what it may be built on.
async fn killed(scene: &Scene<'_>, times: usize) -> anyhow::Result<()> {
    let mut dice = Dice::roll_in("killed");
    scene.proxy.faults.reset();
    finished(scene.backup("full", None)?).await?;
    let requests = scene.proxy.faults.count(Of::Write) + scene.proxy.faults.count(Of::Read);
    let mut died = 0;
    for round in 0..times {
        let base = scene.listed().await?.last().cloned();
        let kind = if base.is_some() && dice.below(4) > 0 { "incremental" } else { "full" };
        let (index, reached) = (dice.below(requests), Arc::new(AtomicBool::new(false)));
        scene.proxy.faults.reset();
        let (count, seen) = (std::sync::atomic::AtomicUsize::new(0), reached.clone());
        let nth = move |_: &_| count.fetch_add(1, Ordering::SeqCst) == index;
        let fault = [Fault::Drop, Fault::Swallow, Fault::After][dice.below(3)].clone();
        let mut child = scene.backup(kind, base.as_deref().filter(|_| kind == "incremental"))?;
        scene.proxy.faults.arm(nth, fault, move |_| seen.store(true, Ordering::SeqCst));
        let removing = dice.below(2) == 0;
        let dies = async {
            let struck = || {
                let ended = child.try_wait().map(|ended| ended.is_some() || reached.load(Ordering::SeqCst));
                std::future::ready(ended.map(|over| over.then_some(())).map_err(anyhow::Error::from))
            };
            until("the moment", Duration::from_secs(90), struck).await?;
            died += usize::from(child.try_wait()?.is_none());
            child.kill().await?;
            anyhow::Ok(())
        };
        let removes = async {
            if let (true, Some(base)) = (removing, &base) {
                scene.said(&["delete", base]).await?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(dies, removes)?;
        scene.quiet().await?;
        scene.judge().await.with_context(|| format!("round {round}: a {kind} backup was killed at request {index}"))?;
    }
    // A backup after all of them is taken as if nothing had happened.
    scene.proxy.faults.reset();
    finished(scene.backup("full", None)?).await?;
    let left = scene.judge().await?;
    eprintln!("[killed] {:?}: {died} of {times} died while they ran, {left} backups are whole", scene.s3.kind);
    ensure!(died > 0 && left > 0, "nothing is proved: {died} died, {left} are left");
    Ok(())
}
