//! Where the demo takes place: one process, or the lab with an operator of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::OPERATOR;
use crate::children::Started;
use crate::lab::{Lab, started};
use crate::step::say;
use crate::workspace::Workspace;

/// Where the operator on the lab serves its metrics.
const HTTP: &str = "127.0.0.1:9441";
/// Longest time for `isthmus dev` to be ready.
const READY: Duration = Duration::from_secs(60);

/// Where it takes place.
pub(super) struct Stage<'a> {
    place: Place<'a>,
    operator: Option<Started>,
}

enum Place<'a> {
    /// One process.
    Dev(Dev),
    Lab(&'a Lab),
}

/// `isthmus dev` as it says where it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dev {
    metrics: String,
    kubeconfig: PathBuf,
    clouds: PathBuf,
    ready_ms: u64,
    #[serde(skip)]
    path: String,
}

impl<'a> Stage<'a> {
    /// Starts `isthmus dev` with nothing in it but modules and networks.
    pub(super) fn dev(workspace: &Workspace, clients: &str) -> Result<Self> {
        say(
            "demo",
            "starting a Kubernetes API, an OpenStack and the operator in one process: isthmus dev --empty",
        );
        let log = workspace.target.join("demo-dev-operator.log");
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new(workspace.target.join("debug/isthmus"));
        command.args(["dev", "--empty", "--output", "json", "--http", HTTP, "--folder"]);
        command.arg(workspace.target.join("demo-dev")).arg("--modules").arg(workspace.modules());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut started = Started::spawn(&mut command)?;
        let output = started.child.stdout.take().context("its output")?;
        let said = first_value(output)
            .with_context(|| format!("isthmus dev did not start, see {}", log.display()))?;
        let path = format!("{clients}:{}", std::env::var("PATH").unwrap_or_default());
        let dev = Dev { path, ..said };
        println!("    ready in {} ms; its log: {}", dev.ready_ms, log.display());
        println!(
            "    $ export KUBECONFIG={} OS_CLIENT_CONFIG_FILE={} OS_CLOUD=demo",
            dev.kubeconfig.display(),
            dev.clouds.display()
        );
        Ok(Self { place: Place::Dev(dev), operator: Some(started) })
    }

    /// A lab, without an operator yet.
    pub(super) fn lab(lab: &'a Lab) -> Self {
        Self { place: Place::Lab(lab), operator: None }
    }

    /// Starts an operator on the lab, and waits until it leads.
    pub(super) fn start_operator(&mut self, workspace: &Workspace) -> Result<()> {
        let log = workspace.target.join("demo-lab-operator.log");
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = self.inside(workspace.target.join("debug/isthmus"));
        command.args(["operator", "--http", HTTP, "--operator-namespace", OPERATOR, "--lease-seconds", "20"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        self.operator = Some(Started::spawn(command)?);
        println!("    its log: {}", log.display());
        let begun = Instant::now();
        loop {
            let asked = self.inside("curl").args(["-s", &self.metrics()]).output().context("curl")?;
            if String::from_utf8_lossy(&asked.stdout).lines().any(|line| line == "isthmus_leading 1") {
                return Ok(());
            }
            ensure!(begun.elapsed() < READY, "the operator does not lead within {} s", READY.as_secs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A command with the environment that clients need.
    pub(super) fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let dev = match &self.place {
            Place::Dev(dev) => dev,
            Place::Lab(lab) => return lab.inside(program),
        };
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &dev.kubeconfig).env("OS_CLIENT_CONFIG_FILE", &dev.clouds);
        command.env("OS_CLOUD", "demo").env("PATH", &dev.path);
        command
    }

    /// The operator's process.
    ///
    /// # Errors
    /// It runs no more.
    pub(super) fn pid(&self) -> Result<u32> {
        let operator = self.operator.as_ref().context("no operator was started")?;
        let pid = operator.child.id();
        ensure!(started(pid).is_some(), "the operator (process {pid}) has ended");
        Ok(pid)
    }

    /// URL of the operator's metrics.
    pub(super) fn metrics(&self) -> String {
        match &self.place {
            Place::Dev(dev) => dev.metrics.clone(),
            Place::Lab(_) => format!("http://{HTTP}/metrics"),
        }
    }

    /// What its files are called after.
    pub(super) fn name(&self) -> &'static str {
        match &self.place {
            Place::Dev(_) => "dev",
            Place::Lab(_) => "lab",
        }
    }

    /// The load-balancer provider that has L7 policies, and is quick.
    pub(super) fn provider(&self) -> &'static str {
        match &self.place {
            Place::Dev(_) => "amphora",
            Place::Lab(_) => "noop",
        }
    }

    /// Stops the operator as Kubernetes does.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut operator) = self.operator.take() else { return Ok(()) };
        say("demo", "stopping the operator (SIGTERM): what is in flight ends, the lease is given back");
        operator.terminate()?;
        let begun = Instant::now();
        while operator.ended()?.is_none() {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the operator did not stop within 20 s");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The first JSON value of an output that goes on.
fn first_value(output: impl Read) -> Result<Dev> {
    let mut values = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Dev>();
    Ok(values.next().context("it ended without a word")??)
}
