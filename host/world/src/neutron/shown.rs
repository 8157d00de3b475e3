//! How objects are shown: with what Neutron computes from others, and what differs between its answers.

use serde_json::{Value, json};

use super::{Kind, Neutron, Object, access, store, text};
use crate::call::Caller;

impl Neutron {
    /// As a GET of one shows it.
    pub(super) fn shown(&self, kind: Kind, object: &Object, caller: &Caller) -> Object {
        let id = text(object, "id");
        let mut shown = object.clone();
        shown.insert("tenant_id".to_owned(), object.get("project_id").cloned().unwrap_or_default());
        match kind {
            Kind::Network => {
                shown.insert("subnets".to_owned(), json!(store::ids(&self.index.subnets, id)));
                if object.get("router:external") != Some(&Value::Bool(true)) {
                    shown.remove("is_default");
                }
            }
            Kind::Subnet => {
                let network = self.find(Kind::Network, text(object, "network_id"));
                let external = network.and_then(|n| n.get("router:external")).cloned();
                shown.insert("router:external".to_owned(), external.unwrap_or_default());
            }
            Kind::SecurityGroup => {
                let default = json!(text(object, "name") == super::group::DEFAULT);
                shown.insert("security_group_rules".to_owned(), self.rules_of(id, &default));
            }
            Kind::SecurityGroupRule => {
                let group = self.find(Kind::SecurityGroup, text(object, "security_group_id"));
                let default = group.is_some_and(|g| text(g, "name") == super::group::DEFAULT);
                shown.insert("belongs_to_default_sg".to_owned(), json!(default));
                shown.remove("tags");
            }
            Kind::Port => {
                if let Some(details) = self.trunk_details(id) {
                    shown.insert("trunk_details".to_owned(), details);
                }
            }
            Kind::FloatingIp => {
                shown.insert("port_details".to_owned(), self.port_details(text(object, "port_id")));
            }
            Kind::AddressGroup | Kind::Router | Kind::Trunk | Kind::SubnetPool => {}
        }
        access::cut(kind, &mut shown, caller);
        shown
    }

    /// As the answer to a POST shows it.
    pub(super) fn made(&self, kind: Kind, object: &Object, caller: &Caller) -> Object {
        let mut shown = self.shown(kind, object, caller);
        if kind == Kind::Network {
            shown.insert("is_default".to_owned(), object.get("is_default").cloned().unwrap_or_default());
        }
        shown
    }

    /// As a list shows it.
    pub(super) fn listed(&self, kind: Kind, object: &Object, caller: &Caller) -> Object {
        let mut shown = self.shown(kind, object, caller);
        if kind == Kind::SecurityGroup {
            let rules = self.rules_of(text(object, "id"), &Value::Null);
            shown.insert("security_group_rules".to_owned(), rules);
        }
        shown
    }

    fn rules_of(&self, group: &str, default: &Value) -> Value {
        let ids = self.index.rules.get(group).into_iter().flatten();
        let rules = ids.filter_map(|id| self.find(Kind::SecurityGroupRule, id));
        let shown = rules.map(|rule| {
            let mut shown = rule.clone();
            shown.insert("tenant_id".to_owned(), rule.get("project_id").cloned().unwrap_or_default());
            shown.insert("belongs_to_default_sg".to_owned(), default.clone());
            Value::Object(shown)
        });
        shown.collect()
    }

    fn trunk_details(&self, port: &str) -> Option<Value> {
        let trunk = self.find(Kind::Trunk, self.index.parents.get(port)?)?;
        let subs = trunk.get("sub_ports").and_then(Value::as_array)?;
        let detailed = subs.iter().map(|sub| {
            let mut sub = sub.clone();
            let id = sub.get("port_id").and_then(Value::as_str).unwrap_or_default();
            let mac = self.find(Kind::Port, id).and_then(|port| port.get("mac_address")).cloned();
            if let Some(object) = sub.as_object_mut() {
                object.insert("mac_address".to_owned(), mac.unwrap_or_default());
            }
            sub
        });
        Some(json!({"trunk_id": trunk.get("id"), "sub_ports": detailed.collect::<Vec<_>>()}))
    }

    fn port_details(&self, port: &str) -> Value {
        let names =
            ["name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner"];
        match self.find(Kind::Port, port) {
            None => Value::Null,
            Some(port) => names
                .iter()
                .map(|n| ((*n).to_owned(), port.get(*n).cloned().unwrap_or_default()))
                .collect::<Object>()
                .into(),
        }
    }
}
