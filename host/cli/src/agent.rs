//! The agent of a node, as a program.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use isthmus_kubernetes::Client;
use isthmus_node::binding::{DriverOptions, SriovOptions};
use isthmus_node::health::Paths;
use isthmus_node::install::Install;
use isthmus_node::{Addresses, Options};

use crate::global::Kube;
use crate::stop::stop;

/// The plugin's file.
const PLUGIN: &str = "isthmus-cni";
/// The binding by Open vSwitch, and where its database is found.
const OVS: &str = "ovs";
const OVSDB: &str = "/run/openvswitch/db.sock";

/// How a node's agent is run.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Name of this node in Kubernetes.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,

    /// Socket for isthmus-cni. Its folder is made mode 0700.
    #[arg(long, default_value = isthmus_cni::config::SOCKET)]
    pub socket: PathBuf,

    /// Folder with a file for each attachment. It has to outlive the agent.
    #[arg(long, default_value = "/var/lib/isthmus/attachments")]
    pub state_dir: PathBuf,

    /// How interfaces are bound that do not say it themselves: ovs, bridge, vlan, macvlan, ipvlan, sriov or
    /// vhostuser.
    #[arg(long, default_value = "ovs")]
    pub binding: String,

    /// Socket of Open vSwitch's database, for the bindings `ovs` and `vhostuser`; default: /run/openvswitch/db.sock where that is how
    /// interfaces are bound, or --vhostuser-dir is given, else these bindings are not offered.
    #[arg(long)]
    pub ovsdb: Option<PathBuf>,

    /// The bridge of Open vSwitch that OVN programs.
    #[arg(long, default_value = "br-int")]
    pub integration_bridge: String,

    /// A Linux bridge, for the binding `bridge`; default: that binding is not offered.
    #[arg(long)]
    pub bridge: Option<String>,

    /// The node's interface on the cloud's network, beneath what the bindings `vlan`, `macvlan` and `ipvlan` make; default: they are
    /// not offered.
    #[arg(long, value_name = "INTERFACE")]
    pub nested_parent: Option<String>,

    /// Folder for the sockets of Pods that move packets themselves (DPDK), for the binding `vhostuser`; default: that binding is not
    /// offered.
    #[arg(long, value_name = "DIR")]
    pub vhostuser_dir: Option<PathBuf>,

    /// Give Pods virtual functions of the node's network cards, by the binding `sriov`; default: that binding is not offered.
    #[arg(long)]
    pub sriov: bool,

    /// Kubelet's socket of what device plugins gave to Pods, for the binding `sriov`.
    #[arg(long, value_name = "SOCKET", default_value = "/var/lib/kubelet/pod-resources/kubelet.sock")]
    pub pod_resources: PathBuf,

    /// Address for /alive, /ready and /metrics; default: none.
    #[arg(long)]
    pub http: Option<SocketAddr>,

    /// Put isthmus-cni and a network configuration where the container runtime looks, as soon as the agent serves.
    #[arg(long)]
    pub install_cni: bool,

    /// Remove what --install-cni has put there, and end. Pods that run keep their network until they are deleted.
    #[arg(long, conflicts_with = "install_cni")]
    pub uninstall_cni: bool,

    /// The plugin to be installed; default: the file isthmus-cni beside this program.
    #[arg(long, requires = "install_cni")]
    pub cni_plugin: Option<PathBuf>,

    /// Folder of the container runtime's plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,

    /// Folder of the container runtime's network configurations.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
}

/// Runs it until it is told to stop.
///
/// # Errors
/// It cannot start, or a part of it ended.
pub async fn run(kube: &Kube, args: NodeArgs) -> anyhow::Result<()> {
    let plugin = match args.cni_plugin {
        Some(plugin) => plugin,
        None => std::env::current_exe().context("where this program lies")?.with_file_name(PLUGIN),
    };
    let install = Install { plugin, bin: args.cni_bin_dir, conf: args.cni_conf_dir };
    if args.uninstall_cni {
        return Ok(install.remove()?);
    }
    let install = args.install_cni.then_some(install);
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let by_ovs = args.binding == OVS || args.vhostuser_dir.is_some();
    let ovsdb = args.ovsdb.or_else(|| by_ovs.then(|| OVSDB.into()));
    let drivers = DriverOptions {
        default: args.binding,
        ovs: ovsdb.map(|socket| (socket, args.integration_bridge)),
        bridge: args.bridge,
        nested_parent: args.nested_parent,
        vhostuser: args.vhostuser_dir,
        sriov: args.sriov.then(|| SriovOptions { sysfs: "/sys".into(), pod_resources: args.pod_resources }),
    };
    let options = Options { state: args.state_dir, drivers, paths: Paths::default() };
    let mut stop = stop()?;
    let stopped = async move {
        // A sender that is gone says so as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let addresses = Addresses { socket: args.socket, http: args.http, install };
    Ok(isthmus_node::run(options, addresses, client, &args.node, stopped).await?)
}
