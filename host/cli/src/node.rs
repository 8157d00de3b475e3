//! `isthmus node`.

use isthmus_kubernetes::Client;
use isthmus_node::Options;
use isthmus_node::binding::DriverOptions;

use crate::args::{Kube, NodeArgs};
use crate::operator::stop;

/// The binding by Open vSwitch, and where its database is found.
const OVS: &str = "ovs";
const OVSDB: &str = "/run/openvswitch/db.sock";

pub(crate) async fn run(kube: &Kube, args: NodeArgs) -> anyhow::Result<()> {
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let ovsdb = args.ovsdb.or_else(|| (args.binding == OVS).then(|| OVSDB.into()));
    let drivers = DriverOptions {
        default: args.binding,
        ovs: ovsdb.map(|socket| (socket, args.integration_bridge)),
        bridge: args.bridge,
    };
    let options = Options { state: args.state_dir, drivers };
    let mut stop = stop()?;
    let stopped = async move {
        // A sender that is gone says so as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    Ok(isthmus_node::run(options, args.socket, client, &args.node, stopped).await?)
}
