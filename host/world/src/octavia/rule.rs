//! L7 rules.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{L7_RULE, POST, PUT};
use super::fault::{Fault, Result};
use super::state::change;
use super::tree::Node;
use super::types::checked;
use super::{Kind, Object, Octavia, not_modelled, provider, stored, text, truthy};
use crate::call::{Call, Reply};

const SHOWN: &[&str] =
    &["type", "compare_type", "key", "value", "invert", "project_id", "admin_state_up", "tags"];
/// Most rules of a policy.
const MOST: usize = 50;

impl Octavia {
    pub(super) fn rules(&mut self, call: &Call<'_>, policy: &str, rest: &[&str]) -> Result<Reply> {
        self.get(Kind::L7Policy, policy).map_err(|_| Fault::no_parent("L7Policy", policy))?;
        self.owned(Kind::L7Policy, policy, &call.caller)?;
        match (call.method.as_str(), rest) {
            ("GET", []) => self.list(call, Kind::L7Rule, |rule| rule.parent == policy),
            ("POST", []) => self.create_rule(call, policy),
            ("GET", [id]) => {
                self.rule(policy, id)?;
                self.show(call, Kind::L7Rule, id)
            }
            ("PUT", [id]) => self.update_rule(call, policy, id),
            ("DELETE", [id]) => {
                self.rule(policy, id)?;
                let (balancer, mut touched) = self.policy_is_mutable(policy)?;
                self.get_mut(Kind::L7Rule, id)?.set("provisioning_status", "PENDING_DELETE");
                touched.push((Kind::L7Rule, (*id).to_owned()));
                self.provision(&balancer, touched);
                Ok(Reply::empty())
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn rule(&self, policy: &str, id: &str) -> Result<&Node> {
        let found = self.get(Kind::L7Rule, id)?;
        if found.parent == policy { Ok(found) } else { Err(Fault::not_found(Kind::L7Rule, id)) }
    }

    /// What a change of a policy's rules touches.
    fn policy_is_mutable(&self, id: &str) -> Result<(String, Vec<(Kind, String)>)> {
        let policy = self.get(Kind::L7Policy, id)?;
        if policy.status() != "ACTIVE" {
            return Err(Fault::immutable("L7Policy", id));
        }
        let listener = self.get(Kind::Listener, &policy.parent)?;
        self.must_be_mutable(&listener.parent)?;
        let touched = vec![(Kind::L7Policy, id.to_owned()), (Kind::Listener, policy.parent.clone())];
        Ok((listener.parent.clone(), touched))
    }

    fn create_rule(&mut self, call: &Call<'_>, policy: &str) -> Result<Reply> {
        let input = checked(&call.body, "rule_", "rule", L7_RULE, POST)?;
        check(&input)?;
        let node = self.get(Kind::L7Policy, policy)?;
        if node.rules.len() >= MOST {
            return Err(Fault::conflict(format!("Too many rules on L7 policy {policy}")));
        }
        let project = node.text("project_id").to_owned();
        self.check_quota(Kind::L7Rule, &project, 1)?;
        let (balancer, mut touched) = self.policy_is_mutable(policy)?;
        let id = self.add_rule(policy, input)?;
        touched.push((Kind::L7Rule, id.clone()));
        self.provision(&balancer, touched);
        self.written(StatusCode::CREATED, Kind::L7Rule, &id)
    }

    pub(super) fn add_rule(&mut self, policy: &str, mut input: Object) -> Result<String> {
        check(&input)?;
        let above = self.get(Kind::L7Policy, policy)?;
        let listener = self.get(Kind::Listener, &above.parent)?;
        provider::layer_7(&self.provider_of(&listener.parent)?, listener.text("protocol"))?;
        input.insert("project_id".to_owned(), json!(above.text("project_id")));
        Ok(self.insert(Kind::L7Rule, policy, stored(&input, SHOWN)))
    }

    fn update_rule(&mut self, call: &Call<'_>, policy: &str, id: &str) -> Result<Reply> {
        let mut changes = checked(&call.body, "l7rule_", "rule", L7_RULE, PUT)?;
        let mut after = self.rule(policy, id)?.object.clone();
        if changes.get("invert").is_some_and(Value::is_null) {
            changes.insert("invert".to_owned(), json!(false));
        }
        after.extend(changes.clone());
        // A change clears it, whatever it changes; a POST with it is taken (`L7RuleRepository.update`).
        if ["HOST_NAME", "PATH", "FILE_TYPE"].contains(&text(&after, "type")) {
            changes.insert("key".to_owned(), Value::Null);
            after.insert("key".to_owned(), Value::Null);
        }
        check(&after)?;
        let (balancer, mut touched) = self.policy_is_mutable(policy)?;
        change(self.get_mut(Kind::L7Rule, id)?, super::normalised(changes));
        touched.push((Kind::L7Rule, id.to_owned()));
        self.provision(&balancer, touched);
        self.written(StatusCode::OK, Kind::L7Rule, id)
    }
}

/// As `validate.l7rule_data`.
fn check(rule: &Object) -> Result<()> {
    let refuse = |message: String| Err(Fault::bad_request(format!("Error parsing L7Rule: {message}")));
    let invalid = |message: &str| refuse(format!("Invalid L7 Rule: {message}"));
    let (kind, compare, value) = (text(rule, "type"), text(rule, "compare_type"), text(rule, "value"));
    if value.is_empty() {
        return invalid("L7 rule type requires a value");
    }
    if matches!(kind, "HEADER" | "COOKIE") {
        if !truthy(rule, "key") {
            return invalid("L7 rule type requires a key");
        }
        if !text(rule, "key").chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+,-.^_`|~".contains(c)) {
            return refuse("Invalid characters in key".to_owned());
        }
    }
    match (kind, compare) {
        ("HEADER" | "COOKIE" | "HOST_NAME" | "PATH" | "FILE_TYPE", "REGEX") => Ok(()),
        ("FILE_TYPE", "STARTS_WITH" | "ENDS_WITH" | "CONTAINS") => {
            invalid("invalid comparison type for rule type")
        }
        ("COOKIE", _) if !plain(value, &[' ', '"', ',', ';', '\\']) => {
            refuse("Invalid characters in cookie value".to_owned())
        }
        ("HEADER", _) if !header_value(value) => refuse("Invalid characters in header value".to_owned()),
        ("HOST_NAME" | "PATH" | "FILE_TYPE", _) if !header_value(value) => {
            refuse("Invalid characters in comparison value".to_owned())
        }
        ("SSL_CONN_HAS_CERT" | "SSL_VERIFY_RESULT" | "SSL_DN_FIELD", _) => {
            Err(Fault::not_modelled("L7 rules about client certificates"))
        }
        _ => Ok(()),
    }
}

fn plain(text: &str, but: &[char]) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() && !but.contains(&c))
}

/// Visible characters; with blanks only in double quotes.
fn header_value(text: &str) -> bool {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    plain(text, &[]) || (quoted && text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\t'))
}
