//! Routers and their interfaces.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, fixed_ip, store, text};
use crate::call::{Call, Caller, Reply};

/// Device owner of an interface of a router.
pub(super) const INTERFACE: &str = "network:router_interface";
const GATEWAY: &str = "network:router_gateway";

impl Neutron {
    pub(super) fn new_router(&mut self, mut object: Object, caller: &Caller) -> Result<String> {
        let gateway = object.remove("external_gateway_info");
        for (name, value) in [
            ("status", json!("ACTIVE")),
            ("enable_snat", json!(true)),
            ("external_gateway_info", Value::Null),
            ("external_gateways", json!([])),
            ("availability_zones", json!([])),
            ("enable_default_route_ecmp", json!(false)),
            ("enable_default_route_bfd", json!(false)),
            ("routes", json!([])),
        ] {
            object.insert(name.to_owned(), value);
        }
        let network = self.gateway_network(gateway.as_ref(), caller)?;
        let id = self.store(Kind::Router, object);
        if let Some(network) = network
            && let Err(refused) = self.set_gateway(&id, &network, gateway.as_ref())
        {
            self.remove(Kind::Router, &id);
            return Err(refused);
        }
        Ok(id)
    }

    /// The external network that a router is to have, if it is to have one.
    fn gateway_network(&self, info: Option<&Value>, caller: &Caller) -> Result<Option<String>> {
        let Some(id) = info.and_then(|info| info.get("network_id")).and_then(Value::as_str) else {
            return Ok(None);
        };
        let network = self.visible(Kind::Network, id, caller)?;
        match network.get("router:external") == Some(&Value::Bool(true)) {
            true => Ok(Some(id.to_owned())),
            false => Err(Fault::bad("router", format_args!("Network {id} is not an external network"))),
        }
    }

    fn set_gateway(&mut self, id: &str, network: &str, info: Option<&Value>) -> Result<()> {
        let asked = info.and_then(|info| info.get("external_fixed_ips")).and_then(Value::as_array).cloned();
        let taken = match asked {
            Some(requests) => self.take_addresses(network, &requests, &[])?,
            None => self.take_default_addresses(network)?,
        };
        let port = self.device_port(network, id, GATEWAY, "", &taken);
        self.store(Kind::Port, port);
        let snat = info.and_then(|info| info.get("enable_snat")).and_then(Value::as_bool).unwrap_or(true);
        let ips = fixed_ip::shown(&taken);
        let mut changes = Object::new();
        let shown = json!({"network_id": network, "external_fixed_ips": ips, "enable_snat": snat});
        changes.insert("external_gateway_info".to_owned(), shown);
        changes.insert(
            "external_gateways".to_owned(),
            json!([{"network_id": network, "external_fixed_ips": ips}]),
        );
        changes.insert("enable_snat".to_owned(), json!(snat));
        self.change(Kind::Router, id, changes)
    }

    fn clear_gateway(&mut self, id: &str) -> Result<()> {
        for port in self.ports_of(id, GATEWAY) {
            self.drop_port(&port);
        }
        let mut changes = Object::new();
        changes.insert("external_gateway_info".to_owned(), Value::Null);
        changes.insert("external_gateways".to_owned(), json!([]));
        self.change(Kind::Router, id, changes)
    }

    /// A port that is a router's or a floating IP's.
    pub(super) fn device_port(
        &self,
        network: &str,
        device: &str,
        owner: &str,
        project: &str,
        ips: &[fixed_ip::FixedIp],
    ) -> Object {
        let n = self.ids.made();
        let mac = format!("fa:16:3e:{:02x}:{:02x}:{:02x}", (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff);
        let status = if owner == INTERFACE { "ACTIVE" } else { "DOWN" };
        let mut port = Object::new();
        for (name, value) in [
            ("name", json!("")),
            ("description", json!("")),
            ("network_id", json!(network)),
            ("project_id", json!(project)),
            ("mac_address", json!(mac)),
            ("admin_state_up", json!(true)),
            ("status", json!(status)),
            ("device_id", json!(device)),
            ("device_owner", json!(owner)),
            ("fixed_ips", fixed_ip::shown(ips)),
            ("allowed_address_pairs", json!([])),
            ("extra_dhcp_opts", json!([])),
            ("security_groups", json!([])),
            ("binding:vnic_type", json!("normal")),
            ("binding:profile", json!({})),
            ("binding:host_id", json!("")),
            ("binding:vif_type", json!("unbound")),
            ("binding:vif_details", json!({})),
            ("port_security_enabled", json!(false)),
            ("qos_policy_id", Value::Null),
            ("qos_network_policy_id", Value::Null),
            ("tags", json!([])),
        ] {
            port.insert(name.to_owned(), value);
        }
        port
    }

    /// Ids of a router's ports of this owner.
    pub(super) fn ports_of(&self, router: &str, owner: &str) -> Vec<String> {
        let mut all = store::ids(&self.index.devices, router);
        all.retain(|id| self.find(Kind::Port, id).is_some_and(|port| text(port, "device_owner") == owner));
        all
    }

    pub(super) fn change_router(&mut self, id: &str, mut changes: Object, caller: &Caller) -> Result<()> {
        if let Some(info) = changes.remove("external_gateway_info") {
            let network = self.gateway_network(Some(&info), caller)?;
            let held =
                self.get(Kind::Router, id)?.get("external_gateway_info").and_then(|i| i.get("network_id"));
            let held = held.and_then(Value::as_str).map(str::to_owned);
            if let Some(held) = held.filter(|held| network.as_ref() != Some(held)) {
                let used = self
                    .all(Kind::FloatingIp)
                    .any(|ip| text(ip, "router_id") == id && text(ip, "floating_network_id") == held);
                if used {
                    let message = format!(
                        "Gateway cannot be updated for router {id}, since a gateway to external network {held} is required by one or more floating IPs."
                    );
                    return Err(Fault::conflict("RouterExternalGatewayInUseByFloatingIp", message));
                }
                self.clear_gateway(id)?;
            }
            let none = self.ports_of(id, GATEWAY).is_empty();
            if let (true, Some(network)) = (none, network) {
                self.set_gateway(id, &network, Some(&info))?;
            }
        }
        self.change(Kind::Router, id, changes)
    }

    pub(super) fn free_router(&mut self, id: &str) -> Result<()> {
        let interfaces = self.ports_of(id, INTERFACE);
        if !interfaces.is_empty() {
            let message = format!("Router {id} has ports still attached: {}", interfaces.join(", "));
            return Err(Fault::conflict("RouterInUse", message));
        }
        for port in self.ports_of(id, GATEWAY) {
            self.drop_port(&port);
        }
        Ok(())
    }

    pub(super) fn add_interface(&mut self, router: &str, call: &Call<'_>) -> Result<Reply> {
        match asked(&call.body)? {
            (Some(_), Some(_)) => Err(Fault::bad("router", "Cannot specify both subnet-id and port-id")),
            (_, Some(port)) => self.add_port(router, &port, &call.caller),
            (Some(subnet), None) => self.add_subnet(router, &subnet, &call.caller),
            (None, None) => Err(neither()),
        }
    }

    fn add_port(&mut self, router: &str, id: &str, caller: &Caller) -> Result<Reply> {
        let port = self.visible(Kind::Port, id, caller)?;
        let (network, device) = (text(port, "network_id"), text(port, "device_id"));
        if !device.is_empty() {
            let message = format!(
                "Unable to complete operation on port {id} for network {network}. Port already has an attached device {device}."
            );
            return Err(Fault::conflict("PortInUse", message));
        }
        let held = fixed_ip::held(port);
        if held.is_empty() {
            return Err(Fault::bad("router", "Router port must have at least one fixed IP"));
        }
        for (subnet, _) in &held {
            self.check_overlaps(router, subnet)?;
        }
        if held.iter().filter(|(_, address)| address.is_ipv4()).count() > 1 {
            return Err(Fault::bad("router", "Cannot have multiple IPv4 subnets on router port"));
        }
        let mut changes = Object::new();
        changes.insert("device_id".to_owned(), json!(router));
        changes.insert("device_owner".to_owned(), json!(INTERFACE));
        changes.insert("status".to_owned(), json!("ACTIVE"));
        self.change(Kind::Port, id, changes)?;
        let subnets: Vec<String> = held.into_iter().map(|(subnet, _)| subnet).collect();
        self.interface(router, id, &subnets)
    }

    fn add_subnet(&mut self, router: &str, id: &str, caller: &Caller) -> Result<Reply> {
        let subnet = self.visible(Kind::Subnet, id, caller)?;
        let (network, gateway) =
            (text(subnet, "network_id").to_owned(), text(subnet, "gateway_ip").to_owned());
        if gateway.is_empty() {
            return Err(Fault::bad("router", "Subnet for router interface must have a gateway IP"));
        }
        self.check_overlaps(router, id)?;
        let request = [json!({"subnet_id": id, "ip_address": gateway})];
        // A port of the router with IPv6 on the same network takes another subnet of IPv6.
        let beside = self.ports_of(router, INTERFACE).into_iter().find(|port| {
            let port = self.find(Kind::Port, port);
            port.is_some_and(|port| {
                text(port, "network_id") == network && fixed_ip::held(port).iter().any(|(_, a)| a.is_ipv6())
            })
        });
        let port = match beside.filter(|_| gateway.contains(':')) {
            Some(port) => {
                let mut ips = fixed_ip::held(self.get(Kind::Port, &port)?);
                ips.extend(self.take_addresses(&network, &request, &[])?);
                self.set(Kind::Port, &port, "fixed_ips", fixed_ip::shown(&ips))?;
                port
            }
            None => {
                let taken = self.take_addresses(&network, &request, &[])?;
                let project = text(self.get(Kind::Router, router)?, "project_id").to_owned();
                let port = self.device_port(&network, router, INTERFACE, &project, &taken);
                self.store(Kind::Port, port)
            }
        };
        self.interface(router, &port, &[id.to_owned()])
    }

    /// A router has no two subnets that overlap.
    fn check_overlaps(&self, router: &str, id: &str) -> Result<()> {
        let net = |subnet: &str| {
            self.find(Kind::Subnet, subnet).and_then(|s| text(s, "cidr").parse::<IpNet>().ok())
        };
        let Some(new) = net(id) else { return Ok(()) };
        for port in
            self.index.devices.get(router).into_iter().flatten().filter_map(|id| self.find(Kind::Port, id))
        {
            for (other, _) in fixed_ip::held(port) {
                let Some(old) = net(&other) else { continue };
                if old.contains(&new) || new.contains(&old) {
                    return Err(Fault::bad(
                        "router",
                        format_args!("Cidr {new} of subnet {id} overlaps with cidr {old} of subnet {other}"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// What an interface is: the answer to its making and removal.
    fn interface(&self, router: &str, port: &str, subnets: &[String]) -> Result<Reply> {
        let (of, at) = (self.get(Kind::Router, router)?, self.get(Kind::Port, port)?);
        Ok(Reply::ok(json!({
            "id": router, "project_id": of.get("project_id"), "port_id": port, "network_id": at.get("network_id"),
            "subnet_id": subnets.first(), "subnet_ids": subnets,
        })))
    }

    pub(super) fn remove_interface(&mut self, router: &str, call: &Call<'_>) -> Result<Reply> {
        let (subnet, port) = asked(&call.body)?;
        let interfaces = self.ports_of(router, INTERFACE);
        let subnets = |port: &str| -> Vec<String> {
            let held = self.find(Kind::Port, port).map(fixed_ip::held).unwrap_or_default();
            held.into_iter().map(|(subnet, _)| subnet).collect()
        };
        let found = match (&subnet, &port) {
            (None, None) => return Err(neither()),
            (_, Some(port)) if !interfaces.contains(port) => {
                let message = format!("Router {router} does not have an interface with id {port}");
                return Err(Fault::missing("RouterInterfaceNotFound", message));
            }
            (Some(subnet), Some(port)) if !subnets(port).contains(subnet) => {
                let message = format!("Subnet on port {port} does not match the requested subnet {subnet}.");
                return Err(Fault::invalid("SubnetMismatchForPort", message));
            }
            (_, Some(port)) => port.clone(),
            (Some(subnet), None) => {
                self.visible(Kind::Subnet, subnet, &call.caller)?;
                let at = interfaces.into_iter().find(|port| subnets(port).contains(subnet));
                at.ok_or_else(|| {
                    let message = format!("Router {router} has no interface on subnet {subnet}");
                    Fault::missing("RouterInterfaceNotFoundForSubnet", message)
                })?
            }
        };
        let all = subnets(&found);
        let gone = subnet.map_or_else(|| all.clone(), |subnet| vec![subnet]);
        self.interface_is_free(router, &gone)?;
        let reply = self.interface(router, &found, &gone)?;
        match gone.len() < all.len() {
            true => {
                let held = fixed_ip::held(self.get(Kind::Port, &found)?);
                let (left, given): (Vec<_>, Vec<_>) =
                    held.into_iter().partition(|(subnet, _)| !gone.contains(subnet));
                self.give_back(&given);
                self.set(Kind::Port, &found, "fixed_ips", fixed_ip::shown(&left))?;
            }
            false => self.drop_port(&found),
        }
        Ok(reply)
    }

    fn interface_is_free(&self, router: &str, subnets: &[String]) -> Result<()> {
        let by = |ip: &Object| {
            let port = self.find(Kind::Port, text(ip, "port_id"));
            text(ip, "router_id") == router
                && port.is_some_and(|port| {
                    fixed_ip::held(port).iter().any(|(subnet, _)| subnets.contains(subnet))
                })
        };
        if let (true, Some(subnet)) = (self.all(Kind::FloatingIp).any(by), subnets.first()) {
            let message = format!(
                "Router interface for subnet {subnet} on router {router} cannot be deleted, as it is required by one or more floating IPs."
            );
            return Err(Fault::conflict("RouterInterfaceInUseByFloatingIP", message));
        }
        Ok(())
    }
}

/// Subnet and port of a request about an interface.
fn asked(body: &Value) -> Result<(Option<String>, Option<String>)> {
    let of = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok((of("subnet_id"), of("port_id")))
}

fn neither() -> Fault {
    Fault::bad("router", "Either subnet_id or port_id must be specified")
}
