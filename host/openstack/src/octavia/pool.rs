//! Pools. <https://docs.openstack.org/api-ref/load-balancer/v2/#pools>

use serde::{Deserialize, Serialize};

use super::{HealthMonitorCreate, MemberCreate, Octavia};
use crate::lenient::{ids, or_default, or_none};
use crate::rest::{Creatable, Resource, Updatable};

/// A pool as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Pool {
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
    /// `ONLINE`, `OFFLINE`, `DEGRADED`, `ERROR`, `NO_MONITOR`, or what a later release adds.
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
    /// Ids of its load balancers, of which there is one.
    #[serde(default, deserialize_with = "ids")]
    pub loadbalancers: Vec<String>,
    /// Ids of the listeners that it is the default pool of.
    #[serde(default, deserialize_with = "ids")]
    pub listeners: Vec<String>,
    /// `TCP`, `UDP`, `SCTP`, `HTTP`, `HTTPS`, `PROXY`, `PROXYV2`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub protocol: String,
    /// `ROUND_ROBIN`, `LEAST_CONNECTIONS`, `SOURCE_IP`, `SOURCE_IP_PORT`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub lb_algorithm: String,
    /// What makes a client stay with its member.
    #[serde(default, deserialize_with = "or_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// Ids of its members, in no order.
    #[serde(default, deserialize_with = "ids")]
    pub members: Vec<String>,
    /// Its health monitor.
    #[serde(default)]
    pub healthmonitor_id: Option<String>,
    /// Whether it speaks TLS to its members.
    #[serde(default, deserialize_with = "or_none")]
    pub tls_enabled: Option<bool>,
    /// Certificate with its key that it shows to its members, in the key manager.
    #[serde(default)]
    pub tls_container_ref: Option<String>,
    /// Who signs the members' certificates.
    #[serde(default)]
    pub ca_tls_container_ref: Option<String>,
    /// Which members' certificates are revoked.
    #[serde(default)]
    pub crl_container_ref: Option<String>,
    /// Ciphers in OpenSSL's notation.
    #[serde(default)]
    pub tls_ciphers: Option<String>,
    /// TLS versions, as `TLSv1.2`.
    #[serde(default, deserialize_with = "or_default")]
    pub tls_versions: Vec<String>,
    /// ALPN protocols, in order of preference.
    #[serde(default, deserialize_with = "or_default")]
    pub alpn_protocols: Vec<String>,
}

/// What makes a client stay with its member. A change replaces all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPersistence {
    /// `type`: `SOURCE_IP`, `HTTP_COOKIE` or `APP_COOKIE`.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// Name of the cookie: for `APP_COOKIE`, and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie_name: Option<String>,
    /// How long it is remembered, seconds: for `SOURCE_IP` of UDP and SCTP pools.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Option::is_none")]
    pub persistence_timeout: Option<u64>,
    /// Netmask of clients that are one, as `255.255.255.0`: for `SOURCE_IP` of UDP and SCTP pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence_granularity: Option<String>,
}

/// Body of a pool's creation, alone or as part of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PoolCreate {
    /// Load balancer; alone needed (or `listener_id`), as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loadbalancer_id: Option<String>,
    /// Listener to become the default pool of; as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_id: Option<String>,
    /// Name; as part of a load balancer's creation needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes connections; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `TCP`, `UDP`, `SCTP` (API 2.23), `HTTP`, `HTTPS`, `PROXY`, `PROXYV2` (API 2.22).
    pub protocol: String,
    /// `ROUND_ROBIN`, `LEAST_CONNECTIONS`, `SOURCE_IP`, `SOURCE_IP_PORT` (API 2.13).
    pub lb_algorithm: String,
    /// What makes a client stay with its member; nothing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// Its members: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberCreate>>,
    /// Its health monitor: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthmonitor: Option<HealthMonitorCreate>,
    /// Whether to speak TLS to the members (API 2.8). As part of a load balancer's creation the three lists below must not
    /// be `None` then: Octavia 19 answers 500 where they are missing, and takes `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_enabled: Option<bool>,
    /// Certificate with its key to show to the members, in the key manager (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_container_ref: Option<String>,
    /// Who signs the members' certificates (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_tls_container_ref: Option<String>,
    /// Which members' certificates are revoked (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_container_ref: Option<String>,
    /// Ciphers in OpenSSL's notation (API 2.15); `Some(None)` for the cloud's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<Option<String>>,
    /// TLS versions, as `TLSv1.2` (API 2.18); `Some(None)` for the cloud's; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_versions: Option<Option<Vec<String>>>,
    /// ALPN protocols, in order of preference (API 2.24); `Some(None)` for the cloud's; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<Option<Vec<String>>>,
}

/// A pool in the body of a load balancer's creation, where something uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PoolOrName {
    /// One that is defined elsewhere in the body, by its name.
    Name {
        /// The name.
        name: String,
    },
    /// One that is defined here.
    Pool(Box<PoolCreate>),
}

/// A change of a pool; what is `None` stays, what is `Some(None)` is cleared or gets the cloud's default again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PoolUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it takes connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// How a member is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lb_algorithm: Option<String>,
    /// What makes a client stay with its member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Option<SessionPersistence>>,
    /// Whether to speak TLS to the members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_enabled: Option<bool>,
    /// Certificate with its key to show to the members, in the key manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_container_ref: Option<Option<String>>,
    /// Who signs the members' certificates; cannot be cleared while a revocation list is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_tls_container_ref: Option<Option<String>>,
    /// Which members' certificates are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_container_ref: Option<Option<String>>,
    /// Ciphers in OpenSSL's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<Option<String>>,
    /// TLS versions; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_versions: Option<Option<Vec<String>>>,
    /// ALPN protocols, in order of preference; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<Option<Vec<String>>>,
}

impl Resource for Pool {
    type In = Octavia;
    const PATH: &'static str = "pools";
    const SINGULAR: &'static str = "pool";
    const PLURAL: &'static str = "pools";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Pool {
    type Create = PoolCreate;
}

impl Updatable for Pool {
    type Update = PoolUpdate;
}
