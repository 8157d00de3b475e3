//! What is done in which order, and what is measured of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use isthmus_openstack::Octavia;
use isthmus_world::{Kind, World};

use crate::Arguments;
use crate::cluster::{Cluster, Mappings, another_build};
use crate::measure::{Measure, ratio, say};
use crate::operator::{Numbers, Operator, ensure_none_runs};
use crate::services::Site;
use crate::{cloud, policies};

/// Pods of which throughput and writes are measured.
const FIRST: usize = 1_000;
/// Mappings that a swap is measured with.
const SWAP: usize = 2_000;
/// Pods of the warm-up, of which a whole life is counted.
const LIVES: usize = 200;
const IDLE: Duration = Duration::from_secs(30);

/// A running operator with its cluster, its cloud and what it mapped.
pub(crate) struct Stage<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) operator: Operator,
    pub(crate) mappings: Mappings,
    pub(crate) world: World,
}

/// All of it on the lab.
pub(crate) async fn run(cluster: &Cluster, arguments: &Arguments) -> Result<()> {
    in_process(cluster, arguments).await.context("with the in-process cloud")?;
    if arguments.real_pods > 0 {
        ensure_none_runs()?;
        real(cluster, arguments).await.context("with the real cloud")?;
    }
    Ok(())
}

async fn in_process(cluster: &Cluster, arguments: &Arguments) -> Result<()> {
    let world = cloud::start().await?;
    let operator = Operator::start(&arguments.operator, &world.environment(), None, &[]).await?;
    cluster.configure().await?;
    cluster.load(arguments.read("pod-port")?).await?;
    loaded(&operator, 1).await?;
    let mut stage = Stage { cluster, operator, mappings: cluster.watch(), world };
    stage.whole_life().await?;

    let first = FIRST.min(arguments.pods);
    stage.throughput(first, 120.0).await?;
    let at_first = stage.rss(first).await?;
    let mut pods = first;
    if arguments.pods >= SWAP {
        stage.grow(pods, SWAP).await?;
        pods = SWAP;
        // A late call of the old version would count as the first of the new one.
        stage.settle().await?;
        stage.swap(another_build(&arguments.module())?, SWAP).await?;
    }
    if arguments.pods > pods {
        // After the swap: what a compiler leaves behind is not a Pod's.
        let before = stage.settled_rss().await?;
        stage.grow(pods, arguments.pods).await?;
        stage.memory((at_first, first), (before, pods), arguments.pods).await?;
    }
    let stage = stage.idle(arguments).await?;
    stage.end(arguments.pods).await
}

impl Stage<'_> {
    /// Kubernetes writes over the life of a Pod, and a warm-up for the rest.
    async fn whole_life(&mut self) -> Result<()> {
        say(&format!("the whole life of {LIVES} Pods"));
        let counted = async || {
            let by_itself = self.operator.numbers().await?.kubernetes_writes();
            anyhow::Ok((
                self.cluster.writes_of(&self.operator).await?,
                self.cluster.writes().await?,
                by_itself,
            ))
        };
        let before = counted().await?;
        self.cluster.create_pods(0..LIVES).await?;
        self.mappings.ready(LIVES, limit(LIVES)).await?;
        self.cluster.delete_pods().await?;
        self.mappings.gone(limit(LIVES)).await?;
        let after = counted().await?;
        let [writes, all, told] =
            [after.0 - before.0, after.1 - before.1, after.2 - before.2].map(|count| ratio(count, LIVES));
        let measure = at_most("Kubernetes writes a Pod, over its life", "<= 4", writes, 4.0);
        let note = format!(
            "as the API server counts, which has {all:.2} with the garbage collector's deletes; {told:.2} as the operator counts"
        );
        Measure { note, ..measure }.print();
        Ok(())
    }

    /// Pods mapped a second, and what each cost.
    pub(crate) async fn throughput(&mut self, pods: usize, wanted: f64) -> Result<()> {
        // what loading the module still writes is no Pod's
        self.settle().await?;
        say(&format!("mapping {pods} Pods"));
        let (writes, cloud, cpu) =
            (self.cluster.writes().await?, self.world.stats().network(), self.operator.cpu()?);
        let began = Instant::now();
        self.cluster.create_pods(0..pods).await?;
        let created = began.elapsed();
        self.mappings.ready(pods, limit(pods)).await?;
        let took = began.elapsed();
        let (writes, after) = (self.cluster.writes().await? - writes, self.world.stats().network());
        let cpu_ms = (self.operator.cpu()? - cpu) * 1e3;
        let rate = rate(pods, took);
        let target = format!(">= {wanted:.0}");
        let at_least = |name, measured: f64| Measure {
            name,
            target: &target,
            measured: format!("{measured:.0}"),
            met: Some(measured >= wanted),
            note: format!(
                "{pods} Pods; made at {:.0}/s; {:.1} ms of the operator's CPU a Pod",
                self::rate(pods, created),
                cpu_ms / ratio(pods as u64, 1)
            ),
        };
        at_least("Pods mapped a second", rate).print();
        at_most("Kubernetes writes a Pod, until mapped", "<= 2", ratio(writes, pods), 2.0).print();
        at_most("cloud writes a Pod", "<= 1", ratio(after.writes - cloud.writes, pods), 1.0).print();
        at_most("cloud reads a Pod", "<= 0.1", ratio(after.reads - cloud.reads, pods), 0.1).print();
        Ok(())
    }

    /// Makes Pods until there are `to`.
    pub(crate) async fn grow(&mut self, from: usize, to: usize) -> Result<()> {
        say(&format!("from {from} to {to} Pods"));
        self.cluster.create_pods(from..to).await?;
        self.mappings.ready(to, limit(to - from)).await
    }

    /// From the ConfigMap's change to the first call of the new version, and reconciles that failed meanwhile.
    pub(crate) async fn swap(&mut self, next: Vec<u8>, mappings: usize) -> Result<()> {
        say("swapping the module");
        let before = self.operator.numbers().await?;
        let began = Instant::now();
        self.cluster.load(next).await?;
        loaded(&self.operator, before.swaps() + 1).await?;
        let at_swap = began.elapsed();
        // By its digest: late calls of the old version are none. Those of the shadow run are not counted.
        let called = until(&self.operator, |numbers| numbers.calls_of_versions_after(&before) > 0).await;
        let first_call = began.elapsed();
        called.context("no call of the new version")?;
        self.settle().await?;
        let after = self.operator.numbers().await?;
        let (failed, conflicts) = (after.failed() - before.failed(), after.conflicts() - before.conflicts());
        Measure {
            name: "swap: ConfigMap to first call",
            target: "<= 1 s",
            measured: format!("{:.2} s", first_call.as_secs_f64()),
            met: Some(first_call <= Duration::from_secs(1)),
            note: format!("{mappings} mappings; swapped after {:.2} s", at_swap.as_secs_f64()),
        }
        .print();
        Measure {
            name: "swap: reconciles that failed",
            target: "0",
            measured: failed.to_string(),
            met: Some(failed == 0),
            note: format!("{conflicts} met another writer (KubernetesConflict) and were done over at once"),
        }
        .print();
        Ok(())
    }

    /// What an operator with so many Pods holds, KiB.
    async fn rss(&self, pods: usize) -> Result<u64> {
        let held = self.settled_rss().await?;
        let (name, measured) = (format!("memory (RSS) with {pods} Pods"), format!("{} MiB", held / 1024));
        Measure { name: &name, target: "", measured, met: None, note: String::new() }.print();
        Ok(held)
    }

    /// What a Pod more takes: from the first count on, with the swap between, and from after the swap on.
    async fn memory(&self, first: (u64, usize), swapped: (u64, usize), pods: usize) -> Result<()> {
        let after = self.settled_rss().await?;
        for ((before, from), name) in [(first, "memory a Pod, with a swap"), (swapped, "memory a Pod")] {
            let each = ratio(after.saturating_sub(before), pods - from);
            Measure {
                name,
                target: "<= 8 KiB",
                measured: format!("{each:.1} KiB"),
                met: Some(each <= 8.0),
                note: format!("RSS {} MiB at {from} Pods, {} MiB at {pods}", before / 1024, after / 1024),
            }
            .print();
        }
        Ok(())
    }

    /// Resident memory once the work is done.
    async fn settled_rss(&self) -> Result<u64> {
        self.settle().await?;
        self.operator.rss()
    }

    /// As [`Operator::settle`].
    pub(crate) async fn settle(&self) -> Result<()> {
        self.operator.settle(self.cluster).await
    }

    /// What it does when there is nothing to do.
    async fn idle(mut self, arguments: &Arguments) -> Result<Self> {
        self.settle().await?;
        say("idle for 30 s");
        let cpu = self.operator.cpu()?;
        tokio::time::sleep(IDLE).await;
        let cpu = (self.operator.cpu()? - cpu) / IDLE.as_secs_f64() * 100.0;
        at_most("idle: percent of a core", "<= 1", cpu, 1.0).print();

        say("idle for 30 s more, with a resync in them");
        let status = self.operator.stop().await?;
        ensure!(status.success(), "the operator ended with {status}");
        let (cloud, flags) = (self.world.environment(), ["--resync-seconds", "20"]);
        self.operator = Operator::start(&arguments.operator, &cloud, None, &flags).await?;
        self.operator.leads().await?;
        self.settle().await?;
        let written = async || {
            let numbers = self.operator.numbers().await?;
            let writes = numbers.kubernetes_writes() + self.world.stats().network().writes;
            anyhow::Ok((writes, numbers.resyncs()))
        };
        let (before, cpu) = (written().await?, self.operator.cpu()?);
        tokio::time::sleep(IDLE).await;
        let cpu = (self.operator.cpu()? - cpu) / IDLE.as_secs_f64() * 100.0;
        let after = written().await?;
        let (writes, resyncs) = (after.0 - before.0, after.1 - before.1);
        Measure {
            name: "idle: writes",
            target: "0",
            measured: writes.to_string(),
            met: Some(writes == 0 && resyncs > 0),
            note: format!(
                "to Kubernetes and the cloud in 30 s with {resyncs} resync, {cpu:.2} percent of a core; the lease's renewals aside"
            ),
        }
        .print();
        Ok(self)
    }

    /// Everything is deleted, and nothing may be left.
    async fn end(mut self, pods: usize) -> Result<()> {
        say(&format!("deleting {pods} Pods"));
        let began = Instant::now();
        self.cluster.delete_pods().await?;
        self.mappings.gone(limit(pods)).await?;
        let left = self.world.count(Kind::Port);
        Measure {
            name: "ports left after all Pods are deleted",
            target: "0",
            measured: left.to_string(),
            met: Some(left == 0),
            note: format!("{:.0} Pods/s unmapped", rate(pods, began.elapsed())),
        }
        .print();
        let status = self.operator.stop().await?;
        ensure!(status.success(), "the operator ended with {status}");
        Ok(())
    }
}

/// With the real Neutron, whose CPU is the limit: calls a Pod.
async fn real(cluster: &Cluster, arguments: &Arguments) -> Result<()> {
    let pods = arguments.real_pods;
    say(&format!("mapping {pods} Pods with the real Neutron"));
    let mut operator = Operator::start(&arguments.operator, &[], None, &[]).await?;
    operator.leads().await?;
    let mut mappings = cluster.watch();
    let (before, written) = (operator.numbers().await?, cluster.writes_of(&operator).await?);
    let began = Instant::now();
    cluster.create_pods(0..pods).await?;
    mappings.ready(pods, limit(pods) * 10).await?;
    let took = began.elapsed();
    let after = operator.numbers().await?;
    let kubernetes = async || anyhow::Ok(ratio(cluster.writes_of(&operator).await? - written, pods));
    let calls = |reads| after.network(reads) - before.network(reads);
    let note = format!("{pods} Pods at {:.1}/s", rate(pods, took));
    let writes = at_most("real Neutron: writes a Pod", "<= 1", ratio(calls(false), pods), 1.0);
    Measure { note: note.clone(), ..writes }.print();
    let reads = at_most("real Neutron: reads a Pod", "<= 0.1", ratio(calls(true), pods), 0.1);
    Measure { note: format!("{note}; look-ups of names, shared by all Pods"), ..reads }.print();
    at_most("real Neutron: Kubernetes writes a Pod, until mapped", "<= 2", kubernetes().await?, 2.0).print();
    cluster.delete_pods().await?;
    mappings.gone(limit(pods) * 10).await?;
    at_most("real Neutron: Kubernetes writes a Pod, over its life", "<= 4", kubernetes().await?, 4.0).print();

    cluster.create_labelled_pods(0..2 * policies::EACH, policies::labels).await?;
    mappings.ready(2 * policies::EACH, limit(pods) * 10).await?;
    let policies = arguments.read("networkpolicy-securitygroup")?;
    policies::of_some(cluster, &operator, policies).await?;
    cluster.delete_pods().await?;
    mappings.gone(limit(pods) * 10).await?;
    let session = cloud::session_of_lab()?;
    let site = Site {
        client: cluster.client(),
        subnet: cloud::subnet(&session).await?,
        octavia: Octavia::new(session),
        provider: "ovn",
        algorithm: "SOURCE_IP_PORT",
        prefix: "10.100.9",
        every: Duration::from_millis(100),
    };
    site.run(arguments.read("service-loadbalancer")?).await?;
    let status = operator.stop().await?;
    ensure!(status.success(), "the operator ended with {status}");
    Ok(())
}

/// Waits for so many swaps.
pub(crate) async fn loaded(operator: &Operator, swaps: u64) -> Result<()> {
    let numbers = until(operator, |numbers| numbers.swaps() >= swaps);
    numbers.await.context("the module is not loaded")
}

/// Asks for the operator's numbers until they are as wanted.
async fn until(operator: &Operator, wanted: impl Fn(&Numbers) -> bool) -> Result<()> {
    let began = Instant::now();
    while !wanted(&operator.numbers().await?) {
        ensure!(began.elapsed() < Duration::from_secs(60), "not within a minute");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn at_most<'a>(name: &'a str, target: &'a str, measured: f64, wanted: f64) -> Measure<'a> {
    let measured_text = format!("{measured:.2}");
    Measure { name, target, measured: measured_text, met: Some(measured <= wanted), note: String::new() }
}

/// A generous limit: what takes longer is stuck, not slow.
pub(crate) fn limit(pods: usize) -> Duration {
    Duration::from_secs(60) + Duration::from_millis(100) * u32::try_from(pods).unwrap_or(u32::MAX)
}

pub(crate) fn rate(pods: usize, took: Duration) -> f64 {
    ratio(pods as u64, 1) / took.as_secs_f64()
}
