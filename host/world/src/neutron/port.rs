//! Ports.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, fixed_ip, is_true, store, text};
use crate::call::Caller;

impl Neutron {
    pub(super) fn new_port(&mut self, mut object: Object, caller: &Caller) -> Result<String> {
        let network = text(&object, "network_id").to_owned();
        let secured = is_true(self.visible(Kind::Network, &network, caller)?, "port_security_enabled");
        let trusted = text(&object, "device_owner").starts_with("network:");
        let secured =
            object.get("port_security_enabled").and_then(Value::as_bool).unwrap_or(secured && !trusted);
        let mac = self.mac(&object)?;
        self.new_port_groups(&mut object, secured, trusted, caller)?;
        pairs(&mut object, &mac);
        if !secured && !list(&object, "allowed_address_pairs").is_empty() {
            return Err(pairs_need_security());
        }
        let taken = match object.get("fixed_ips").and_then(Value::as_array).cloned() {
            Some(requests) => self.take_addresses(&network, &requests, &[])?,
            None => self.take_default_addresses(&network)?,
        };
        object.insert("port_security_enabled".to_owned(), json!(secured));
        object.insert("mac_address".to_owned(), json!(mac));
        object.insert("fixed_ips".to_owned(), fixed_ip::shown(&taken));
        object.insert("qos_policy_id".to_owned(), Value::Null);
        object.insert("qos_network_policy_id".to_owned(), Value::Null);
        self.bind(&mut object);
        Ok(self.store(Kind::Port, object))
    }

    /// How a port is bound, by its host.
    fn bind(&self, port: &mut Object) {
        let bound = !text(port, "binding:host_id").is_empty();
        if port.get("binding:profile").is_none_or(Value::is_null) {
            port.insert("binding:profile".to_owned(), json!({}));
        }
        let details = match bound {
            true => {
                json!({"port_filter": true, "connectivity": "l2", "bridge_name": "br-int", "datapath_type": "system",
                           "ovs_create_tap": true, "bound_drivers": {"0": "ovn"}})
            }
            false => json!({}),
        };
        port.insert("binding:vif_type".to_owned(), json!(if bound { "ovs" } else { "unbound" }));
        port.insert("binding:vif_details".to_owned(), details);
        let active = text(port, "status") == "ACTIVE" || (bound && self.plugs);
        port.insert("status".to_owned(), json!(if active { "ACTIVE" } else { "DOWN" }));
    }

    fn new_port_groups(
        &mut self,
        port: &mut Object,
        secured: bool,
        trusted: bool,
        caller: &Caller,
    ) -> Result<()> {
        let asked = port.get("security_groups").and_then(Value::as_array);
        if asked.is_some_and(|groups| !groups.is_empty()) && !secured {
            return Err(groups_need_security());
        }
        let groups = match asked {
            Some(groups) => groups.clone(),
            None if secured && !trusted => {
                let project = text(port, "project_id").to_owned();
                self.ensure_default_group(&project);
                vec![json!(self.default_group(&project))]
            }
            None => Vec::new(),
        };
        self.groups_exist(&groups, caller)?;
        port.insert("security_groups".to_owned(), Value::Array(groups));
        Ok(())
    }

    fn groups_exist(&self, groups: &[Value], caller: &Caller) -> Result<()> {
        for group in groups {
            self.visible(Kind::SecurityGroup, group.as_str().unwrap_or_default(), caller)?;
        }
        Ok(())
    }

    /// Checks and makes a change.
    pub(super) fn change_port(&mut self, id: &str, mut changes: Object) -> Result<()> {
        let port = self.get(Kind::Port, id)?.clone();
        let mut after = port.clone();
        after.extend(changes.clone());
        let network = text(&port, "network_id").to_owned();
        if let Some(mac) = changes.get("mac_address").and_then(Value::as_str)
            && mac != text(&port, "mac_address")
            && self.index.mac_is_used(&network, mac)
        {
            return Err(mac_in_use(&network, mac));
        }
        self.change_security(&port, &mut after, &changes)?;
        for name in ["security_groups", "allowed_address_pairs"] {
            if changes.contains_key(name) {
                changes.insert(name.to_owned(), after.get(name).cloned().unwrap_or_default());
            }
        }
        if changes.contains_key("binding:host_id") || changes.contains_key("binding:profile") {
            self.bind(&mut after);
            for name in ["binding:profile", "binding:vif_type", "binding:vif_details", "status"] {
                changes.extend(after.remove(name).map(|value| (name.to_owned(), value)));
            }
        }
        if let Some(requests) = changes.get("fixed_ips").and_then(Value::as_array).cloned() {
            if requests.is_empty() && text(&port, "device_owner").starts_with("network:router") {
                let message = format!(
                    "Port {id} cannot be deleted directly via the port API: Router port must have at least one IP.."
                );
                return Err(Fault::conflict("ServicePortInUse", message));
            }
            let now = self.take_addresses(&network, &requests, &fixed_ip::held(&port))?;
            changes.insert("fixed_ips".to_owned(), fixed_ip::shown(&now));
        }
        self.change(Kind::Port, id, changes)
    }

    /// Port security, groups and pairs go together.
    fn change_security(&self, port: &Object, after: &mut Object, changes: &Object) -> Result<()> {
        let secured = is_true(after, "port_security_enabled");
        let mac = text(after, "mac_address").to_owned();
        pairs(after, &mac);
        if !secured {
            if !list(after, "allowed_address_pairs").is_empty() {
                return Err(pairs_need_security());
            }
            if !list(after, "security_groups").is_empty() {
                let asked = changes.get("security_groups").is_some();
                return Err(if asked { groups_need_security() } else { has_groups() });
            }
        }
        let own = Caller {
            user: String::new(),
            project: text(port, "project_id").to_owned(),
            admin: false,
            service: true,
        };
        if changes.contains_key("security_groups") {
            self.groups_exist(&list(after, "security_groups"), &own)?;
        }
        Ok(())
    }

    /// What a user may not delete of ports.
    pub(super) fn free_port_of_user(&mut self, id: &str) -> Result<()> {
        let port = self.get(Kind::Port, id)?;
        let owner = text(port, "device_owner");
        let services = ["network:router_interface", "network:router_gateway", "network:floatingip"];
        if services.contains(&owner) && self.find(Kind::Router, text(port, "device_id")).is_some() {
            let message =
                format!("Port {id} cannot be deleted directly via the port API: has device owner {owner}.");
            return Err(Fault::conflict("ServicePortInUse", message));
        }
        self.free_port(id)
    }

    pub(super) fn free_port(&mut self, id: &str) -> Result<()> {
        if let Some(trunk) = self.index.subports.get(id) {
            let message = format!("Port {id} is currently a subport for trunk {trunk}.");
            return Err(Fault::conflict("PortInUseAsSubPort", message));
        }
        if let Some(trunk) = self.index.parents.get(id) {
            let message = format!("Port {id} is currently a parent port for trunk {trunk}.");
            return Err(Fault::conflict("PortInUseAsTrunkParent", message));
        }
        let held = fixed_ip::held(self.get(Kind::Port, id)?);
        self.give_back(&held);
        for floating in store::ids(&self.index.floating, id) {
            self.disassociate(&floating)?;
        }
        Ok(())
    }

    /// Has the host that a port is bound to plug it.
    pub(crate) fn plug(&mut self, id: &str) -> bool {
        let bound = self.find(Kind::Port, id).is_some_and(|port| !text(port, "binding:host_id").is_empty());
        bound && self.set(Kind::Port, id, "status", json!("ACTIVE")).is_ok()
    }

    /// The MAC address asked for, if no other port of the network has it, or a new one.
    fn mac(&self, object: &Object) -> Result<String> {
        let network = text(object, "network_id");
        match text(object, "mac_address") {
            "" => {
                let n = self.ids.made();
                Ok(format!("fa:16:3e:{:02x}:{:02x}:{:02x}", (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff))
            }
            given if self.index.mac_is_used(network, given) => Err(mac_in_use(network, given)),
            given => Ok(given.to_owned()),
        }
    }
}

fn list(object: &Object, name: &str) -> Vec<Value> {
    object.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Completes the address pairs of a port.
fn pairs(port: &mut Object, mac: &str) {
    let mut all = list(port, "allowed_address_pairs");
    for pair in all.iter_mut().filter_map(Value::as_object_mut) {
        pair.entry("mac_address").or_insert_with(|| json!(mac));
    }
    port.insert("allowed_address_pairs".to_owned(), Value::Array(all));
}

fn mac_in_use(network: &str, mac: &str) -> Fault {
    let message =
        format!("Unable to complete operation for network {network}. The mac address {mac} is in use.");
    Fault::conflict("MacAddressInUse", message)
}

fn pairs_need_security() -> Fault {
    let message = "Port Security must be enabled in order to have allowed address pairs on a port.";
    Fault::conflict("AddressPairAndPortSecurityRequired", message)
}

fn groups_need_security() -> Fault {
    let message =
        "Port security must be enabled and port must have an IP address in order to use security groups.";
    Fault::invalid("PortSecurityAndIPRequiredForSecurityGroups", message)
}

fn has_groups() -> Fault {
    let message = "Port has security group associated. Cannot disable port security or IP address until security group is removed.";
    Fault::conflict("PortSecurityPortHasSecurityGroup", message)
}
