//! HTTP: from a request to the model that serves it, and back. Keystone is at the root, Neutron below `/network`, Octavia
//! below `/load-balancer`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::Shared;
use crate::call::{Call, Caller, Reply};
use crate::keystone::{refusal, unauthorized};
use crate::{neutron, octavia};

/// What sign-ins are counted as.
pub(crate) const TOKENS: &str = "tokens";
/// A body above that is nothing that a client of ours sends.
const LONGEST_BODY: usize = 8 << 20;

/// Who serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Identity,
    Network,
    LoadBalancer,
}

impl Service {
    /// The service of a path, and the path below it.
    fn of(path: &str) -> (Self, &str) {
        for (prefix, service) in [("/network", Self::Network), ("/load-balancer", Self::LoadBalancer)] {
            if let Some(rest) = path.strip_prefix(prefix)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return (service, rest);
            }
        }
        (Self::Identity, path)
    }

    /// What a request is counted as: the collection that it is about.
    fn resource(self, path: &str) -> &str {
        let mut parts = path.split('/').skip(2);
        match self {
            Self::Identity if path == "/v3/auth/tokens" => TOKENS,
            Self::Identity | Self::Network => parts.next().unwrap_or_default(),
            Self::LoadBalancer => {
                let collection = parts.nth(1).unwrap_or_default();
                parts.nth(1).unwrap_or(collection)
            }
        }
    }

    /// A refusal as this service words it.
    fn refuse(self, status: StatusCode, message: &str) -> Reply {
        match self {
            Self::Identity => refusal(status, message),
            Self::Network => neutron::refuse(status, message),
            Self::LoadBalancer => octavia::refuse(status, message),
        }
    }
}

/// Serves until its task is aborted.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new().fallback(handle).with_state(shared);
    // Never ends by itself: axum goes on after an error of accept.
    let _ended = axum::serve(listener, routes).await;
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (service, path) = Service::of(parts.uri.path());
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return http(service.refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"));
    };
    let read = parts.method.is_safe();
    shared.stats.lock().count(service, service.resource(path), read);
    if service == Service::Identity {
        return http(serve_identity(&shared, &parts, path, &body));
    }
    let fate = shared.faults.next(!read);
    if !fate.latency.is_zero() {
        tokio::time::sleep(fate.latency).await;
    }
    if let Some(status) = fate.refused {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return http(service.refuse(status, "this failure was planned"));
    }
    let reply = serve_cloud(&shared, service, &parts, path, &body);
    if fate.lost {
        // Ends the connection's task, and so closes the connection, without the message of a panic.
        std::panic::resume_unwind(Box::new("the answer is lost, as planned"));
    }
    http(reply)
}

fn serve_identity(shared: &Shared, parts: &Parts, path: &str, body: &Bytes) -> Reply {
    let mut keystone = shared.keystone.lock();
    let json = serde_json::from_slice(body).unwrap_or_default();
    if let Some(reply) = keystone.open_call(parts.method.as_str(), path, &json) {
        return reply;
    }
    let Some(caller) = keystone.caller(header(&parts.headers, "x-auth-token")) else { return unauthorized() };
    match call(shared, parts, path, body, caller) {
        Ok(call) => keystone.call(&call, header(&parts.headers, "x-subject-token")),
        Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
    }
}

fn serve_cloud(shared: &Shared, service: Service, parts: &Parts, path: &str, body: &Bytes) -> Reply {
    let path = path.trim_end_matches('/');
    let versions = match service {
        Service::LoadBalancer => {
            octavia::versions::document(&shared.url, path, shared.options.load_balancer_minor)
        }
        Service::Network | Service::Identity => neutron::versions(&shared.url, path),
    };
    if let (Some(versions), &Method::GET) = (versions, &parts.method) {
        return versions;
    }
    let Some(caller) = shared.keystone.lock().caller(header(&parts.headers, "x-auth-token")) else {
        return unauthorized();
    };
    let call = match call(shared, parts, path, body, caller) {
        Ok(call) => call,
        Err(reason) => return service.refuse(StatusCode::BAD_REQUEST, &reason),
    };
    let mut cloud = shared.cloud.lock();
    let cloud = &mut *cloud;
    // What is due by now is done before anybody looks.
    cloud.octavia.settle(call.now, &mut cloud.neutron);
    match service {
        Service::LoadBalancer => {
            let ending = shared.faults.ending(!call.method.is_safe());
            cloud.octavia.call(&call, &mut cloud.neutron, ending)
        }
        Service::Network | Service::Identity => cloud.neutron.call(&call),
    }
}

fn call<'a>(
    shared: &Shared,
    parts: &'a Parts,
    path: &'a str,
    body: &Bytes,
    caller: Caller,
) -> Result<Call<'a>, String> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|e| e.body_text())?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => {
            serde_json::from_slice(body).map_err(|_| "Request is not in valid JSON format".to_owned())?
        }
    };
    let revision = revision(&parts.headers);
    Ok(Call { method: &parts.method, path, query, body, revision, caller, now: shared.started.elapsed() })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// `If-Match: revision_number=N` (extension `revision-if-match`); anything else is ignored, as Neutron does.
fn revision(headers: &HeaderMap) -> Option<u64> {
    header(headers, "if-match").strip_prefix("revision_number=")?.parse().ok()
}

fn http(reply: Reply) -> Response<Body> {
    let body = if reply.body.is_null() { Body::empty() } else { Body::from(reply.body.to_string()) };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = reply.token.and_then(|token| token.parse().ok()) {
        headers.insert("x-subject-token", token);
    }
    response
}
