//! Load balancers. <https://docs.openstack.org/api-ref/load-balancer/v2/#load-balancers>

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{ListenerCreate, Octavia, PoolCreate};
use crate::error::Result;
use crate::lenient::{ids, or_default, or_none};
use crate::rest::{self, Creatable, Deleted, Resource, Updatable, member};

/// A load balancer as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct LoadBalancer {
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
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `PENDING_DELETE`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// `ONLINE`, `OFFLINE`, `DEGRADED`, `ERROR`, `NO_MONITOR`, `DRAINING`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// When it was made, ISO 8601 in UTC without a zone: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was changed last, as `created_at`.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Whether it takes traffic.
    #[serde(default, deserialize_with = "or_none")]
    pub admin_state_up: Option<bool>,
    /// Its first address.
    #[serde(default, deserialize_with = "or_default")]
    pub vip_address: String,
    /// Port of the first address. Its security groups are set here, floating IPs point to it.
    #[serde(default, deserialize_with = "or_default")]
    pub vip_port_id: String,
    /// Subnet of the first address.
    #[serde(default, deserialize_with = "or_default")]
    pub vip_subnet_id: String,
    /// Network of the first address.
    #[serde(default, deserialize_with = "or_default")]
    pub vip_network_id: String,
    /// QoS policy of the VIP's port.
    #[serde(default)]
    pub vip_qos_policy_id: Option<String>,
    /// Security groups of the VIP's port that were asked for (API 2.29); empty if Octavia manages its own.
    #[serde(default, deserialize_with = "or_default")]
    pub vip_sg_ids: Vec<String>,
    /// Further addresses (API 2.26), in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub additional_vips: Vec<AdditionalVip>,
    /// Ids of its listeners.
    #[serde(default, deserialize_with = "ids")]
    pub listeners: Vec<String>,
    /// Ids of its pools.
    #[serde(default, deserialize_with = "ids")]
    pub pools: Vec<String>,
    /// Provider that runs it: `amphora`, `ovn`, ... (`octavia` is an old name of `amphora`).
    #[serde(default, deserialize_with = "or_default")]
    pub provider: String,
    /// Flavor.
    #[serde(default)]
    pub flavor_id: Option<String>,
    /// Name of its availability zone.
    #[serde(default)]
    pub availability_zone: Option<String>,
}

/// A further address of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct AdditionalVip {
    /// Subnet that the address is of.
    #[serde(default, deserialize_with = "or_default")]
    pub subnet_id: String,
    /// The address.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_address: String,
    /// Its port; that of the first address if they are on one network.
    #[serde(default)]
    pub port_id: Option<String>,
}

/// A further address asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdditionalVipRequest {
    /// Subnet to take it from, of the same network as the first address.
    pub subnet_id: String,
    /// This address; any of the subnet otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// Body of a load balancer's creation, alone or with everything below it. What is `None` gets Octavia's default. It needs
/// one of `vip_port_id`, `vip_subnet_id` and `vip_network_id`.
///
/// # Caveat
/// With listeners or pools it is one request and one transaction: either everything is there (and pending), or nothing.
/// Every pool needs a name then, unique in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadBalancerCreate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes traffic; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Its first address; any of the subnet otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_address: Option<String>,
    /// A port that there is, and that stays when the load balancer is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_port_id: Option<String>,
    /// Subnet of the first address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_subnet_id: Option<String>,
    /// Network of the first address; Octavia picks the subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_network_id: Option<String>,
    /// QoS policy of the VIP's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_qos_policy_id: Option<String>,
    /// Security groups of the VIP's port, instead of one that Octavia manages (API 2.29).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_sg_ids: Option<Vec<String>>,
    /// Further addresses (API 2.26).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_vips: Option<Vec<AdditionalVipRequest>>,
    /// Provider; the cloud's default otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Id of a flavor, of the same provider (API 2.6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor_id: Option<String>,
    /// Name of an availability zone (API 2.14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// Its listeners, with what is below them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<ListenerCreate>>,
    /// Its pools, with what is below them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<PoolCreate>>,
}

/// A change of a load balancer; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadBalancerUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// QoS policy of the VIP's port; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_qos_policy_id: Option<Option<String>>,
    /// All security groups of the VIP's port (API 2.29); none for one that Octavia manages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_sg_ids: Option<Vec<String>>,
}

impl Octavia {
    /// Deletes a load balancer with everything below it, its VIP's port included if Octavia made that. As with
    /// [`Octavia::delete`] one that was there is `PENDING_DELETE` from now on.
    ///
    /// # Errors
    /// [`crate::Error::immutable`] while it is pending.
    pub async fn delete_cascade(&self, id: &str) -> Result<Deleted> {
        let mut request = member::<LoadBalancer>(Method::DELETE, id, "")?;
        request.query.push(("cascade".to_owned(), "true".to_owned()));
        rest::delete(self.session(), &request).await
    }

    /// Makes the provider replace what runs a load balancer. It is `PENDING_UPDATE` meanwhile.
    ///
    /// # Errors
    /// [`crate::RetryClass::Forbidden`] without the role `load-balancer_admin` or `admin`; [`crate::Error::immutable`]
    /// while it is pending; [`crate::Error::unsupported`] if the provider has nothing to replace.
    pub async fn failover(&self, id: &str) -> Result<()> {
        self.session().send(&member::<LoadBalancer>(Method::PUT, id, "/failover")?).await.map(drop)
    }
}

impl Resource for LoadBalancer {
    type In = Octavia;
    const PATH: &'static str = "loadbalancers";
    const SINGULAR: &'static str = "loadbalancer";
    const PLURAL: &'static str = "loadbalancers";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for LoadBalancer {
    type Create = LoadBalancerCreate;
}

impl Updatable for LoadBalancer {
    type Update = LoadBalancerUpdate;
}
