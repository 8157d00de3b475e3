//! Policies: what a listener does with requests that match their rules.
//! <https://docs.openstack.org/api-ref/load-balancer/v2/#l7-policies>

use serde::{Deserialize, Serialize};

use super::{L7RuleCreate, Octavia, PoolOrName};
use crate::lenient::{ids, or_default, or_none};
use crate::rest::{Creatable, Resource, Updatable};

/// A policy as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct L7Policy {
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
    /// `ONLINE`, `OFFLINE`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// When it was made, ISO 8601 in UTC without a zone: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was changed last, as `created_at`.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Whether it counts.
    #[serde(default, deserialize_with = "or_none")]
    pub admin_state_up: Option<bool>,
    /// Listener that it is of.
    #[serde(default, deserialize_with = "or_default")]
    pub listener_id: String,
    /// `REDIRECT_TO_POOL`, `REDIRECT_TO_URL`, `REDIRECT_PREFIX`, `REJECT`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub action: String,
    /// Pool, of `REDIRECT_TO_POOL`.
    #[serde(default)]
    pub redirect_pool_id: Option<String>,
    /// URL, of `REDIRECT_TO_URL`.
    #[serde(default)]
    pub redirect_url: Option<String>,
    /// What the request's path is appended to, of `REDIRECT_PREFIX`.
    #[serde(default)]
    pub redirect_prefix: Option<String>,
    /// HTTP status of a redirect by URL or prefix.
    #[serde(default, deserialize_with = "or_none")]
    pub redirect_http_code: Option<u16>,
    /// Its place among the listener's policies, from 1 on without gaps. Those of others change with every policy that
    /// comes, goes or moves.
    #[serde(default, deserialize_with = "or_none")]
    pub position: Option<u32>,
    /// Ids of its rules, in no order.
    #[serde(default, deserialize_with = "ids")]
    pub rules: Vec<String>,
}

/// Body of a policy's creation, alone or as part of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct L7PolicyCreate {
    /// Listener; alone needed, as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_id: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it counts; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `REDIRECT_TO_POOL`, `REDIRECT_TO_URL`, `REDIRECT_PREFIX` or `REJECT`.
    pub action: String,
    /// Pool, of `REDIRECT_TO_POOL`; as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_pool_id: Option<String>,
    /// The same, made with it: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_pool: Option<PoolOrName>,
    /// URL, of `REDIRECT_TO_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// What the request's path is appended to, of `REDIRECT_PREFIX`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_prefix: Option<String>,
    /// HTTP status of a redirect by URL or prefix: 301, 302, 303, 307 or 308 (API 2.9); 302 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_http_code: Option<u16>,
    /// Its place among the listener's policies, from 1 on: those from there on move back. The last otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Its rules, of which all must match: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<L7RuleCreate>>,
}

/// A change of a policy; what is `None` stays, what is `Some(None)` is cleared.
///
/// # Caveats
/// - A new action comes with its target; Octavia clears the targets of the others, but for the prefix when the action
///   becomes `REJECT`.
/// - A URL or prefix without `redirect_http_code` makes that 302.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct L7PolicyUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `REDIRECT_TO_POOL`, `REDIRECT_TO_URL`, `REDIRECT_PREFIX` or `REJECT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Pool, of `REDIRECT_TO_POOL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_pool_id: Option<Option<String>>,
    /// URL, of `REDIRECT_TO_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<Option<String>>,
    /// What the request's path is appended to, of `REDIRECT_PREFIX`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_prefix: Option<Option<String>>,
    /// HTTP status of a redirect by URL or prefix (API 2.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_http_code: Option<Option<u16>>,
    /// Its place among the listener's policies, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
}

impl Resource for L7Policy {
    type In = Octavia;
    const PATH: &'static str = "l7policies";
    const SINGULAR: &'static str = "l7policy";
    const PLURAL: &'static str = "l7policies";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for L7Policy {
    type Create = L7PolicyCreate;
}

impl Updatable for L7Policy {
    type Update = L7PolicyUpdate;
}
