//! The operator as a child process: started, asked for its numbers, stopped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, NAMESPACE};
use crate::process;

/// Where it serves its numbers: not the default, which another one may have.
const HTTP: &str = "127.0.0.1:9467";

/// Module calls, by module, version, operation and result.
const CALLS: &str = "isthmus_module_calls_total";
/// How a reconcile ended.
const CONFLICT: &str = "\"KubernetesConflict\"";
/// What only an operator writes; and the garbage collector deletes.
pub(crate) const WRITTEN: [&str; 3] = ["cloudmappings", "policymodules", "events"];

/// A running operator. It is killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    pid: u32,
}

/// Refuses to run beside another operator: both would work on the same cluster-wide objects.
pub(crate) fn ensure_none_runs() -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // A process that ends meanwhile is none.
        let Ok(line) = fs::read(path.join("cmdline")) else { continue };
        let mut words = line.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default();
        if program.ends_with(b"isthmus") && words.any(|word| word == b"operator") {
            bail!("an operator runs ({}): stop it first, it would work on the same objects", path.display());
        }
    }
    Ok(())
}

impl Operator {
    /// Starts one for a cloud, given as `OS_*` variables, and waits until it is ready. `kubeconfig`: of another cluster than the
    /// environment's. `flags`: more of them.
    pub(crate) async fn start(
        binary: &Path,
        cloud: &[(&str, String)],
        kubeconfig: Option<&Path>,
        flags: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        // The default lease: a request may take half of it, and a real Neutron takes seconds for eight creates at once.
        command.args(["operator", "--http", HTTP, "--operator-namespace", NAMESPACE]).args(flags);
        for (name, _) in std::env::vars_os() {
            if !cloud.is_empty() && name.to_string_lossy().starts_with("OS_") {
                command.env_remove(name);
            }
        }
        command.envs(cloud.iter().map(|(name, value)| (*name, value)));
        command.envs(kubeconfig.map(|path| ("KUBECONFIG", path)));
        command.env("ISTHMUS_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        let pid = child.id().context("the operator has ended already")?;
        let mut operator = Self { child, pid };
        operator.ready().await?;
        Ok(operator)
    }

    async fn ready(&mut self) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the operator ended: {status}");
            }
            match get("/readyz").await {
                Ok((200, _)) => return Ok(()),
                Ok((_, why)) if Instant::now() > limit => bail!("the operator is not ready: {why}"),
                Err(error) if Instant::now() > limit => {
                    return Err(error.context("the operator does not answer"));
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until it leads, with all that served before.
    pub(crate) async fn leads(&mut self) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(60);
        while self.numbers().await?.leading() != 1 {
            ensure!(Instant::now() < limit, "the operator does not lead within a minute");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.ready().await
    }

    /// Its numbers, as of now.
    pub(crate) async fn numbers(&self) -> Result<Numbers> {
        let (status, text) = get("/metrics").await?;
        ensure!(status == 200, "/metrics: {status}");
        Ok(Numbers(text))
    }

    /// Waits until it does nothing: no call, reconcile or write for two seconds. After five minutes it is taken as it is: what is
    /// measured then shows that it did not come to rest.
    pub(crate) async fn settle(&self, cluster: &Cluster) -> Result<()> {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < Duration::from_secs(300) {
            let now = Some((self.numbers().await?.work(), cluster.writes().await?));
            if now == last {
                break;
            }
            last = now;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Ok(())
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss(&self) -> Result<u64> {
        process::rss(self.pid)
    }

    /// Processor time so far, in seconds of one core.
    pub(crate) fn cpu(&self) -> Result<f64> {
        process::cpu(self.pid)
    }

    /// Stops it as Kubernetes does, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("pid")?;
        kill_process(pid, Signal::TERM)?;
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .context("the operator does not stop")?
            .context("waiting for the operator")
    }
}

/// What /metrics said.
pub(crate) struct Numbers(String);

/// Of a series: the version that it is about.
fn digest(labels: &str) -> Option<&str> {
    labels.split_once("digest=\"")?.1.split('"').next()
}

impl Numbers {
    /// The sum of all series of a name whose labels `wanted` accepts.
    pub(crate) fn sum(&self, name: &str, wanted: impl Fn(&str) -> bool) -> u64 {
        let series = self.0.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let labels = key.strip_prefix(name)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            (is_it && wanted(labels)).then(|| value.parse::<u64>().ok()).flatten()
        });
        series.sum()
    }

    /// Sum and count of a histogram.
    pub(crate) fn histogram(&self, name: &str) -> (f64, u64) {
        let key = format!("{name}_sum ");
        let sum = self.0.lines().find_map(|line| line.strip_prefix(&key)?.parse().ok());
        (sum.unwrap_or_default(), self.sum(&format!("{name}_count"), |_| true))
    }

    /// 1 while it leads.
    pub(crate) fn leading(&self) -> u64 {
        self.sum("isthmus_leading", |_| true)
    }

    /// Versions that were swapped in.
    pub(crate) fn swaps(&self) -> u64 {
        self.sum("isthmus_module_swaps_total", |_| true)
    }

    /// Writes to Kubernetes, the renewals of the lease aside.
    pub(crate) fn kubernetes_writes(&self) -> u64 {
        self.sum("isthmus_kubernetes_writes_total", |labels| !labels.contains("resource=\"leases\""))
    }

    /// Deletes of what [`crate::cluster::Cluster::writes`] counts, sent by the operator itself.
    pub(crate) fn kubernetes_deletes(&self) -> u64 {
        self.sum("isthmus_kubernetes_writes_total", |labels| {
            labels.contains("verb=\"delete\"")
                && WRITTEN.iter().any(|r| labels.contains(&format!("resource=\"{r}\"")))
        })
    }

    /// Module calls.
    pub(crate) fn calls(&self) -> u64 {
        self.sum(CALLS, |_| true)
    }

    /// Calls of versions that an earlier sample has none of.
    pub(crate) fn calls_of_versions_after(&self, before: &Self) -> u64 {
        let known: BTreeSet<&str> =
            before.0.lines().filter(|l| l.starts_with(CALLS)).filter_map(digest).collect();
        self.sum(CALLS, |labels| digest(labels).is_some_and(|digest| !known.contains(digest)))
    }

    /// Listings of all that is ours, compared with what is recorded.
    pub(crate) fn resyncs(&self) -> u64 {
        self.sum("isthmus_resyncs_total", |_| true)
    }

    /// Reconciles that met another writer, and were done over at once.
    pub(crate) fn conflicts(&self) -> u64 {
        self.sum("isthmus_reconciles_total", |labels| labels.contains(CONFLICT))
    }

    /// Reconciles that failed; [`Self::conflicts`] are none.
    pub(crate) fn failed(&self) -> u64 {
        let fine = |labels: &str| ["\"done\"", "\"waiting\"", CONFLICT].iter().any(|r| labels.contains(r));
        self.sum("isthmus_reconciles_total", |labels| !fine(labels))
    }

    /// Grows while the operator works.
    pub(crate) fn work(&self) -> u64 {
        self.calls() + self.sum("isthmus_reconciles_total", |_| true)
    }

    /// Requests to Neutron that read, or that write.
    pub(crate) fn network(&self, reads: bool) -> u64 {
        self.sum("isthmus_openstack_requests_total", |labels| {
            labels.contains("service=\"network\"") && labels.contains("method=\"GET\"") == reads
        })
    }
}

/// One GET of the operator's HTTP: status and body.
async fn get(path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(HTTP).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {HTTP}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).context("no HTTP status")?.parse()?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    fn numbers(series: &[&str]) -> Numbers {
        Numbers(series.join("\n"))
    }

    #[test]
    fn calls_of_a_new_version_are_told_from_late_ones_of_the_old() {
        let call = |digest: &str, count| {
            format!(
                "isthmus_module_calls_total{{module=\"m\",digest=\"{digest}\",operation=\"map\",result=\"ok\"}} {count}"
            )
        };
        let before = numbers(&[&call("aaa", 5)]);
        assert_eq!(numbers(&[&call("aaa", 9)]).calls_of_versions_after(&before), 0);
        assert_eq!(numbers(&[&call("aaa", 9), &call("bbb", 2)]).calls_of_versions_after(&before), 2);
    }

    #[test]
    fn a_conflict_is_counted_and_is_no_failure() {
        let all = numbers(&[
            "isthmus_reconciles_total{result=\"done\"} 7",
            "isthmus_reconciles_total{result=\"KubernetesConflict\"} 3",
            "isthmus_reconciles_total{result=\"CloudUnavailable\"} 2",
        ]);
        assert_eq!((all.failed(), all.conflicts()), (2, 3));
    }

    #[test]
    fn deletes_are_of_what_the_garbage_collector_deletes_too() {
        let all = numbers(&[
            "isthmus_kubernetes_writes_total{verb=\"delete\",resource=\"cloudmappings\"} 4",
            "isthmus_kubernetes_writes_total{verb=\"patch\",resource=\"cloudmappings\"} 8",
            "isthmus_kubernetes_writes_total{verb=\"delete\",resource=\"configmaps\"} 16",
        ]);
        assert_eq!(all.kubernetes_deletes(), 4);
    }
}
