//! The health monitor of a pool: in the contract a field of the pool, in Octavia an object that goes with it.

use isthmus_openstack::octavia::{
    HealthMonitor, HealthMonitorCreate, HealthMonitorUpdate, HttpVersion, Pool,
};
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::cloud::Result;

/// The contract's `health-monitor`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Monitor {
    #[serde(rename = "type")]
    kind: String,
    delay_s: u64,
    timeout_s: u64,
    max_retries: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries_down: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_codes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_name: Option<String>,
}

pub(super) fn observed(found: &HealthMonitor) -> Monitor {
    Monitor {
        kind: found.kind.clone(),
        delay_s: found.delay.unwrap_or_default(),
        timeout_s: found.timeout.unwrap_or_default(),
        max_retries: found.max_retries.unwrap_or_default(),
        max_retries_down: found.max_retries_down,
        http_method: found.http_method.clone(),
        url_path: found.url_path.clone(),
        expected_codes: found.expected_codes.clone(),
        domain_name: found.domain_name.clone(),
    }
}

/// The Host header is a matter of HTTP 1.1.
fn version(wanted: &Monitor) -> Option<HttpVersion> {
    wanted.domain_name.is_some().then_some(HttpVersion::Http11)
}

/// Makes, changes or deletes the monitor of a pool.
pub(super) async fn apply(
    scope: &Scope,
    owner: &str,
    pool: &str,
    wanted: Option<Monitor>,
    tags: Option<Vec<String>>,
) -> Result<()> {
    let found: Pool = scope.octavia.get(pool).await?;
    let current = match &found.healthmonitor_id {
        Some(id) => scope.look::<HealthMonitor>(id).await?,
        None => None,
    };
    match (current, wanted) {
        (Some(current), Some(wanted)) if current.kind == wanted.kind => {
            let body = change(wanted);
            let put =
                || async { Ok(scope.octavia.update::<HealthMonitor>(&current.id, &body).await.map(drop)?) };
            scope.lanes.change(owner, put).await
        }
        (current, wanted) => {
            if let Some(current) = current {
                let delete =
                    || async { Ok(scope.octavia.delete::<HealthMonitor>(&current.id).await.map(drop)?) };
                scope.lanes.change(owner, delete).await?;
            }
            let Some(wanted) = wanted else { return Ok(()) };
            let body = creation(pool, wanted, tags);
            let make = || async { Ok(scope.octavia.create::<HealthMonitor>(&body).await.map(drop)?) };
            scope.lanes.change(owner, make).await
        }
    }
}

fn creation(pool: &str, wanted: Monitor, tags: Option<Vec<String>>) -> HealthMonitorCreate {
    HealthMonitorCreate { pool_id: Some(pool.into()), ..nested(wanted, tags) }
}

/// As part of its pool's creation.
pub(super) fn nested(wanted: Monitor, tags: Option<Vec<String>>) -> HealthMonitorCreate {
    HealthMonitorCreate {
        tags,
        http_version: version(&wanted),
        kind: wanted.kind,
        delay: wanted.delay_s,
        timeout: wanted.timeout_s,
        max_retries: wanted.max_retries,
        max_retries_down: wanted.max_retries_down,
        http_method: wanted.http_method,
        url_path: wanted.url_path,
        expected_codes: wanted.expected_codes,
        domain_name: wanted.domain_name,
        ..HealthMonitorCreate::default()
    }
}

/// What is not wanted any more gets its default again.
fn change(wanted: Monitor) -> HealthMonitorUpdate {
    let http = wanted.kind.starts_with("HTTP");
    HealthMonitorUpdate {
        delay: Some(wanted.delay_s),
        timeout: Some(wanted.timeout_s),
        max_retries: Some(wanted.max_retries),
        max_retries_down: Some(wanted.max_retries_down),
        // Back to 1.0 is refused in the call that takes the name away, and 1.1 does without a name.
        http_version: version(&wanted).map(Some),
        http_method: http.then_some(wanted.http_method),
        url_path: http.then_some(wanted.url_path),
        expected_codes: http.then_some(wanted.expected_codes),
        domain_name: http.then_some(wanted.domain_name),
        ..HealthMonitorUpdate::default()
    }
}
