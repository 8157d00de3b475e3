//! Server-side apply.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::compare::{compare, fields};
use super::merge::{merge, remove};
use super::set::Set;
use super::{Manager, Managers, Owned, decode, encode, reset, strip, typed, without_managed};
use crate::kubernetes::registry::Resource;
use crate::kubernetes::schema::Schema;
use crate::kubernetes::status::Status;

/// Who applies, and how.
pub(crate) struct Applied<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: &'a str,
    pub(crate) manager: &'a str,
    pub(crate) force: bool,
    pub(crate) now: Timestamp,
}

/// The object that an apply makes of the live one, with its managers.
///
/// # Errors
/// Fields are somebody else's: 409, with a cause for each.
pub(crate) fn apply(of: &Applied<'_>, live: Option<&Value>, applied: &Value) -> Result<Value, Status> {
    let schema = typed(of.resource);
    let schema: &Schema = &schema;
    let empty = Value::Object(Map::new());
    let mut managers = live.map(decode).unwrap_or_default();
    let live = without_managed(live.unwrap_or(&empty));
    if managers.is_empty() && live != empty {
        // What was there before anybody was told of.
        let mut all = compare(schema, &empty, &live).added;
        reset(of.resource, of.subresource, &mut all);
        strip(&mut all);
        let before = Manager {
            name: "before-first-apply".to_owned(),
            operation: "Update".to_owned(),
            version: of.resource.api_version(),
            subresource: String::new(),
        };
        managers.insert(before, Owned { fields: all, time: Some(crate::kubernetes::api::time(of.now)) });
    }
    let me = Manager {
        name: of.manager.to_owned(),
        operation: "Apply".to_owned(),
        version: of.resource.api_version(),
        subresource: of.subresource.to_owned(),
    };
    let merged = merge(Some(schema), &live, applied);
    let mut mine = fields(Some(schema), applied);
    reset(of.resource, of.subresource, &mut mine);
    let last = managers.insert(me.clone(), Owned { fields: mine, time: None });
    let new = prune(schema, &merged, &managers, last.as_ref());
    let conflicts = take_over(of, schema, &live, &new, &mut managers, &me);
    if !conflicts.is_empty() && !of.force {
        return Err(conflict(&conflicts));
    }
    let same = live == new;
    if let Some(owned) = managers.get_mut(&me) {
        strip(&mut owned.fields);
        let before = last.as_ref().and_then(|l| l.time.clone());
        owned.time = if same { before } else { None }.or_else(|| Some(crate::kubernetes::api::time(of.now)));
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    let mut new = new;
    encode(&mut new, &managers);
    Ok(new)
}

/// Fields that this manager applied before, does not apply now, and that nobody else has, go.
fn prune(schema: &Schema, merged: &Value, managers: &Managers, last: Option<&Owned>) -> Value {
    let Some(last) = last.map(|l| l.fields.with_named(Some(schema))).filter(|l| !l.is_empty()) else {
        return merged.clone();
    };
    let named = |value: &Value| fields(Some(schema), value).with_named(Some(schema));
    let all = named(merged);
    let pruned = remove(Some(schema), merged, &last);
    let owned =
        managers.values().fold(Set::default(), |sum, m| sum.union(&m.fields)).with_named(Some(schema));
    let pruned = remove(Some(schema), merged, &all.difference(&named(&pruned).union(&owned)));
    remove(Some(schema), merged, &all.difference(&named(&pruned)).intersection(&last))
}

/// What others have of what changes: theirs no longer. Those that clash are returned.
fn take_over(
    of: &Applied<'_>,
    schema: &Schema,
    live: &Value,
    new: &Value,
    managers: &mut Managers,
    me: &Manager,
) -> Vec<(Manager, Set)> {
    let comparison = compare(schema, live, new);
    let (mut changed, mut removed) = (comparison.modified.union(&comparison.added), comparison.removed);
    reset(of.resource, of.subresource, &mut changed);
    reset(of.resource, of.subresource, &mut removed);
    let mut conflicts = Vec::new();
    for (manager, owned) in managers.iter_mut().filter(|(m, _)| *m != me) {
        let clash = owned.fields.intersection(&changed);
        if !clash.is_empty() {
            conflicts.push((manager.clone(), clash));
        }
        owned.fields = owned.fields.difference(&changed).difference(&removed);
    }
    conflicts
}

fn conflict(conflicts: &[(Manager, Set)]) -> Status {
    let mut causes = Vec::new();
    for (manager, fields) in conflicts {
        for path in fields.paths() {
            causes.push((named(manager), path));
        }
    }
    causes.sort();
    let count = causes.len();
    let message = match &*causes {
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut lines = Vec::new();
            let mut last = None;
            for (manager, path) in many {
                if last != Some(manager) {
                    lines.push(format!("conflicts with {manager}:"));
                }
                last = Some(manager);
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let mut status = Status::bad_request(message);
    status.code = 409;
    status.reason = "Conflict";
    let texts: Vec<_> = causes.iter().map(|(m, path)| (format!("conflict with {m}"), path.clone())).collect();
    status.causes(texts.iter().map(|(message, path)| ("FieldManagerConflict", &**message, &**path)));
    status
}

fn named(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == "Update" {
        text.push_str(&format!(" using {}", manager.version));
    }
    text
}
