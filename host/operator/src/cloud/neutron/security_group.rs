//! Security groups with their rules. Rules are told by what they say: they have no mark of their own, and all of a group of ours
//! are ours.

use std::collections::BTreeSet;

use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use isthmus_model::security_rule;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{
    SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate, SecurityGroupUpdate,
};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard};
use super::{Scope, gone, text};
use crate::cloud::{Create, Result, Update, cleared, set, typed};

pub(super) struct SecurityGroups;

/// The contract's `security-group`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Rule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stateful: Option<bool>,
}

/// The contract's `security-rule`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    direction: String,
    ip_version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    ports: Ports,
    remote: Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    V4,
    V6,
}

/// A case of the contract's variants that holds nothing.
type Any = bool;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ports {
    Any(Any),
    Range {
        first: u16,
        last: u16,
    },
    Icmp {
        #[serde(rename = "type")]
        kind: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Remote {
    Any(Any),
    Cidr(String),
    Group(String),
    Addresses(String),
}

/// Protocols whose "ports" are ICMP's type and code.
const ICMP: [&str; 2] = ["icmp", "ipv6-icmp"];

impl From<SecurityGroupRule> for Rule {
    fn from(rule: SecurityGroupRule) -> Self {
        let v6 = rule.ethertype == "IPv6";
        let protocol = rule.protocol.and_then(|given| security_rule::protocol(&given, v6));
        let icmp = protocol.as_deref().is_some_and(|protocol| ICMP.contains(&protocol));
        let shown = Self {
            direction: rule.direction,
            ip_version: if v6 { Version::V6 } else { Version::V4 },
            protocol,
            ports: match (rule.port_range_min, rule.port_range_max) {
                (Some(kind), code) if icmp => Ports::Icmp { kind, code },
                (Some(first), Some(last)) => Ports::Range { first, last },
                _ => Ports::Any(true),
            },
            remote: match (rule.remote_ip_prefix, rule.remote_group_id, rule.remote_address_group_id) {
                (Some(cidr), _, _) => Remote::Cidr(cidr),
                (_, Some(group), _) => Remote::Group(group),
                (_, _, Some(group)) => Remote::Addresses(group),
                _ => Remote::Any(true),
            },
        };
        shown.in_one_form()
    }
}

impl Rule {
    /// Two that Neutron takes for one are equal.
    fn in_one_form(mut self) -> Self {
        let v6 = self.ip_version == Version::V6;
        self.protocol = self.protocol.and_then(|given| security_rule::protocol(&given, v6));
        if let Remote::Cidr(cidr) = &self.remote {
            self.remote = security_rule::remote(cidr, v6).map_or(Remote::Any(true), Remote::Cidr);
        }
        if matches!(self.ports, Ports::Range { first, last } if security_rule::is_all_ports(first, last)) {
            self.ports = Ports::Any(true);
        }
        self
    }

    fn lets_all_out(&self) -> bool {
        self.direction == "egress"
            && self.protocol.is_none()
            && matches!((&self.ports, &self.remote), (Ports::Any(_), Remote::Any(_)))
    }

    fn body(self, group: &str, project: Option<String>) -> SecurityGroupRuleCreate {
        let (port_range_min, port_range_max) = match self.ports {
            Ports::Any(_) => (None, None),
            Ports::Range { first, last } => (Some(first), Some(last)),
            Ports::Icmp { kind, code } => (Some(kind), code),
        };
        let mut body = SecurityGroupRuleCreate {
            security_group_id: group.to_owned(),
            direction: self.direction,
            ethertype: Some(if self.ip_version == Version::V6 { "IPv6" } else { "IPv4" }.to_owned()),
            protocol: self.protocol,
            port_range_min,
            port_range_max,
            project_id: project,
            ..SecurityGroupRuleCreate::default()
        };
        match self.remote {
            Remote::Any(_) => {}
            Remote::Cidr(cidr) => body.remote_ip_prefix = Some(cidr),
            Remote::Group(group) => body.remote_group_id = Some(group),
            Remote::Addresses(group) => body.remote_address_group_id = Some(group),
        }
        body
    }
}

impl Standard for SecurityGroups {
    type Resource = SecurityGroup;
    const GONE: &'static [&'static str] = &["SecurityGroupNotFound"];

    fn observed(group: SecurityGroup) -> Observed {
        let rules = group.security_group_rules.into_iter().map(Rule::from);
        let fields = Fields { rules: Some(rules.collect()), stateful: group.stateful };
        observed!(Kind::SecurityGroup, group, &fields)
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<SecurityGroupCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        Ok(SecurityGroupCreate {
            name: about.name.unwrap_or_default(),
            description: about.description,
            project_id: about.project,
            stateful: fields.stateful,
        })
    }

    async fn change(_: &Scope, update: &Update<'_>, about: About) -> Result<Option<SecurityGroupUpdate>> {
        let fields: Fields = typed(update.entry, set(update))?;
        let body = SecurityGroupUpdate {
            name: about.name,
            description: about.description,
            stateful: fields.stateful.or(cleared(update, "stateful").then_some(true)),
        };
        Ok((body != SecurityGroupUpdate::default()).then_some(body))
    }

    fn described(description: String) -> SecurityGroupUpdate {
        SecurityGroupUpdate { description: Some(description), ..SecurityGroupUpdate::default() }
    }

    async fn separate(scope: &Scope, update: &Update<'_>) -> Result<Option<SecurityGroup>> {
        let fields: Fields = typed(update.entry, set(update))?;
        match fields.rules {
            Some(rules) => Ok(Some(set_rules(&scope.neutron, update, rules).await?)),
            None => Ok(None),
        }
    }
}

/// Makes the rules of a group those that are wanted: what is let through now and then is let through all the time. A group of which
/// no rule can be made does not let everything out for that, as Neutron has it of a new one.
async fn set_rules(neutron: &Neutron, update: &Update<'_>, wanted: Vec<Rule>) -> Result<SecurityGroup> {
    let id = &update.observed.id;
    let gone = |error| gone(error, SecurityGroups::GONE);
    let mut group: SecurityGroup = neutron.get(id).await.map_err(gone)?;
    let mut missing: BTreeSet<Rule> = wanted.into_iter().map(Rule::in_one_form).collect();
    let (mut kept, mut surplus) = (Vec::new(), Vec::new());
    for rule in group.security_group_rules {
        match missing.remove(&Rule::from(rule.clone())) {
            true => kept.push(rule),
            false => surplus.push(rule),
        }
    }
    if !missing.is_empty() {
        let project = text(group.project_id.clone());
        let bodies: Vec<_> = missing.into_iter().map(|rule| rule.body(id, project.clone())).collect();
        match neutron.create_all::<SecurityGroupRule>(&bodies).await {
            Ok(made) => kept.extend(made),
            Err(error) => {
                if kept.is_empty() {
                    close(neutron, id, surplus).await;
                }
                return Err(gone(error));
            }
        }
    }
    for rule in surplus {
        neutron.delete::<SecurityGroupRule>(&rule.id).await?;
    }
    // The service counts a rule as a revision of its group, and does not say which.
    (group.security_group_rules, group.revision_number) = (kept, None);
    Ok(group)
}

/// Takes the rules off a group that let everything out. What fails is tried again with the rest.
async fn close(neutron: &Neutron, group: &str, rules: Vec<SecurityGroupRule>) {
    for rule in rules.into_iter().filter(|rule| Rule::from(rule.clone()).lets_all_out()) {
        if let Err(error) = neutron.delete::<SecurityGroupRule>(&rule.id).await {
            tracing::warn!(group, rule = rule.id, %error, "the group lets everything out still");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        let table = [
            json!({"direction": "ingress", "ip_version": "v4", "ports": {"any": true}, "remote": {"any": true}}),
            json!({"direction": "egress", "ip_version": "v6", "protocol": "tcp",
                   "ports": {"range": {"first": 80, "last": 90}}, "remote": {"cidr": "fd00::/64"}}),
            json!({"direction": "ingress", "ip_version": "v4", "protocol": "icmp",
                   "ports": {"icmp": {"type": 8}}, "remote": {"group": "g"}}),
            json!({"direction": "ingress", "ip_version": "v6", "protocol": "ipv6-icmp",
                   "ports": {"icmp": {"type": 128, "code": 0}}, "remote": {"addresses": "a"}}),
        ];
        for wanted in table {
            let rule: Rule = serde_json::from_value(wanted.clone()).unwrap();
            let body = rule.body("g1", None);
            let shown: SecurityGroupRule = serde_json::from_value({
                let mut shown = serde_json::to_value(&body).unwrap();
                shown["id"] = "r".into();
                shown
            })
            .unwrap();
            assert_eq!(serde_json::to_value(Rule::from(shown)).unwrap(), wanted);
        }
    }

    #[test]
    fn rules_that_neutron_takes_for_one_are_one() {
        let of = |shown: serde_json::Value| {
            let rule: SecurityGroupRule = serde_json::from_value(shown).unwrap();
            Rule::from(rule)
        };
        let own = json!({"id": "r", "direction": "egress", "ethertype": "IPv4"});
        let same =
            json!({"id": "r", "direction": "egress", "ethertype": "IPv4", "remote_ip_prefix": "0.0.0.0/0"});
        assert_eq!(of(own), of(same), "that of a fresh group, and what a policy says of everybody");
        let named = json!({"id": "r", "direction": "ingress", "ethertype": "IPv6", "protocol": "icmp"});
        let numbered = json!({"id": "r", "direction": "ingress", "ethertype": "IPv6", "protocol": "58"});
        assert_eq!(of(named), of(numbered));
        let own: Rule =
            serde_json::from_value(json!({"direction": "ingress", "ip_version": "v6", "protocol": "TCP",
            "ports": {"range": {"first": 1, "last": 65535}}, "remote": {"cidr": "FD00::0/8"}}))
            .unwrap();
        let shown = json!({"id": "r", "direction": "ingress", "ethertype": "IPv6", "protocol": "tcp",
            "remote_ip_prefix": "fd00::/8"});
        assert_eq!(own.in_one_form(), of(shown), "as it was asked for, and as it is shown");
    }
}
