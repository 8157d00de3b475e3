//! Health monitors. <https://docs.openstack.org/api-ref/load-balancer/v2/#health-monitor>

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Octavia;
use crate::lenient::{ids, or_default, or_none};
use crate::rest::{Creatable, Resource, Updatable};

/// A health monitor as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HealthMonitor {
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
    /// `ONLINE`, `OFFLINE`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// When it was made, ISO 8601 in UTC without a zone: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was changed last, as `created_at`.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Whether it probes.
    #[serde(default, deserialize_with = "or_none")]
    pub admin_state_up: Option<bool>,
    /// Ids of its pools, of which there is one.
    #[serde(default, deserialize_with = "ids")]
    pub pools: Vec<String>,
    /// `type`: `TCP`, `UDP-CONNECT`, `SCTP`, `HTTP`, `HTTPS`, `TLS-HELLO`, `PING`, or what a later release adds.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// Between two probes, seconds.
    #[serde(default, deserialize_with = "or_none")]
    pub delay: Option<u64>,
    /// For one probe, seconds.
    #[serde(default, deserialize_with = "or_none")]
    pub timeout: Option<u64>,
    /// Successes until a member is `ONLINE`.
    #[serde(default, deserialize_with = "or_none")]
    pub max_retries: Option<u8>,
    /// Failures until a member is `ERROR`.
    #[serde(default, deserialize_with = "or_none")]
    pub max_retries_down: Option<u8>,
    /// HTTP method.
    #[serde(default)]
    pub http_method: Option<String>,
    /// HTTP path.
    #[serde(default)]
    pub url_path: Option<String>,
    /// HTTP statuses of success: `200`, `200,202` or `200-204`.
    #[serde(default)]
    pub expected_codes: Option<String>,
    /// Version of HTTP.
    #[serde(default, deserialize_with = "or_none")]
    pub http_version: Option<HttpVersion>,
    /// `Host` header.
    #[serde(default)]
    pub domain_name: Option<String>,
}

/// Version of HTTP that a probe speaks: in JSON a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// `1.0`, the default.
    Http10,
    /// `1.1`, needed for a `domain_name`.
    Http11,
}

impl Serialize for HttpVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(match self {
            Self::Http10 => 1.0,
            Self::Http11 => 1.1,
        })
    }
}

impl<'de> Deserialize<'de> for HttpVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        // In tenths: a float is not compared for equality.
        match (number * 10.0).round() as i64 {
            10 => Ok(Self::Http10),
            11 => Ok(Self::Http11),
            _ => Err(serde::de::Error::custom(format_args!("HTTP {number} is not known"))),
        }
    }
}

/// Body of a health monitor's creation, alone or as part of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HealthMonitorCreate {
    /// Pool; alone needed, as part of a load balancer's creation refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it probes; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `type`: `TCP`, `UDP-CONNECT`, `SCTP` (API 2.23), `HTTP`, `HTTPS`, `TLS-HELLO`, `PING`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Between two probes, seconds; not less than the timeout.
    pub delay: u64,
    /// For one probe, seconds.
    pub timeout: u64,
    /// Successes until a member is `ONLINE`, 1 to 10.
    pub max_retries: u8,
    /// Failures until a member is `ERROR`, 1 to 10; 3 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries_down: Option<u8>,
    /// HTTP method; `GET` otherwise. This and the next two are for `HTTP` and `HTTPS` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// HTTP path; `/` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<String>,
    /// HTTP statuses of success; `200` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<String>,
    /// Version of HTTP (API 2.10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<HttpVersion>,
    /// `Host` header (API 2.10); needs [`HttpVersion::Http11`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
}

/// A change of a health monitor; what is `None` stays, what is `Some(None)` is cleared or gets its default again. Its type
/// cannot change. The HTTP fields are refused for other types, `Some(None)` too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HealthMonitorUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// Between two probes, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
    /// For one probe, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Successes until a member is `ONLINE`, 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u8>,
    /// Failures until a member is `ERROR`, 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries_down: Option<Option<u8>>,
    /// HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<Option<String>>,
    /// HTTP path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<Option<String>>,
    /// HTTP statuses of success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<Option<String>>,
    /// Version of HTTP (API 2.10). Not [`HttpVersion::Http10`] in the same change that clears the domain name: Octavia
    /// looks at the one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<Option<HttpVersion>>,
    /// `Host` header (API 2.10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<Option<String>>,
}

impl Resource for HealthMonitor {
    type In = Octavia;
    const PATH: &'static str = "healthmonitors";
    const SINGULAR: &'static str = "healthmonitor";
    const PLURAL: &'static str = "healthmonitors";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for HealthMonitor {
    type Create = HealthMonitorCreate;
}

impl Updatable for HealthMonitor {
    type Update = HealthMonitorUpdate;
}
