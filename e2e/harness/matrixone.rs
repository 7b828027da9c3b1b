//! A real standalone `MatrixOne`: the one built from its Go module, or the `mo-service` that `MATRIXONE_BIN` names.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mo_backup::sql::Version;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row};

use super::authority::Certificate;
use super::ports::{self, Ports};
use super::programs;
use super::run_folder::{Process, RunFolder};
use super::wait::until;

/// It runs as the user of the worker Pods, so that they can read and delete what it staged on a shared volume.
pub const USER: u32 = 65532;
pub const PASSWORD: &str = "111";

pub struct MatrixOne {
    /// As it names itself, such as `8.0.30-MatrixOne-v1.2.4`.
    pub version: String,
    process: Process,
    environment: Vec<(String, String)>,
    folder: RunFolder,
    ports: Ports,
}

impl MatrixOne {
    /// A new, empty one; SQL answers after about 15 s.
    pub async fn start() -> anyhow::Result<MatrixOne> {
        MatrixOne::start_with(&[]).await
    }

    /// One with more in its environment, such as the keys of its own identity.
    pub async fn start_with(environment: &[(&str, &str)]) -> anyhow::Result<MatrixOne> {
        let (folder, ports) = prepare()?;
        MatrixOne::run(folder, ports, environment).await
    }

    /// One on data that the caller has put in place: the closure gets the `mo-data` folder before the first start.
    pub async fn start_on(place: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<MatrixOne> {
        let (folder, ports) = prepare()?;
        let data = folder.path().join("mo/mo-data");
        std::fs::create_dir_all(&data)?;
        place(&data)?;
        own(&data)?;
        MatrixOne::run(folder, ports, &[]).await
    }

    /// One that offers TLS with this certificate.
    pub async fn start_encrypted(certificate: &Certificate) -> anyhow::Result<MatrixOne> {
        let (folder, ports) = prepare()?;
        let etc = folder.path().join("mo/etc");
        let mut text = std::fs::read_to_string(etc.join("cn.toml"))?;
        text += "enableTls = true\n";
        for (setting, file, content) in
            [("tlsCertFile", "server.crt", &certificate.chain), ("tlsKeyFile", "server.key", &certificate.key)]
        {
            std::fs::write(etc.join(file), content)?;
            text += &format!("{setting} = \"{}\"\n", etc.join(file).display());
        }
        std::fs::write(etc.join("cn.toml"), text)?;
        own(&etc)?;
        MatrixOne::run(folder, ports, &[]).await
    }

    async fn run(folder: RunFolder, ports: Ports, environment: &[(&str, &str)]) -> anyhow::Result<MatrixOne> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        let process = launch(&folder, &environment)?;
        let mut matrixone = MatrixOne { version: String::new(), process, environment, folder, ports };
        matrixone.ready().await?;
        matrixone.version = matrixone.value("select version()").await?;
        Ok(matrixone)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let answered = until("MatrixOne to answer", Duration::from_secs(180), || async {
            let answer = self.value("select 1").await;
            if answer.is_err() && !self.process.alive() {
                return Ok(Some(Err(anyhow!("mo-service has ended"))));
            }
            Ok(Some(Ok(answer?)))
        });
        let ready = answered.await.and_then(|answer| answer.map(drop));
        ready.with_context(|| format!("the end of its log:\n{}", self.process.tail(30)))
    }

    /// The port of its SQL on 127.0.0.1; the user is root, the password [`PASSWORD`].
    pub fn port(&self) -> u16 {
        self.ports.first
    }

    /// The folder it runs in, with `mo-data/` and `etc/`.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("mo")
    }

    /// A folder that both it and worker Pods can write: the place for `BACKUP … FILESYSTEM`.
    pub fn staging(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    /// A fresh folder below [`MatrixOne::staging`], for one test.
    pub fn shared_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.staging().join(name);
        std::fs::create_dir_all(&folder)?;
        own(&folder)?;
        Ok(folder)
    }

    /// Its release, such as 4.2.0.
    pub fn release(&self) -> anyhow::Result<Version> {
        Version::parse(&self.version).with_context(|| format!("{} is no release", self.version))
    }

    /// Everything it has written.
    pub fn log(&self) -> anyhow::Result<String> {
        self.process.log()
    }

    pub fn tail(&self, lines: usize) -> String {
        self.process.tail(lines)
    }

    /// A fresh connection of root.
    pub async fn connect(&self) -> anyhow::Result<Conn> {
        self.connect_as("root", PASSWORD).await
    }

    /// A connection of root by another port, such as a fault proxy's.
    pub async fn connect_through(&self, port: u16) -> anyhow::Result<Conn> {
        connect(port, "root", PASSWORD).await
    }

    /// `acc#admin` for an account's user.
    pub async fn connect_as(&self, user: &str, password: &str) -> anyhow::Result<Conn> {
        connect(self.port(), user, password).await
    }

    /// Runs statements one after the other on one connection.
    pub async fn execute(&self, statements: &[&str]) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for statement in statements {
            connection.query_drop(*statement).await.with_context(|| format!("failed to run {statement}"))?;
        }
        connection.disconnect().await?;
        Ok(())
    }

    /// The rows of a query.
    pub async fn sql(&self, query: &str) -> anyhow::Result<Vec<Row>> {
        let mut connection = self.connect().await?;
        let rows = connection.query(query).await.with_context(|| format!("failed to run {query}"))?;
        connection.disconnect().await?;
        Ok(rows)
    }

    /// The first value of a query's first row, as text.
    pub async fn value(&self, query: &str) -> anyhow::Result<String> {
        let rows = self.sql(query).await?;
        let value = rows.first().and_then(|row| row.as_ref(0)).with_context(|| format!("{query} gave no row"))?;
        Ok(match value {
            mysql_async::Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => other.as_sql(true).trim_matches('\'').to_string(),
        })
    }

    /// SIGTERM, SIGKILL after 20 s, and a start on the same data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop(Duration::from_secs(20)).await;
        self.process = launch(&self.folder, &self.environment)?;
        self.ready().await
    }

    pub async fn stop(&self) {
        self.process.stop(Duration::from_secs(20)).await;
    }

    pub fn kill(&self) {
        self.process.kill();
    }
}

async fn connect(port: u16, user: &str, password: &str) -> anyhow::Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(Some(false));
    let connected = tokio::time::timeout(Duration::from_secs(10), Conn::new(options)).await;
    Ok(connected.context("MatrixOne accepts the connection but does not answer")??)
}

/// A place for a MatrixOne that is not there yet: a folder to restore to, and ports to boot on.
pub struct Empty {
    folder: RunFolder,
    ports: Ports,
}

impl Empty {
    /// An empty folder that worker Pods can write.
    pub fn prepare() -> anyhow::Result<Empty> {
        let (folder, ports) = (RunFolder::create("restored")?, ports::reserve()?);
        std::fs::create_dir_all(folder.path().join("mo"))?;
        own(&folder.path().join("mo"))?;
        Ok(Empty { folder, ports })
    }

    /// Its working directory.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("mo")
    }

    pub fn port(&self) -> u16 {
        self.ports.first
    }

    /// Starts it on what has been put there, with these files. Nothing is changed in them but what two servers on one
    /// machine cannot share: ports, the address and the socket.
    pub async fn boot(
        self,
        files: &BTreeMap<String, String>,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<MatrixOne> {
        let etc = self.home().join("etc");
        std::fs::create_dir_all(&etc)?;
        let first = self.ports.first;
        let own_ports = [
            ("port = 6001", format!("port = {first}\nunix-socket = \"{}\"", self.home().join("s").display())),
            ("32001", (first + 1).to_string()),
            ("32000", (first + 2).to_string()),
            ("32002", (first + 3).to_string()),
            ("7001", (first + 4).to_string()),
            ("7002", (first + 5).to_string()),
            ("7003", (first + 6).to_string()),
            ("19000", (first + 20).to_string()),
            ("18000", (first + 60).to_string()),
            ("0.0.0.0", "127.0.0.1".to_string()),
        ];
        for (name, text) in files.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "toml")) {
            // By way of marks: a port of ours can contain one of theirs.
            let marked = own_ports
                .iter()
                .zip('a'..)
                .fold(text.clone(), |text, ((theirs, _), mark)| text.replace(theirs, &format!("<{mark}>")));
            let text = own_ports
                .iter()
                .zip('a'..)
                .fold(marked, |text, ((_, ours), mark)| text.replace(&format!("<{mark}>"), ours));
            std::fs::write(etc.join(name), text)?;
        }
        own(&self.home())?;
        MatrixOne::run(self.folder, self.ports, environment).await
    }
}

/// The program and what it calls itself, without starting a server.
pub fn program() -> anyhow::Result<PathBuf> {
    match std::env::var_os("MATRIXONE_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => programs::path("mo-service"),
    }
}

/// Whether `MATRIXONE_BIN` names a server newer than the one that is built here.
pub fn is_given() -> bool {
    std::env::var_os("MATRIXONE_BIN").is_some()
}

fn prepare() -> anyhow::Result<(RunFolder, Ports)> {
    let folder = RunFolder::create("matrixone")?;
    let ports = ports::reserve()?;
    let home = folder.path().join("mo");
    std::fs::create_dir_all(home.join("etc"))?;
    std::fs::create_dir_all(folder.path().join("staging"))?;
    std::fs::set_permissions(folder.path().join("staging"), PermissionsExt::from_mode(0o777))?;
    for (name, text) in configuration(&home, ports.first, disk_backend()?) {
        std::fs::write(home.join("etc").join(name), text)?;
    }
    own(&home)?;
    own(&folder.path().join("staging"))?;
    Ok((folder, ports))
}

fn own(path: &Path) -> anyhow::Result<()> {
    let status = Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(path).status()?;
    if !status.success() {
        bail!("failed to give {} to user {USER}: the rig needs root", path.display());
    }
    Ok(())
}

/// From 4.2 on file services are DISK-V2 (raw files); before, DISK (files framed with checksums).
fn disk_backend() -> anyhow::Result<&'static str> {
    Ok(if release()? >= Version::new(4, 2, 0) { "DISK-V2" } else { "DISK" })
}

/// What the program says of itself, without starting a server.
fn release() -> anyhow::Result<Version> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.arg("-version").current_dir(std::env::temp_dir());
    libraries(&mut command, &program);
    let output = command.output().with_context(|| format!("failed to start {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let own = said.lines().find_map(|line| line.trim().strip_prefix("Version:"));
    let release = own.and_then(|own| Version::of_release(own.trim()));
    release.with_context(|| format!("{} does not say its release: {said}", program.display()))
}

/// Whether the server writes to S3 by itself, and keeps the keys of the statement out of its log.
pub fn writes_to_s3() -> bool {
    release().is_ok_and(|release| release.writes_to_s3() && release.hides_keys())
}

/// Newer servers bring libraries in a folder beside them.
fn libraries(command: &mut Command, program: &Path) {
    if let Some(beside) = program.parent() {
        command.env("LD_LIBRARY_PATH", beside.join("lib"));
    }
}

fn launch(folder: &RunFolder, environment: &[(String, String)]) -> anyhow::Result<Process> {
    let program = program()?;
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups").arg(&program);
    command.args(["-launch", "./etc/launch.toml"]).current_dir(folder.path().join("mo"));
    command.env("HOME", folder.path().join("mo"));
    // Whose keys they are must not depend on who runs the tests, and with a CA bundle its S3 operations fail.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    libraries(&mut command, &program);
    folder.start("matrixone", &mut command)
}

fn configuration(home: &Path, first: u16, disk: &str) -> [(&'static str, String); 4] {
    let (sql, log, raft, gossip, status, tn, cn) =
        (first, first + 1, first + 2, first + 3, first + 4, first + 20, first + 60);
    let head = |kind: &str, status: u16| {
        format!(
            r#"service-type = "{kind}"
data-dir = "./mo-data"
[log]
level = "info"
format = "console"
[hakeeper-client]
service-addresses = ["127.0.0.1:{log}"]
[observability]
disableTrace = true
disableMetric = true
status-port = {status}
"#
        )
    };
    // As each release ships it: raw files do not lie where the log service looks for framed ones.
    let own = if disk == "DISK-V2" { "2" } else { "" };
    let disks = ["local", "shared"].map(|name| {
        let (upper, folder) = (name.to_uppercase(), format!("./mo-data/{name}{own}"));
        format!("[[fileservice]]\nname = \"{upper}\"\nbackend = \"{disk}\"\ndata-dir = \"{folder}\"\n")
    });
    let disks = disks.concat();
    let launch = r#"logservices = ["./etc/log.toml"]
tnservices = ["./etc/tn.toml"]
cnservices = ["./etc/cn.toml"]
"#;
    let log_service = format!(
        r#"[logservice]
logservice-port = {log}
raft-port = {raft}
gossip-port = {gossip}
gossip-seed-addresses = ["127.0.0.1:{gossip}"]
"#
    );
    let tn_service = format!("[tn]\nuuid = \"dd4dccb4-4d3c-41f8-b482-5251dc7a41bf\"\nport-base = {tn}\n");
    // A relative path would be taken from the root folder.
    let socket = home.join("mysql.sock").display().to_string();
    let cn_service = format!(
        "[cn]\nuuid = \"dd1dccb4-4d3c-41f8-b482-5251dc7a41bf\"\nport-base = {cn}\n\
         [cn.frontend]\nhost = \"127.0.0.1\"\nport = {sql}\nunix-socket = \"{socket}\"\n"
    );
    [
        ("launch.toml", launch.to_string()),
        ("log.toml", head("LOG", status) + &log_service),
        ("tn.toml", head("TN", status + 1) + &disks + &tn_service),
        ("cn.toml", head("CN", status + 2) + &disks + &cn_service),
    ]
}
