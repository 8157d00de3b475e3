//! Subnets.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::pool::{Pool, Range, default_ranges, first_host, hosts};
use super::{Kind, Neutron, Object, is_true, store, text};
use crate::call::Caller;
use crate::python;

/// Attributes in the subnet's own row: a change of one counts as a revision of its network, too.
const REVISING: [&str; 3] = ["name", "enable_dhcp", "gateway_ip"];

impl Neutron {
    pub(super) fn new_subnet(&mut self, mut object: Object, caller: &Caller) -> Result<String> {
        let network = text(&object, "network_id").to_owned();
        self.visible(Kind::Network, &network, caller)?;
        if is_true(&object, "use_default_subnetpool") {
            return Err(Fault::not_modelled("the default subnet pool"));
        }
        if ["ipv6_ra_mode", "ipv6_address_mode"]
            .iter()
            .any(|name| object.get(*name).is_some_and(|v| !v.is_null()))
        {
            return Err(Fault::not_modelled("IPv6 address modes"));
        }
        let net = match text(&object, "cidr").parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => self.taken_from_pool(&object, caller)?,
        };
        object.insert("cidr".to_owned(), json!(net.to_string()));
        check(&object, net)?;
        self.check_overlap(&network, net)?;
        let gateway = match object.get("gateway_ip") {
            None => Some(first_host(net)),
            Some(given) => given.as_str().and_then(|text| text.parse().ok()),
        };
        let ranges = match object.get("allocation_pools").and_then(Value::as_array) {
            Some(given) => ranges(given, net, gateway)?,
            None => default_ranges(net, gateway),
        };
        object.insert("gateway_ip".to_owned(), json!(gateway));
        object.insert("allocation_pools".to_owned(), shown(&ranges));
        object.remove("prefixlen");
        object.remove("use_default_subnetpool");
        let id = self.store(Kind::Subnet, object);
        self.pools.insert(id.clone(), Pool::new(net, &ranges));
        self.revise(Kind::Network, &network);
        Ok(id)
    }

    fn check_overlap(&self, network: &str, net: IpNet) -> Result<()> {
        if net.prefix_len() == 0 {
            return Err(Fault::input("0 is not allowed as CIDR prefix length"));
        }
        let overlaps = |id: &String| {
            let pool = self.pools.get(id);
            pool.is_some_and(|pool| pool.net().contains(&net) || net.contains(&pool.net()))
        };
        if store::ids(&self.index.subnets, network).iter().any(overlaps) {
            return Err(Fault::input(format_args!(
                "Requested subnet with cidr: {net} for network: {network} overlaps with another subnet"
            )));
        }
        Ok(())
    }

    pub(super) fn change_subnet(&mut self, id: &str, mut changes: Object) -> Result<()> {
        let subnet = self.get(Kind::Subnet, id)?;
        let network = text(subnet, "network_id").to_owned();
        let revises =
            REVISING.iter().any(|name| changes.get(*name).is_some_and(|v| Some(v) != subnet.get(*name)));
        let Some(net) = self.pools.get(id).map(Pool::net) else {
            return Err(Fault::not_found(Kind::Subnet, id));
        };
        let mut after = subnet.clone();
        after.extend(changes.clone());
        let before = subnet.get("gateway_ip").cloned().unwrap_or_default();
        let dhcp = is_true(subnet, "enable_dhcp");
        if changes.contains_key("gateway_ip") || !dhcp {
            check(&after, net)?;
        }
        let gateway: Option<IpAddr> = text(&after, "gateway_ip").parse().ok();
        if changes.get("gateway_ip").is_some_and(|new| *new != before) {
            self.gateway_is_free(id, before.as_str().unwrap_or_default())?;
        }
        if let Some(given) = changes.get("allocation_pools").and_then(Value::as_array) {
            let ranges = ranges(given, net, gateway)?;
            changes.insert("allocation_pools".to_owned(), shown(&ranges));
            if let Some(pool) = self.pools.get_mut(id) {
                pool.set_ranges(&ranges);
            }
        } else if let (true, Some(gateway)) = (changes.contains_key("gateway_ip"), gateway) {
            let held = after.get("allocation_pools").and_then(Value::as_array).cloned().unwrap_or_default();
            ranges(&held, net, Some(gateway))?;
        }
        self.change(Kind::Subnet, id, changes)?;
        if revises {
            self.revise(Kind::Network, &network);
        }
        Ok(())
    }

    /// The gateway of a router cannot be changed under it.
    fn gateway_is_free(&self, id: &str, gateway: &str) -> Result<()> {
        let network = text(self.get(Kind::Subnet, id)?, "network_id").to_owned();
        let ports = self.index.ports.get(&network).into_iter().flatten();
        for port in ports.filter_map(|port| self.find(Kind::Port, port)) {
            let at = |ip: &Value| ip.get("ip_address").is_some_and(|address| address == gateway);
            let holds = port.get("fixed_ips").and_then(Value::as_array).is_some_and(|ips| ips.iter().any(at));
            if holds && text(port, "device_owner") == super::router::INTERFACE {
                let message = format!(
                    "Current gateway ip {gateway} already in use by port {}. Unable to update.",
                    text(port, "id")
                );
                return Err(Fault::conflict("GatewayIpInUse", message));
            }
        }
        Ok(())
    }

    pub(super) fn free_subnet(&mut self, id: &str) -> Result<()> {
        if self.pools.get(id).is_some_and(Pool::is_used) {
            let message = format!(
                "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
            );
            return Err(Fault::conflict("SubnetInUse", message));
        }
        self.pools.remove(id);
        let network = text(self.get(Kind::Subnet, id)?, "network_id").to_owned();
        self.revise(Kind::Network, &network);
        Ok(())
    }

    /// Whether an address is in a subnet's prefix.
    pub(crate) fn subnet_holds(&self, subnet: &str, address: &str) -> bool {
        address.parse().is_ok_and(|address| self.pools.get(subnet).is_some_and(|pool| pool.contains(address)))
    }

    /// Version of IP of a subnet.
    pub(crate) fn subnet_version(&self, subnet: &str) -> Option<u8> {
        self.pools.get(subnet).map(|pool| if pool.is_v6() { 6 } else { 4 })
    }
}

/// As `_validate_subnet`.
fn check(subnet: &Object, net: IpNet) -> Result<()> {
    let version = subnet.get("ip_version").and_then(Value::as_u64).unwrap_or_default();
    let of_version = |address: IpAddr| (version == 4) == address.is_ipv4();
    let mismatch = |name: &str, value: &str| {
        Err(Fault::input(format_args!("{name} '{value}' does not match the ip_version '{version}'")))
    };
    if !of_version(net.addr()) {
        return mismatch("cidr", &net.to_string());
    }
    if is_true(subnet, "enable_dhcp") {
        let longest = if version == 4 { 30 } else { 126 };
        if net.prefix_len() > longest {
            return Err(Fault::input(
                "Subnet has a prefix length that is incompatible with DHCP service enabled",
            ));
        }
        if net.addr().is_multicast() {
            return Err(Fault::input("Multicast IP subnet is not supported if enable_dhcp is True"));
        }
        if net.addr().is_loopback() {
            return Err(Fault::input("Loopback IP subnet is not supported if enable_dhcp is True"));
        }
    }
    if let Ok(gateway) = text(subnet, "gateway_ip").parse::<IpAddr>() {
        if !of_version(gateway) {
            return mismatch("gateway_ip", &gateway.to_string());
        }
        let edge = net.prefix_len() < 31 && (gateway == net.network() || gateway == net.broadcast());
        if version == 4 && edge {
            return Err(Fault::input("Gateway is not valid on subnet"));
        }
    }
    for server in subnet.get("dns_nameservers").and_then(Value::as_array).into_iter().flatten() {
        let server = server.as_str().unwrap_or_default();
        if !server.parse().is_ok_and(of_version) {
            return mismatch("dns_nameserver", server);
        }
    }
    for route in subnet.get("host_routes").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| route.get(name).and_then(Value::as_str).unwrap_or_default();
        if !of("nexthop").parse().is_ok_and(of_version) {
            return mismatch("nexthop", of("nexthop"));
        }
        if !of("destination").parse().is_ok_and(|net: IpNet| of_version(net.addr())) {
            return mismatch("destination", of("destination"));
        }
    }
    Ok(())
}

/// Ranges of a request, as `validate_allocation_pools` checks them.
fn ranges(given: &[Value], net: IpNet, gateway: Option<IpAddr>) -> Result<Vec<Range>> {
    let invalid = |range: &dyn std::fmt::Display| {
        Fault::invalid("InvalidAllocationPool", format!("The allocation pool {range} is not valid."))
    };
    let mut all: Vec<Range> = Vec::new();
    for range in given {
        let end = |name: &str| range.get(name).and_then(Value::as_str).and_then(|t| t.parse::<IpAddr>().ok());
        let ends = end("start").zip(end("end"));
        let (first, last) = ends
            .filter(|(first, last)| first <= last && first.is_ipv4() == last.is_ipv4())
            .ok_or_else(|| invalid(&python::repr(range)))?;
        all.push((first, last));
    }
    let (lowest, highest) = hosts(net);
    for (first, last) in &all {
        if first.is_ipv4() != net.addr().is_ipv4() {
            return Err(invalid(&format!("{first}-{last}")));
        }
        if *first < lowest || *last > highest {
            let message = format!("The allocation pool {first}-{last} spans beyond the subnet cidr {net}.");
            return Err(Fault::invalid("OutOfBoundsAllocationPool", message));
        }
    }
    for (at, (first, last)) in all.iter().enumerate() {
        if let Some((a, b)) = all.iter().skip(at + 1).find(|(a, b)| a <= last && b >= first) {
            let message =
                format!("Found overlapping allocation pools: {first}-{last} {a}-{b} for subnet {net}.");
            return Err(Fault::conflict("OverlappingAllocationPools", message));
        }
    }
    if let Some((gateway, (first, last))) =
        gateway.and_then(|g| Some((g, all.iter().find(|(first, last)| (*first..=*last).contains(&g))?)))
    {
        let message = format!("Gateway ip {gateway} conflicts with allocation pool {first}-{last}.");
        return Err(Fault::conflict("GatewayConflictWithAllocationPools", message));
    }
    Ok(all)
}

fn shown(ranges: &[Range]) -> Value {
    ranges.iter().map(|(first, last)| json!({"start": first, "end": last})).collect()
}
