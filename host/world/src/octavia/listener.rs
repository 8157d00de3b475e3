//! Listeners.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{LISTENER, POST, PUT};
use super::fault::{Fault, Result};
use super::state::change;
use super::types::checked;
use super::{Kind, Object, Octavia, may, normalised, provider, stored, text, truthy};
use crate::call::{Call, Reply};
use crate::python;

const SHOWN: &[&str] = &[
    "name",
    "description",
    "admin_state_up",
    "protocol",
    "protocol_port",
    "connection_limit",
    "default_tls_container_ref",
    "sni_container_refs",
    "project_id",
    "default_pool_id",
    "insert_headers",
    "timeout_client_data",
    "timeout_member_connect",
    "timeout_member_data",
    "timeout_tcp_inspect",
    "tags",
    "client_ca_tls_container_ref",
    "client_authentication",
    "client_crl_container_ref",
    "allowed_cidrs",
    "tls_ciphers",
    "tls_versions",
    "alpn_protocols",
    "hsts_max_age",
    "hsts_include_subdomains",
    "hsts_preload",
];

/// Timeouts that are not set, in milliseconds.
const TIMEOUTS: [(&str, u64); 4] = [
    ("timeout_client_data", 50_000),
    ("timeout_member_connect", 5_000),
    ("timeout_member_data", 50_000),
    ("timeout_tcp_inspect", 0),
];
const HEADERS: [&str; 6] = [
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-IP",
    "X-Client-IP",
    "X-Real-IP",
];
const TLS_HEADERS: [&str; 8] = [
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
];

impl Octavia {
    pub(super) fn create_listener(&mut self, call: &Call<'_>) -> Result<Reply> {
        let input = checked(&call.body, "listener_", "listener", LISTENER, POST)?;
        let balancer = text(&input, "loadbalancer_id").to_owned();
        let project = self.get(Kind::LoadBalancer, &balancer)?.text("project_id").to_owned();
        may(&call.caller, &project)?;
        self.check_quota(Kind::Listener, &project, 1)?;
        self.check_default_pool(&balancer, &input, text(&input, "protocol"))?;
        self.must_be_mutable(&balancer)?;
        if truthy(&input, "l7policies") || truthy(&input, "default_pool") {
            return Err(Fault::not_modelled("a listener that is made with its policies or pool"));
        }
        let id = self.add_listener(&balancer, input)?;
        self.provision(&balancer, vec![(Kind::Listener, id.clone())]);
        self.written(StatusCode::CREATED, Kind::Listener, &id)
    }

    /// Makes a listener, checked as `_validate_create_listener` and the provider do.
    pub(super) fn add_listener(&mut self, balancer: &str, mut input: Object) -> Result<String> {
        let above = self.get(Kind::LoadBalancer, balancer)?;
        let (project, vip) = (above.text("project_id").to_owned(), above.text("vip_address").to_owned());
        let provider = above.text("provider").to_owned();
        let protocol = text(&input, "protocol").to_owned();
        self.check_default_pool(balancer, &input, &protocol)?;
        check_tls(&input, &protocol)?;
        self.check_port(balancer, &input)?;
        check_cidrs(&input, &vip)?;
        check_hsts(&input, &protocol)?;
        provider::listener(&provider, &input)?;
        self.must_have(&provider, &protocol)?;
        for (name, value) in TIMEOUTS {
            if input.get(name).is_none_or(Value::is_null) {
                input.insert(name.to_owned(), json!(value));
            }
        }
        input.insert("project_id".to_owned(), json!(project));
        let mut object = stored(&input, SHOWN);
        complete(&mut object);
        Ok(self.insert(Kind::Listener, balancer, object))
    }

    /// The pool that a listener is to use is in the same load balancer, and speaks a protocol that it can.
    fn check_default_pool(&self, balancer: &str, input: &Object, protocol: &str) -> Result<()> {
        let id = text(input, "default_pool_id");
        if id.is_empty() {
            return Ok(());
        }
        if protocol == "PROMETHEUS" {
            return Err(no_children());
        }
        let pool = self.get(Kind::Pool, id)?;
        if pool.parent != balancer {
            return Err(Fault::not_found(Kind::Pool, id));
        }
        check_protocol(protocol, pool.text("protocol"))
    }

    fn check_port(&self, balancer: &str, input: &Object) -> Result<()> {
        let layer_4 = |protocol: &str| match protocol {
            "UDP" => "UDP",
            "SCTP" => "SCTP",
            _ => "TCP",
        };
        let others = &self.get(Kind::LoadBalancer, balancer)?.listeners;
        for other in others.iter().filter_map(|id| self.get(Kind::Listener, id).ok()) {
            let same = other.object.get("protocol_port") == input.get("protocol_port");
            if same && layer_4(other.text("protocol")) == layer_4(text(input, "protocol")) {
                return Err(Fault::conflict(format!(
                    "Another Listener on this Load Balancer is already using protocol {} and protocol_port {}",
                    other.text("protocol"),
                    input.get("protocol_port").unwrap_or(&Value::Null)
                )));
            }
        }
        Ok(())
    }

    pub(super) fn update_listener(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let mut changes = checked(&call.body, "listener_", "listener", LISTENER, PUT)?;
        let node = self.owned(Kind::Listener, id, &call.caller)?;
        let (balancer, protocol) = (node.parent.clone(), node.text("protocol").to_owned());
        let before = node.text("default_pool_id").to_owned();
        let above = self.get(Kind::LoadBalancer, &balancer)?;
        let (provider, vip) = (above.text("provider").to_owned(), above.text("vip_address").to_owned());
        check_update(&changes, &protocol, &vip, node.object.get("hsts_max_age"))?;
        for (name, value) in TIMEOUTS.iter().map(|(name, value)| (*name, json!(value))).chain(defaults()) {
            if changes.get(name).is_some_and(Value::is_null) {
                changes.insert(name.to_owned(), value);
            }
        }
        self.check_default_pool(&balancer, &changes, &protocol)?;
        self.must_be_mutable(&balancer)?;
        provider::listener(&provider, &changes)?;
        if changes.contains_key("default_pool_id") {
            self.relink(Kind::Listener, id, &before, text(&changes, "default_pool_id"));
        }
        let node = self.get_mut(Kind::Listener, id)?;
        change(node, normalised(changes));
        complete(&mut node.object);
        self.provision(&balancer, vec![(Kind::Listener, id.to_owned())]);
        self.written(StatusCode::OK, Kind::Listener, id)
    }

    pub(super) fn delete_listener(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let balancer = self.owned(Kind::Listener, id, &call.caller)?.parent.clone();
        self.must_be_mutable(&balancer)?;
        self.get_mut(Kind::Listener, id)?.set("provisioning_status", "PENDING_DELETE");
        self.provision(&balancer, vec![(Kind::Listener, id.to_owned())]);
        Ok(Reply::empty())
    }
}

/// What a null in a PUT stands for.
fn defaults() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("connection_limit", json!(-1)),
        ("client_authentication", json!("NONE")),
        ("hsts_include_subdomains", json!(false)),
        ("hsts_preload", json!(false)),
        ("tls_ciphers", json!(DEFAULT_CIPHERS)),
        ("tls_versions", json!(DEFAULT_VERSIONS)),
        ("alpn_protocols", json!(["h2", "http/1.1", "http/1.0"])),
    ]
    .into_iter()
}

/// Octavia's `CIPHERS_OWASP_SUITE_B`.
pub(super) const DEFAULT_CIPHERS: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:\
ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
DHE-RSA-CHACHA20-POLY1305";
pub(super) const DEFAULT_VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// How lists are shown that nobody set.
fn complete(object: &mut Object) {
    if object.get("allowed_cidrs").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        object.insert("allowed_cidrs".to_owned(), Value::Null);
    }
    if object.get("sni_container_refs").is_some_and(Value::is_null) {
        object.insert("sni_container_refs".to_owned(), json!([]));
    }
    if object.get("insert_headers").is_some_and(Value::is_null) {
        object.insert("insert_headers".to_owned(), json!({}));
    }
}

/// A pool's protocol that a listener can speak to.
pub(super) fn check_protocol(listener: &str, pool: &str) -> Result<()> {
    let valid: &[&str] = match listener {
        "TCP" => &["HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"],
        "HTTP" | "TERMINATED_HTTPS" => &["HTTP", "PROXY", "PROXYV2"],
        "HTTPS" => &["HTTPS", "PROXY", "PROXYV2", "TCP"],
        "UDP" => &["UDP"],
        "SCTP" => &["SCTP"],
        _ => &[],
    };
    match valid.contains(&pool) {
        true => Ok(()),
        false => Err(Fault::validation(format!(
            "The pool protocol '{pool}' is invalid while the listener protocol is '{listener}'."
        ))),
    }
}

pub(super) fn no_children() -> Fault {
    Fault::bad_request("Protocol PROMETHEUS listeners cannot have child objects.")
}

fn check_headers(headers: &Object, protocol: &str, new: bool) -> Result<()> {
    if !matches!(protocol, "HTTP" | "TERMINATED_HTTPS") {
        return Err(Fault::option("insert-headers", format_args!("a {protocol} protocol listener.")));
    }
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    if names.iter().any(|n| !HEADERS.contains(n) && !TLS_HEADERS.contains(n)) {
        let shown = python::repr(&json!(names));
        let shown = if new { format!("dict_keys({shown})") } else { shown };
        return Err(Fault::option(shown, "insert_headers"));
    }
    let tls: Vec<&&str> = names.iter().filter(|n| TLS_HEADERS.contains(n)).collect();
    if protocol != "TERMINATED_HTTPS" && !tls.is_empty() {
        return Err(Fault::option(python::repr(&json!(tls)), format_args!("{protocol} protocol listener.")));
    }
    Ok(())
}

fn has_refs(input: &Object) -> bool {
    ["default_tls_container_ref", "client_ca_tls_container_ref", "sni_container_refs"]
        .iter()
        .any(|n| truthy(input, n))
}

fn check_tls(input: &Object, protocol: &str) -> Result<()> {
    if let Some(Value::Object(headers)) = input.get("insert_headers")
        && !headers.is_empty()
    {
        check_headers(headers, protocol, true)?;
    }
    let refs = has_refs(input);
    if matches!(protocol, "UDP" | "SCTP") && (refs || truthy(input, "insert_headers")) {
        return Err(Fault::validation(format_args!("{protocol} protocol listener does not support TLS.")));
    }
    let offloads = protocol == "TERMINATED_HTTPS" || (protocol == "PROMETHEUS" && refs);
    if !offloads && refs {
        return Err(Fault::validation(format_args!(
            "Certificate container references are not allowed on {protocol} protocol listeners."
        )));
    }
    let certificate = truthy(input, "default_tls_container_ref") || truthy(input, "sni_container_refs");
    if offloads && !certificate {
        return Err(Fault::validation(format_args!(
            "An SNI or default certificate container reference must be provided for {protocol} protocol listeners."
        )));
    }
    let authentication = text(input, "client_authentication");
    if authentication != "NONE" && !truthy(input, "client_ca_tls_container_ref") {
        return Err(Fault::validation(format_args!(
            "Client authentication setting {authentication} requires a client CA container reference."
        )));
    }
    if truthy(input, "client_crl_container_ref") && !truthy(input, "client_ca_tls_container_ref") {
        return Err(Fault::validation(
            "A client authentication CA reference is required to specify a client authentication revocation list.",
        ));
    }
    check_refs(input, &["sni_container_refs", "default_tls_container_ref"])
}

/// There is no key manager: no certificate can be retrieved.
pub(super) fn check_refs(input: &Object, names: &[&str]) -> Result<()> {
    let mut refs = Vec::new();
    for name in names {
        match input.get(*name) {
            Some(Value::Array(all)) => refs.extend(all.clone()),
            Some(Value::String(one)) if !one.is_empty() => refs.push(json!(one)),
            _ => {}
        }
    }
    match refs.is_empty() {
        true => Ok(()),
        false => Err(Fault::bad_request(format!(
            "Could not retrieve certificate: {}",
            python::repr(&Value::Array(refs))
        ))),
    }
}

fn check_cidrs(input: &Object, vip: &str) -> Result<()> {
    for cidr in input.get("allowed_cidrs").and_then(Value::as_array).into_iter().flatten() {
        let cidr = cidr.as_str().unwrap_or_default();
        if cidr.contains(':') != vip.contains(':') {
            return Err(Fault::validation(format_args!(
                "CIDR {cidr} IP version incompatible with all VIPs ['{vip}'] IP version."
            )));
        }
    }
    Ok(())
}

fn check_hsts(input: &Object, protocol: &str) -> Result<()> {
    let age = input.get("hsts_max_age").is_some_and(Value::is_number);
    if (truthy(input, "hsts_include_subdomains") || truthy(input, "hsts_preload")) && !age {
        return Err(Fault::validation(
            "HSTS configuration options hsts_include_subdomains and hsts_preload only make sense if hsts_max_age is set as well.",
        ));
    }
    hsts_protocol(age, protocol)
}

fn hsts_protocol(age: bool, protocol: &str) -> Result<()> {
    match age && protocol != "TERMINATED_HTTPS" {
        true => Err(Fault::validation(
            "The HSTS feature can only be used for listeners using the TERMINATED_HTTPS protocol.",
        )),
        false => Ok(()),
    }
}

/// As `_validate_listener_PUT`.
fn check_update(changes: &Object, protocol: &str, vip: &str, age: Option<&Value>) -> Result<()> {
    let refs = has_refs(changes);
    if matches!(protocol, "UDP" | "SCTP") && (refs || truthy(changes, "insert_headers")) {
        return Err(Fault::validation(format_args!(
            "{protocol} protocol listener does not support TLS or header insertion."
        )));
    }
    if refs && !matches!(protocol, "TERMINATED_HTTPS" | "PROMETHEUS") {
        return Err(Fault::validation(format_args!(
            "Certificate container references are not allowed on {protocol} protocol listeners."
        )));
    }
    let authentication = text(changes, "client_authentication");
    if !matches!(authentication, "" | "NONE") {
        return Err(Fault::validation(format_args!(
            "Client authentication setting {authentication} requires a client CA container reference."
        )));
    }
    if let Some(Value::Object(headers)) = changes.get("insert_headers")
        && !headers.is_empty()
    {
        check_headers(headers, protocol, false)?;
    }
    check_refs(changes, &["sni_container_refs", "default_tls_container_ref"])?;
    check_cidrs(changes, vip)?;
    check_lists(changes)?;
    let set = changes.get("hsts_max_age").is_some_and(Value::is_number);
    if (truthy(changes, "hsts_include_subdomains") || truthy(changes, "hsts_preload"))
        && !set
        && age.is_none_or(Value::is_null)
    {
        return Err(Fault::validation(
            "Cannot enable hsts_include_subdomains or hsts_preload if hsts_max_age was not set as well.",
        ));
    }
    hsts_protocol(set, protocol)
}

/// Lists that are given name something, and known versions.
pub(super) fn check_lists(changes: &Object) -> Result<()> {
    let list = |name: &str| changes.get(name).and_then(Value::as_array);
    if let Some(versions) = list("tls_versions") {
        if versions.is_empty() {
            return Err(Fault::validation(
                "Empty TLS version list. Either specify at least one TLS version or remove this parameter to use the default.",
            ));
        }
        let known = ["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
        let odd: Vec<&str> =
            versions.iter().filter_map(Value::as_str).filter(|v| !known.contains(v)).collect();
        if !odd.is_empty() {
            return Err(Fault::validation(format_args!("Invalid TLS versions: {}", odd.join(", "))));
        }
    }
    if list("alpn_protocols").is_some_and(|all| all.is_empty()) {
        return Err(Fault::validation(
            "Empty ALPN protocol list. Either specify at least one ALPN protocol or remove this parameter to use the default.",
        ));
    }
    Ok(())
}
