//! Addresses of ports.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, store};

/// Subnet and address.
pub(super) type FixedIp = (String, IpAddr);

impl Neutron {
    /// One address of each IP version that the network has.
    pub(super) fn take_default_addresses(&mut self, network: &str) -> Result<Vec<FixedIp>> {
        let subnets = store::ids(&self.index.subnets, network);
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

    /// The addresses asked for. Of those that are held, an address that is named stays, and one of a subnet that is named without
    /// an address; the others are given back. Takes all or none.
    pub(super) fn take_addresses(
        &mut self,
        network: &str,
        requests: &[Value],
        held: &[FixedIp],
    ) -> Result<Vec<FixedIp>> {
        let mut left = held.to_vec();
        let mut all: Vec<FixedIp> = Vec::new();
        let mut new: Vec<FixedIp> = Vec::new();
        // An address that is named comes before a subnet, which any address of it serves.
        let named = |request: &&Value| request.get("ip_address").is_some();
        let ordered = requests.iter().filter(|r| named(r)).chain(requests.iter().filter(|r| !named(r)));
        for request in ordered {
            match self.take_address(network, request, &mut left) {
                Ok((ip, fresh)) => {
                    new.extend(fresh.then(|| ip.clone()));
                    all.push(ip);
                }
                Err(fault) => {
                    self.give_back(&new);
                    return Err(fault);
                }
            }
        }
        self.give_back(&left);
        Ok(all)
    }

    /// An address, and whether it was not held.
    fn take_address(
        &mut self,
        network: &str,
        request: &Value,
        held: &mut Vec<FixedIp>,
    ) -> Result<(FixedIp, bool)> {
        let field = |name: &str| request.get(name).and_then(Value::as_str);
        let address: Option<IpAddr> = field("ip_address").and_then(|text| text.parse().ok());
        let subnet = self.subnet_of(network, field("subnet_id"), address)?;
        let kept = held.iter().position(|ip| match address {
            Some(address) => ip.1 == address,
            None => ip.0 == subnet,
        });
        if let Some(at) = kept {
            return Ok((held.remove(at), false));
        }
        let Some(pool) = self.pools.get_mut(&subnet) else {
            return Err(Fault::not_found(Kind::Subnet, &subnet));
        };
        match address {
            None => Ok(((subnet, pool.take_any().ok_or_else(|| exhausted(network))?), true)),
            Some(address) if pool.take(address) => Ok(((subnet, address), true)),
            Some(address) => {
                let message = format!("IP address {address} already allocated in subnet {subnet}");
                Err(Fault::conflict("IpAddressAlreadyAllocated", message))
            }
        }
    }

    fn subnet_of(&self, network: &str, subnet: Option<&str>, address: Option<IpAddr>) -> Result<String> {
        let subnets = store::ids(&self.index.subnets, network);
        if subnets.is_empty() {
            return Err(Fault::input("IP allocation requires subnets for network"));
        }
        let holds = |id: &String, address| self.pools.get(id).is_some_and(|pool| pool.contains(address));
        match (subnet, address) {
            (Some(id), address) => {
                let Some(found) = subnets.iter().find(|known| *known == id) else {
                    self.get(Kind::Subnet, id)?;
                    return Err(Fault::input(format_args!(
                        "Failed to create port on network {network}, because fixed_ips included invalid subnet {id}"
                    )));
                };
                match address {
                    Some(address) if !holds(found, address) => {
                        let message =
                            format!("IP address {address} is not a valid IP for the specified subnet.");
                        Err(Fault::invalid("InvalidIpForSubnet", message))
                    }
                    _ => Ok(found.clone()),
                }
            }
            (None, Some(address)) => subnets.into_iter().find(|id| holds(id, address)).ok_or_else(|| {
                let message = format!(
                    "IP address {address} is not a valid IP for any of the subnets on the specified network."
                );
                Fault::invalid("InvalidIpForNetwork", message)
            }),
            (None, None) => Err(Fault::input("IP allocation requires subnet_id or ip_address")),
        }
    }

    pub(super) fn give_back(&mut self, addresses: &[FixedIp]) {
        for (subnet, address) in addresses {
            if let Some(pool) = self.pools.get_mut(subnet) {
                pool.give_back(*address);
            }
        }
    }
}

/// The addresses that a stored port has.
pub(super) fn held(port: &Object) -> Vec<FixedIp> {
    let ip = |ip: &Value| {
        let field = |name: &str| ip.get(name).and_then(Value::as_str);
        Some((field("subnet_id")?.to_owned(), field("ip_address")?.parse().ok()?))
    };
    let all = port.get("fixed_ips").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(ip).collect()
}

pub(super) fn shown(addresses: &[FixedIp]) -> Value {
    addresses.iter().map(|(subnet, address)| json!({"subnet_id": subnet, "ip_address": address})).collect()
}

fn exhausted(network: &str) -> Fault {
    let message = format!("No more IP addresses available on network {network}.");
    Fault::conflict("IpAddressGenerationFailure", message)
}
