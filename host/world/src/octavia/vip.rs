//! The VIP of a load balancer: its port in Neutron.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object, Octavia, text};
use crate::neutron::{self, Neutron};

/// Device owner of the ports that Octavia makes.
pub(super) const OWNER: &str = "Octavia";

/// Where a load balancer listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vip {
    pub(super) address: String,
    pub(super) port: String,
    pub(super) subnet: String,
    pub(super) network: String,
}

impl Vip {
    /// What a request asks for, completed and checked as `_validate_vip_request_object` does.
    pub(super) fn asked(
        input: &Object,
        caller_sees: &impl Fn(&Object) -> bool,
        neutron: &Neutron,
    ) -> Result<Self> {
        let mut vip = Self {
            address: text(input, "vip_address").to_owned(),
            port: text(input, "vip_port_id").to_owned(),
            subnet: text(input, "vip_subnet_id").to_owned(),
            network: text(input, "vip_network_id").to_owned(),
        };
        if !vip.port.is_empty() {
            vip.of_port(caller_sees, neutron)?;
        } else if !vip.network.is_empty() {
            vip.of_network(caller_sees, neutron)?;
        } else if !vip.subnet.is_empty() {
            let subnet = find(neutron, neutron::Kind::Subnet, &vip.subnet, caller_sees)?;
            vip.network = text(subnet, "network_id").to_owned();
        } else {
            let message = "VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.";
            return Err(Fault::validation(message));
        }
        Ok(vip)
    }

    fn of_port(&mut self, sees: &impl Fn(&Object) -> bool, neutron: &Neutron) -> Result<()> {
        let port = find(neutron, neutron::Kind::Port, &self.port, sees)?;
        let device = text(port, "device_id");
        if !device.is_empty() {
            let message = format!("Port {} is already used by device {device} ", self.port);
            return Err(Fault::validation(message));
        }
        self.network = text(port, "network_id").to_owned();
        let held: Vec<(&str, &str)> = port
            .get("fixed_ips")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|ip| Some((ip.get("subnet_id")?.as_str()?, ip.get("ip_address")?.as_str()?)))
            .collect();
        if !self.subnet.is_empty() {
            find(neutron, neutron::Kind::Subnet, &self.subnet, sees)?;
            let found = held.iter().find(|(subnet, _)| *subnet == self.subnet);
            let message = "No VIP address found on the specified VIP port within the specified subnet.";
            self.address = found.ok_or_else(|| Fault::validation(message))?.1.to_owned();
        } else if !self.address.is_empty() {
            let found = held.iter().find(|(_, address)| *address == self.address);
            let message = "Specified VIP address not found on the specified VIP port.";
            self.subnet = found.ok_or_else(|| Fault::validation(message))?.0.to_owned();
        } else if let [(subnet, address)] = held.as_slice() {
            (self.subnet, self.address) = ((*subnet).to_owned(), (*address).to_owned());
        } else {
            let message =
                "VIP port's subnet could not be determined. Please specify either a VIP subnet or address.";
            return Err(Fault::validation(message));
        }
        Ok(())
    }

    fn of_network(&mut self, sees: &impl Fn(&Object) -> bool, neutron: &Neutron) -> Result<()> {
        find(neutron, neutron::Kind::Network, &self.network, sees)?;
        let subnets = neutron.subnets(&self.network);
        if !self.subnet.is_empty() {
            return match subnets.contains(&self.subnet) {
                true => Ok(()),
                false => Err(Fault::no_subresource("Subnet", &self.subnet)),
            };
        }
        let holds = |subnet: &String| neutron.subnet_holds(subnet, &self.address);
        let found = match self.address.is_empty() {
            false => {
                let message = "Supplied network does not contain a subnet for VIP address specified.";
                subnets.iter().find(|s| holds(s)).ok_or_else(|| Fault::validation(message))?
            }
            true => {
                let v4 = subnets.iter().find(|s| neutron.subnet_version(s) == Some(4));
                let message = "Supplied network does not contain a subnet.";
                v4.or(subnets.first()).ok_or_else(|| Fault::validation(message))?
            }
        };
        self.subnet = found.clone();
        Ok(())
    }
}

fn find<'a>(
    neutron: &'a Neutron,
    kind: neutron::Kind,
    id: &str,
    sees: &impl Fn(&Object) -> bool,
) -> Result<&'a Object> {
    let words = match kind {
        neutron::Kind::Port => "Port",
        neutron::Kind::Network => "Network",
        _ => "Subnet",
    };
    neutron.find(kind, id).filter(|found| sees(found)).ok_or_else(|| Fault::no_subresource(words, id))
}

impl Octavia {
    /// Makes the port of a VIP, unless it was given one.
    pub(super) fn claim_vip(
        &self,
        balancer: &str,
        project: &str,
        provider: &str,
        vip: &mut Vip,
        groups: &Value,
        neutron: &mut Neutron,
    ) -> Result<()> {
        if !vip.port.is_empty() {
            return Ok(());
        }
        let ovn = provider == "ovn";
        let mut ip = json!({"subnet_id": vip.subnet});
        if let (Some(object), false) = (ip.as_object_mut(), vip.address.is_empty()) {
            object.insert("ip_address".into(), json!(vip.address));
        }
        let prefix = if ovn { "ovn-lb-vip-" } else { "octavia-lb-" };
        let mut port = json!({
            "name": format!("{prefix}{balancer}"), "network_id": vip.network, "admin_state_up": ovn, "fixed_ips": [ip],
            "device_id": format!("lb-{balancer}"), "device_owner": if ovn { "ovn-lb-vip:distributed" } else { OWNER }, "project_id": project,
        });
        if let (Some(object), true) = (port.as_object_mut(), groups.as_array().is_some_and(|g| !g.is_empty()))
        {
            object.insert("security_groups".into(), groups.clone());
        }
        let made = neutron.make_port(&port).map_err(|refused| {
            let message =
                refused.body.pointer("/NeutronError/message").and_then(Value::as_str).unwrap_or_default();
            match refused.status {
                axum::http::StatusCode::CONFLICT if !ovn => Fault::new(refused.status, message),
                _ => {
                    let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                    Fault::new(status, format!("Provider '{provider}' reports error: {message}"))
                }
            }
        })?;
        vip.port = text(&made, "id").to_owned();
        let first = made.get("fixed_ips").and_then(|ips| ips.get(0));
        let address = first.and_then(|ip| ip.get("ip_address")).and_then(Value::as_str);
        vip.address = address.unwrap_or_default().to_owned();
        Ok(())
    }

    /// Deletes the port of a load balancer that goes, if Octavia made it.
    pub(super) fn release_vip(&self, balancer: &str, neutron: &mut Neutron) {
        let Ok(node) = self.get(Kind::LoadBalancer, balancer) else { return };
        let port = node.text("vip_port_id").to_owned();
        let device = format!("lb-{balancer}");
        if neutron.find(neutron::Kind::Port, &port).is_some_and(|found| text(found, "device_id") == device) {
            neutron.drop_port(&port);
        }
    }
}
