//! A signed-in connection to one cloud: sends requests within the budgets, with a token, and explains failures.

mod http;
mod sign_in;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::StatusCode;
use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;

use crate::auth::{Token, TokenCache};
use crate::budget::{Bounds, Budget, Signal};
use crate::config::{CloudConfig, ConfigError};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::metrics::Metrics;
use http::Http;
use isthmus_model::retry::RetryClass;

/// A signed-in connection to one cloud. A clone is another handle of the same connection.
///
/// # Guarantees
/// - A request is sent once; twice only after a 401, which had no effect.
/// - One request takes at most [`CloudConfig::request_timeout`] once it is sent. Waiting for the budget comes before
///   and has no limit of its own: a caller that must stop drops the future, and a future dropped while it waits has
///   sent nothing.
/// - No error, log line or metric holds a secret or a query.
///
/// # Assumption
/// It is used inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
    gate: Option<Gate>,
}

/// Says at the moment when a request would be sent whether it may be. Waiting for the budget has no limit, so that what
/// was allowed when it was asked for (its sender led then, say) need not be when its turn comes.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> bool + Send + Sync>);

impl Gate {
    /// A gate that is open while `open` says so.
    pub fn new(open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gate").field(&(self.0)()).finish()
    }
}

#[derive(Debug)]
struct Inner {
    config: CloudConfig,
    http: Http,
    tokens: TokenCache,
    budgets: Mutex<BTreeMap<&'static str, Budget>>,
    bounds: Bounds,
}

/// A request to a service of the catalog.
#[derive(Clone)]
pub struct Request {
    /// Service type in the catalog.
    pub service: &'static str,
    /// What it is about, for metrics: a collection's name, not an id.
    pub resource: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path below the service's endpoint, percent-encoded ([`segment`]).
    pub path: String,
    /// Query.
    pub query: Vec<(String, String)>,
    /// JSON body.
    pub body: Option<Vec<u8>>,
    /// Revision that the resource must still have, sent as `If-Match: revision_number=N`; 412 if it has another.
    pub revision: Option<u64>,
    /// Whether the body holds what no error may repeat.
    pub sensitive: bool,
}

/// Without the body and the query: that of a sign-in is the credential, and neither is for logs.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, resource, method, path, revision, .. } = self;
        f.debug_struct("Request")
            .field("service", service)
            .field("resource", resource)
            .field("method", method)
            .field("path", path)
            .field("revision", revision)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request without query, body and guard.
    pub fn new(service: &'static str, resource: &'static str, method: Method, path: String) -> Self {
        let (query, body, revision, sensitive) = (Vec::new(), None, None, false);
        Self { service, resource, method, path, query, body, revision, sensitive }
    }

    pub(crate) fn error(&self, class: RetryClass, kind: ErrorKind, message: impl ToString) -> Error {
        Error::new(
            class,
            kind,
            Context {
                service: self.service.to_owned(),
                method: self.method.to_string(),
                path: self.path.clone(),
                message: message.to_string(),
                ..Context::default()
            },
        )
    }
}

/// A successful answer.
#[derive(Debug)]
pub struct Response {
    /// Status; 2xx.
    pub status: StatusCode,
    /// `X-Openstack-Request-Id`.
    pub request_id: Option<String>,
    /// Body.
    pub body: Vec<u8>,
    /// `X-Subject-Token`, of Keystone alone.
    subject_token: Option<crate::Secret>,
}

impl Response {
    /// Decodes the body.
    ///
    /// # Errors
    /// It is not what the API promises: [`ErrorKind::Decode`], transient for a read (a proxy's page, a body cut short),
    /// unknown for a write, which had its effect.
    pub fn json<'a, T: Deserialize<'a>>(&'a self, request: &Request) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| self.unexpected(request, e))
    }

    pub(crate) fn unexpected(&self, request: &Request, why: impl std::fmt::Display) -> Error {
        let class = if request.method.is_safe() { RetryClass::Transient } else { RetryClass::Unknown };
        let mut error = request.error(class, ErrorKind::Decode, format_args!("unexpected answer: {why}"));
        error.context.status = Some(self.status.as_u16());
        error.context.request_id.clone_from(&self.request_id);
        error
    }
}

impl Session {
    /// A session with the default budget. Nothing is sent before the first request.
    ///
    /// # Errors
    /// Certificates or keys of the configuration cannot be used.
    pub fn new(config: CloudConfig, metrics: Metrics) -> Result<Self, ConfigError> {
        Self::with_bounds(config, metrics, Bounds::default())
    }

    /// A session whose budget of each service has these bounds.
    ///
    /// # Errors
    /// Certificates or keys of the configuration cannot be used.
    pub fn with_bounds(config: CloudConfig, metrics: Metrics, bounds: Bounds) -> Result<Self, ConfigError> {
        let http = Http::new(&config, metrics)?;
        let (tokens, budgets) = (TokenCache::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { config, http, tokens, budgets, bounds }), gate: None })
    }

    /// Another handle of this connection, whose requests are held back while the gate is closed.
    pub fn gated(&self, gate: Gate) -> Self {
        Self { inner: Arc::clone(&self.inner), gate: Some(gate) }
    }

    /// The configuration.
    pub fn config(&self) -> &CloudConfig {
        &self.inner.config
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        self.inner.http.metrics()
    }

    /// The budget of a service.
    pub fn budget(&self, service: &'static str) -> Budget {
        let mut budgets = self.inner.budgets.lock();
        let new = || Budget::new(self.inner.bounds, self.metrics().limit(service));
        budgets.entry(service).or_insert_with(new).clone()
    }

    /// The current token; signs in if need be.
    ///
    /// # Errors
    /// Keystone refuses the credential or gives no answer; one failed sign-in answers for all callers of the next
    /// second (ten, where the credential was refused).
    pub async fn token(&self) -> Result<Arc<Token>> {
        self.inner.tokens.get(|| self.sign_in()).await
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// See [`Error::class`]: every failure says what it means for a retry.
    pub async fn send(&self, request: &Request) -> Result<Response> {
        let permit = self.budget(request.service).acquire_while(|| self.may()).await;
        let Some(permit) = permit else { return Err(withheld(request)) };
        let token = self.token().await?;
        let (result, signal) = self.attempt(request, &token).await;
        let refused = matches!(&result, Err(e) if e.status() == Some(401));
        if !refused {
            permit.end(signal);
            return result;
        }
        tracing::debug!(service = request.service, "token refused, signing in anew");
        self.inner.tokens.refuse(&token);
        let token = self.token().await?;
        let (result, signal) = self.attempt(request, &token).await;
        permit.end(signal);
        result
    }

    /// Whether the gate is open.
    fn may(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| (gate.0)())
    }

    async fn attempt(&self, request: &Request, token: &Token) -> (Result<Response>, Signal) {
        if !self.may() {
            return (Err(withheld(request)), Signal::Nothing);
        }
        match token.catalog.endpoint(request.service, &self.inner.config) {
            Ok(base) => self.inner.http.send(request, &base, Some(&token.secret)).await,
            Err(e) => {
                // The cloud's operator may register it any time; the next token brings it.
                let error = request.error(RetryClass::Transient, ErrorKind::Catalog, e);
                (Err(error), Signal::Nothing)
            }
        }
    }
}

fn withheld(request: &Request) -> Error {
    request.error(RetryClass::Transient, ErrorKind::Withheld, "not sent: no longer allowed")
}

/// `id` as one segment of a path.
///
/// # Errors
/// An id that is empty, `.` or `..` cannot be a segment: a URL parser would climb out of the collection, and a
/// `DELETE` would mean something else.
pub fn segment(id: &str) -> Result<String, BadSegment> {
    if matches!(id, "" | "." | "..") {
        return Err(BadSegment(id.to_owned()));
    }
    Ok(id
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect())
}

/// An identifier that cannot be part of a path.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no identifier")]
pub struct BadSegment(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_its_body() {
        let mut request = Request::new("identity", "tokens", Method::POST, "/v3/auth/tokens".into());
        request.body = Some(b"password".to_vec());
        request.query = vec![("token".into(), "password".into())];
        let shown = format!("{request:?}");
        assert!(shown.contains("/v3/auth/tokens") && !shown.contains("password"), "{shown}");
        assert!(!shown.contains("112"), "nor as bytes: {shown}");
    }

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("0b1e-4").unwrap(), "0b1e-4");
        assert_eq!(segment("../ports?x=y#z").unwrap(), "..%2Fports%3Fx%3Dy%23z");
        assert_eq!(segment("ü").unwrap(), "%C3%BC");
        for bad in ["", ".", ".."] {
            assert!(segment(bad).is_err());
        }
    }
}
