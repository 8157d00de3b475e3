//! Listeners. <https://docs.openstack.org/api-ref/load-balancer/v2/#listeners>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{L7PolicyCreate, Octavia, PoolOrName};
use crate::lenient::{ids, or_default, or_none, texts};
use crate::rest::{Creatable, Resource, Updatable};

/// A listener as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Listener {
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
    /// `TCP`, `UDP`, `SCTP`, `HTTP`, `HTTPS`, `TERMINATED_HTTPS`, `PROMETHEUS`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub protocol: String,
    /// Port that it listens on.
    #[serde(default, deserialize_with = "or_none")]
    pub protocol_port: Option<u16>,
    /// Pool of what no policy directs elsewhere.
    #[serde(default)]
    pub default_pool_id: Option<String>,
    /// Ids of its policies, in no order.
    #[serde(default, deserialize_with = "ids")]
    pub l7policies: Vec<String>,
    /// Connections at once; -1 for any number.
    #[serde(default, deserialize_with = "or_none")]
    pub connection_limit: Option<i64>,
    /// How long a client may be silent, milliseconds.
    #[serde(default, deserialize_with = "or_none")]
    pub timeout_client_data: Option<u64>,
    /// How long a member may take to accept a connection, milliseconds.
    #[serde(default, deserialize_with = "or_none")]
    pub timeout_member_connect: Option<u64>,
    /// How long a member may be silent, milliseconds.
    #[serde(default, deserialize_with = "or_none")]
    pub timeout_member_data: Option<u64>,
    /// How long to wait for more packets to inspect, milliseconds.
    #[serde(default, deserialize_with = "or_none")]
    pub timeout_tcp_inspect: Option<u64>,
    /// Prefixes that may connect, in no order; empty for everybody.
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_cidrs: Vec<String>,
    /// HTTP headers that it adds, as `X-Forwarded-For` = `true`.
    #[serde(default, deserialize_with = "texts")]
    pub insert_headers: BTreeMap<String, String>,
    /// Certificate with its key, in the key manager.
    #[serde(default)]
    pub default_tls_container_ref: Option<String>,
    /// Further certificates, chosen by SNI, in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub sni_container_refs: Vec<String>,
    /// Whose certificates clients may show.
    #[serde(default)]
    pub client_ca_tls_container_ref: Option<String>,
    /// Which clients' certificates are revoked.
    #[serde(default)]
    pub client_crl_container_ref: Option<String>,
    /// `NONE`, `OPTIONAL` or `MANDATORY`.
    #[serde(default, deserialize_with = "or_default")]
    pub client_authentication: String,
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

/// Body of a listener's creation, alone or as part of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListenerCreate {
    /// Load balancer; alone needed, as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loadbalancer_id: Option<String>,
    /// Name.
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
    /// `TCP`, `UDP`, `SCTP` (API 2.23), `HTTP`, `HTTPS`, `TERMINATED_HTTPS`, `PROMETHEUS` (API 2.25).
    pub protocol: String,
    /// Port to listen on, 1 to 65535.
    pub protocol_port: u16,
    /// Pool of what no policy directs elsewhere, if there is one already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool_id: Option<String>,
    /// The same, made with it: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool: Option<PoolOrName>,
    /// Its policies: only as part of a load balancer's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l7policies: Option<Vec<L7PolicyCreate>>,
    /// Connections at once; -1, the default, for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i64>,
    /// How long a client may be silent, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_client_data: Option<u64>,
    /// How long a member may take to accept a connection, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_connect: Option<u64>,
    /// How long a member may be silent, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_data: Option<u64>,
    /// How long to wait for more packets to inspect, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_tcp_inspect: Option<u64>,
    /// Prefixes that may connect (API 2.12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Vec<String>>,
    /// HTTP headers to add, as `X-Forwarded-For` = `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_headers: Option<BTreeMap<String, String>>,
    /// Certificate with its key, in the key manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tls_container_ref: Option<String>,
    /// Further certificates, chosen by SNI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni_container_refs: Option<Vec<String>>,
    /// Whose certificates clients may show (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_tls_container_ref: Option<String>,
    /// Which clients' certificates are revoked (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_crl_container_ref: Option<String>,
    /// `NONE`, `OPTIONAL` or `MANDATORY` (API 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<String>,
    /// Ciphers in OpenSSL's notation (API 2.15).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<String>,
    /// TLS versions, as `TLSv1.2` (API 2.17); an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_versions: Option<Vec<String>>,
    /// ALPN protocols, in order of preference (API 2.20).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<Vec<String>>,
}

/// A change of a listener; what is `None` stays, what is `Some(None)` is cleared or gets the cloud's default again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListenerUpdate {
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
    /// Pool of what no policy directs elsewhere; `Some(None)` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool_id: Option<Option<String>>,
    /// Connections at once; `Some(None)` for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<Option<i64>>,
    /// How long a client may be silent, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_client_data: Option<Option<u64>>,
    /// How long a member may take to accept a connection, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_connect: Option<Option<u64>>,
    /// How long a member may be silent, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_data: Option<Option<u64>>,
    /// How long to wait for more packets to inspect, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_tcp_inspect: Option<Option<u64>>,
    /// All prefixes that may connect (API 2.12); `Some(None)` for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Option<Vec<String>>>,
    /// All HTTP headers to add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_headers: Option<BTreeMap<String, String>>,
    /// Certificate with its key, in the key manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tls_container_ref: Option<Option<String>>,
    /// All further certificates, chosen by SNI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni_container_refs: Option<Vec<String>>,
    /// Whose certificates clients may show; cannot be cleared while a revocation list is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_tls_container_ref: Option<Option<String>>,
    /// Which clients' certificates are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_crl_container_ref: Option<Option<String>>,
    /// `NONE`, `OPTIONAL` or `MANDATORY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<String>,
    /// Ciphers in OpenSSL's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<Option<String>>,
    /// TLS versions; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_versions: Option<Option<Vec<String>>>,
    /// ALPN protocols, in order of preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<Option<Vec<String>>>,
}

impl Resource for Listener {
    type In = Octavia;
    const PATH: &'static str = "listeners";
    const SINGULAR: &'static str = "listener";
    const PLURAL: &'static str = "listeners";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for Listener {
    type Create = ListenerCreate;
}

impl Updatable for Listener {
    type Update = ListenerUpdate;
}
