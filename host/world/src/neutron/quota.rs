//! Quotas.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::valid::Check;
use super::{Kind, Neutron, Object, not_modelled, part};
use crate::call::{Call, Reply};

/// Quotas of what is not modelled, which are shown too.
const OTHERS: [&str; 1] = ["rbac_policy"];

impl Neutron {
    pub(super) fn quotas(&mut self, call: &Call<'_>, rest: &[&str]) -> Result<Reply> {
        let own = |project: &str| match call.caller.admin || project == call.caller.project {
            true => Ok(()),
            false => {
                let message = "User does not have admin privileges: Only admin is authorized to access quotas for another project.";
                Err(Fault::new(StatusCode::FORBIDDEN, "AdminRequired", message))
            }
        };
        match (call.method.as_str(), rest) {
            ("GET", [project]) => {
                own(project)?;
                Ok(Reply::ok(json!({"quota": self.limits(project)})))
            }
            ("GET", [project, "details"]) => {
                own(project)?;
                Ok(Reply::ok(json!({"quota": self.details(project)})))
            }
            ("GET", [project, "default"]) => {
                own(project)?;
                Ok(Reply::ok(json!({"quota": self.limits("")})))
            }
            ("PUT", [project]) if call.caller.admin => {
                let asked = part(&call.body, "quota")?.as_object().cloned().unwrap_or_default();
                for (name, limit) in checked(asked)? {
                    self.quotas.insert(((*project).to_owned(), name), limit);
                }
                Ok(Reply::ok(json!({"quota": self.limits(project)})))
            }
            ("DELETE", [project]) if call.caller.admin => {
                let before = self.quotas.len();
                self.quotas.retain(|(of, _), _| of != project);
                match self.quotas.len() == before {
                    true => Err(Fault::missing(
                        "TenantQuotaNotFound",
                        format!("Quota for project {project} could not be found."),
                    )),
                    false => Ok(Reply::empty()),
                }
            }
            ("PUT", [_]) => Err(Fault::forbidden("rule:update_quota")),
            ("DELETE", [_]) => Err(Fault::forbidden("rule:delete_quota")),
            _ => Err(not_modelled(call)),
        }
    }

    fn limit(&self, project: &str, name: &str) -> i64 {
        self.quotas.get(&(project.to_owned(), name.to_owned())).copied().unwrap_or(-1)
    }

    fn limits(&self, project: &str) -> BTreeMap<&'static str, i64> {
        names().map(|name| (name, self.limit(project, name))).collect()
    }

    fn details(&self, project: &str) -> BTreeMap<&'static str, Value> {
        let used = |name: &str| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.singular() == name);
            kind.map_or(0, |kind| self.index.used(project, kind))
        };
        let detail =
            |name: &str| json!({"limit": self.limit(project, name), "used": used(name), "reserved": 0});
        names().map(|name| (name, detail(name))).collect()
    }

    pub(super) fn check_quota(&self, kind: Kind, project: &str) -> Result<()> {
        if self.quotas.is_empty() {
            return Ok(());
        }
        match usize::try_from(self.limit(project, kind.singular())) {
            Ok(limit) if self.index.used(project, kind) >= limit => Err(Fault::over_quota(kind)),
            _ => Ok(()),
        }
    }
}

/// Limits by name.
fn checked(asked: Object) -> Result<Vec<(String, i64)>> {
    let odd: Vec<&str> =
        asked.keys().map(String::as_str).filter(|name| !names().any(|known| known == *name)).collect();
    if !odd.is_empty() {
        return Err(Fault::bad_request(format!("Unrecognized attribute(s) '{}'", odd.join(", "))));
    }
    let limit = |(name, limit): (String, Value)| {
        let limit = Check::Int(-1, i64::from(i32::MAX)).apply(&name, &limit)?;
        Ok((name, limit.as_i64().unwrap_or_default()))
    };
    asked.into_iter().map(limit).collect()
}

fn names() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::singular).chain(OTHERS)
}
