//! Trunks and their subports.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};
use crate::call::{Call, Caller, Reply};
use crate::python;

const OWNER: &str = "trunk:subport";

impl Neutron {
    pub(super) fn new_trunk(&mut self, mut object: Object, caller: &Caller) -> Result<String> {
        let parent = text(&object, "port_id").to_owned();
        self.visible(Kind::Port, &parent, caller)?;
        self.is_in_no_trunk(&parent)?;
        let subports = self.checked(object.get("sub_ports"), &[], ("", &parent), caller)?;
        object.insert("sub_ports".to_owned(), json!(subports));
        object.insert("status".to_owned(), json!("ACTIVE"));
        let id = self.store(Kind::Trunk, object);
        self.attach(&parent, &subports)?;
        Ok(id)
    }

    pub(super) fn free_trunk(&mut self, id: &str) -> Result<()> {
        let subports = self.get(Kind::Trunk, id)?.get("sub_ports").and_then(Value::as_array).cloned();
        self.detach(&subports.unwrap_or_default())
    }

    pub(super) fn add_subports(&mut self, id: &str, call: &Call<'_>) -> Result<Reply> {
        let trunk = self.get(Kind::Trunk, id)?;
        self.is_enabled(id, trunk)?;
        let parent = text(trunk, "port_id").to_owned();
        let mut held = trunk.get("sub_ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let new = self.checked(call.body.get("sub_ports"), &held, (id, &parent), &call.caller)?;
        held.extend(new.clone());
        self.set_subports(id, held)?;
        self.attach(&parent, &new)?;
        self.trunk(id, &call.caller)
    }

    pub(super) fn remove_subports(&mut self, id: &str, call: &Call<'_>) -> Result<Reply> {
        let trunk = self.get(Kind::Trunk, id)?;
        self.is_enabled(id, trunk)?;
        let mut held = trunk.get("sub_ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let asked = call.body.get("sub_ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut gone = Vec::new();
        for sub in &asked {
            let port = port(sub);
            let Some(at) = held.iter().position(|held| self::port(held) == port) else {
                let message = format!("SubPort {port} on trunk {id} could not be found.");
                return Err(Fault::missing("SubPortNotFound", message));
            };
            gone.push(held.remove(at));
        }
        self.set_subports(id, held)?;
        self.detach(&gone)?;
        self.trunk(id, &call.caller)
    }

    fn is_enabled(&self, id: &str, trunk: &Object) -> Result<()> {
        match super::is_true(trunk, "admin_state_up") {
            true => Ok(()),
            false => Err(Fault::conflict("TrunkDisabled", format!("Trunk {id} is currently disabled."))),
        }
    }

    fn set_subports(&mut self, id: &str, subports: Vec<Value>) -> Result<()> {
        let mut changes = Object::new();
        changes.insert("sub_ports".to_owned(), Value::Array(subports));
        changes.insert("status".to_owned(), json!("DOWN"));
        self.change(Kind::Trunk, id, changes)
    }

    /// An action's answer is the trunk itself.
    fn trunk(&self, id: &str, caller: &Caller) -> Result<Reply> {
        let shown = self.shown(Kind::Trunk, self.get(Kind::Trunk, id)?, caller);
        Ok(Reply::ok(Value::Object(shown)))
    }

    /// Subports of a request, as they are kept.
    fn checked(
        &self,
        asked: Option<&Value>,
        held: &[Value],
        (trunk, parent): (&str, &str),
        caller: &Caller,
    ) -> Result<Vec<Value>> {
        let asked = asked.and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all: Vec<Value> = Vec::new();
        for sub in &asked {
            let id = port(sub);
            if id.is_empty() {
                return Err(Fault::input("A valid port UUID must be specified"));
            }
            if all.iter().any(|other| port(other) == id) {
                return Err(Fault::input(format_args!("Non unique UUID for subport: '{id}'")));
            }
            self.fits(id, parent)?;
            let (kind, tag) = (sub.get("segmentation_type"), sub.get("segmentation_id"));
            let (Some(kind), Some(tag)) = (kind.and_then(Value::as_str), tag.filter(|t| !t.is_null())) else {
                return Err(Fault::input(format_args!(
                    "Invalid subport details '{}': missing segmentation information. Must specify both segmentation_id and segmentation_type",
                    python::repr(sub)
                )));
            };
            if kind != "vlan" {
                return Err(Fault::input(format_args!("Unknown segmentation_type '{kind}'")));
            }
            let number = tag.as_u64().or_else(|| tag.as_str().and_then(|t| t.parse().ok()));
            let Some(number) = number.filter(|n| (1..=4094).contains(n)) else {
                return Err(Fault::input(format_args!(
                    "Segmentation ID '{}' is not in range",
                    python::str(tag)
                )));
            };
            self.may_be_subport(id, caller)?;
            if held.iter().chain(&all).any(|other| other.get("segmentation_id") == Some(&json!(number))) {
                let message = format!(
                    "segmentation_type {kind} and segmentation_id {number} already in use on trunk {trunk}."
                );
                return Err(Fault::conflict("DuplicateSubPort", message));
            }
            all.push(json!({"port_id": id, "segmentation_type": kind, "segmentation_id": number}));
        }
        Ok(all)
    }

    /// A subport is another port than the parent, and takes no longer packets.
    fn fits(&self, id: &str, parent: &str) -> Result<()> {
        if id == parent {
            return Err(parent_in_use(id));
        }
        let mtu = |port: &str| {
            let network = text(self.find(Kind::Port, port)?, "network_id");
            self.find(Kind::Network, network)?.get("mtu")?.as_u64()
        };
        if let (Some(own), Some(most)) = (mtu(id), mtu(parent))
            && own > most
        {
            let trunk = self.index.parents.get(parent).map(String::as_str).unwrap_or("None");
            let message =
                format!("MTU {own} of subport {id} cannot be greater than MTU {most} of trunk {trunk}.");
            return Err(Fault::conflict("SubPortMtuGreaterThanTrunkPortMtu", message));
        }
        Ok(())
    }

    fn is_in_no_trunk(&self, id: &str) -> Result<()> {
        if self.index.subports.contains_key(id) {
            let message = format!("Port {id} is in use by another trunk.");
            return Err(Fault::conflict("TrunkPortInUse", message));
        }
        if self.index.parents.contains_key(id) { Err(parent_in_use(id)) } else { Ok(()) }
    }

    fn may_be_subport(&self, id: &str, caller: &Caller) -> Result<()> {
        self.is_in_no_trunk(id)?;
        let port = self.visible(Kind::Port, id, caller)?;
        let device = text(port, "device_id");
        if device.is_empty() {
            return Ok(());
        }
        let network = text(port, "network_id");
        let message = format!(
            "Unable to complete operation on port {id} for network {network}. Port already has an attached device {device}."
        );
        Err(Fault::conflict("PortInUse", message))
    }

    /// Ports become subports: OVN keeps their parent and tag in the profile.
    fn attach(&mut self, parent: &str, subports: &[Value]) -> Result<()> {
        let status = self.get(Kind::Port, parent)?.get("status").cloned().unwrap_or_default();
        for sub in subports {
            let mut profile = self.profile(port(sub));
            profile.insert("parent_name".to_owned(), json!(parent));
            profile.insert("tag".to_owned(), sub.get("segmentation_id").cloned().unwrap_or_default());
            self.wire(port(sub), OWNER, profile, "ovs", Some(status.clone()))?;
        }
        Ok(())
    }

    fn detach(&mut self, subports: &[Value]) -> Result<()> {
        for sub in subports {
            let mut profile = self.profile(port(sub));
            profile.retain(|name, _| name != "parent_name" && name != "tag");
            self.wire(port(sub), "", profile, "unbound", None)?;
        }
        Ok(())
    }

    fn profile(&self, port: &str) -> Object {
        let held = self.find(Kind::Port, port).and_then(|port| port.get("binding:profile"));
        held.and_then(Value::as_object).cloned().unwrap_or_default()
    }

    fn wire(
        &mut self,
        id: &str,
        owner: &str,
        profile: Object,
        kind: &str,
        status: Option<Value>,
    ) -> Result<()> {
        let mut changes = Object::new();
        changes.insert("device_owner".to_owned(), json!(owner));
        changes.insert("binding:profile".to_owned(), Value::Object(profile));
        changes.insert("binding:vif_type".to_owned(), json!(kind));
        changes.extend(status.map(|status| ("status".to_owned(), status)));
        self.change(Kind::Port, id, changes)
    }
}

fn parent_in_use(id: &str) -> Fault {
    let message = format!("Port {id} is currently in use and is not eligible for use as a parent port.");
    Fault::conflict("ParentPortInUse", message)
}

fn port(sub: &Value) -> &str {
    sub.get("port_id").and_then(Value::as_str).unwrap_or_default()
}
