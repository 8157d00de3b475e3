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
        if self.index.parents.contains_key(&parent) {
            let message = format!("Port {parent} is in use by another trunk.");
            return Err(Fault::conflict("TrunkPortInUse", message));
        }
        if self.index.subports.contains_key(&parent) {
            let message =
                format!("Port {parent} is currently in use and is not eligible for use as a parent port.");
            return Err(Fault::conflict("ParentPortInUse", message));
        }
        let subports = self.checked(object.get("sub_ports"), &[], "", caller)?;
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
        let new = self.checked(call.body.get("sub_ports"), &held, id, &call.caller)?;
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
        trunk: &str,
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
            self.visible(Kind::Port, id, caller)?;
            self.may_be_subport(id)?;
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

    fn may_be_subport(&self, id: &str) -> Result<()> {
        if let Some(trunk) = self.index.subports.get(id) {
            let message = format!("Port {id} is currently a subport for trunk {trunk}.");
            return Err(Fault::conflict("PortInUseAsSubPort", message));
        }
        if self.index.parents.contains_key(id) {
            let message =
                format!("Port {id} is currently in use and is not eligible for use as a parent port.");
            return Err(Fault::conflict("ParentPortInUse", message));
        }
        Ok(())
    }

    /// Ports become subports: OVN keeps their parent and tag in the profile.
    fn attach(&mut self, parent: &str, subports: &[Value]) -> Result<()> {
        for sub in subports {
            let mut changes = Object::new();
            let profile = json!({"parent_name": parent, "tag": sub.get("segmentation_id")});
            changes.insert("device_owner".to_owned(), json!(OWNER));
            changes.insert("binding:profile".to_owned(), profile);
            self.change(Kind::Port, port(sub), changes)?;
        }
        Ok(())
    }

    fn detach(&mut self, subports: &[Value]) -> Result<()> {
        for sub in subports {
            let mut changes = Object::new();
            changes.insert("device_owner".to_owned(), json!(""));
            changes.insert("binding:profile".to_owned(), json!({}));
            self.change(Kind::Port, port(sub), changes)?;
        }
        Ok(())
    }
}

fn port(sub: &Value) -> &str {
    sub.get("port_id").and_then(Value::as_str).unwrap_or_default()
}
