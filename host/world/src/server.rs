//! HTTP: from a request to the model and back.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::Shared;
use crate::keystone::unauthorized;
use crate::neutron::{Call, Fault};

/// What sign-ins are counted as.
pub(crate) const TOKENS: &str = "tokens";
/// A body above that is nothing that a client of ours sends.
const LONGEST_BODY: usize = 1 << 20;

/// Serves until its task is aborted.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new().fallback(handle).with_state(shared);
    // Never ends by itself: axum goes on after an error of accept.
    let _ended = axum::serve(listener, routes).await;
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, &Value::Null);
    };
    if parts.uri.path() == "/v3/auth/tokens" && parts.method == Method::POST {
        return sign_in(&shared, &body);
    }
    let read = parts.method.is_safe();
    let resource = parts.uri.path().split('/').nth(2).unwrap_or_default();
    shared.stats.lock().count(resource, read);
    let fate = shared.faults.next(!read);
    if !fate.latency.is_zero() {
        tokio::time::sleep(fate.latency).await;
    }
    if let Some(status) = fate.refused {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return fault(&Fault::planned(status));
    }
    let response = serve_neutron(&shared, &parts, &body);
    if fate.lost {
        // Ends the connection's task, and so closes the connection, without the message of a panic.
        std::panic::resume_unwind(Box::new("the answer is lost, as planned"));
    }
    response
}

fn sign_in(shared: &Shared, body: &Bytes) -> Response<Body> {
    shared.stats.lock().count(TOKENS, false);
    let body = serde_json::from_slice(body).unwrap_or_default();
    match shared.keystone.lock().sign_in(&shared.options, &body) {
        Ok((token, description)) => {
            let mut response = answer(StatusCode::CREATED, &description);
            if let Ok(token) = token.parse() {
                response.headers_mut().insert("x-subject-token", token);
            }
            response
        }
        Err((status, body)) => answer(status, &body),
    }
}

fn serve_neutron(shared: &Shared, parts: &Parts, body: &Bytes) -> Response<Body> {
    let token = parts.headers.get("x-auth-token").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !shared.keystone.lock().knows(token) {
        let (status, body) = unauthorized();
        return answer(status, &body);
    }
    let call = match call(parts, body) {
        Ok(call) => call,
        Err(refused) => return fault(&refused),
    };
    match shared.neutron.lock().call(&call) {
        Ok((status, body)) => answer(status, &body),
        Err(refused) => fault(&refused),
    }
}

fn call<'a>(parts: &'a Parts, body: &Bytes) -> Result<Call<'a>, Fault> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        .map_err(|e| Fault::bad_request(e.body_text()))?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body).map_err(|e| Fault::bad_request(format!("body: {e}")))?,
    };
    Ok(Call {
        method: &parts.method,
        path: parts.uri.path(),
        query,
        body,
        revision: revision(&parts.headers)?,
    })
}

/// `If-Match: revision_number=N` (extension `revision-if-match`).
fn revision(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(text) = headers.get("if-match") else { return Ok(None) };
    let number = text.to_str().ok().and_then(|t| t.strip_prefix("revision_number=")?.parse().ok());
    number.map(Some).ok_or_else(|| Fault::bad_request("Revision number must be an integer"))
}

fn fault(fault: &Fault) -> Response<Body> {
    answer(fault.status(), &fault.body())
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = axum::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, json);
    response
}
