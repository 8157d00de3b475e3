//! Health monitors.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{HEALTH_MONITOR, POST, PUT};
use super::fault::{Fault, Result};
use super::state::change;
use super::types::checked;
use super::{Kind, Object, Octavia, may, normalised, provider, stored, text, truthy};
use crate::call::{Call, Reply};

const SHOWN: &[&str] = &[
    "name",
    "type",
    "delay",
    "timeout",
    "max_retries",
    "max_retries_down",
    "http_method",
    "url_path",
    "expected_codes",
    "admin_state_up",
    "project_id",
    "tags",
    "http_version",
    "domain_name",
];
/// What only probes of HTTP have, and what they are that say nothing.
const HTTP: [(&str, &str); 3] = [("http_method", "GET"), ("url_path", "/"), ("expected_codes", "200")];

impl Octavia {
    pub(super) fn create_monitor(&mut self, call: &Call<'_>) -> Result<Reply> {
        let input = checked(&call.body, "health_monitor_", "healthmonitor", HEALTH_MONITOR, POST)?;
        let pool = text(&input, "pool_id").to_owned();
        let node = self.get(Kind::Pool, &pool)?;
        let project = node.text("project_id").to_owned();
        may(&call.caller, &project)?;
        check_protocol(text(&input, "type"), node.text("protocol"))?;
        self.check_quota(Kind::HealthMonitor, &project, 1)?;
        let (balancer, mut touched) = self.pool_is_mutable(&pool)?;
        let id = self.add_monitor(&pool, input)?;
        touched.push((Kind::HealthMonitor, id.clone()));
        self.provision(&balancer, touched);
        self.written(StatusCode::CREATED, Kind::HealthMonitor, &id)
    }

    pub(super) fn add_monitor(&mut self, pool: &str, mut input: Object) -> Result<String> {
        let node = self.get(Kind::Pool, pool)?;
        let kind = text(&input, "type").to_owned();
        for name in ["delay", "timeout", "max_retries"] {
            if input.get(name).is_none_or(Value::is_null) {
                return Err(Fault::option("None", name));
            }
        }
        for (name, default) in HTTP {
            if !matches!(kind.as_str(), "HTTP" | "HTTPS") {
                if truthy(&input, name) {
                    return Err(Fault::option(name, format_args!("health monitors of type {kind}")));
                }
            } else if !truthy(&input, name) {
                input.insert(name.to_owned(), json!(default));
            }
        }
        if truthy(&input, "domain_name") && !truthy(&input, "http_version") {
            return Err(no_version());
        }
        check_version(input.get("http_version"), truthy(&input, "domain_name"))?;
        if node.monitor.is_some() {
            return Err(Fault::conflict("This pool already has a health monitor"));
        }
        check_protocol(&kind, node.text("protocol"))?;
        provider::monitor(&self.provider_of(&node.parent)?, &input)?;
        input.insert("project_id".to_owned(), json!(node.text("project_id")));
        Ok(self.insert(Kind::HealthMonitor, pool, stored(&input, SHOWN)))
    }

    pub(super) fn update_monitor(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let mut changes = checked(&call.body, "health_monitor_", "healthmonitor", HEALTH_MONITOR, PUT)?;
        let node = self.owned(Kind::HealthMonitor, id, &call.caller)?;
        let (pool, kind) = (node.parent.clone(), node.text("type").to_owned());
        if !matches!(kind.as_str(), "HTTP" | "HTTPS")
            && let Some((name, _)) = HTTP.iter().find(|(name, _)| changes.contains_key(*name))
        {
            return Err(Fault::option(name, format_args!("health monitors of type {kind}")));
        }
        for name in ["delay", "max_retries", "timeout"] {
            if changes.get(name).is_some_and(Value::is_null) {
                return Err(Fault::option("None", name));
            }
        }
        let version =
            |name: &str| changes.get(name).filter(|v| !v.is_null()).or_else(|| node.object.get(name));
        let http = version("http_version").filter(|v| !v.is_null());
        if truthy(&changes, "domain_name") && http.is_none() {
            return Err(no_version());
        }
        let named = truthy(&changes, "domain_name") || truthy(&node.object, "domain_name");
        check_version(http, named)?;
        for (name, default) in
            HTTP.iter().map(|(name, v)| (*name, json!(v))).chain([("max_retries_down", json!(3))])
        {
            if changes.get(name).is_some_and(Value::is_null) {
                changes.insert(name.to_owned(), default);
            }
        }
        let (balancer, mut touched) = self.pool_is_mutable(&pool)?;
        change(self.get_mut(Kind::HealthMonitor, id)?, normalised(changes));
        touched.push((Kind::HealthMonitor, id.to_owned()));
        self.provision(&balancer, touched);
        self.written(StatusCode::OK, Kind::HealthMonitor, id)
    }

    pub(super) fn delete_monitor(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let pool = self.owned(Kind::HealthMonitor, id, &call.caller)?.parent.clone();
        let (balancer, mut touched) = self.pool_is_mutable(&pool)?;
        self.get_mut(Kind::HealthMonitor, id)?.set("provisioning_status", "PENDING_DELETE");
        touched.push((Kind::HealthMonitor, id.to_owned()));
        self.provision(&balancer, touched);
        Ok(Reply::empty())
    }
}

fn no_version() -> Fault {
    Fault::validation("'http_version' must be specified when 'domain_name' is provided.")
}

fn check_version(version: Option<&Value>, named: bool) -> Result<()> {
    match version.and_then(Value::as_f64) {
        Some(version) if named && version < 1.1 => Err(Fault::option(
            format_args!("http_version {version:.1}"),
            "health monitors HTTP 1.1 domain name health check",
        )),
        _ => Ok(()),
    }
}

/// A pool of datagrams is probed otherwise than one of streams.
fn check_protocol(kind: &str, protocol: &str) -> Result<()> {
    let datagrams = matches!(protocol, "UDP" | "SCTP");
    if datagrams && !matches!(kind, "UDP-CONNECT" | "SCTP" | "TCP" | "HTTP") {
        return Err(Fault::validation(format_args!(
            "The associated pool protocol is {protocol}, so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor is supported."
        )));
    }
    if !datagrams && matches!(kind, "UDP-CONNECT" | "SCTP") {
        return Err(Fault::validation(format_args!(
            "The {kind} type is only supported for pools of type UDP/SCTP."
        )));
    }
    Ok(())
}
