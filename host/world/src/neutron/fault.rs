//! What Neutron refuses, with the names of its exceptions.

use axum::http::StatusCode;
use serde_json::json;

use super::Kind;
use crate::call::Reply;

/// A refusal: status, exception and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// What [`Fault`] is the error of.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "HTTPBadRequest", message)
    }

    /// A 400 with a name of its own.
    pub(super) fn invalid(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// A 409.
    pub(super) fn conflict(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    pub(super) fn not_found(kind: Kind, id: &str) -> Self {
        let name = match kind {
            Kind::Network => "NetworkNotFound",
            Kind::Subnet => "SubnetNotFound",
            Kind::Port => "PortNotFound",
            Kind::SecurityGroup => "SecurityGroupNotFound",
            Kind::SecurityGroupRule => "SecurityGroupRuleNotFound",
        };
        Self::new(StatusCode::NOT_FOUND, name, format!("{} {id} could not be found.", kind.singular()))
    }

    pub(super) fn over_quota(kind: Kind) -> Self {
        Self::conflict("OverQuota", format!("Quota exceeded for resources: ['{}'].", kind.singular()))
    }

    pub(super) fn revision(expected: u64) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "RevisionNumberConstraintFailed",
            format!("Constrained to {expected}, but current revision is another"),
        )
    }

    /// It exists in Neutron, not here.
    pub(super) fn not_modelled(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotModelled", format!("isthmus-world does not model {what}"))
    }

    /// One that no model made.
    pub(super) fn other(status: StatusCode, message: &str) -> Self {
        let kind = if status == StatusCode::BAD_REQUEST { "HTTPBadRequest" } else { "PlannedFault" };
        Self::new(status, kind, message)
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = json!({"NeutronError": {"type": self.kind, "message": self.message, "detail": ""}});
        Reply::new(self.status, body)
    }
}
