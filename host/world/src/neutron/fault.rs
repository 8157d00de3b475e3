//! What Neutron refuses, with the names of its exceptions and their words (`neutron_lib.exceptions` and those of extensions).

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
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// What the API itself refuses.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "HTTPBadRequest", message)
    }

    /// A value that an attribute cannot have.
    pub(super) fn attribute(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Invalid input for {name}. Reason: {reason}."))
    }

    pub(super) fn input(message: impl std::fmt::Display) -> Self {
        Self::invalid("InvalidInput", format!("Invalid input for operation: {message}."))
    }

    /// `BadRequest` of a resource.
    pub(super) fn bad(resource: &str, message: impl std::fmt::Display) -> Self {
        Self::invalid("BadRequest", format!("Bad {resource} request: {message}."))
    }

    /// A 400 with a name of its own.
    pub(super) fn invalid(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    pub(super) fn conflict(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    pub(super) fn missing(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, message)
    }

    pub(super) fn not_found(kind: Kind, id: &str) -> Self {
        let (name, message) = match kind {
            Kind::Network => ("NetworkNotFound", format!("Network {id} could not be found.")),
            Kind::Subnet => ("SubnetNotFound", format!("Subnet {id} could not be found.")),
            Kind::Port => ("PortNotFound", format!("Port {id} could not be found.")),
            Kind::SecurityGroup => ("SecurityGroupNotFound", format!("Security group {id} does not exist")),
            Kind::SecurityGroupRule => {
                ("SecurityGroupRuleNotFound", format!("Security group rule {id} does not exist"))
            }
            Kind::AddressGroup => ("AddressGroupNotFound", format!("Address group {id} could not be found.")),
            Kind::Router => ("RouterNotFound", format!("Router {id} could not be found")),
            Kind::FloatingIp => ("FloatingIPNotFound", format!("Floating IP {id} could not be found")),
            Kind::Trunk => ("TrunkNotFound", format!("Trunk {id} could not be found.")),
            Kind::SubnetPool => ("SubnetPoolNotFound", format!("Subnet pool {id} could not be found.")),
        };
        Self::missing(name, message)
    }

    /// `rule`: of the policy.
    pub(super) fn forbidden(rule: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PolicyNotAuthorized", format!("{rule} is disallowed by policy"))
    }

    pub(super) fn over_quota(kind: Kind) -> Self {
        Self::conflict("OverQuota", format!("Quota exceeded for resources: ['{}'].", kind.singular()))
    }

    pub(super) fn revision(expected: u64, current: u64) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "RevisionNumberConstraintFailed",
            format!("Constrained to {expected}, but current revision is {current}"),
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
