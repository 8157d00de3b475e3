//! Ports and their addresses.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};

/// An address of a port: subnet and address.
type FixedIp = (String, IpAddr);

impl Neutron {
    pub(super) fn new_port(&mut self, mut object: Object) -> Result<String> {
        let network = text(&object, "network_id").to_owned();
        self.get(Kind::Network, &network)?;
        let mac = self.mac(&object)?;
        self.complete_port(&mut object, &mac)?;
        let taken = match object.get("fixed_ips").and_then(Value::as_array) {
            Some(requests) => self.take_addresses(&network, requests, &[])?,
            None => self.take_default_addresses(&network)?,
        };
        object.insert("mac_address".to_owned(), json!(mac));
        object.insert("fixed_ips".to_owned(), shown(&taken));
        let plugged = self.plugs && !text(&object, "binding:host_id").is_empty();
        object.insert("status".to_owned(), json!(if plugged { "ACTIVE" } else { "DOWN" }));
        object.insert("qos_policy_id".to_owned(), Value::Null);
        Ok(self.store(Kind::Port, object))
    }

    /// Checks and completes what a PUT changes.
    pub(super) fn change_port(&mut self, id: &str, changes: &mut Object) -> Result<()> {
        let port = self.get(Kind::Port, id)?.clone();
        // What stays is needed for what is derived from both.
        let mut after = port.clone();
        after.extend(changes.clone());
        self.complete_port(&mut after, text(&port, "mac_address"))?;
        for name in ["security_groups", "allowed_address_pairs", "binding:vif_type"] {
            changes.extend(after.remove(name).map(|value| (name.to_owned(), value)));
        }
        if let Some(requests) = changes.get("fixed_ips").and_then(Value::as_array) {
            let held = held(&port);
            let now = self.take_addresses(text(&port, "network_id"), requests, &held)?;
            let left: Vec<FixedIp> = held.into_iter().filter(|ip| !now.contains(ip)).collect();
            self.give_back(&left);
            changes.insert("fixed_ips".to_owned(), shown(&now));
        }
        Ok(())
    }

    pub(super) fn free_port(&mut self, id: &str) -> Result<()> {
        let held = held(self.get(Kind::Port, id)?);
        self.give_back(&held);
        Ok(())
    }

    /// The MAC address asked for, if no other port of the network has it, or a new one.
    fn mac(&mut self, object: &Object) -> Result<String> {
        match text(object, "mac_address") {
            "" => {
                let n = self.ids.made();
                Ok(format!("fa:16:3e:{:02x}:{:02x}:{:02x}", (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff))
            }
            given => {
                let network = text(object, "network_id");
                let same = |p: &Object| {
                    text(p, "network_id") == network && text(p, "mac_address").eq_ignore_ascii_case(given)
                };
                if self.all(Kind::Port).any(same) {
                    let message = format!(
                        "Unable to complete operation for network {network}. The mac address {given} is in use."
                    );
                    return Err(Fault::conflict("MacAddressInUse", message));
                }
                Ok(given.to_ascii_lowercase())
            }
        }
    }

    /// What follows from other attributes: groups that exist, pairs with their MAC address, how it is bound.
    fn complete_port(&self, port: &mut Object, mac: &str) -> Result<()> {
        let secured = port.get("port_security_enabled") == Some(&Value::Bool(true));
        let groups = match port.get("security_groups") {
            Some(Value::Array(groups)) => groups.clone(),
            _ if secured => vec![json!(self.default_group(text(port, "project_id")))],
            _ => Vec::new(),
        };
        for group in &groups {
            self.get(Kind::SecurityGroup, group.as_str().unwrap_or_default())?;
        }
        let mut pairs = port.get("allowed_address_pairs").cloned().unwrap_or_else(|| json!([]));
        for pair in pairs.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            pair.entry("mac_address").or_insert_with(|| json!(mac));
        }
        let plain = groups.is_empty() && pairs.as_array().is_none_or(Vec::is_empty);
        if !secured && !plain {
            let message = "Port Security must be enabled in order to have allowed address pairs or security groups on a port.";
            return Err(Fault::conflict("PortSecurityAndIPRequiredForSecurityGroups", message));
        }
        let bound = !text(port, "binding:host_id").is_empty();
        port.insert("security_groups".to_owned(), Value::Array(groups));
        port.insert("allowed_address_pairs".to_owned(), pairs);
        port.insert("binding:vif_type".to_owned(), json!(if bound { "ovs" } else { "unbound" }));
        Ok(())
    }

    /// One address of each IP version that the network has.
    fn take_default_addresses(&mut self, network: &str) -> Result<Vec<FixedIp>> {
        let subnets = self.subnets_of(network);
        let mut taken = Vec::new();
        for v6 in [false, true] {
            let of_version: Vec<&String> = subnets
                .iter()
                .filter(|id| self.pools.get(*id).is_some_and(|pool| pool.is_v6() == v6))
                .collect();
            let found = of_version.iter().find_map(|id| {
                let address = self.pools.get_mut(*id)?.take_any()?;
                Some(((*id).clone(), address))
            });
            match found {
                Some(ip) => taken.push(ip),
                None if of_version.is_empty() => {}
                None => {
                    self.give_back(&taken);
                    return Err(exhausted(network));
                }
            }
        }
        Ok(taken)
    }

    /// The addresses asked for. Those of `held` stay where they are named. Takes all or none.
    fn take_addresses(
        &mut self,
        network: &str,
        requests: &[Value],
        held: &[FixedIp],
    ) -> Result<Vec<FixedIp>> {
        let mut all: Vec<FixedIp> = Vec::new();
        for request in requests {
            match self.take_address(network, request, held) {
                Ok(ip) => all.push(ip),
                Err(fault) => {
                    let new: Vec<FixedIp> = all.into_iter().filter(|ip| !held.contains(ip)).collect();
                    self.give_back(&new);
                    return Err(fault);
                }
            }
        }
        Ok(all)
    }

    fn take_address(&mut self, network: &str, request: &Value, held: &[FixedIp]) -> Result<FixedIp> {
        let field = |name: &str| request.get(name).and_then(Value::as_str);
        let address = match field("ip_address") {
            Some(text) => {
                let parsed: std::result::Result<IpAddr, _> = text.parse();
                Some(parsed.map_err(|_| {
                    Fault::invalid("InvalidInput", format!("'{text}' is not a valid IP address"))
                })?)
            }
            None => None,
        };
        let subnet = match (field("subnet_id"), address) {
            (Some(id), _) => id.to_owned(),
            (None, Some(address)) => self.subnet_with(network, address).ok_or_else(not_of_network)?,
            (None, None) => {
                return Err(Fault::bad_request("fixed_ips: needs a subnet_id or an ip_address"));
            }
        };
        if text(self.get(Kind::Subnet, &subnet)?, "network_id") != network {
            return Err(not_of_network());
        }
        let Some(pool) = self.pools.get_mut(&subnet) else {
            return Err(Fault::not_found(Kind::Subnet, &subnet));
        };
        match address {
            None => Ok((subnet, pool.take_any().ok_or_else(|| exhausted(network))?)),
            Some(address) if !pool.contains(address) => {
                let message = format!("IP address {address} is not a valid IP for the specified subnet.");
                Err(Fault::invalid("InvalidIpForSubnet", message))
            }
            Some(address) => {
                let ip = (subnet, address);
                if held.contains(&ip) || pool.take(address) {
                    return Ok(ip);
                }
                let message = format!("IP address {address} already allocated in subnet {}", ip.0);
                Err(Fault::conflict("IpAddressAlreadyAllocated", message))
            }
        }
    }

    fn subnet_with(&self, network: &str, address: IpAddr) -> Option<String> {
        let holds = |id: &String| self.pools.get(id).is_some_and(|pool| pool.contains(address));
        self.subnets_of(network).into_iter().find(holds)
    }

    fn give_back(&mut self, addresses: &[FixedIp]) {
        for (subnet, address) in addresses {
            if let Some(pool) = self.pools.get_mut(subnet) {
                pool.give_back(*address);
            }
        }
    }
}

/// The addresses that a stored port has.
fn held(port: &Object) -> Vec<FixedIp> {
    let ip = |ip: &Value| {
        let field = |name: &str| ip.get(name).and_then(Value::as_str);
        Some((field("subnet_id")?.to_owned(), field("ip_address")?.parse().ok()?))
    };
    let all = port.get("fixed_ips").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(ip).collect()
}

fn shown(addresses: &[FixedIp]) -> Value {
    addresses.iter().map(|(subnet, address)| json!({"subnet_id": subnet, "ip_address": address})).collect()
}

fn exhausted(network: &str) -> Fault {
    let message = format!("No more IP addresses available on network {network}.");
    Fault::conflict("IpAddressGenerationFailure", message)
}

fn not_of_network() -> Fault {
    let message = "IP address is not a valid IP for any of the subnets on the specified network.";
    Fault::invalid("InvalidIpForNetwork", message)
}
