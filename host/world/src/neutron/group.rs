//! Security groups.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, store, text};

/// Name of the group of ports that name none.
pub(super) const DEFAULT: &str = "default";

impl Neutron {
    /// A project's group for ports that name none. It lets its members talk to each other.
    pub(super) fn ensure_default_group(&mut self, project: &str) {
        if project.is_empty() || self.index.defaults.contains_key(project) {
            return;
        }
        let mut group = Object::new();
        for (name, value) in [
            ("name", json!(DEFAULT)),
            ("description", json!("Default security group")),
            ("stateful", json!(true)),
            ("project_id", json!(project)),
            ("tags", json!([])),
        ] {
            group.insert(name.to_owned(), value);
        }
        let id = self.new_group(group);
        for family in ["IPv4", "IPv6"] {
            self.add_rule(&id, project, "ingress", family, json!(id));
        }
        self.index.defaults.insert(project.to_owned(), id);
    }

    pub(super) fn default_group(&self, project: &str) -> &str {
        self.index.defaults.get(project).map(String::as_str).unwrap_or_default()
    }

    /// Every group is born with two rules that allow all egress.
    pub(super) fn new_group(&mut self, mut group: Object) -> String {
        group.insert("shared".to_owned(), json!(false));
        let project = text(&group, "project_id").to_owned();
        let id = self.store(Kind::SecurityGroup, group);
        for family in ["IPv4", "IPv6"] {
            self.add_rule(&id, &project, "egress", family, Value::Null);
        }
        id
    }

    pub(super) fn change_group(&mut self, id: &str, changes: Object) -> Result<()> {
        let default = text(self.get(Kind::SecurityGroup, id)?, "name") == DEFAULT;
        if default && changes.contains_key("name") {
            let message = "Updating default security group not allowed.";
            return Err(Fault::conflict("SecurityGroupCannotUpdateDefault", message));
        }
        if changes.contains_key("stateful") && self.index.members.contains_key(id) {
            return Err(Fault::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
        }
        self.change(Kind::SecurityGroup, id, changes)
    }

    pub(super) fn free_group(&mut self, id: &str) -> Result<()> {
        if self.index.members.contains_key(id) {
            return Err(Fault::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
        }
        if text(self.get(Kind::SecurityGroup, id)?, "name") == DEFAULT {
            let message = "Insufficient rights for removing default security group.";
            return Err(Fault::conflict("SecurityGroupCannotRemoveDefault", message));
        }
        // With a group go its rules, and those of others that name it as their peer.
        for rule in [store::ids(&self.index.rules, id), store::ids(&self.index.peers, id)].concat() {
            self.remove(Kind::SecurityGroupRule, &rule);
        }
        Ok(())
    }

    /// A rule of the service's own making.
    fn add_rule(&mut self, group: &str, project: &str, direction: &str, family: &str, peer: Value) {
        let mut rule = Object::new();
        for (name, value) in [
            ("security_group_id", json!(group)),
            ("project_id", json!(project)),
            ("direction", json!(direction)),
            ("ethertype", json!(family)),
            ("protocol", Value::Null),
            ("port_range_min", Value::Null),
            ("port_range_max", Value::Null),
            ("remote_ip_prefix", Value::Null),
            ("remote_group_id", peer),
            ("remote_address_group_id", Value::Null),
            ("normalized_cidr", Value::Null),
            ("description", Value::Null),
            ("tags", json!([])),
        ] {
            rule.insert(name.to_owned(), value);
        }
        self.store(Kind::SecurityGroupRule, rule);
    }
}
