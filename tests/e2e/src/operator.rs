//! An operator as a process of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::metrics::{Sample, get};
use crate::wait::{until, until_within};

/// Longer than a lease that a killed operator left behind.
const START: Duration = Duration::from_secs(90);

/// A running operator. It is killed when this is dropped.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    http: SocketAddr,
    log: PathBuf,
}

/// An operator's numbers before and after a change.
#[derive(Debug)]
pub struct Cost {
    before: Sample,
    after: Sample,
}

impl Cost {
    /// How much more of something there is.
    pub fn of(&self, count: impl Fn(&Sample) -> u64) -> u64 {
        count(&self.after) - count(&self.before)
    }
}

impl Operator {
    /// Starts one under this identity, with further flags, and returns at once. Its log is appended to `log`. `files`: variables
    /// that name others than the tests' own.
    pub(crate) fn spawn(
        identity: &str,
        flags: &[&str],
        log: PathBuf,
        files: &[(&str, &Path)],
    ) -> Result<Self> {
        // The kernel gives a free port; between this and the operator's own bind somebody else could take it.
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let out = File::options().create(true).append(true).open(&log)?;
        // The kernel kills it when the thread of its test is gone: a test process that is killed leaves no operator behind,
        // which would write into the next test. `setpriv` becomes the operator: the process is the same.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", &crate::lab::variable("ISTHMUS_BIN")?])
            .args(["operator", "--identity", identity, "--http", &http.to_string()])
            .args(flags)
            .env("ISTHMUS_LOG", "info,isthmus_operator=debug")
            .env("NO_COLOR", "1")
            .envs(files.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .context("starting the operator")?;
        Ok(Self { child, http, log })
    }

    /// Waits until it leads and is ready: all is listed, and every module is loaded.
    ///
    /// # Errors
    /// It ended, or is not ready in time; what /readyz said last.
    pub async fn leads(&mut self) -> Result<()> {
        let http = self.http;
        until_within(START, "the operator leads and is ready", async || {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ended: {status}");
            }
            // In this order: one that stands by is ready too.
            ensure!(Sample::read(http).await?.sum("isthmus_leading", &[]) == 1, "it does not lead");
            let (status, why) = get(http, "/readyz").await?;
            ensure!(status == 200, "/readyz: {why}");
            Ok(())
        })
        .await
    }

    /// Waits until it answers and says that it stands by.
    ///
    /// # Errors
    /// Not in time, or it leads.
    pub async fn stands_by(&self) -> Result<()> {
        until("the operator stands by", async || {
            let (status, why) = self.get("/readyz").await?;
            ensure!(status == 200, "/readyz: {why}");
            ensure!(self.metrics().await?.sum("isthmus_leading", &[]) == 0, "it leads");
            Ok(())
        })
        .await
    }

    /// What /readyz answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.http, path).await
    }

    /// Its numbers of this moment.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<Sample> {
        Sample::read(self.http).await
    }

    /// Waits until nothing is in the works: no request to the cloud and no reconcile ended for a second, and none is under way.
    ///
    /// # Errors
    /// It goes on and on.
    pub async fn quiet(&self) -> Result<Sample> {
        let mut before = self.metrics().await?;
        until("the operator has nothing to do", async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.metrics().await?;
            let names = ["isthmus_reconciles", "isthmus_openstack_requests"];
            let ended = |s: &Sample| names.map(|name| s.sum(&format!("{name}_total"), &[]));
            let under_way = ["isthmus_reconciles_in_flight", "isthmus_openstack_in_flight"];
            let flying = under_way.map(|name| now.sum(name, &[]));
            let (was, is) = (ended(&before), ended(&now));
            before = now.clone();
            ensure!(
                was == is && flying == [0, 0],
                "reconciles and requests: {was:?}, then {is:?}; under way {flying:?}"
            );
            Ok(now)
        })
        .await
    }

    /// Makes a change from when nothing is in the works until that is so again.
    ///
    /// # Errors
    /// The change's, or it goes on and on.
    pub async fn cost(&self, change: impl Future<Output = Result<()>>) -> Result<Cost> {
        let before = self.quiet().await?;
        change.await?;
        Ok(Cost { before, after: self.quiet().await? })
    }

    /// What so many resyncs cost when nothing changes.
    ///
    /// # Errors
    /// None comes.
    pub async fn cost_of_resyncs(&self, times: u64) -> Result<Cost> {
        self.cost(async { self.resyncs(&self.metrics().await?, times).await }).await
    }

    /// Two resyncs of what nobody changed write nothing, neither to Neutron nor to Octavia.
    ///
    /// # Errors
    /// They do, or none comes.
    pub async fn rests(&self) -> Result<()> {
        let idle = self.cost_of_resyncs(2).await?;
        let writes = (idle.of(Sample::cloud_writes), idle.of(Sample::balancer_writes));
        ensure!(writes == (0, 0), "{writes:?} writes by two resyncs");
        Ok(())
    }

    /// Waits until this many whole lists of the cloud's ports were made since `since`, which is what a resync begins with.
    ///
    /// # Errors
    /// None comes.
    pub async fn resyncs(&self, since: &Sample, times: u64) -> Result<()> {
        let before = since.sum("isthmus_resyncs_total", &[]);
        until("another resync", async || {
            let done = self.metrics().await?.sum("isthmus_resyncs_total", &[]) - before;
            ensure!(done >= times, "{done} resyncs");
            Ok(())
        })
        .await
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("SIGKILL")
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It does not end within the limit.
    pub async fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("it did not end within {limit:?} of SIGTERM"))??)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(kill_process(id.context("the operator ended already")?, signal)?)
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }
}
