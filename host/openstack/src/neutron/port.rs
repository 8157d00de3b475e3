//! Ports. <https://docs.openstack.org/api-ref/network/v2/#ports>

use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable};

/// A port as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Port {
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
    /// Grows with every change.
    #[serde(default)]
    pub revision_number: Option<u64>,
    /// `ACTIVE`, `DOWN`, `BUILD`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Network that it is in.
    #[serde(default, deserialize_with = "or_default")]
    pub network_id: String,
    /// Whether it forwards traffic.
    #[serde(default)]
    pub admin_state_up: Option<bool>,
    /// MAC address.
    #[serde(default, deserialize_with = "or_default")]
    pub mac_address: String,
    /// Addresses.
    #[serde(default, deserialize_with = "or_default")]
    pub fixed_ips: Vec<FixedIp>,
    /// Ids of its security groups.
    #[serde(default, deserialize_with = "or_default")]
    pub security_groups: Vec<String>,
    /// Further addresses that it may send from.
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_address_pairs: Vec<AllowedAddressPair>,
    /// Whether security groups and anti-spoofing apply.
    #[serde(default)]
    pub port_security_enabled: Option<bool>,
    /// QoS policy.
    #[serde(default)]
    pub qos_policy_id: Option<String>,
    /// Host that it is bound to; shown to those who may bind only.
    #[serde(rename = "binding:host_id", default, deserialize_with = "or_default")]
    pub binding_host_id: String,
    /// `normal`, `direct`, `macvtap`, ...
    #[serde(rename = "binding:vnic_type", default, deserialize_with = "or_default")]
    pub binding_vnic_type: String,
    /// How it is bound: `ovs`, `unbound`, `binding_failed`, ...; shown to those who may bind only.
    #[serde(rename = "binding:vif_type", default, deserialize_with = "or_default")]
    pub binding_vif_type: String,
    /// How, more closely, as its mechanism driver says; shown to those who may bind only.
    #[serde(rename = "binding:vif_details", default, deserialize_with = "or_default")]
    pub binding_vif_details: serde_json::Map<String, serde_json::Value>,
    /// What was asked of its mechanism driver; shown to those who may bind only.
    #[serde(rename = "binding:profile", default, deserialize_with = "or_default")]
    pub binding_profile: serde_json::Map<String, serde_json::Value>,
    /// Name in the network's DNS.
    #[serde(default, deserialize_with = "or_default")]
    pub dns_name: String,
    /// Id of what uses it.
    #[serde(default, deserialize_with = "or_default")]
    pub device_id: String,
    /// What kind of thing uses it.
    #[serde(default, deserialize_with = "or_default")]
    pub device_owner: String,
}

/// An address of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FixedIp {
    /// Subnet that the address is of.
    #[serde(default, deserialize_with = "or_default")]
    pub subnet_id: String,
    /// The address.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_address: String,
}

/// An address asked for: from a subnet, or this very one, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIpRequest {
    /// Any address of this subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// This address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// A further address that a port may send from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowedAddressPair {
    /// Address or CIDR.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_address: String,
    /// MAC address; without one the port's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

/// Body of a port's creation. What is `None` gets Neutron's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortCreate {
    /// Network to put it in.
    pub network_id: String,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Tags, in one request with the port (extension `tag-creation`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it forwards traffic; Neutron's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Addresses; an empty list asks for none, `None` for one of each kind of subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_ips: Option<Vec<FixedIpRequest>>,
    /// Ids of security groups; `None` means the project's `default` group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    /// Further addresses that it may send from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_address_pairs: Option<Vec<AllowedAddressPair>>,
    /// Whether security groups and anti-spoofing apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_security_enabled: Option<bool>,
    /// QoS policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_policy_id: Option<String>,
    /// Host to bind it to; needs the role `service` or `admin`.
    #[serde(rename = "binding:host_id", skip_serializing_if = "Option::is_none")]
    pub binding_host_id: Option<String>,
    /// `normal`, `direct`, ...
    #[serde(rename = "binding:vnic_type", skip_serializing_if = "Option::is_none")]
    pub binding_vnic_type: Option<String>,
    /// Name in the network's DNS (extension `dns-integration`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Id of what uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What kind of thing uses it. A project member may not delete ports of `network:*` and `compute:*` owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_owner: Option<String>,
}

/// A change of a port; what is `None` stays. Tags are changed by [`super::Neutron::set_tags`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it forwards traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// All addresses; keeps those that are named with both fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_ips: Option<Vec<FixedIpRequest>>,
    /// All security groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    /// All further addresses that it may send from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_address_pairs: Option<Vec<AllowedAddressPair>>,
    /// Whether security groups and anti-spoofing apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_security_enabled: Option<bool>,
    /// QoS policy; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_policy_id: Option<Option<String>>,
    /// Host to bind it to; an empty string unbinds it.
    #[serde(rename = "binding:host_id", skip_serializing_if = "Option::is_none")]
    pub binding_host_id: Option<String>,
    /// `normal`, `direct`, ...
    #[serde(rename = "binding:vnic_type", skip_serializing_if = "Option::is_none")]
    pub binding_vnic_type: Option<String>,
    /// Name in the network's DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Id of what uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What kind of thing uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_owner: Option<String>,
}

impl Resource for Port {
    type In = Neutron;
    const PATH: &'static str = "ports";
    const SINGULAR: &'static str = "port";
    const PLURAL: &'static str = "ports";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Port {
    type Create = PortCreate;
}

impl Updatable for Port {
    type Update = PortUpdate;
}
