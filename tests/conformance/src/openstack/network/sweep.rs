//! Taking away what was made.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::compare::ids;
use super::super::side::{Cloud, Request, Who};
use super::{COLLECTIONS, request};

fn administer(method: &'static str, path: String, body: Value) -> Request {
    Request { who: Who::Admin, ..request(method, path, body) }
}

/// Takes away what is named after this crate, and what hangs on it; the answer says what stays, and why.
///
/// # Errors
/// A request gets no answer.
pub(in crate::openstack) async fn sweep(cloud: &Cloud) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let list = async |path: String| {
        let found = cloud.send(&administer("GET", path, Value::Null)).await?;
        let all = found.body.as_object().and_then(|o| o.values().next()).and_then(Value::as_array).cloned();
        anyhow::Ok(all.unwrap_or_default())
    };
    for kind in COLLECTIONS {
        let mut asked = Vec::new();
        if kind == "floatingips" {
            // They have no name: those of our networks.
            let networks = cloud.send(&administer("GET", "/networks".to_owned(), Value::Null)).await?;
            for network in ids(&networks.body, "networks") {
                let found = list(format!("/floatingips?floating_network_id={network}&fields=id")).await?;
                asked.extend(
                    found.iter().filter_map(|ip| Some(("floatingips", ip.get("id")?.as_str()?.to_owned()))),
                );
            }
        } else {
            let found = cloud.send(&administer("GET", format!("/{kind}"), Value::Null)).await?;
            asked.extend(ids(&found.body, &kind.replace('-', "_")).into_iter().map(|id| (kind, id)));
        }
        for (kind, id) in asked {
            if kind == "routers" {
                let query = format!("/ports?device_id={id}&device_owner=network:router_interface&fields=id");
                for port in list(query).await? {
                    let path = format!("/routers/{id}/remove_router_interface");
                    let body = json!({"port_id": port.get("id")});
                    cloud.send(&administer("PUT", path, body)).await?;
                }
            }
            let gone = cloud.send(&administer("DELETE", format!("/{kind}/{id}"), Value::Null)).await?;
            if gone.status >= 300 && gone.status != 404 {
                left.push(format!("{kind} {id}: {} {}", gone.status, gone.body));
            }
        }
    }
    Ok(left)
}
