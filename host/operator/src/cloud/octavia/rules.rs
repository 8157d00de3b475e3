//! The rules of an L7 policy: objects of their own in Octavia, a field of the contract's. One that changes is changed in place.

use isthmus_openstack::octavia::{L7Rule, L7RuleCreate, L7RuleUpdate};
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::cloud::Result;

/// The contract's `l7-rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    field: String,
    compare: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    value: String,
    #[serde(default)]
    invert: bool,
}

/// From the contract's names to Octavia's (`host-name`, `HOST_NAME`), and back.
fn upper(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

fn lower(name: &str) -> String {
    name.replace('_', "-").to_ascii_lowercase()
}

pub(super) fn observed(found: &L7Rule) -> Rule {
    Rule {
        field: lower(&found.kind),
        compare: lower(&found.compare_type),
        key: found.key.clone(),
        value: found.value.clone(),
        invert: found.invert.unwrap_or_default(),
    }
}

pub(super) fn creation(rule: Rule) -> L7RuleCreate {
    L7RuleCreate {
        kind: upper(&rule.field),
        compare_type: upper(&rule.compare),
        key: rule.key,
        value: rule.value,
        invert: rule.invert.then_some(true),
        ..L7RuleCreate::default()
    }
}

/// What to do about the rules of a policy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Steps {
    /// Ids of rules, and what they shall be.
    changed: Vec<(String, Rule)>,
    added: Vec<Rule>,
    /// Ids.
    removed: Vec<String>,
}

/// The fewest writes: equal rules stay, one of the same field is changed, and of the rest as many as can be.
fn steps(current: &[L7Rule], wanted: Vec<Rule>) -> Steps {
    let mut left: Vec<&L7Rule> = current.iter().collect();
    let mut take = |fits: &dyn Fn(&L7Rule) -> bool| {
        let at = left.iter().position(|rule| fits(rule))?;
        Some(left.remove(at))
    };
    let mut todo: Vec<Rule> =
        wanted.into_iter().filter(|rule| take(&|found| observed(found) == *rule).is_none()).collect();
    let mut changed = Vec::new();
    for same_field in [true, false] {
        todo.retain(|rule| {
            let fits = |found: &L7Rule| !same_field || lower(&found.kind) == rule.field;
            let found = take(&fits);
            changed.extend(found.map(|found| (found.id.clone(), rule.clone())));
            found.is_none()
        });
    }
    Steps { changed, added: todo, removed: left.into_iter().map(|rule| rule.id.clone()).collect() }
}

/// Makes the rules of a policy what they shall be.
pub(super) async fn apply(scope: &Scope, owner: &str, policy: &str, wanted: Vec<Rule>) -> Result<()> {
    let mut current: Vec<L7Rule> = scope.octavia.list_in(policy, &[]).await?;
    current.retain(|rule| rule.provisioning_status != "PENDING_DELETE");
    let steps = steps(&current, wanted);
    for (id, rule) in steps.changed {
        let body = L7RuleUpdate {
            kind: Some(upper(&rule.field)),
            compare_type: Some(upper(&rule.compare)),
            key: Some(rule.key),
            value: Some(rule.value),
            invert: Some(rule.invert),
            ..L7RuleUpdate::default()
        };
        let put = || async { Ok(scope.octavia.update_in::<L7Rule>(policy, &id, &body).await.map(drop)?) };
        scope.lanes.change(owner, put).await?;
    }
    for rule in steps.added {
        let body = creation(rule);
        let make = || async { Ok(scope.octavia.create_in::<L7Rule>(policy, &body).await.map(drop)?) };
        scope.lanes.change(owner, make).await?;
    }
    for id in steps.removed {
        let delete = || async { Ok(scope.octavia.delete_in::<L7Rule>(policy, &id).await.map(drop)?) };
        scope.lanes.change(owner, delete).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, field: &str, value: &str) -> L7Rule {
        L7Rule {
            id: id.into(),
            kind: upper(field),
            compare_type: "EQUAL_TO".into(),
            value: value.into(),
            ..L7Rule::default()
        }
    }

    fn rule(field: &str, value: &str) -> Rule {
        let (field, value) = (field.into(), value.into());
        Rule { field, compare: "equal-to".into(), key: None, value, invert: false }
    }

    #[test]
    fn rules_are_changed_by_the_fewest_writes() {
        let current = [found("1", "host-name", "a"), found("2", "path", "/x")];
        let same = steps(&current, vec![rule("path", "/x"), rule("host-name", "a")]);
        assert_eq!(same, Steps::default());
        let path = steps(&current, vec![rule("host-name", "a"), rule("path", "/y")]);
        assert_eq!(path, Steps { changed: vec![("2".into(), rule("path", "/y"))], ..Steps::default() });
        let fewer = steps(&current, vec![rule("host-name", "a")]);
        assert_eq!(fewer, Steps { removed: vec!["2".into()], ..Steps::default() });
        let other = steps(&current, vec![rule("host-name", "a"), rule("header", "/x"), rule("path", "/z")]);
        assert_eq!(other.changed, [("2".into(), rule("path", "/z"))]);
        assert_eq!(other.added, [rule("header", "/x")]);
    }
}
