//! Members of pools. <https://docs.openstack.org/api-ref/load-balancer/v2/#members>

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Octavia, Pool};
use crate::error::Result;
use crate::lenient::{or_default, or_none};
use crate::rest::{Creatable, Resource, Updatable, collection_in, with_body};

/// A member as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Tags, in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `PENDING_DELETE`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// `ONLINE`, `OFFLINE`, `ERROR`, `NO_MONITOR`, `DRAINING`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// When it was made, ISO 8601 in UTC without a zone: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was changed last, as `created_at`.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Whether it takes connections.
    #[serde(default, deserialize_with = "or_none")]
    pub admin_state_up: Option<bool>,
    /// Address; with the port unique in the pool.
    #[serde(default, deserialize_with = "or_default")]
    pub address: String,
    /// Port.
    #[serde(default, deserialize_with = "or_none")]
    pub protocol_port: Option<u16>,
    /// Subnet where the address can be reached; the VIP's if there is none.
    #[serde(default)]
    pub subnet_id: Option<String>,
    /// Share of the connections, 0 to 256; 0 takes no new ones.
    #[serde(default, deserialize_with = "or_none")]
    pub weight: Option<u16>,
    /// Whether it is used only when no other member works.
    #[serde(default, deserialize_with = "or_none")]
    pub backup: Option<bool>,
    /// Where the monitor asks; the address if there is none.
    #[serde(default)]
    pub monitor_address: Option<String>,
    /// Where the monitor asks; the port if there is none.
    #[serde(default, deserialize_with = "or_none")]
    pub monitor_port: Option<u16>,
}

/// Body of a member's creation, alone, as part of a batch or of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemberCreate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes connections; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Address.
    pub address: String,
    /// Port, 1 to 65535.
    pub protocol_port: u16,
    /// Subnet where the address can be reached; the VIP's otherwise. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Share of the connections, 0 to 256; 1 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Whether it is used only when no other member works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// Where the monitor asks; the address otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_address: Option<String>,
    /// Where the monitor asks; the port otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<u16>,
}

/// A change of a member; what is `None` stays, what is `Some(None)` gets its default again. Address, port and subnet cannot
/// change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemberUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Share of the connections, 0 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Option<u16>>,
    /// Whether it is used only when no other member works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// Where the monitor asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_address: Option<Option<String>>,
    /// Where the monitor asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<Option<u16>>,
}

impl Octavia {
    /// Makes `members` all members of a pool, in one request: those with an address and port that are there already are
    /// changed (`admin_state_up`, weight, backup and monitor fields get their default where they are `None`; name and
    /// tags stay then), the others are made, and what is not among them is deleted.
    ///
    /// # Errors
    /// [`crate::Error::immutable`] while the load balancer, a listener or the pool is pending;
    /// [`crate::RetryClass::Invalid`] if two are of one address and port; [`crate::RetryClass::NotFound`] if the pool or
    /// a subnet is gone. Nothing was changed then.
    pub async fn batch_members(&self, pool_id: &str, members: &[MemberCreate]) -> Result<()> {
        let request = with_body(collection_in::<Member>(Method::PUT, pool_id)?, Member::PLURAL, members)?;
        self.session().send(&request).await.map(drop)
    }
}

impl Resource for Member {
    type In = Pool;
    const PATH: &'static str = "members";
    const SINGULAR: &'static str = "member";
    const PLURAL: &'static str = "members";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Member {
    type Create = MemberCreate;
}

impl Updatable for Member {
    type Update = MemberUpdate;
}
