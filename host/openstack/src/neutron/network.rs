//! Networks. <https://docs.openstack.org/api-ref/network/v2/#networks>

use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable};

/// A network as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Network {
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
    /// Whether it forwards traffic.
    #[serde(default)]
    pub admin_state_up: Option<bool>,
    /// Largest packet, in bytes.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Ids of its subnets.
    #[serde(default, deserialize_with = "or_default")]
    pub subnets: Vec<String>,
    /// Default of its ports.
    #[serde(default)]
    pub port_security_enabled: Option<bool>,
    /// Domain of its ports' names.
    #[serde(default, deserialize_with = "or_default")]
    pub dns_domain: String,
    /// Whether other projects may use it.
    #[serde(default)]
    pub shared: Option<bool>,
    /// Whether it leads outside (extension `external-net`).
    #[serde(rename = "router:external", default)]
    pub external: Option<bool>,
    /// `geneve`, `vlan`, `flat`, ...; shown to administrators only.
    #[serde(rename = "provider:network_type", default)]
    pub provider_network_type: Option<String>,
    /// VLAN or tunnel id; shown to administrators only.
    #[serde(rename = "provider:segmentation_id", default)]
    pub provider_segmentation_id: Option<u32>,
}

/// Body of a network's creation. What is `None` gets Neutron's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkCreate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Whether it forwards traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Default of its ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_security_enabled: Option<bool>,
    /// Domain of its ports' names; ends with a dot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_domain: Option<String>,
}

/// A change of a network; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it forwards traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Default of its later ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_security_enabled: Option<bool>,
    /// Domain of its ports' names; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_domain: Option<String>,
}

impl Resource for Network {
    type In = Neutron;
    const PATH: &'static str = "networks";
    const SINGULAR: &'static str = "network";
    const PLURAL: &'static str = "networks";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Network {
    type Create = NetworkCreate;
}

impl Updatable for Network {
    type Update = NetworkUpdate;
}
