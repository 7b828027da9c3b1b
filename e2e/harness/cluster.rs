//! A Kubernetes control plane (etcd, API server, controller manager, scheduler) with process nodes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::Signal;
use tokio::process::Command;

use super::container::Image;
use super::node::{self, Node};
use super::ports::{self, Ports};
use super::run_folder::{Identity, RunFolder, tail};
use super::{kubelet, product, programs, wait};

/// The operator and the worker.
pub const IMAGE: &str = "localhost/mo-backup:dev";
/// No entrypoint: a container with this machine's own programs, for tests that bring a command.
pub const MACHINE_IMAGE: &str = "localhost/machine:dev";

#[derive(Debug, Clone)]
pub struct Options {
    /// Writes every request to [`Cluster::audit_log`].
    pub audit: bool,
    /// etcd syncs to disk: needed where etcd itself is crashed.
    pub fsync: bool,
    /// 1 or 2. One node that is lost evicts nothing (the whole zone looks down): node loss takes two.
    pub nodes: usize,
    /// A lost node is NotReady after 8 s and its Pods are evicted 5 s later, instead of 40 s and 5 min.
    pub quick_node_loss: bool,
    /// One node with a real kubelet instead of process nodes.
    pub kubelet: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { audit: false, fsync: false, nodes: 1, quick_node_loss: false, kubelet: false }
    }
}

pub struct Cluster {
    // Dropped first: the nodes end their Pods before the control plane goes.
    nodes: Vec<Node>,
    client: Client,
    options: Options,
    folder: RunFolder,
    ports: Ports,
}

impl Cluster {
    pub async fn boot(options: Options) -> anyhow::Result<Cluster> {
        if !rustix::process::geteuid().is_root() {
            bail!("the process node needs root (mount namespaces): run the end-to-end tests as root");
        }
        for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd"] {
            programs::path(program)?;
        }
        let folder = RunFolder::create("cluster")?;
        let ports = ports::reserve()?;
        if options.kubelet {
            kubelet::prepare(folder.path()).await?;
        }
        up(&folder, &ports, &options).await?;
        let client = Client::try_from(config(&folder, "admin").await?)?;
        let mut cluster = Cluster { nodes: Vec::new(), client, options, folder, ports };
        if cluster.options.kubelet {
            kubelet::script(cluster.folder.path(), &["start"]).await?;
            return Ok(cluster);
        }
        for number in 1..=cluster.options.nodes {
            let node = cluster.join(&format!("node{number}")).await?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    async fn join(&self, name: &str) -> anyhow::Result<Node> {
        Node::start(node::Options {
            name: name.to_string(),
            client: Client::try_from(config(&self.folder, name).await?)?,
            address: "127.0.0.1".into(),
            port: self.port(),
            folder: self.folder.path().join("pods").join(name),
            images: images()?,
            lease: Duration::from_secs(if self.options.quick_node_loss { 8 } else { 40 }),
        })
        .await
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.first
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("pki/admin.kubeconfig")
    }

    /// The certificates: ca.crt, and apiserver.crt and apiserver.key, which are good for 127.0.0.1 at any port.
    pub fn pki(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// For programs that a test starts beside the cluster.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Node 0 is called node1.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Signals the containers of a Pod, wherever it runs. False when none is alive.
    pub fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> bool {
        self.nodes.iter().filter(|node| node.signal(namespace, pod, signal)).count() > 0
    }

    /// What a Pod's containers have said.
    pub fn logs(&self, namespace: &str, pod: &str) -> String {
        self.nodes.iter().map(|node| node.logs(namespace, pod)).collect()
    }

    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with(args, "").await
    }

    /// Server-side apply, as a user would.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        self.kubectl_with(&["apply", "--server-side", "-f", "-"], yaml).await
    }

    pub async fn kubectl_with(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(programs::path("kubectl")?);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).env("NO_PROXY", "*");
        programs::output(&mut command, input).await
    }

    pub async fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(programs::path("helm")?);
        let home = self.folder.path().join("helm");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).env("NO_PROXY", "*");
        for part in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{part}_HOME"), home.join(part));
        }
        programs::output(&mut command, "").await
    }

    /// Kills a part of the control plane (etcd, apiserver, kcm, scheduler) with SIGKILL, and waits for its end: a
    /// process that is still dying counts as alive, and [`Cluster::revive`] would not start it again.
    pub async fn kill(&self, part: &str) -> anyhow::Result<()> {
        let process = Identity::read(&self.folder.path().join("pid").join(part));
        let process = process.with_context(|| format!("{part} is not part of the control plane"))?;
        process.signal(Signal::KILL);
        let end = || async { Ok((!process.alive()).then_some(())) };
        wait::until(&format!("the end of {part}"), Duration::from_secs(60), end).await
    }

    /// Starts again what was killed and waits until it is ready.
    pub async fn revive(&self) -> anyhow::Result<()> {
        up(&self.folder, &self.ports, &self.options).await
    }

    /// What helps when a test of this namespace has failed.
    pub async fn account(&self, namespace: &str) -> String {
        let mut text = String::new();
        let wanted: [&[&str]; 3] = [
            &["get", "pods,jobs,deployments", "-o", "wide"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["get", "backups,backupstorages", "-o", "yaml"],
        ];
        for what in wanted {
            if let Ok(found) = self.kubectl(&[what, &["-n", namespace]].concat()).await {
                text.extend(["$ kubectl ", &what.join(" "), "\n", &found, "\n"]);
            }
        }
        if self.options.kubelet {
            let logs = ["logs", "--prefix", "--tail=40", "-l", "app.kubernetes.io/name=mo-backup", "-n"];
            for place in [namespace, product::NAMESPACE] {
                text += &self.kubectl(&[&logs[..], &[place]].concat()).await.unwrap_or_default();
            }
        }
        text + &self.nodes.iter().map(|node| node.tails(namespace, 40)).collect::<String>()
    }

    /// The end of a control plane log.
    pub fn tail(&self, part: &str, lines: usize) -> String {
        tail(&self.folder.log(part), lines)
    }
}

async fn up(folder: &RunFolder, ports: &Ports, options: &Options) -> anyhow::Result<()> {
    let mut command = Command::new("bash");
    command.arg(programs::script("up.sh")).env("BIN", programs::folder()).env("RUN", folder.path());
    // The user's proxy is no way to a server of this machine.
    command.env("NO_PROXY", "*").env("no_proxy", "*").env("PORT", ports.first.to_string());
    command.env("ADDR", if options.kubelet { kubelet::ADDRESS } else { "127.0.0.1" });
    command.env("AUDIT", if options.audit { "1" } else { "0" }).env("FSYNC", if options.fsync { "1" } else { "0" });
    if options.quick_node_loss {
        command.env("KCM_ARGS", "--node-monitor-period=1s --node-monitor-grace-period=8s");
        let tolerations = "--default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5";
        command.env("APISERVER_ARGS", tolerations);
    }
    programs::output(&mut command, "").await.map(drop)
}

/// The client configuration of one of the cluster's certificates.
async fn config(folder: &RunFolder, name: &str) -> anyhow::Result<Config> {
    let path: &Path = &folder.path().join(format!("pki/{name}.kubeconfig"));
    let kubeconfig = Kubeconfig::read_from(path)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // The user's proxy is no way to a server on loopback.
    config.proxy_url = None;
    Ok(config)
}

fn images() -> anyhow::Result<HashMap<String, Image>> {
    let inside = "/usr/local/bin/mo-backup".to_string();
    let ours =
        Image { entrypoint: vec![inside.clone()], programs: vec![(programs::mo_backup()?, inside)], nonroot: true };
    Ok([(IMAGE, ours), (MACHINE_IMAGE, Image::default())].map(|(name, image)| (name.to_string(), image)).into())
}
