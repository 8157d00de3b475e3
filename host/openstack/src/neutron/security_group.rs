//! Security groups and their rules. <https://docs.openstack.org/api-ref/network/v2/#security-groups-security-groups>

use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable};

/// A security group as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Description; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Tags, in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Whether another project's is shared with ours (RBAC).
    #[serde(default)]
    pub shared: Option<bool>,
    /// Grows with every change.
    #[serde(default)]
    pub revision_number: Option<u64>,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether answers are let through by connection tracking.
    #[serde(default)]
    pub stateful: Option<bool>,
    /// Its rules, in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub security_group_rules: Vec<SecurityGroupRule>,
}

/// Body of a group's creation. Neutron adds two rules that allow all egress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroupCreate {
    /// Name; a group must have one.
    pub name: String,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Whether answers are let through by connection tracking; Neutron's default is that they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stateful: Option<bool>,
}

/// A change of a group; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroupUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether answers are let through; only while no port uses the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stateful: Option<bool>,
}

/// A rule as Neutron shows it. It cannot be changed, and has no tags of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SecurityGroupRule {
    /// Id.
    pub id: String,
    /// Description; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Grows with every change.
    #[serde(default)]
    pub revision_number: Option<u64>,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Group that it is of.
    #[serde(default, deserialize_with = "or_default")]
    pub security_group_id: String,
    /// `ingress` or `egress`.
    #[serde(default, deserialize_with = "or_default")]
    pub direction: String,
    /// `IPv4` or `IPv6`.
    #[serde(default, deserialize_with = "or_default")]
    pub ethertype: String,
    /// Name or number as text; any if there is none.
    #[serde(default)]
    pub protocol: Option<String>,
    /// First port, or the ICMP type.
    #[serde(default)]
    pub port_range_min: Option<u16>,
    /// Last port, or the ICMP code.
    #[serde(default)]
    pub port_range_max: Option<u16>,
    /// Peers by prefix.
    #[serde(default)]
    pub remote_ip_prefix: Option<String>,
    /// Peers by their group.
    #[serde(default)]
    pub remote_group_id: Option<String>,
    /// Peers by address group.
    #[serde(default)]
    pub remote_address_group_id: Option<String>,
}

/// Body of a rule's creation. At most one of the three `remote` fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroupRuleCreate {
    /// Group that it is of.
    pub security_group_id: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` (the default) or `IPv6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// Name or number as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// First port, or the ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// Last port, or the ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    /// Peers by prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip_prefix: Option<String>,
    /// Peers by their group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_group_id: Option<String>,
    /// Peers by address group (extension `security-groups-remote-address-group`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address_group_id: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

impl Resource for SecurityGroup {
    type In = Neutron;
    const PATH: &'static str = "security-groups";
    const SINGULAR: &'static str = "security_group";
    const PLURAL: &'static str = "security_groups";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for SecurityGroup {
    type Create = SecurityGroupCreate;
}

impl Updatable for SecurityGroup {
    type Update = SecurityGroupUpdate;
}

impl Resource for SecurityGroupRule {
    type In = Neutron;
    const PATH: &'static str = "security-group-rules";
    const SINGULAR: &'static str = "security_group_rule";
    const PLURAL: &'static str = "security_group_rules";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for SecurityGroupRule {
    type Create = SecurityGroupRuleCreate;
}
