//! Pools.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{POOL, POST, PUT};
use super::fault::{Fault, Result};
use super::listener::{
    DEFAULT_CIPHERS, DEFAULT_VERSIONS, check_lists, check_protocol, check_refs, no_children,
};
use super::state::change;
use super::types::checked;
use super::{Kind, Object, Octavia, may, normalised, provider, stored, text, truthy};
use crate::call::{Call, Reply};
use crate::neutron::Neutron;

const SHOWN: &[&str] = &[
    "name",
    "description",
    "admin_state_up",
    "protocol",
    "lb_algorithm",
    "session_persistence",
    "project_id",
    "tags",
    "tls_container_ref",
    "ca_tls_container_ref",
    "crl_container_ref",
    "tls_enabled",
    "tls_ciphers",
    "tls_versions",
    "alpn_protocols",
];

impl Octavia {
    pub(super) fn create_pool(&mut self, call: &Call<'_>) -> Result<Reply> {
        let input = checked(&call.body, "pool_", "pool", POOL, POST)?;
        let listener = text(&input, "listener_id").to_owned();
        let balancer = match (text(&input, "loadbalancer_id"), listener.as_str()) {
            ("", "") => {
                let message = "Must provide at least one of: loadbalancer_id, listener_id";
                return Err(Fault::validation(message));
            }
            ("", listener) => self.get(Kind::Listener, listener)?.parent.clone(),
            (balancer, _) => balancer.to_owned(),
        };
        let project = self.get(Kind::LoadBalancer, &balancer)?.text("project_id").to_owned();
        may(&call.caller, &project)?;
        let protocol = text(&input, "protocol");
        if !listener.is_empty() && text(&input, "loadbalancer_id").is_empty() {
            match self.get(Kind::Listener, &listener)?.text("protocol") {
                "PROMETHEUS" => return Err(no_children()),
                spoken => check_protocol(spoken, protocol)?,
            }
        }
        check_persistence(&input, protocol, "UDP and SCTP protocol pools")?;
        self.check_quota(Kind::Pool, &project, 1)?;
        if !listener.is_empty() && !self.get(Kind::Listener, &listener)?.text("default_pool_id").is_empty() {
            return Err(Fault::conflict("This listener already has a default pool"));
        }
        self.must_be_mutable(&balancer)?;
        if truthy(&input, "members") || truthy(&input, "healthmonitor") {
            return Err(Fault::not_modelled("a pool that is made with its members or health monitor"));
        }
        let id = self.add_pool(&balancer, input)?;
        let mut touched = vec![(Kind::Pool, id.clone())];
        if !listener.is_empty() {
            self.edit(Kind::Listener, &listener, |node| node.set("default_pool_id", id.as_str()));
            self.relink(Kind::Listener, &listener, "", &id);
            touched.push((Kind::Listener, listener));
        }
        self.provision(&balancer, touched);
        self.written(StatusCode::CREATED, Kind::Pool, &id)
    }

    fn add_pool(&mut self, balancer: &str, mut input: Object) -> Result<String> {
        let above = self.get(Kind::LoadBalancer, balancer)?;
        let (project, provider) = (above.text("project_id").to_owned(), above.text("provider").to_owned());
        check_certificates(&input)?;
        if truthy(&input, "tls_enabled") {
            for (name, default) in tls_defaults() {
                if input.get(name).is_none_or(Value::is_null) {
                    input.insert(name.to_owned(), default);
                }
            }
            check_lists(&input)?;
        }
        provider::pool(&provider, &input)?;
        input.insert("project_id".to_owned(), json!(project));
        Ok(self.insert(Kind::Pool, balancer, stored(&input, SHOWN)))
    }

    /// A pool of a load balancer that is made at once.
    pub(super) fn add_pool_with_parts(
        &mut self,
        balancer: &str,
        mut input: Object,
        neutron: &Neutron,
    ) -> Result<String> {
        let (members, monitor) = (input.remove("members"), input.remove("healthmonitor"));
        if truthy(&input, "tls_enabled")
            && ["tls_ciphers", "tls_versions", "alpn_protocols"].iter().any(|n| !input.contains_key(*n))
        {
            // Its code looks them up without looking whether they are there.
            let missing = ["tls_ciphers", "tls_versions", "alpn_protocols"]
                .into_iter()
                .find(|n| !input.contains_key(*n));
            let message = format!("'{}'", missing.unwrap_or_default());
            return Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
        let project = self.get(Kind::LoadBalancer, balancer)?.text("project_id").to_owned();
        let id = self.add_pool(balancer, input)?;
        if let Some(Value::Object(monitor)) = monitor {
            self.check_quota(Kind::HealthMonitor, &project, 1)?;
            self.add_monitor(&id, monitor)?;
        }
        if let Some(Value::Array(members)) = members {
            self.check_quota(Kind::Member, &project, members.len())?;
            for member in members {
                if let Value::Object(member) = member {
                    self.add_member(&id, member, neutron)?;
                }
            }
        }
        Ok(id)
    }

    pub(super) fn update_pool(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let mut changes = checked(&call.body, "pool_", "pool", POOL, PUT)?;
        let node = self.owned(Kind::Pool, id, &call.caller)?;
        let (balancer, protocol) = (node.parent.clone(), node.text("protocol").to_owned());
        for (name, default) in tls_defaults().into_iter().filter(|(name, _)| *name != "alpn_protocols") {
            if changes.get(name).is_some_and(Value::is_null) {
                changes.insert(name.to_owned(), default);
            }
        }
        let held = node.object.get("session_persistence").cloned().unwrap_or_default();
        merge_persistence(&mut changes, &held);
        check_persistence(&changes, &protocol, "UDP protocol pools")?;
        check_certificates(&changes)?;
        check_lists(&changes)?;
        self.must_be_mutable(&balancer)?;
        provider::pool(&self.provider_of(&balancer)?, &changes)?;
        let listeners = self.listeners_of(self.get(Kind::Pool, id)?);
        if changes
            .get("session_persistence")
            .is_some_and(|p| p.as_object().is_some_and(serde_json::Map::is_empty))
        {
            changes.insert("session_persistence".to_owned(), Value::Null);
        }
        change(self.get_mut(Kind::Pool, id)?, normalised(changes));
        let mut touched = vec![(Kind::Pool, id.to_owned())];
        touched.extend(listeners.into_iter().map(|listener| (Kind::Listener, listener)));
        self.provision(&balancer, touched);
        self.written(StatusCode::OK, Kind::Pool, id)
    }

    pub(super) fn delete_pool(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let node = self.owned(Kind::Pool, id, &call.caller)?;
        let balancer = node.parent.clone();
        if let Some(policy) = node.policies.first() {
            return Err(Fault::conflict(format!("Pool {id} is in use by L7 policy {policy}")));
        }
        self.must_be_mutable(&balancer)?;
        let listeners = self.listeners_of(self.get(Kind::Pool, id)?);
        self.get_mut(Kind::Pool, id)?.set("provisioning_status", "PENDING_DELETE");
        let mut touched = vec![(Kind::Pool, id.to_owned())];
        touched.extend(listeners.into_iter().map(|listener| (Kind::Listener, listener)));
        self.provision(&balancer, touched);
        Ok(Reply::empty())
    }

    /// What a change of a pool's parts touches; refused while something is being done to the pool or its load balancer.
    pub(super) fn pool_is_mutable(&self, id: &str) -> Result<(String, Vec<(Kind, String)>)> {
        let pool = self.get(Kind::Pool, id)?;
        if pool.status() != "ACTIVE" {
            return Err(Fault::immutable("Pool", id));
        }
        self.must_be_mutable(&pool.parent)?;
        let mut touched = vec![(Kind::Pool, id.to_owned())];
        touched.extend(self.listeners_of(pool).into_iter().map(|listener| (Kind::Listener, listener)));
        Ok((pool.parent.clone(), touched))
    }
}

fn tls_defaults() -> [(&'static str, Value); 3] {
    [
        ("tls_ciphers", json!(DEFAULT_CIPHERS)),
        ("tls_versions", json!(DEFAULT_VERSIONS)),
        ("alpn_protocols", json!(["h2", "http/1.1", "http/1.0"])),
    ]
}

fn check_certificates(input: &Object) -> Result<()> {
    if truthy(input, "crl_container_ref") && !truthy(input, "ca_tls_container_ref") {
        return Err(Fault::validation(
            "A CA certificate reference is required to specify a revocation list.",
        ));
    }
    check_refs(input, &["tls_container_ref"])?;
    check_refs(input, &["ca_tls_container_ref", "crl_container_ref"])
}

/// What a PUT does not say of a persistence stays.
fn merge_persistence(changes: &mut Object, held: &Value) {
    let Some(Value::Object(asked)) = changes.get_mut("session_persistence") else { return };
    if asked.is_empty() {
        return;
    }
    for name in ["type", "cookie_name", "persistence_timeout", "persistence_granularity"] {
        if !asked.contains_key(name) {
            asked.insert(name.to_owned(), held.get(name).cloned().unwrap_or_default());
        }
    }
}

/// As `_validate_pool_request_for_udp_sctp` and `check_session_persistence`.
fn check_persistence(input: &Object, protocol: &str, timed: &str) -> Result<()> {
    let Some(Value::Object(asked)) = input.get("session_persistence") else { return Ok(()) };
    if asked.is_empty() {
        return Ok(());
    }
    let (kind, cookie) = (text(asked, "type"), truthy(asked, "cookie_name"));
    if matches!(protocol, "UDP" | "SCTP") {
        if kind == "SOURCE_IP" && cookie {
            return Err(Fault::validation(
                "session_persistence SOURCE_IP type for UDP and SCTP protocols only accepts: type, persistence_timeout, persistence_granularity.",
            ));
        }
        if cookie {
            return Err(Fault::validation("Cookie names are not supported for UDP/SCTP pools."));
        }
        if matches!(kind, "HTTP_COOKIE" | "APP_COOKIE") {
            return Err(Fault::validation(format_args!(
                "Session persistence of type {kind} is not supported for UDP/SCTP protocol pools."
            )));
        }
    } else if truthy(asked, "persistence_timeout") || truthy(asked, "persistence_granularity") {
        return Err(Fault::validation(format_args!(
            "persistence_timeout and persistence_granularity is only for {timed}."
        )));
    }
    if cookie && kind != "APP_COOKIE" {
        return Err(Fault::validation(
            "Field \"cookie_name\" can only be specified with session persistence of type \"APP_COOKIE\".",
        ));
    }
    let odd = |c: char| c <= ' ' || "\"(),/:;<=>?@[\\]{}\u{7f}".contains(c);
    if text(asked, "cookie_name").contains(odd) {
        return Err(Fault::validation("Supplied \"cookie_name\" is invalid."));
    }
    if kind == "APP_COOKIE" && !cookie {
        return Err(Fault::validation(
            "Field \"cookie_name\" must be specified when using the \"APP_COOKIE\" session persistence type.",
        ));
    }
    Ok(())
}
