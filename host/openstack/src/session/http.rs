//! One HTTP request: sent, measured, logged, explained.

use std::time::Duration;

use isthmus_model::retry::RetryClass;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use reqwest::redirect::Policy;
use tokio::time::Instant;

use super::{Request, Response};
use crate::Secret;
use crate::budget::Signal;
use crate::config::{CloudConfig, ConfigError};
use crate::error::{Error, ErrorKind, Result};
use crate::fault::{self, Fault};
use crate::metrics::Metrics;
use crate::tls;

/// How long an idle connection is kept. Below what servers do (Apache closes after 5 s): a request on a connection that
/// the server is closing is a lost answer, and for a write that costs a search.
const KEEP_IDLE: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    metrics: Metrics,
}

impl Http {
    pub(super) fn new(config: &CloudConfig, metrics: Metrics) -> Result<Self, ConfigError> {
        tls::install_provider();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("isthmus/", env!("CARGO_PKG_VERSION")))
            .timeout(config.request_timeout)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(KEEP_IDLE)
            .tcp_nodelay(true)
            // A redirect would carry the token to wherever it points.
            .redirect(Policy::none());
        let client =
            tls::apply(&config.tls, builder)?.build().map_err(|e| ConfigError::Client(fault::chain(e)))?;
        Ok(Self { client, metrics })
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends `request` below `base`.
    pub(super) async fn send(
        &self,
        request: &Request,
        base: &str,
        token: Option<&Secret>,
    ) -> (Result<Response>, Signal) {
        let write = !request.method.is_safe();
        let began = Instant::now();
        let result = {
            let _in_flight = self.metrics.sent(request.service, write);
            self.exchange(request, base, token).await
        };
        let (result, code, signal) = match result {
            Ok(answer) => {
                let status = answer.response.status;
                let signal = if fault::overloaded(status.as_u16()) {
                    Signal::Overloaded(answer.retry_after)
                } else {
                    Signal::Answered
                };
                (explain(request, answer), status.as_str().to_owned(), signal)
            }
            Err(e) => {
                let (kind, class) = fault::unanswered(&e, write);
                let signal = if e.is_timeout() { Signal::Overloaded(None) } else { Signal::Nothing };
                let code = match kind {
                    ErrorKind::Request => "request",
                    ErrorKind::Connect => "connect",
                    ErrorKind::Timeout => "timeout",
                    _ => "lost",
                };
                (Err(request.error(class, kind, fault::chain(e))), code.to_owned(), signal)
            }
        };
        let took = began.elapsed();
        log(request, &result, &code, took);
        self.metrics.answered(request.service, method(&request.method), request.resource, code, took);
        (result, signal)
    }

    async fn exchange(
        &self,
        request: &Request,
        base: &str,
        token: Option<&Secret>,
    ) -> Result<Answer, reqwest::Error> {
        let mut call = self
            .client
            .request(request.method.clone(), format!("{base}{}", request.path))
            .header(ACCEPT, "application/json");
        if !request.query.is_empty() {
            call = call.query(&request.query);
        }
        if let Some(token) = token {
            call = call.headers(auth_header(token));
        }
        if let Some(revision) = request.revision {
            call = call.header(IF_MATCH, format!("revision_number={revision}"));
        }
        if let Some(body) = &request.body {
            call = call.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let answer = call.send().await?;
        let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let request_id = text("x-openstack-request-id");
        let subject_token = text("x-subject-token").map(Secret::new);
        let retry_after = retry_after(answer.headers());
        let status = answer.status();
        let body = answer.bytes().await?.to_vec();
        Ok(Answer { response: Response { status, request_id, body, subject_token }, retry_after })
    }
}

struct Answer {
    response: Response,
    retry_after: Option<Duration>,
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    fault::retry_after(headers, jiff::Timestamp::now())
}

/// Marked so that the debug output of the HTTP layers leaves the token out.
fn auth_header(token: &Secret) -> HeaderMap {
    // It came in a header, so that it is fit for one; were it not, the service would say 401.
    let value = HeaderValue::from_str(token.expose()).ok();
    value
        .map(|mut value| {
            value.set_sensitive(true);
            (HeaderName::from_static("x-auth-token"), value)
        })
        .into_iter()
        .collect()
}

fn explain(request: &Request, answer: Answer) -> Result<Response> {
    let Answer { response, retry_after } = answer;
    if response.status.is_success() {
        return Ok(response);
    }
    let status = response.status.as_u16();
    let fault = Fault::parse(&response.body);
    let class = fault::class(&request.method, status, &fault, retry_after.is_some());
    let Fault { kind, message } = fault;
    let message = if request.sensitive { fault::without_data(&message) } else { message };
    let mut error = request.error(class, ErrorKind::Status, message);
    error.context.status = Some(status);
    error.context.fault = kind;
    error.context.request_id = response.request_id;
    error.context.retry_after = retry_after;
    Err(error)
}

fn log(request: &Request, result: &Result<Response>, code: &str, took: Duration) {
    let Request { service, method, path, .. } = request;
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let id = match result {
        Ok(response) => response.request_id.as_deref(),
        Err(error) => error.context.request_id.as_deref(),
    };
    let request_id = id.unwrap_or("-");
    match result {
        // What only an operator can help with, or what shows that the cloud is unwell.
        Err(error @ Error { class: RetryClass::Transient | RetryClass::Unknown, .. }) => {
            tracing::warn!(service, %method, path, code, ms, request_id, reason = error.context.message, "no answer of use");
        }
        _ => tracing::debug!(service, %method, path, code, ms, request_id, "called"),
    }
}

fn method(method: &reqwest::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
