//! The node: an agent as a process, and an API server with the CloudMappings of its Pods, which are known before any ADD.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::LABEL_NODE;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Process, Stage, tail, until};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, PODS};
use crate::measure::say;
use crate::process;

/// The node's name.
const NAME: &str = "bench";
/// Number of the Pod `web`, of which ADD and DEL are measured.
const WEB: u8 = 101;
/// Number of the Pod of the bare calls.
pub(super) const BARE: u8 = 102;
/// Of the network `10.77.0.0/24`.
pub(super) const GATEWAY: &str = "10.77.0.254";
/// The network's, in bytes.
pub(super) const MTU: u32 = 1442;

/// A node whose agent serves. All of it ends with this.
pub(crate) struct Node<'a> {
    agent: Process,
    mappings: Api<CloudMapping>,
    _cluster: Cluster,
    runtime: Runtime,
    stage: &'a Stage,
    log: PathBuf,
}

/// The VIF of a Pod by its number, IPv4 alone: with IPv6 the reference plugins wait for duplicate address detection, which is a second
/// and more.
pub(super) fn vif(n: u8) -> Vif {
    let mut vif = isthmus_node_tests::vif(n);
    vif.addresses.retain(|address| address.addr().is_ipv4());
    vif.gateways.retain(|gateway| gateway.is_ipv4());
    vif
}

impl<'a> Node<'a> {
    /// In the namespace of this thread, which is the stage's.
    pub(crate) fn start(stage: &'a Stage, agent: &Path) -> Result<Self> {
        say("starting an API server and an agent");
        // One thread beside this one: the agent's calls are answered while a plugin is waited for.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let kubeconfig = stage.folder().join("kubeconfig");
        let (cluster, mappings) = runtime.block_on(cluster(&kubeconfig))?;
        let log = stage.folder().join("agent.log");
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let (kubeconfig, socket, state) = (text(&kubeconfig)?, text(&stage.socket())?, text(&stage.state())?);
        let options = ["--socket", &socket, "--state-dir", &state, "--binding", "bridge", "--bridge", "br0"];
        let arguments = [&["--kubeconfig", &*kubeconfig, "node", "--node", NAME][..], &options].concat();
        let agent = Process::start(&text(agent)?, &arguments, &log)?;
        let mut node = Self { agent, mappings, _cluster: cluster, runtime, stage, log };
        node.until_serves()?;
        Ok(node)
    }

    fn until_serves(&mut self) -> Result<()> {
        let socket = self.stage.socket();
        until("the agent listens", || {
            ensure!(!self.agent.has_ended()?, "the agent ended: {}", tail(&self.log));
            Ok(socket.exists())
        })
    }

    /// Waits until the API server knows whether a Pod is attached: then the agent is at rest.
    pub(crate) fn until_told(&self, pod: &str, attached: bool) -> Result<()> {
        let wanted = if attached { "True" } else { "False" };
        let told = until("the agent tells of it", || {
            let mapping = self.runtime.block_on(self.mappings.get(&name(pod)))?;
            let conditions = mapping.status.into_iter().flat_map(|status| status.conditions);
            Ok(conditions.into_iter().any(|c| c.type_ == "Attached" && c.status == wanted))
        });
        told.with_context(|| tail(&self.log))
    }

    /// The agent's processor time so far, in seconds of one core.
    pub(crate) fn cpu(&self) -> Result<f64> {
        process::cpu(self.agent.id())
    }

    /// The agent's resident memory, in KiB.
    pub(crate) fn rss(&self) -> Result<u64> {
        process::rss(self.agent.id())
    }
}

/// Name of a Pod's mapping.
fn name(pod: &str) -> String {
    format!("pod-{pod}")
}

/// An API server in this process that has a mapping of each Pod.
async fn cluster(kubeconfig: &Path) -> Result<(Cluster, Api<CloudMapping>)> {
    let cluster = Cluster::embedded(kubeconfig, NAME).await?;
    cluster.prepare().await?;
    let mappings = Api::namespaced(cluster.client(), PODS);
    map(&mappings, "web", WEB).await?;
    for n in 1..=super::PODS {
        map(&mappings, &format!("p{n}"), n).await?;
    }
    Ok((cluster, mappings))
}

/// Makes a Pod's mapping, as an operator would have by now.
async fn map(mappings: &Api<CloudMapping>, pod: &str, n: u8) -> Result<()> {
    let object = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping",
        "metadata": {"name": name(pod), "labels": {LABEL_NODE: NAME}},
        "spec": {"subject": {"apiVersion": "v1", "kind": "Pod", "namespace": PODS, "name": pod,
            "uid": format!("uid-{pod}")}}});
    mappings.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"node": NAME, "conditions": [condition], "vifs": [status(&vif(n))]}});
    mappings.patch_status(&name(pod), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

fn status(vif: &Vif) -> Value {
    json!({"interface": vif.interface, "port": "port", "portId": vif.port_id, "macAddress": vif.mac,
        "addresses": vif.addresses, "gateways": vif.gateways, "mtu": vif.mtu, "network": vif.network,
        "defaultRoute": vif.default_route})
}
