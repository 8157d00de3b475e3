//! /healthz, /readyz and /metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// How far the operator is, as /readyz tells it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Readiness {
    /// Not ready, because.
    pub fn not(&self, why: &str) {
        *self.0.lock() = Some(why.into());
    }

    /// Why it is not; empty: it is.
    pub(crate) fn why(&self) -> String {
        self.0.lock().clone().unwrap_or_default()
    }

    /// Ready: it works, or stands by.
    pub fn yes(&self) {
        *self.0.lock() = None;
    }
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// Serves until the task is dropped.
///
/// # Errors
/// The address can't be bound.
pub async fn serve(address: SocketAddr, registry: Registry, readiness: Readiness) -> std::io::Result<()> {
    let named = |e: std::io::Error| std::io::Error::new(e.kind(), format!("listening on {address}: {e}"));
    let listener = tokio::net::TcpListener::bind(address).await.map_err(named)?;
    tracing::info!(%address, "serving /healthz, /readyz and /metrics");
    let shared = Shared { registry: Arc::new(registry), readiness };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shared);
    axum::serve(listener, routes).await
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match &*shared.readiness.0.lock() {
        None => (StatusCode::OK, "ok".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
    }
}

async fn metrics(State(shared): State<Shared>) -> axum::response::Response {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
