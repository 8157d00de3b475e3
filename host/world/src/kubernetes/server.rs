//! HTTP: from a request to the model and back.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT, WARNING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::api::{Answer, Call, ListReply, Reply};
use super::status::Status;
use super::table::{self, Include};
use super::{Shared, convert, watch};

/// What the real server takes, and then some.
const LONGEST_BODY: usize = 3 << 20;
const JSON: &str = "application/json";

/// Serves until its task is aborted.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new().fallback(handle).with_state(shared);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // A small answer must not wait for the client's acknowledgement.
        let _kept_as_it_is = stream.set_nodelay(true);
    });
    // Never ends by itself: axum goes on after an error of accept.
    let _ended = axum::serve(listener, routes).await;
}

/// The form that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
    /// Aggregated discovery, version 2.
    Discovery,
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        let mut status = Status::bad_request("the request body is too large");
        status.code = 413;
        status.reason = "RequestEntityTooLarge";
        return answer(status.code, JSON, &status.body());
    };
    let form = match form(&parts.headers, parts.uri.path()) {
        Ok(form) => form,
        Err(status) => return answer(status.code, JSON, &status.body()),
    };
    match ask(&shared, &parts, &body, form) {
        Ok((Answer { reply, warnings }, call)) => {
            let mut response = render(&shared, reply, form, &call);
            for warning in warnings {
                let text = format!("299 - {warning:?}");
                if let Ok(value) = HeaderValue::from_str(&text) {
                    response.headers_mut().append(WARNING, value);
                }
            }
            response
        }
        Err(status) => answer(status.code, JSON, &status.body()),
    }
}

/// What the rendering needs of the request.
struct Asked {
    include: Include,
    now: Timestamp,
}

fn ask(shared: &Shared, parts: &Parts, body: &Bytes, form: Form) -> Result<(Answer, Asked), Status> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        .map_err(|e| Status::bad_request(e.body_text()))?;
    let text = |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let path = percent_decoded(parts.uri.path());
    let call = Call {
        method: &parts.method,
        path: &path,
        query: query.into_iter().rev().collect(),
        content_type: text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim(),
        user_agent: text(USER_AGENT),
        body,
        now: shared.options.clock.now(),
    };
    let asked = Asked { include: Include::parse(call.parameter("includeObject")), now: call.now };
    if form == Form::Discovery {
        let api = shared.api.lock();
        let core = path.trim_end_matches('/') == "/api";
        let reply = Reply::Json(200, super::discovery::aggregated(&api.registry, core));
        return Ok((Answer { reply, warnings: Vec::new() }, asked));
    }
    shared.count(&call);
    let answer = shared.api.lock().handle(&call);
    if !call.method.is_safe() {
        shared.written.notify_one();
    }
    Ok((answer?, asked))
}

/// `%2F` and the like.
fn percent_decoded(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let (mut out, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The first form of `Accept` that is spoken here.
fn form(headers: &HeaderMap, path: &str) -> Result<Form, Status> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.is_empty() {
        return Ok(Form::Json);
    }
    for wanted in accept.split(',') {
        let mut parts = wanted.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") && !path.starts_with("/openapi") {
            continue;
        }
        let kind = parts.find_map(|p| p.strip_prefix("as="));
        match kind {
            None | Some("" | "Status") => return Ok(Form::Json),
            Some("Table") => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Form::Metadata),
            Some("APIGroupDiscoveryList")
                if wanted.contains("v=v2;") || wanted.trim_end().ends_with("v=v2") =>
            {
                if matches!(path.trim_end_matches('/'), "/api" | "/apis") {
                    return Ok(Form::Discovery);
                }
            }
            Some(_) => {}
        }
    }
    if path.starts_with("/openapi") || !path.starts_with("/api") {
        return Ok(Form::Json);
    }
    Err(Status::not_acceptable(&[
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ]))
}

fn render(shared: &Arc<Shared>, reply: Reply, form: Form, asked: &Asked) -> Response<Body> {
    match reply {
        Reply::Json(code, body) => {
            let kind = match form {
                Form::Discovery => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                _ => JSON,
            };
            answer(code, kind, &body)
        }
        Reply::Text(code, text) => {
            respond(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
        }
        Reply::Object { code, resource, object } => match form {
            Form::Table => {
                let table = table::of(&resource, &[&object.value], &asked.include, asked.now);
                answer(
                    code,
                    JSON,
                    &table::whole(table, json!({"resourceVersion": object.text("resourceVersion")})),
                )
            }
            Form::Metadata => answer(code, JSON, &table::partial(&object.value)),
            _ => respond(code, JSON, object.json()),
        },
        Reply::Shown { code, resource, value } => match form {
            Form::Table => {
                let table = table::of(&resource, &[&value], &asked.include, asked.now);
                let version = super::store::meta(&value, "resourceVersion").cloned().unwrap_or_default();
                answer(code, JSON, &table::whole(table, json!({"resourceVersion": version})))
            }
            Form::Metadata => answer(code, JSON, &table::partial(&value)),
            _ => answer(code, JSON, &value),
        },
        Reply::List(list) => render_list(&list, form, asked),
        Reply::Watch(start) => {
            let stream = watch::stream(shared.clone(), start, form, asked.include.clone());
            let mut response = Response::new(Body::from_stream(stream));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
    }
}

fn render_list(list: &ListReply, form: Form, asked: &Asked) -> Response<Body> {
    let resource = &list.resource;
    let mut metadata = json!({"resourceVersion": list.version.to_string()});
    if let Some(map) = metadata.as_object_mut() {
        if let Some(next) = &list.next {
            map.insert("continue".to_owned(), next.clone().into());
        }
        if let Some(remaining) = list.remaining {
            map.insert("remainingItemCount".to_owned(), remaining.into());
        }
    }
    let converted = |value: &Value| {
        let mut value = value.clone();
        convert::from_storage(resource, &mut value);
        value
    };
    match form {
        Form::Table => {
            let values: Vec<Value> = list.items.iter().map(|o| converted(&o.value)).collect();
            let values: Vec<&Value> = values.iter().collect();
            answer(
                200,
                JSON,
                &table::whole(table::of(resource, &values, &asked.include, asked.now), metadata),
            )
        }
        Form::Metadata => {
            let items: Vec<Value> = list.items.iter().map(|o| table::partial(&o.value)).collect();
            let body = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
            });
            answer(200, JSON, &body)
        }
        _ => {
            // Each item's text is made once in its life, so a list is mostly copying.
            let head = format!(
                "{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{metadata},\"items\":[",
                resource.names.list_kind,
                resource.api_version()
            );
            let mut body = head.into_bytes();
            for (i, object) in list.items.iter().enumerate() {
                if i > 0 {
                    body.push(b',');
                }
                if convert::differs(resource, &object.value) {
                    let mut value = converted(&object.value);
                    if let Some(map) = value.as_object_mut().filter(|_| !resource.is_custom()) {
                        map.remove("kind");
                        map.remove("apiVersion");
                    }
                    body.extend_from_slice(value.to_string().as_bytes());
                } else if resource.is_custom() {
                    body.extend_from_slice(&object.json());
                } else {
                    body.extend_from_slice(&object.item_json());
                }
            }
            body.extend_from_slice(b"]}");
            respond(200, JSON, Bytes::from(body))
        }
    }
}

fn answer(code: u16, kind: &'static str, body: &Value) -> Response<Body> {
    respond(code, kind, Bytes::from(body.to_string()))
}

fn respond(code: u16, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
