//! Floating IPs. <https://docs.openstack.org/api-ref/network/v2/#floating-ips-floatingips>

use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable};

/// A floating IP as Neutron shows it. It has no name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FloatingIp {
    /// Id.
    pub id: String,
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
    /// `ACTIVE`, `DOWN` (of no port), `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Network that the address is of.
    #[serde(default, deserialize_with = "or_default")]
    pub floating_network_id: String,
    /// The address.
    #[serde(default, deserialize_with = "or_default")]
    pub floating_ip_address: String,
    /// Port that it leads to, if any.
    #[serde(default)]
    pub port_id: Option<String>,
    /// Address of the port that it leads to, if any.
    #[serde(default)]
    pub fixed_ip_address: Option<String>,
}

/// Body of a floating IP's creation. What is `None` gets Neutron's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloatingIpCreate {
    /// Network that the address is of.
    pub floating_network_id: String,
    /// Subnet of that network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The address; Neutron's policy may keep this to administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating_ip_address: Option<String>,
    /// Port that it leads to, at its first IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

/// A change of a floating IP; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloatingIpUpdate {
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Port that it leads to; `Some(None)` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<Option<String>>,
}

impl Resource for FloatingIp {
    type In = Neutron;
    const PATH: &'static str = "floatingips";
    const SINGULAR: &'static str = "floatingip";
    const PLURAL: &'static str = "floatingips";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for FloatingIp {
    type Create = FloatingIpCreate;
}

impl Updatable for FloatingIp {
    type Update = FloatingIpUpdate;
}
