//! Rules of policies: what a request must be like. <https://docs.openstack.org/api-ref/load-balancer/v2/#l7-rules>

use serde::{Deserialize, Serialize};

use super::L7Policy;
use crate::lenient::{or_default, or_none};
use crate::rest::{Creatable, Resource, Updatable};

/// A rule as Octavia shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct L7Rule {
    /// Id.
    pub id: String,
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
    /// `type`: `HOST_NAME`, `PATH`, `HEADER`, `COOKIE`, `FILE_TYPE`, `SSL_CONN_HAS_CERT`, `SSL_VERIFY_RESULT`,
    /// `SSL_DN_FIELD`, or what a later release adds.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// `EQUAL_TO`, `STARTS_WITH`, `ENDS_WITH`, `CONTAINS`, `REGEX`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub compare_type: String,
    /// Name of the header, of the cookie, or of the part of the distinguished name.
    #[serde(default)]
    pub key: Option<String>,
    /// What is compared with.
    #[serde(default, deserialize_with = "or_default")]
    pub value: String,
    /// Whether it matches when the comparison does not.
    #[serde(default, deserialize_with = "or_none")]
    pub invert: Option<bool>,
}

/// Body of a rule's creation, alone or as part of a load balancer's. What is `None` gets Octavia's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct L7RuleCreate {
    /// Tags (API 2.5), of at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it counts; Octavia's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `type`, as [`L7Rule::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// As [`L7Rule::compare_type`].
    pub compare_type: String,
    /// Name of the header, of the cookie, or of the part of the distinguished name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What to compare with, of at most 255 characters.
    pub value: String,
    /// Whether it matches when the comparison does not; `false` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
}

/// A change of a rule; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct L7RuleUpdate {
    /// All tags (API 2.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
    /// `type`, as [`L7Rule::kind`].
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// As [`L7Rule::compare_type`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare_type: Option<String>,
    /// Name of the header, of the cookie, or of the part of the distinguished name; `Some(None)` clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Option<String>>,
    /// What to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it matches when the comparison does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
}

impl Resource for L7Rule {
    type In = L7Policy;
    const PATH: &'static str = "rules";
    const SINGULAR: &'static str = "rule";
    const PLURAL: &'static str = "rules";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for L7Rule {
    type Create = L7RuleCreate;
}

impl Updatable for L7Rule {
    type Update = L7RuleUpdate;
}
