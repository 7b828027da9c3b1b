//! The operator as a process of the test, which can be killed at any moment and started again.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::harness::cluster::{Cluster, IMAGE};
use crate::harness::fault::Seen;
use crate::harness::programs;
use crate::harness::run_folder::{Process, tail};

pub struct Operator<'a> {
    cluster: &'a Cluster,
    namespace: String,
    kubeconfig: PathBuf,
    process: Arc<Mutex<Option<Process>>>,
}

impl<'a> Operator<'a> {
    /// For one namespace, through the API server that the configuration names.
    pub fn start(cluster: &'a Cluster, namespace: &str, kubeconfig: PathBuf) -> anyhow::Result<Operator<'a>> {
        let operator = Operator { cluster, namespace: namespace.into(), kubeconfig, process: Arc::default() };
        operator.run()?;
        Ok(operator)
    }

    /// Starts it unless it runs. True when it was dead.
    pub fn run(&self) -> anyhow::Result<bool> {
        let mut process = self.process.lock().expect("process");
        if process.as_ref().is_some_and(Process::alive) {
            return Ok(false);
        }
        let mut command = Command::new(programs::mo_backup()?);
        command.args(["operator", "--watch-namespace", &self.namespace, "--worker-image", IMAGE]);
        command.args(["--image-pull-policy", "Never", "--listen", "127.0.0.1:0"]);
        command.env_clear().env("KUBECONFIG", &self.kubeconfig).env("RUST_LOG", "info,mo_backup=debug");
        *process = Some(self.cluster.folder().start(&self.name(), &mut command).context("the operator")?);
        Ok(true)
    }

    /// For a hook of a fault proxy: SIGKILL, at that very moment.
    pub fn killer(&self) -> impl Fn(&Seen) + Send + Sync + use<> {
        let process = self.process.clone();
        move |_| {
            if let Some(process) = process.lock().expect("process").as_ref() {
                process.identity.signal_group(Signal::KILL);
            }
        }
    }

    pub fn kill(&self) {
        if let Some(process) = self.process.lock().expect("process").as_ref() {
            process.kill();
        }
    }

    /// The end of what it has said, over all its lives.
    pub fn log(&self) -> String {
        tail(&self.cluster.folder().log(&self.name()), 60)
    }

    /// All it has said.
    pub fn whole_log(&self) -> String {
        tail(&self.cluster.folder().log(&self.name()), usize::MAX)
    }

    fn name(&self) -> String {
        format!("operator-{}", self.namespace)
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}
