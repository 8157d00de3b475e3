//! Tags: `/v2.0/KIND/ID/tags`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, not_modelled, valid};
use crate::call::{Call, Reply};

impl Neutron {
    pub(super) fn tags(&mut self, call: &Call<'_>, kind: Kind, id: &str, rest: &[&str]) -> Result<Reply> {
        let missing = || {
            let message = format!("Resource {} {id} could not be found.", kind.singular());
            Fault::missing("TagResourceNotFound", message)
        };
        let object = self.visible(kind, id, &call.caller).map_err(|_| missing())?;
        let held = object.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
        let method = call.method.as_str();
        if method != "GET" {
            self.writable(kind, id, &call.caller, "update")?;
        }
        let not_tagged = |tag: &str| Fault::missing("TagNotFound", format!("Tag {tag} could not be found."));
        match (method, rest) {
            ("GET", []) => {
                let mut sorted: Vec<&str> = held.iter().filter_map(Value::as_str).collect();
                sorted.sort_unstable();
                Ok(Reply::ok(json!({"tags": sorted})))
            }
            ("PUT", []) => {
                let tags = asked(&call.body)?;
                self.set(kind, id, "tags", json!(tags))?;
                Ok(Reply::ok(json!({"tags": tags})))
            }
            ("POST", []) => {
                let tags = asked(&call.body)?;
                let mut all = held;
                for tag in &tags {
                    if !all.contains(tag) {
                        all.push(tag.clone());
                    }
                }
                self.set(kind, id, "tags", Value::Array(all))?;
                Ok(Reply::ok(json!({"tags": tags})))
            }
            ("DELETE", []) => {
                self.set(kind, id, "tags", json!([]))?;
                Ok(Reply::empty())
            }
            ("GET", [tag]) => match held.iter().any(|t| t == tag) {
                true => Ok(Reply::empty()),
                false => Err(not_tagged(tag)),
            },
            ("PUT", [tag]) => {
                let mut all = held;
                if !all.iter().any(|t| t == tag) {
                    all.push(json!(tag));
                }
                self.set(kind, id, "tags", Value::Array(all))?;
                Ok(Reply::new(StatusCode::CREATED, Value::Null))
            }
            ("DELETE", [tag]) => {
                let rest: Vec<Value> = held.iter().filter(|t| *t != tag).cloned().collect();
                if rest.len() == held.len() {
                    return Err(not_tagged(tag));
                }
                self.set(kind, id, "tags", Value::Array(rest))?;
                Ok(Reply::empty())
            }
            _ => Err(not_modelled(call)),
        }
    }
}

fn asked(body: &Value) -> Result<Vec<Value>> {
    let tags = body.get("tags").ok_or_else(|| Fault::input("Invalid tags body"))?;
    valid::list(tags, valid::tag).map_err(Fault::input)?;
    Ok(tags.as_array().cloned().unwrap_or_default())
}
