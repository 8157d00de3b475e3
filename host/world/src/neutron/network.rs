//! Networks and subnets.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::pool::{Pool, default_ranges, first_host};
use super::{Kind, Neutron, Object, text};

/// Of a network behind Geneve on 1500 bytes.
const MTU: u64 = 1442;

impl Neutron {
    pub(super) fn new_network(&mut self, mut object: Object) -> String {
        object.insert("status".to_owned(), json!("ACTIVE"));
        object.insert("router:external".to_owned(), json!(false));
        if object.get("mtu").is_none_or(Value::is_null) {
            object.insert("mtu".to_owned(), json!(MTU));
        }
        self.store(Kind::Network, object)
    }

    /// Takes a network's subnets away with it, as Neutron does, unless a port is in it.
    pub(super) fn free_network(&mut self, id: &str) -> Result<()> {
        if self.all(Kind::Port).any(|port| text(port, "network_id") == id) {
            let message = format!(
                "Unable to complete operation on network {id}. There are one or more ports still in use on the network."
            );
            return Err(Fault::conflict("NetworkInUse", message));
        }
        for subnet in self.subnets_of(id) {
            self.pools.remove(&subnet);
            self.remove(Kind::Subnet, &subnet);
        }
        Ok(())
    }

    /// Ids of the subnets of a network, in the order of their ids.
    pub(super) fn subnets_of(&self, network: &str) -> Vec<String> {
        let subnets = self.all(Kind::Subnet).filter(|s| text(s, "network_id") == network);
        subnets.map(|s| text(s, "id").to_owned()).collect()
    }

    pub(super) fn new_subnet(&mut self, mut object: Object) -> Result<String> {
        let network = text(&object, "network_id").to_owned();
        self.get(Kind::Network, &network)?;
        let cidr = text(&object, "cidr");
        let net: IpNet =
            cidr.parse().map_err(|_| invalid(format!("Invalid input for cidr: '{cidr}' is no prefix")))?;
        let net = net.trunc();
        let version = if net.addr().is_ipv4() { 4 } else { 6 };
        if object.get("ip_version").and_then(Value::as_u64) != Some(version) {
            return Err(invalid(format!("ip_version does not match the prefix {net}")));
        }
        let overlaps = |other: &Object| {
            let other: Option<IpNet> = text(other, "cidr").parse().ok();
            other.is_some_and(|other| other.contains(&net) || net.contains(&other))
        };
        if self.all(Kind::Subnet).any(|s| text(s, "network_id") == network && overlaps(s)) {
            return Err(invalid(format!(
                "Requested subnet with cidr: {net} for network: {network} overlaps with another subnet"
            )));
        }
        let gateway = match text(&object, "gateway_ip") {
            "" => first_host(net),
            given => given.parse().map_err(|_| invalid(format!("gateway_ip: '{given}' is no address")))?,
        };
        let ranges = match object.get("allocation_pools").and_then(Value::as_array) {
            Some(given) => given.iter().map(|range| parse_range(range, net)).collect::<Result<_>>()?,
            None => default_ranges(net, Some(gateway)),
        };
        let shown: Vec<Value> =
            ranges.iter().map(|(first, last)| json!({"start": first, "end": last})).collect();
        object.insert("cidr".to_owned(), json!(net.to_string()));
        object.insert("gateway_ip".to_owned(), json!(gateway));
        object.insert("allocation_pools".to_owned(), json!(shown));
        object.insert("ipv6_address_mode".to_owned(), Value::Null);
        object.insert("ipv6_ra_mode".to_owned(), Value::Null);
        let id = self.store(Kind::Subnet, object);
        self.pools.insert(id.clone(), Pool::new(net, &ranges));
        Ok(id)
    }

    pub(super) fn free_subnet(&mut self, id: &str) -> Result<()> {
        if self.pools.get(id).is_some_and(Pool::is_used) {
            let message = format!(
                "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
            );
            return Err(Fault::conflict("SubnetInUse", message));
        }
        self.pools.remove(id);
        Ok(())
    }
}

fn parse_range(range: &Value, net: IpNet) -> Result<(IpAddr, IpAddr)> {
    let end = |name: &str| -> Option<IpAddr> {
        range.get(name)?.as_str()?.parse().ok().filter(|address| net.contains(address))
    };
    let ends = end("start").zip(end("end")).filter(|(first, last)| first <= last);
    ends.ok_or_else(|| {
        Fault::invalid("InvalidAllocationPool", format!("The allocation pool {range} is not valid."))
    })
}

fn invalid(message: String) -> Fault {
    Fault::invalid("InvalidInput", message)
}
