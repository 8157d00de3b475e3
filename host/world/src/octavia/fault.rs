//! What Octavia refuses, in its words (`octavia.common.exceptions`).

use axum::http::StatusCode;
use serde_json::json;

use super::Kind;
use crate::call::Reply;

/// A refusal: status and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    status: StatusCode,
    message: String,
    /// It was refused on the way to what would have answered it, which words it otherwise.
    routing: bool,
}

/// What [`Fault`] is the error of.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), routing: false }
    }

    /// What a path is below is not there.
    pub(super) fn no_parent(what: &str, id: &str) -> Self {
        Self { routing: true, ..Self::new(StatusCode::NOT_FOUND, format!("{what} {id} not found.")) }
    }

    /// What is looked at before the path is.
    pub(super) fn early(message: impl Into<String>) -> Self {
        Self { routing: true, ..Self::bad_request(message) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn validation(detail: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Validation failure: {detail}"))
    }

    /// `InvalidOption`.
    pub(super) fn option(value: impl std::fmt::Display, option: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("{value} is not a valid option for {option}"))
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn not_found(kind: Kind, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{} {id} not found.", kind.words()))
    }

    /// Something in Neutron is not there: 400, as it is in the body.
    pub(super) fn no_subresource(what: &str, id: &str) -> Self {
        Self::bad_request(format!("{what} {id} not found."))
    }

    pub(super) fn immutable(what: &str, id: &str) -> Self {
        Self::conflict(format!("{what} {id} is immutable and cannot be updated."))
    }

    pub(super) fn quota(kind: Kind) -> Self {
        let message = format!("Quota has been met for resources: {}", kind.words());
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Policy does not allow this request to be performed.")
    }

    /// The provider does not have it.
    pub(super) fn unsupported(provider: &str, message: impl std::fmt::Display) -> Self {
        let message = format!("Provider '{provider}' does not support a requested option: {message}");
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// The provider has nothing of the kind.
    pub(super) fn not_at_all(provider: &str, message: impl std::fmt::Display) -> Self {
        let message = format!("Provider '{provider}' does not support a requested action: {message}");
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// It exists in Octavia, not here.
    pub(super) fn not_modelled(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("isthmus-world does not model {what}"))
    }

    pub(crate) fn reply(&self) -> Reply {
        if self.routing {
            let body =
                json!({"code": self.status.as_u16(), "title": "Bad Request", "description": self.message});
            return Reply::new(self.status, body);
        }
        let side = if self.status.is_server_error() { "Server" } else { "Client" };
        let body = json!({"faultcode": side, "faultstring": self.message, "debuginfo": null});
        Reply::new(self.status, body)
    }
}
