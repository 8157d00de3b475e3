//! Subnets. <https://docs.openstack.org/api-ref/network/v2/#subnets>

use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable};

/// A subnet as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Subnet {
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
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Network that it is of.
    #[serde(default, deserialize_with = "or_default")]
    pub network_id: String,
    /// 4 or 6.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_version: u8,
    /// Its prefix.
    #[serde(default, deserialize_with = "or_default")]
    pub cidr: String,
    /// Pool that the prefix is from.
    #[serde(default)]
    pub subnetpool_id: Option<String>,
    /// Gateway, if it has one.
    #[serde(default)]
    pub gateway_ip: Option<String>,
    /// Whether DHCP is served.
    #[serde(default)]
    pub enable_dhcp: Option<bool>,
    /// Ranges that addresses are given from.
    #[serde(default, deserialize_with = "or_default")]
    pub allocation_pools: Vec<AllocationPool>,
    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
    #[serde(default)]
    pub ipv6_address_mode: Option<String>,
    /// What the router advertises, same values.
    #[serde(default)]
    pub ipv6_ra_mode: Option<String>,
    /// Name servers, in order of use.
    #[serde(default, deserialize_with = "or_default")]
    pub dns_nameservers: Vec<String>,
    /// Further routes that hosts are told.
    #[serde(default, deserialize_with = "or_default")]
    pub host_routes: Vec<HostRoute>,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllocationPool {
    /// First address.
    #[serde(default, deserialize_with = "or_default")]
    pub start: String,
    /// Last address.
    #[serde(default, deserialize_with = "or_default")]
    pub end: String,
}

/// A route that hosts are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostRoute {
    /// Prefix.
    #[serde(default, deserialize_with = "or_default")]
    pub destination: String,
    /// Gateway to it.
    #[serde(default, deserialize_with = "or_default")]
    pub nexthop: String,
}

/// Body of a subnet's creation. What is `None` gets Neutron's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetCreate {
    /// Network that it is of.
    pub network_id: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// Its prefix, unless a pool gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Pool to take a prefix from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnetpool_id: Option<String>,
    /// Length of the prefix taken from the pool; the pool's default otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixlen: Option<u8>,
    /// Gateway; `Some(None)` for none, `None` for the first address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ip: Option<Option<String>>,
    /// Whether DHCP is served; Neutron's default is that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_dhcp: Option<bool>,
    /// Ranges that addresses are given from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_pools: Option<Vec<AllocationPool>>,
    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address_mode: Option<String>,
    /// What the router advertises, same values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_ra_mode: Option<String>,
    /// Name servers, in order of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_nameservers: Option<Vec<String>>,
    /// Further routes that hosts are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_routes: Option<Vec<HostRoute>>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

/// A change of a subnet; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Gateway; `Some(None)` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ip: Option<Option<String>>,
    /// Whether DHCP is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_dhcp: Option<bool>,
    /// Ranges that addresses are given from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_pools: Option<Vec<AllocationPool>>,
    /// Name servers, in order of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_nameservers: Option<Vec<String>>,
    /// Further routes that hosts are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_routes: Option<Vec<HostRoute>>,
}

/// A pool that subnets take their prefixes from, as Neutron shows it. Read only.
/// <https://docs.openstack.org/api-ref/network/v2/#subnet-pools-extension-subnetpools>
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SubnetPool {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Whether other projects may use it.
    #[serde(default)]
    pub shared: Option<bool>,
}

impl Resource for SubnetPool {
    type In = Neutron;
    const PATH: &'static str = "subnetpools";
    const SINGULAR: &'static str = "subnetpool";
    const PLURAL: &'static str = "subnetpools";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Resource for Subnet {
    type In = Neutron;
    const PATH: &'static str = "subnets";
    const SINGULAR: &'static str = "subnet";
    const PLURAL: &'static str = "subnets";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Subnet {
    type Create = SubnetCreate;
}

impl Updatable for Subnet {
    type Update = SubnetUpdate;
}
