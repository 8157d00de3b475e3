//! Minor versions: an Octavia can be played that is older. What came later it does not know: an attribute is refused in a body, as
//! any unknown one, and left out of what is shown; a filter by tags is refused. Values that came later (`SCTP`) are not looked at.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use crate::call::{Call, Reply};

/// The newest one.
pub(crate) const NEWEST: u32 = 30;

/// The minor version that an attribute came with.
fn since(attribute: &str) -> u32 {
    match attribute {
        "backup"
        | "timeout_client_data"
        | "timeout_member_connect"
        | "timeout_member_data"
        | "timeout_tcp_inspect" => 1,
        "tags" => 5,
        "flavor_id" => 6,
        "client_ca_tls_container_ref"
        | "client_authentication"
        | "client_crl_container_ref"
        | "tls_enabled"
        | "tls_container_ref"
        | "ca_tls_container_ref"
        | "crl_container_ref" => 8,
        "redirect_http_code" => 9,
        "domain_name" | "http_version" => 10,
        "allowed_cidrs" => 12,
        "availability_zone" => 14,
        "tls_ciphers" => 15,
        "tls_versions" => 17,
        "alpn_protocols" => 20,
        "additional_vips" => 26,
        "vip_sg_ids" => 29,
        _ => 0,
    }
}

/// Refuses what came after this version.
pub(super) fn check(call: &Call<'_>, minor: u32) -> Result<()> {
    if minor < since("tags") && call.query.iter().any(|(key, _)| key.split('-').any(|part| part == "tags")) {
        return Err(Fault::bad_request("One or more arguments are either duplicate or invalid"));
    }
    match later(&call.body, minor) {
        Some(name) => Err(Fault::bad_request(format!("Unknown attribute for argument: {name}"))),
        None => Ok(()),
    }
}

/// An attribute in here that came after this version.
fn later(value: &Value, minor: u32) -> Option<&str> {
    match value {
        Value::Object(all) => {
            let own = all.keys().map(String::as_str).find(|name| since(name) > minor);
            own.or_else(|| all.values().find_map(|value| later(value, minor)))
        }
        Value::Array(all) => all.iter().find_map(|value| later(value, minor)),
        _ => None,
    }
}

/// An answer as one of this version gives it.
pub(super) fn cut(mut reply: Reply, minor: u32) -> Reply {
    without_later(&mut reply.body, minor);
    reply
}

fn without_later(value: &mut Value, minor: u32) {
    match value {
        Value::Object(all) => {
            all.retain(|name, _| since(name) <= minor);
            all.values_mut().for_each(|value| without_later(value, minor));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| without_later(value, minor)),
        _ => {}
    }
}

/// The document that says which versions there are: it needs no token.
pub(crate) fn document(url: &str, path: &str, newest: u32) -> Option<Reply> {
    let one = |minor: u32| {
        let status = if minor == newest { "CURRENT" } else { "SUPPORTED" };
        json!({"id": format!("v2.{minor}"), "status": status, "updated": "2025-02-26T00:00:00Z",
               "links": [{"href": format!("{url}/load-balancer/v2"), "rel": "self"}]})
    };
    path.is_empty().then(|| Reply::ok(json!({"versions": (0..=newest).map(one).collect::<Vec<_>>()})))
}
