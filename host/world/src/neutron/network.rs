//! Networks.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, store, text};

/// Of a network behind Geneve on 1500 bytes.
const MTU: u64 = 1442;
/// Ports that go with their network.
const AUTOMATIC: [&str; 2] = ["network:dhcp", "network:distributed"];

impl Neutron {
    pub(super) fn new_network(&mut self, mut object: Object) -> String {
        for (name, value) in [
            ("status", json!("ACTIVE")),
            ("qos_policy_id", Value::Null),
            ("vlan_transparent", json!(false)),
            ("qinq", json!(false)),
            ("availability_zones", json!([])),
            ("ipv4_address_scope", Value::Null),
            ("ipv6_address_scope", Value::Null),
        ] {
            object.insert(name.to_owned(), value);
        }
        if object.get("mtu").is_none_or(|mtu| mtu.as_u64() == Some(0)) {
            object.insert("mtu".to_owned(), json!(MTU));
        }
        self.store(Kind::Network, object)
    }

    /// Takes a network's subnets away with it, as Neutron does, unless a port is in it.
    pub(super) fn free_network(&mut self, id: &str) -> Result<()> {
        let ports = store::ids(&self.index.ports, id);
        let owner =
            |port: &String| self.find(Kind::Port, port).map(|p| text(p, "device_owner")).unwrap_or_default();
        let (automatic, others): (Vec<_>, Vec<_>) =
            ports.iter().partition(|port| AUTOMATIC.contains(&owner(port)));
        if !others.is_empty() {
            let others: Vec<&str> = others.iter().map(|id| id.as_str()).collect();
            let message = format!(
                "Unable to complete operation on network {id}. There are one or more ports still in use on the network, id for these ports is: {}.",
                others.join(",")
            );
            return Err(Fault::conflict("NetworkInUse", message));
        }
        let automatic: Vec<String> = automatic.into_iter().cloned().collect();
        automatic.iter().for_each(|port| self.drop_port(port));
        for subnet in self.subnets(id) {
            self.pools.remove(&subnet);
            self.remove(Kind::Subnet, &subnet);
        }
        Ok(())
    }

    /// Ids of the subnets of a network, in the order of their ids.
    pub(crate) fn subnets(&self, network: &str) -> Vec<String> {
        store::ids(&self.index.subnets, network)
    }
}
