//! `isthmus node`.

use anyhow::Context;
use isthmus_kubernetes::Client;
use isthmus_node::binding::DriverOptions;
use isthmus_node::install::Install;
use isthmus_node::{Addresses, Options};

use crate::args::{Kube, NodeArgs};
use crate::operator::stop;

/// The plugin's file.
const PLUGIN: &str = "isthmus-cni";
/// The binding by Open vSwitch, and where its database is found.
const OVS: &str = "ovs";
const OVSDB: &str = "/run/openvswitch/db.sock";

pub(crate) async fn run(kube: &Kube, args: NodeArgs) -> anyhow::Result<()> {
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
    let ovsdb = args.ovsdb.or_else(|| (args.binding == OVS).then(|| OVSDB.into()));
    let drivers = DriverOptions {
        default: args.binding,
        ovs: ovsdb.map(|socket| (socket, args.integration_bridge)),
        bridge: args.bridge,
        nested_parent: args.nested_parent,
    };
    let options = Options { state: args.state_dir, drivers };
    let mut stop = stop()?;
    let stopped = async move {
        // A sender that is gone says so as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let addresses = Addresses { socket: args.socket, http: args.http, install };
    Ok(isthmus_node::run(options, addresses, client, &args.node, stopped).await?)
}
