//! /alive, /ready and /metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use isthmus_cni::{Code, Error};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::source::VifSource;

struct Shared<S> {
    agent: Arc<Agent<S>>,
    registry: Registry,
}

/// Listens.
///
/// # Errors
/// The address cannot be had.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |e: std::io::Error| Error::new(Code::Io, format!("listening on {address}"), e.to_string());
    TcpListener::bind(address).await.map_err(failed)
}

/// Serves until the task is dropped.
///
/// # Errors
/// The socket's.
pub async fn serve<S: VifSource>(agent: Arc<Agent<S>>, listener: TcpListener) -> std::io::Result<()> {
    let mut registry = Registry::default();
    agent.metrics().register(&mut registry);
    let shared = Arc::new(Shared { agent, registry });
    let routes = Router::new()
        .route("/alive", get(alive::<S>))
        .route("/ready", get(ready::<S>))
        .route("/metrics", get(metrics::<S>))
        .with_state(shared);
    axum::serve(listener, routes).await
}

fn judged(is: Result<(), String>) -> (StatusCode, String) {
    match is {
        Ok(()) => (StatusCode::OK, "ok".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn alive<S: VifSource>(State(shared): State<Arc<Shared<S>>>) -> (StatusCode, String) {
    judged(shared.agent.alive())
}

async fn ready<S: VifSource>(State(shared): State<Arc<Shared<S>>>) -> (StatusCode, String) {
    judged(shared.agent.ready().await)
}

async fn metrics<S: VifSource>(State(shared): State<Arc<Shared<S>>>) -> Response {
    shared.agent.measure();
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
