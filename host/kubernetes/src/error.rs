//! Failures of calls to the API server, in the terms that decide what happens next.

use isthmus_model::retry::RetryClass;
use kube::core::Status;
use thiserror::Error;

/// A call that failed.
#[derive(Debug, Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What the failure means for a retry.
    pub class: RetryClass,
    /// What the failure is, where that decides more than the class.
    pub kind: ErrorKind,
    what: String,
    why: String,
}

/// Failures that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object is there already (409 `AlreadyExists`).
    AlreadyExists,
    /// The name is taken by the CloudMapping of another subject.
    NameTaken,
    /// The object changed since it was read, or is of another life (409 `Conflict`).
    Conflict,
    /// There is no such object, or no such kind (404).
    NotFound,
    /// The namespace is being deleted and takes no new objects (403, cause `NamespaceTerminating`).
    NamespaceTerminating,
    /// No answer within [`crate::client::REQUEST_TIMEOUT`].
    TimedOut,
    /// Held back by a closed gate ([`crate::client::Client::gated`]): it was never sent.
    Withheld,
    /// The kubeconfig or the in-cluster environment cannot be used.
    Config,
    /// Anything else.
    Other,
}

/// Whether a call changes something: then a lost answer leaves its effect unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

impl Effect {
    fn lost_answer(self) -> RetryClass {
        match self {
            Self::Read => RetryClass::Transient,
            Self::Write => RetryClass::Unknown,
        }
    }
}

impl Error {
    pub(crate) fn new(class: RetryClass, kind: ErrorKind, what: &str, why: impl ToString) -> Self {
        Self { class, kind, what: what.into(), why: why.to_string() }
    }

    pub(crate) fn config(what: &str, cause: impl std::error::Error) -> Self {
        Self::new(RetryClass::Invalid, ErrorKind::Config, what, chain(&cause))
    }

    pub(crate) fn timed_out(effect: Effect, what: &str, server: &str) -> Self {
        let limit = crate::client::REQUEST_TIMEOUT.as_secs();
        let why = format!("no answer in {limit} s{}", of(server));
        Self::new(effect.lost_answer(), ErrorKind::TimedOut, what, why)
    }

    /// A bug of ours, or of the API server: something that must serialise or decode does not.
    pub(crate) fn malformed(what: &str, cause: impl std::error::Error) -> Self {
        Self::new(RetryClass::Invalid, ErrorKind::Other, what, chain(&cause))
    }

    pub(crate) fn from_kube(effect: Effect, what: &str, server: &str, error: &kube::Error) -> Self {
        let (class, kind) = match error {
            kube::Error::Api(status) => classify(effect, status),
            kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                (RetryClass::Invalid, ErrorKind::Other)
            }
            // Connection refused, reset, TLS: the request may have been sent or not.
            _ => (effect.lost_answer(), ErrorKind::Other),
        };
        let why = match error {
            kube::Error::Api(status) => format!("{} ({} {})", status.message, status.code, status.reason),
            other => format!("{}{}", chain(other), of(server)),
        };
        Self { class, kind, what: what.into(), why }
    }
}

/// Which server it was, for an error that the server itself did not give.
fn of(server: &str) -> String {
    if server.is_empty() { String::new() } else { format!(" (API server {server})") }
}

/// Kubernetes API conventions, "HTTP status codes"; reasons as in apimachinery `meta/v1/types.go`.
fn classify(effect: Effect, status: &Status) -> (RetryClass, ErrorKind) {
    let terminating =
        || status.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == "NamespaceTerminating");
    match status.code {
        401 => (RetryClass::Unauthorized, ErrorKind::Other),
        403 if terminating() => (RetryClass::Conflict, ErrorKind::NamespaceTerminating),
        403 if status.message.contains("exceeded quota") => (RetryClass::Quota, ErrorKind::Other),
        403 => (RetryClass::Forbidden, ErrorKind::Other),
        404 => (RetryClass::NotFound, ErrorKind::NotFound),
        409 if status.reason == "AlreadyExists" => (RetryClass::Conflict, ErrorKind::AlreadyExists),
        409 | 410 | 412 => (RetryClass::Conflict, ErrorKind::Conflict),
        429 | 503 => (RetryClass::Transient, ErrorKind::Other),
        // 500 and 504 of an API server may come after etcd has taken the write.
        500..=599 => (effect.lost_answer(), ErrorKind::Other),
        _ => (RetryClass::Invalid, ErrorKind::Other),
    }
}

/// An error with its causes in one text: kube's own texts often name only the layer that failed.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, reason: &str, cause: &str) -> kube::Error {
        let status = json!({"code": code, "reason": reason, "message": "m", "details": {"causes": [{"reason": cause}]}});
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn classes_follow_status_and_effect() {
        use Effect::{Read, Write};
        let table = [
            (Read, 401, "", "", RetryClass::Unauthorized, ErrorKind::Other),
            (Write, 403, "Forbidden", "", RetryClass::Forbidden, ErrorKind::Other),
            (
                Write,
                403,
                "Forbidden",
                "NamespaceTerminating",
                RetryClass::Conflict,
                ErrorKind::NamespaceTerminating,
            ),
            (Write, 404, "NotFound", "", RetryClass::NotFound, ErrorKind::NotFound),
            (Write, 409, "AlreadyExists", "", RetryClass::Conflict, ErrorKind::AlreadyExists),
            (Write, 409, "Conflict", "", RetryClass::Conflict, ErrorKind::Conflict),
            (Write, 422, "Invalid", "", RetryClass::Invalid, ErrorKind::Other),
            (Write, 429, "TooManyRequests", "", RetryClass::Transient, ErrorKind::Other),
            (Read, 504, "Timeout", "", RetryClass::Transient, ErrorKind::Other),
            (Write, 504, "Timeout", "", RetryClass::Unknown, ErrorKind::Other),
        ];
        for (effect, code, reason, cause, class, kind) in table {
            let error = Error::from_kube(effect, "try", "https://k", &status(code, reason, cause));
            assert_eq!((error.class, error.kind), (class, kind), "{code} {reason} {cause}");
            assert_eq!(error.to_string(), format!("try: m ({code} {reason})"));
        }
    }

    #[test]
    fn who_did_not_answer_is_named() {
        let text = Error::timed_out(Effect::Read, "try", "https://k:6443/").to_string();
        assert_eq!(text, "try: no answer in 4 s (API server https://k:6443/)");
        assert!(Error::timed_out(Effect::Read, "try", "").to_string().ends_with("in 4 s"));
    }
}
