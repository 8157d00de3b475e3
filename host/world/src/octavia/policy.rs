//! L7 policies.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{L7_POLICY, LAST_POSITION, POST, PUT};
use super::fault::{Fault, Result};
use super::listener::{check_protocol, no_children};
use super::state::change;
use super::types::checked;
use super::{Kind, Object, Octavia, may, normalised, provider, stored, text, truthy};
use crate::call::{Call, Reply};

const SHOWN: &[&str] = &[
    "name",
    "description",
    "admin_state_up",
    "project_id",
    "action",
    "listener_id",
    "redirect_pool_id",
    "redirect_url",
    "redirect_prefix",
    "tags",
    "redirect_http_code",
];

impl Octavia {
    pub(super) fn create_policy(&mut self, call: &Call<'_>) -> Result<Reply> {
        let input = checked(&call.body, "l7policy_", "l7policy", L7_POLICY, POST)?;
        let listener = text(&input, "listener_id").to_owned();
        let node = self.get(Kind::Listener, &listener)?;
        let (balancer, project) = (node.parent.clone(), node.text("project_id").to_owned());
        may(&call.caller, &project)?;
        self.check_pool(&listener, text(&input, "redirect_pool_id"))?;
        if node.text("protocol") == "PROMETHEUS" {
            return Err(no_children());
        }
        self.check_quota(Kind::L7Policy, &project, 1)?;
        let input = sanitized(input, true)?;
        self.must_be_mutable(&balancer)?;
        if truthy(&input, "rules") {
            return Err(Fault::not_modelled("a policy that is made with its rules"));
        }
        let id = self.add_policy(&listener, input)?;
        self.provision(&balancer, vec![(Kind::L7Policy, id.clone()), (Kind::Listener, listener)]);
        self.written(StatusCode::CREATED, Kind::L7Policy, &id)
    }

    /// The pool exists, speaks what the listener does, and is in the same load balancer (which is looked at last).
    fn check_pool(&self, listener: &str, pool: &str) -> Result<()> {
        if pool.is_empty() {
            return Ok(());
        }
        let pool = self.get(Kind::Pool, pool)?;
        check_protocol(self.get(Kind::Listener, listener)?.text("protocol"), pool.text("protocol"))
    }

    fn add_policy(&mut self, listener: &str, mut input: Object) -> Result<String> {
        let above = self.get(Kind::Listener, listener)?;
        let pool = text(&input, "redirect_pool_id");
        if !pool.is_empty() && self.get(Kind::Pool, pool)?.parent != above.parent {
            return Err(Fault::not_found(Kind::Pool, pool));
        }
        provider::layer_7(&self.provider_of(&above.parent)?)?;
        let position = input.get("position").and_then(Value::as_i64).unwrap_or(LAST_POSITION);
        input.insert("project_id".to_owned(), json!(above.text("project_id")));
        input.insert("listener_id".to_owned(), json!(listener));
        let mut object = stored(&input, SHOWN);
        object.insert("position".to_owned(), json!(above.policies.len() + 1));
        let last = usize::try_from(position).is_ok_and(|position| position > above.policies.len());
        let id = self.insert(Kind::L7Policy, listener, object);
        if !last {
            self.place(&id, position);
        }
        Ok(id)
    }

    /// A policy of a load balancer that is made at once.
    pub(super) fn add_policy_with_rules(&mut self, listener: &str, input: Object) -> Result<()> {
        self.check_pool(listener, text(&input, "redirect_pool_id"))?;
        let mut input = sanitized(input, true)?;
        let rules = match input.remove("rules") {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let id = self.add_policy(listener, input)?;
        for rule in rules {
            if let Value::Object(rule) = rule {
                self.add_rule(&id, rule)?;
            }
        }
        Ok(())
    }

    pub(super) fn update_policy(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let input = checked(&call.body, "l7policy_", "l7policy", L7_POLICY, PUT)?;
        let node = self.owned(Kind::L7Policy, id, &call.caller)?;
        let (listener, before) = (node.parent.clone(), node.text("redirect_pool_id").to_owned());
        let current = node.object.get("position").cloned().unwrap_or_default();
        let mut changes = sanitized(input, false)?;
        self.check_pool(&listener, text(&changes, "redirect_pool_id"))?;
        let balancer = self.get(Kind::Listener, &listener)?.parent.clone();
        self.must_be_mutable(&balancer)?;
        let pool = text(&changes, "redirect_pool_id");
        if !pool.is_empty() && self.get(Kind::Pool, pool)?.parent != balancer {
            return Err(Fault::not_found(Kind::Pool, pool));
        }
        clear_others(&mut changes);
        let position =
            changes.remove("position").filter(|position| !position.is_null() && *position != current);
        if changes.contains_key("redirect_pool_id") {
            self.relink(Kind::L7Policy, id, &before, text(&changes, "redirect_pool_id"));
        }
        change(self.get_mut(Kind::L7Policy, id)?, normalised(changes));
        if let Some(position) = position.as_ref().and_then(Value::as_i64) {
            self.place(id, position);
        }
        self.provision(&balancer, vec![(Kind::L7Policy, id.to_owned()), (Kind::Listener, listener)]);
        self.written(StatusCode::OK, Kind::L7Policy, id)
    }

    pub(super) fn delete_policy(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let listener = self.owned(Kind::L7Policy, id, &call.caller)?.parent.clone();
        let balancer = self.get(Kind::Listener, &listener)?.parent.clone();
        self.must_be_mutable(&balancer)?;
        self.get_mut(Kind::L7Policy, id)?.set("provisioning_status", "PENDING_DELETE");
        self.provision(&balancer, vec![(Kind::L7Policy, id.to_owned()), (Kind::Listener, listener)]);
        Ok(Reply::empty())
    }
}

/// As `sanitize_l7policy_api_args`: what an action needs is there, what it does not is cleared.
fn sanitized(mut policy: Object, new: bool) -> Result<Object> {
    let refuse = |message: &str| Err(Fault::bad_request(format!("Invalid L7 Policy arguments: {message}")));
    if let Some(action) = policy.get("action").cloned() {
        match action.as_str().unwrap_or("None") {
            "REJECT" => clear(&mut policy, &["redirect_url", "redirect_pool_id"]),
            "REDIRECT_TO_URL" if !truthy(&policy, "redirect_url") => {
                return refuse("redirect_url must not be None");
            }
            "REDIRECT_TO_URL" => clear(&mut policy, &["redirect_pool_id"]),
            "REDIRECT_TO_POOL" if !truthy(&policy, "redirect_pool_id") => {
                return refuse("redirect_pool_id or redirect_pool must not be None");
            }
            "REDIRECT_TO_POOL" => clear(&mut policy, &["redirect_url"]),
            "REDIRECT_PREFIX" if !truthy(&policy, "redirect_prefix") => {
                return refuse("redirect_prefix must not be None");
            }
            "REDIRECT_PREFIX" => {}
            other => return Err(Fault::bad_request(format!("Invalid L7 Policy action specified: {other}"))),
        }
    }
    let (pool, url, prefix) = (
        truthy(&policy, "redirect_pool_id"),
        truthy(&policy, "redirect_url"),
        truthy(&policy, "redirect_prefix"),
    );
    if pool && (url || prefix) {
        return refuse(
            "Cannot specify redirect_pool_id and redirect_url or redirect_prefix at the same time",
        );
    }
    let mut becomes = |action: &str, cleared: &[&str]| {
        policy.insert("action".to_owned(), json!(action));
        clear(&mut policy, cleared);
    };
    if pool {
        becomes("REDIRECT_TO_POOL", &["redirect_url", "redirect_prefix", "redirect_http_code"]);
    }
    if url {
        becomes("REDIRECT_TO_URL", &["redirect_pool_id", "redirect_prefix"]);
    }
    if prefix && truthy(&policy, "redirect_prefix") {
        policy.insert("action".to_owned(), json!("REDIRECT_PREFIX"));
        clear(&mut policy, &["redirect_pool_id", "redirect_url"]);
    }
    if (url || prefix) && !truthy(&policy, "redirect_http_code") {
        policy.insert("redirect_http_code".to_owned(), json!(302));
    }
    if !new && policy.is_empty() {
        return refuse("Invalid update options");
    }
    Ok(policy)
}

/// What another action needs, the repository clears when it writes a change.
fn clear_others(changes: &mut Object) {
    match text(changes, "action").to_owned().as_str() {
        "REJECT" => {
            clear(changes, &["redirect_url", "redirect_pool_id", "redirect_prefix", "redirect_http_code"])
        }
        "REDIRECT_TO_URL" => clear(changes, &["redirect_pool_id", "redirect_prefix"]),
        "REDIRECT_TO_POOL" => clear(changes, &["redirect_url", "redirect_prefix", "redirect_http_code"]),
        "REDIRECT_PREFIX" => clear(changes, &["redirect_url", "redirect_pool_id"]),
        _ => {}
    }
}

fn clear(policy: &mut Object, names: &[&str]) {
    for name in names {
        policy.insert((*name).to_owned(), Value::Null);
    }
}
