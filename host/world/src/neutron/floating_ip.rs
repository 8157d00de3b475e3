//! Floating IPs.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, fixed_ip, is_true, store, text};
use crate::call::Caller;

const OWNER: &str = "network:floatingip";

/// What a floating IP is put on: port, address of it, router.
struct Place {
    port: String,
    address: String,
    router: String,
}

impl Neutron {
    pub(super) fn new_floating_ip(&mut self, mut object: Object, caller: &Caller) -> Result<String> {
        let network = text(&object, "floating_network_id").to_owned();
        let external = self.visible(Kind::Network, &network, caller)?;
        if !is_true(external, "router:external") {
            return Err(Fault::bad(
                "floatingip",
                format_args!("Network {network} is not a valid external network"),
            ));
        }
        let v4 = self.subnets(&network).into_iter().find(|subnet| self.subnet_version(subnet) == Some(4));
        let Some(subnet) = v4 else {
            return Err(Fault::bad(
                "floatingip",
                format_args!("Network {network} does not contain any IPv4 subnet"),
            ));
        };
        let subnet = match text(&object, "subnet_id") {
            "" => subnet,
            given => given.to_owned(),
        };
        let mut request = json!({"subnet_id": subnet});
        let given = text(&object, "floating_ip_address");
        if let (Some(request), false) = (request.as_object_mut(), given.is_empty()) {
            request.insert("ip_address".to_owned(), json!(given));
        }
        let taken = self.take_addresses(&network, &[request], &[])?;
        let address = taken.first().map(|(_, address)| address.to_string()).unwrap_or_default();
        // The message names an id that nobody has yet.
        let place = self.place(&object, &network, caller).and_then(|place| {
            self.place_is_free("", &address, &network, place.as_ref())?;
            Ok(place)
        });
        let place = match place {
            Ok(place) => place,
            Err(refused) => {
                self.give_back(&taken);
                return Err(refused);
            }
        };
        object.remove("subnet_id");
        object.insert("floating_ip_address".to_owned(), json!(address));
        object.insert("status".to_owned(), json!(if place.is_some() { "ACTIVE" } else { "DOWN" }));
        object.insert("port_forwardings".to_owned(), json!([]));
        object.extend(placed(place.as_ref()));
        let id = self.store(Kind::FloatingIp, object);
        let port = self.device_port(&network, &id, OWNER, "", &taken);
        self.store(Kind::Port, port);
        Ok(id)
    }

    /// Where a floating IP is to be, if anywhere.
    fn place(&self, asked: &Object, network: &str, caller: &Caller) -> Result<Option<Place>> {
        let id = text(asked, "port_id");
        let fixed = text(asked, "fixed_ip_address");
        if id.is_empty() {
            return match fixed.is_empty() {
                true => Ok(None),
                false => {
                    Err(Fault::bad("floatingip", "fixed_ip_address cannot be specified without a port_id"))
                }
            };
        }
        let held = fixed_ip::held(self.visible(Kind::Port, id, caller)?);
        let found = held.iter().find(|(_, a)| a.is_ipv4() && (fixed.is_empty() || a.to_string() == fixed));
        let Some((subnet, address)) = found else {
            let message = match fixed.is_empty() {
                true => format!("Cannot add floating IP to port {id} that has no fixed IPv4 addresses"),
                false => format!("Port {id} does not have fixed ip {fixed}"),
            };
            return Err(Fault::bad("floatingip", message));
        };
        let router = self.router_between(subnet, network).ok_or_else(|| {
            let message = format!(
                "External network {network} is not reachable from subnet {subnet}.  Therefore, cannot associate Port {id} with a Floating IP."
            );
            Fault::missing("ExternalGatewayForFloatingIPNotFound", message)
        })?;
        Ok(Some(Place { port: id.to_owned(), address: address.to_string(), router }))
    }

    /// The router with an interface on a subnet, and its gateway on an external network.
    fn router_between(&self, subnet: &str, external: &str) -> Option<String> {
        let network = text(self.find(Kind::Subnet, subnet)?, "network_id");
        let ports = self.index.ports.get(network).into_iter().flatten();
        let interfaces = ports.filter_map(|port| self.find(Kind::Port, port)).filter(|port| {
            text(port, "device_owner") == super::router::INTERFACE
                && fixed_ip::held(port).iter().any(|(of, _)| of == subnet)
        });
        let gateway = |router: &Object| {
            let info = router.get("external_gateway_info");
            info.and_then(|info| info.get("network_id")).is_some_and(|id| id == external)
        };
        let mut routers = interfaces.map(|port| text(port, "device_id"));
        routers.find(|id| self.find(Kind::Router, id).is_some_and(gateway)).map(str::to_owned)
    }

    fn place_is_free(&self, id: &str, address: &str, network: &str, place: Option<&Place>) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        let others = store::ids(&self.index.floating, &place.port);
        let same =
            others.iter().filter(|other| *other != id).filter_map(|other| self.find(Kind::FloatingIp, other));
        for other in same {
            let fixed = text(other, "fixed_ip_address");
            if fixed == place.address && text(other, "floating_network_id") == network {
                let message = format!(
                    "Cannot associate floating IP {address} ({id}) with port {} using fixed IP {fixed}, as that fixed IP already has a floating IP on external network {network}.",
                    place.port
                );
                return Err(Fault::conflict("FloatingIPPortAlreadyAssociated", message));
            }
        }
        Ok(())
    }

    pub(super) fn change_floating_ip(
        &mut self,
        id: &str,
        mut changes: Object,
        caller: &Caller,
    ) -> Result<()> {
        if changes.contains_key("port_id") || changes.contains_key("fixed_ip_address") {
            let held = self.get(Kind::FloatingIp, id)?;
            let (network, address) =
                (text(held, "floating_network_id").to_owned(), text(held, "floating_ip_address").to_owned());
            if !changes.contains_key("port_id") {
                changes.insert("port_id".to_owned(), held.get("port_id").cloned().unwrap_or_default());
            }
            let place = self.place(&changes, &network, caller)?;
            self.place_is_free(id, &address, &network, place.as_ref())?;
            changes.insert("status".to_owned(), json!(if place.is_some() { "ACTIVE" } else { "DOWN" }));
            changes.extend(placed(place.as_ref()));
        }
        self.change(Kind::FloatingIp, id, changes)
    }

    /// Takes a floating IP off its port.
    pub(super) fn disassociate(&mut self, id: &str) -> Result<()> {
        let mut changes = placed(None);
        changes.insert("status".to_owned(), json!("DOWN"));
        self.change(Kind::FloatingIp, id, changes)
    }

    pub(super) fn free_floating_ip(&mut self, id: &str) -> Result<()> {
        for port in store::ids(&self.index.devices, id) {
            self.drop_port(&port);
        }
        Ok(())
    }
}

fn placed(place: Option<&Place>) -> Object {
    let of = |value: Option<&String>| value.map_or(Value::Null, |text| json!(text));
    let mut placed = Object::new();
    placed.insert("port_id".to_owned(), of(place.map(|p| &p.port)));
    placed.insert("fixed_ip_address".to_owned(), of(place.map(|p| &p.address)));
    placed.insert("router_id".to_owned(), of(place.map(|p| &p.router)));
    placed
}
