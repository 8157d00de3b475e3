//! Security groups and their rules.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, attributes, text};

const DEFAULT: &str = "default";
/// What tells one rule of a group from another.
const RULE_KEY: &[&str] = &[
    "security_group_id",
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
];

impl Neutron {
    /// The project's group for ports that name none. It lets its members talk to each other.
    pub(super) fn make_default_group(&mut self, project: &str) {
        let group =
            object(json!({"name": DEFAULT, "description": "Default security group", "stateful": true,
                                  "project_id": project, "tags": []}));
        let id = self.store_group(group);
        for family in ["IPv4", "IPv6"] {
            let rule = json!({"security_group_id": id, "direction": "ingress", "ethertype": family, "remote_group_id": id});
            self.add_rule(rule, project);
        }
    }

    pub(super) fn default_group(&self, project: &str) -> &str {
        let mut all = self.all(Kind::SecurityGroup);
        all.find(|group| text(group, "name") == DEFAULT && text(group, "project_id") == project)
            .map(|group| text(group, "id"))
            .unwrap_or_default()
    }

    pub(super) fn new_group(&mut self, group: Object) -> Result<String> {
        if text(&group, "name") == DEFAULT {
            let message = "Default security group already exists.";
            return Err(Fault::conflict("SecurityGroupDefaultAlreadyExists", message));
        }
        Ok(self.store_group(group))
    }

    /// Every group is born with two rules that allow all egress.
    fn store_group(&mut self, group: Object) -> String {
        let project = text(&group, "project_id").to_owned();
        let id = self.store(Kind::SecurityGroup, group);
        for family in ["IPv4", "IPv6"] {
            self.add_rule(
                json!({"security_group_id": id, "direction": "egress", "ethertype": family}),
                &project,
            );
        }
        id
    }

    pub(super) fn free_group(&mut self, id: &str) -> Result<()> {
        if text(self.get(Kind::SecurityGroup, id)?, "name") == DEFAULT {
            let message = "Removing the default security group is not allowed.";
            return Err(Fault::conflict("SecurityGroupCannotRemoveDefault", message));
        }
        let uses = |port: &Object| {
            port.get("security_groups")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(|g| g == id))
        };
        if self.all(Kind::Port).any(uses) {
            return Err(Fault::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
        }
        // With a group go its rules, and those of others that name it as their peer.
        let gone =
            |rule: &Object| text(rule, "security_group_id") == id || text(rule, "remote_group_id") == id;
        if let Some(rules) = self.objects.get_mut(&Kind::SecurityGroupRule) {
            rules.retain(|_, rule| !gone(rule));
        }
        Ok(())
    }

    pub(super) fn new_rule(&mut self, rule: Object) -> Result<String> {
        self.get(Kind::SecurityGroup, text(&rule, "security_group_id"))?;
        let one_of = |name: &str, allowed: [&str; 2]| match allowed.contains(&text(&rule, name)) {
            true => Ok(()),
            false => Err(Fault::bad_request(format!(
                "Invalid input for {name}. Reason: it is not in {allowed:?}."
            ))),
        };
        one_of("direction", ["ingress", "egress"])?;
        one_of("ethertype", ["IPv4", "IPv6"])?;
        let (prefix, group) = (text(&rule, "remote_ip_prefix"), text(&rule, "remote_group_id"));
        if !prefix.is_empty() && !group.is_empty() {
            let message = "Only remote_ip_prefix or remote_group_id may be provided.";
            return Err(Fault::invalid("SecurityGroupMultipleRemoteEntites", message));
        }
        if !group.is_empty() {
            self.get(Kind::SecurityGroup, group)?;
        }
        if !prefix.is_empty() {
            let net = prefix.parse::<IpNet>().ok();
            let v6 = net.map(|net| matches!(net, IpNet::V6(_)));
            if v6 != Some(text(&rule, "ethertype") == "IPv6") {
                let message = format!("Conflicting value ethertype for remote_ip_prefix {prefix}");
                return Err(Fault::invalid("SecurityGroupRuleParameterConflict", message));
            }
        }
        let same = |other: &&Object| RULE_KEY.iter().all(|key| other.get(*key) == rule.get(*key));
        if let Some(other) = self.all(Kind::SecurityGroupRule).find(same) {
            let message = format!("Security group rule already exists. Rule id is {}.", text(other, "id"));
            return Err(Fault::conflict("SecurityGroupRuleExists", message));
        }
        Ok(self.store(Kind::SecurityGroupRule, rule))
    }

    /// A rule of the service's own making.
    fn add_rule(&mut self, asked: Value, project: &str) {
        // It names attributes that a rule has: there is nothing to refuse.
        if let Ok(mut rule) = attributes::create(Kind::SecurityGroupRule, &object(asked)) {
            rule.insert("project_id".to_owned(), json!(project));
            self.store(Kind::SecurityGroupRule, rule);
        }
    }
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
