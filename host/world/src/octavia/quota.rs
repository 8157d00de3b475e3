//! Quotas.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{PUT, QUOTA};
use super::fault::{Fault, Result};
use super::types::checked;
use super::{Kind, Object, Octavia, may, not_modelled};
use crate::call::{Call, Reply};

/// Names in a body; some have an old spelling too.
const NAMES: [&str; 7] =
    ["loadbalancer", "listener", "member", "pool", "healthmonitor", "l7policy", "l7rule"];
const OLD: [(&str, &str); 2] = [("load_balancer", "loadbalancer"), ("health_monitor", "healthmonitor")];

fn name(kind: Kind) -> &'static str {
    if kind == Kind::L7Rule { "l7rule" } else { kind.singular() }
}

impl Octavia {
    pub(super) fn quotas(&mut self, call: &Call<'_>, rest: &[&str]) -> Result<Reply> {
        match (call.method.as_str(), rest) {
            ("GET", [project]) => {
                may(&call.caller, project)?;
                Ok(Reply::ok(json!({"quota": self.quota(project, project)})))
            }
            ("GET", [project, "default"]) => {
                may(&call.caller, project)?;
                Ok(Reply::ok(json!({"quota": self.quota("", project)})))
            }
            ("GET", []) => {
                let projects = self.quotas.keys().filter(|p| may(&call.caller, p).is_ok());
                let all: Value = projects.map(|p| self.quota(p, p)).collect();
                Ok(Reply::ok(json!({"quotas": all, "quotas_links": []})))
            }
            ("PUT", [project]) if call.caller.admin => {
                let changes = checked(&call.body, "quotas", "quota", QUOTA, PUT)?;
                let held = self.quotas.entry((*project).to_owned()).or_default();
                for (key, value) in &changes {
                    let key = OLD.iter().find(|(old, _)| old == key).map_or(key.as_str(), |(_, new)| new);
                    if let (Some(known), Some(limit)) = (NAMES.iter().find(|n| **n == key), value.as_i64()) {
                        held.insert(known, limit);
                    }
                }
                Ok(Reply::new(StatusCode::ACCEPTED, json!({"quota": self.quota(project, project)})))
            }
            ("DELETE", [project]) if call.caller.admin => {
                self.quotas.remove(*project);
                Ok(Reply::new(StatusCode::ACCEPTED, Value::Null))
            }
            ("PUT" | "DELETE", [_]) => Err(Fault::forbidden()),
            _ => Err(not_modelled(call)),
        }
    }

    /// The limits of a project, those of nobody being the defaults, as those of a project.
    fn quota(&self, of: &str, project: &str) -> Object {
        let held = self.quotas.get(of);
        let limit = |name: &str| held.and_then(|held| held.get(name)).copied().unwrap_or(-1);
        let mut shown: Object = NAMES.iter().map(|name| ((*name).to_owned(), json!(limit(name)))).collect();
        shown.extend(OLD.iter().map(|(old, new)| ((*old).to_owned(), json!(limit(new)))));
        shown.extend(["project_id", "tenant_id"].map(|name| (name.to_owned(), json!(project))));
        shown
    }

    /// Refuses what would be more than a project may have.
    pub(super) fn check_quota(&self, kind: Kind, project: &str, more: usize) -> Result<()> {
        let limit = self.quotas.get(project).and_then(|held| held.get(name(kind))).copied().unwrap_or(-1);
        let Ok(limit) = usize::try_from(limit) else { return Ok(()) };
        let used = self.all(kind).filter(|node| node.text("project_id") == project).count();
        if more > 0 && used + more > limit { Err(Fault::quota(kind)) } else { Ok(()) }
    }
}
