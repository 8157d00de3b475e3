//! A request as the models see it, who made it, and what is answered.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::Value;

/// A request below the path of its service.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    /// Begins with a slash, and ends with none.
    pub(crate) path: &'a str,
    pub(crate) query: Vec<(String, String)>,
    /// Null if there is none.
    pub(crate) body: Value,
    /// The revision that the resource must have (Neutron's `If-Match`).
    pub(crate) revision: Option<u64>,
    pub(crate) caller: Caller,
    /// Since the world began. What takes time looks at this, so that a test can say what time it is.
    pub(crate) now: Duration,
}

impl<'a> Call<'a> {
    /// The parts of the path.
    pub(crate) fn segments(&self) -> Vec<&'a str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The first value of a query.
    pub(crate) fn queried(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Who asks, by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Id of the user.
    pub(crate) user: String,
    /// Id of the project that the token is for.
    pub(crate) project: String,
    /// It may do everything, in every project.
    pub(crate) admin: bool,
    /// Neutron's role of services: it sees every project, and may bind a port to a host.
    pub(crate) service: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Null for no body.
    pub(crate) body: Value,
    /// Header `X-Subject-Token`.
    pub(crate) token: Option<String>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, token: None }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, body)
    }

    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::NO_CONTENT, Value::Null)
    }
}
