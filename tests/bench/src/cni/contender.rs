//! Who attaches a Pod.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use isthmus_node_tests::{Call, Namespace, Stage};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

use super::Cost;
use super::bare::Bare;
use super::node::{GATEWAY, MTU};
use crate::cluster::PODS;

/// The newest version that Debian's reference plugins speak.
const VERSION: &str = "1.0.0";

/// One of those that are compared, with a Pod of its own.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    netns: Namespace,
    pub(crate) adds: Vec<Cost>,
    pub(crate) dels: Vec<Cost>,
    /// From the begin of DEL until the node has no link of the Pod, in microseconds.
    pub(crate) gone: Vec<f64>,
}

/// How.
pub(crate) enum Who {
    Ours {
        call: Call,
        /// VERSION.
        starts: Vec<Cost>,
    },
    Reference(Call),
    Bare(Bare),
}

impl Contender {
    fn new(name: &'static str, netns: Namespace, who: Who) -> Self {
        Self { name, who, netns, adds: Vec::new(), dels: Vec::new(), gone: Vec::new() }
    }

    /// `isthmus-cni`, which asks the agent.
    pub(crate) fn ours(stage: &Stage) -> Result<Self> {
        let netns = Namespace::new()?;
        let call = Call::new(&stage.socket(), "web", "ours", &netns.path()).in_namespace(PODS);
        let call = call.with("cniVersion", VERSION.into());
        Ok(Self::new("isthmus", netns, Who::Ours { call, starts: Vec::new() }))
    }

    /// Go's `bridge`, on the same bridge.
    pub(crate) fn bridge(stage: &Stage) -> Result<Self> {
        let config = json!({"type": "bridge", "bridge": "br0"});
        Self::reference("Go bridge", "bridge", config, &ipam(stage.folder(), "10.77.0", GATEWAY))
    }

    /// Go's `ptp`, which needs no bridge.
    pub(crate) fn ptp(stage: &Stage) -> Result<Self> {
        let config = json!({"type": "ptp"});
        Self::reference("Go ptp", "ptp", config, &ipam(stage.folder(), "10.78.0", "10.78.0.254"))
    }

    fn reference(name: &'static str, plugin: &str, mut config: Value, ipam: &Value) -> Result<Self> {
        let netns = Namespace::new()?;
        let all = json!({"cniVersion": VERSION, "name": plugin, "mtu": MTU, "ipam": ipam});
        if let (Some(config), Value::Object(all)) = (config.as_object_mut(), all) {
            config.extend(all);
        }
        let call = Call::reference(plugin, config, plugin, &netns.path())?;
        Ok(Self::new(name, netns, Who::Reference(call)))
    }

    /// A process with nothing but the netlink calls, from the namespace of this thread.
    pub(crate) fn bare() -> Result<Self> {
        let netns = Namespace::new()?;
        let bare = Bare::start(&netns)?;
        Ok(Self::new("bare netlink calls", netns, Who::Bare(bare)))
    }

    /// A verb for the container of a round.
    pub(crate) fn call(&mut self, verb: &str, round: usize) -> Result<Cost> {
        match &mut self.who {
            Who::Ours { call, .. } | Who::Reference(call) => {
                timed(&call.clone().of_container(&format!("bench{round}")), verb)
            }
            Who::Bare(bare) => bare.call(verb),
        }
    }

    /// The plugin from its start to its end, with nothing to ask and nothing to do.
    pub(crate) fn start(&mut self) -> Result<()> {
        if let Who::Ours { call, starts } = &mut self.who {
            starts.push(timed(call, "VERSION")?);
        }
        Ok(())
    }

    /// Whether all have done the same.
    pub(crate) fn is_attached(&self) -> Result<()> {
        let addresses = self.netns.run("ip -4 -oneline address show dev eth0")?;
        let route = self.netns.run("ip -4 route show default")?;
        let link = self.netns.run("ip link show dev eth0")?;
        let good = addresses.lines().count() == 1
            && route.contains("dev eth0")
            && link.contains(&format!("mtu {MTU} "))
            && link.contains(",UP");
        ensure!(good, "the Pod has no network, but {addresses}{route}{link}");
        Ok(())
    }
}

fn ipam(folder: &Path, net: &str, gateway: &str) -> Value {
    let range = json!({"subnet": format!("{net}.0/24"), "gateway": gateway,
        "rangeStart": format!("{net}.150"), "rangeEnd": format!("{net}.250")});
    json!({"type": "host-local", "dataDir": folder.join("host-local"), "ranges": [[range]],
        "routes": [{"dst": "0.0.0.0/0"}]})
}

/// From the start of the plugin's process to its end. What it waited for is counted by the kernel as it was.
fn timed(call: &Call, verb: &str) -> Result<Cost> {
    let ready = call.ready(verb)?;
    let (before, began) = (used(UsageWho::RUSAGE_CHILDREN)?, Instant::now());
    let done = ready.output()?;
    let wall = began.elapsed();
    let cpu = used(UsageWho::RUSAGE_CHILDREN)?.checked_sub(before).context("time goes on")?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{verb} ended with {}: {said}", done.status);
    Ok(Cost { wall: wall.as_secs_f64() * 1e6, cpu: cpu.as_secs_f64() * 1e6 })
}

/// Processor time so far. Of children: of those that were waited for, with their own.
pub(super) fn used(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let both = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(both)?))
}
