//! How a test is told to the runner: its name, what it needs, and how long it may take.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use super::rig::Rig;
use super::{image, matrixone};

type Body = Box<dyn for<'a> FnOnce(&'a Rig) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>> + Send>;

/// What a test needs beyond root and the programs that `make tools` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// PITR, database and table snapshots: `MATRIXONE_BIN` names a mo-service 3.0 or newer.
    NewMatrixOne,
    /// `Direct` to S3, with keys that its log never shows: `MATRIXONE_BIN` names a mo-service 4.2 or newer.
    WritesToS3,
    /// Too long for every run: `make sweep`.
    Sweep,
    /// containerd, runc and three more packages, and the image: `make node-test`.
    Kubelet,
}

impl Need {
    /// Why the test cannot run here.
    fn missing(self) -> Option<&'static str> {
        let sweeping = std::env::var_os("E2E_SWEEP").is_some();
        match self {
            Need::NewMatrixOne if !matrixone::is_given() => {
                Some("needs MatrixOne 3 or newer: name a mo-service in MATRIXONE_BIN")
            }
            Need::WritesToS3 if !matrixone::is_given() || !matrixone::writes_to_s3() => {
                Some("needs MatrixOne 4.2 or newer, which writes to S3 itself: name a mo-service in MATRIXONE_BIN")
            }
            Need::Sweep if !sweeping => Some("takes long: run it with `make sweep`"),
            Need::Kubelet if !image::is_given() => {
                Some("needs a kubelet with containerd and the shipped image: run it with `make node-test`")
            }
            Need::Nothing | Need::NewMatrixOne | Need::WritesToS3 | Need::Sweep | Need::Kubelet => None,
        }
    }
}

pub struct Test {
    name: String,
    need: Need,
    limit: Duration,
    body: Body,
}

impl Test {
    /// Use the macro [`test!`](crate::test).
    pub fn new(name: &str, body: Body) -> Test {
        let name = name.trim_start_matches("e2e::").to_string();
        Test { name, need: Need::Nothing, limit: Duration::from_secs(600), body }
    }

    pub fn needs(self, need: Need) -> Test {
        Test { need, ..self }
    }

    /// How long it may take; ten minutes unless said.
    pub fn within(self, limit: Duration) -> Test {
        Test { limit, ..self }
    }
}

/// `test!(name_of_an_async_fn)`: an `async fn(&Rig) -> anyhow::Result<()>` as a [`Test`].
#[macro_export]
macro_rules! test {
    ($body:path) => {
        $crate::harness::trial::Test::new(
            concat!(module_path!(), "::", stringify!($body)),
            Box::new(|rig| Box::pin($body(rig))),
        )
    };
}

/// Runs the tests, tears the rig down, and says what was used and what was not run.
pub fn run(tests: Vec<Test>) -> std::process::ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let rig = Arc::new(Rig::default());
    let arguments = Arguments::from_args();
    let mut skipped = Vec::new();
    let mut trials = Vec::new();
    for test in tests {
        let missing = test.need.missing();
        skipped.extend(missing.map(|why| format!("not run: {}: {why}", test.name)));
        trials.push(trial(test, runtime.clone(), rig.clone()).with_ignored_flag(missing.is_some()));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        return conclusion.exit_code();
    }
    let facts = rig.facts();
    let _inside = runtime.enter();
    drop(rig);
    for line in &skipped {
        println!("{line}");
    }
    println!("{}", if facts.is_empty() { "MatrixOne: not used".to_string() } else { facts.join("\n") });
    println!(
        "e2e: {} passed, {} failed, {} not run, {} not chosen",
        conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored, conclusion.num_filtered_out
    );
    conclusion.exit_code()
}

fn trial(test: Test, runtime: Arc<Runtime>, rig: Arc<Rig>) -> Trial {
    let Test { name, limit, body, need: _ } = test;
    Trial::test(name, move || {
        runtime.block_on(async {
            match tokio::time::timeout(limit, body(&rig)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Failed::from(chain(&error))),
                Err(_) => Err(Failed::from(format!("took longer than {limit:?}"))),
            }
        })
    })
}

/// The error with its causes, without a stack.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(|cause| format!("{cause}\n")).collect()
}
