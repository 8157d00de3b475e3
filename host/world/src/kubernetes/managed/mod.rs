//! Who set which field: `metadata.managedFields`, and server-side apply, which decides by it. After
//! sigs.k8s.io/structured-merge-diff 6.3, whose words are used.

mod apply;
mod compare;
mod merge;
mod set;

pub(crate) use apply::{Applied, apply};

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::registry::Resource;
use super::store::{self, meta};
use set::Set;

/// What a manager is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: String,
    pub(crate) version: String,
    pub(crate) subresource: String,
}

/// What a manager has, and since when.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    fields: Set,
    time: Option<Value>,
}

type Managers = BTreeMap<Manager, Owned>;

/// How many managers that update one object are told apart.
const MOST_UPDATERS: usize = 10;

fn decode(value: &Value) -> Managers {
    let list = meta(value, "managedFields").and_then(Value::as_array).into_iter().flatten();
    let mut managers = Managers::new();
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("operation").is_empty() {
            continue;
        }
        let manager = Manager {
            name: text("manager"),
            operation: text("operation"),
            version: text("apiVersion"),
            subresource: text("subresource"),
        };
        let fields = entry.get("fieldsV1").map(Set::from_json).unwrap_or_default();
        managers.insert(manager, Owned { fields, time: entry.get("time").cloned() });
    }
    managers
}

/// Writes them as the real server orders them: appliers first, then by time and name.
fn encode(value: &mut Value, managers: &Managers) {
    let mut entries: Vec<_> = managers.iter().filter(|(_, owned)| !owned.fields.is_empty()).collect();
    entries.sort_by_key(|(manager, owned)| {
        let time = owned.time.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        // `Apply` is before `Update` in the alphabet too
        (
            manager.operation.clone(),
            time,
            manager.name.clone(),
            manager.version.clone(),
            manager.subresource.clone(),
        )
    });
    let list: Vec<Value> = entries
        .into_iter()
        .map(|(manager, owned)| {
            let mut entry = json!({
                "manager": manager.name, "operation": manager.operation, "apiVersion": manager.version,
                "fieldsType": "FieldsV1", "fieldsV1": owned.fields.to_json(),
            });
            if let Some(map) = entry.as_object_mut() {
                if let Some(time) = &owned.time {
                    map.insert("time".to_owned(), time.clone());
                }
                if !manager.subresource.is_empty() {
                    map.insert("subresource".to_owned(), manager.subresource.clone().into());
                }
            }
            entry
        })
        .collect();
    store::set(value, "managedFields", if list.is_empty() { Value::Null } else { list.into() });
}

/// Fields that are nobody's.
fn strip(fields: &mut Set) {
    for name in ["apiVersion", "kind"] {
        fields.remove(&[name]);
    }
    fields.remove_member(&["metadata"]);
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        fields.remove_member(&["metadata", name]);
    }
}

/// Fields that a request of this kind cannot set.
fn reset(resource: &Resource, subresource: &str, fields: &mut Set) {
    use super::registry::Behaviour as B;
    if !resource.status {
        return;
    }
    match subresource {
        "" | "finalize" => fields.remove(&["status"]),
        _ if resource.is_custom() => {
            for name in ["apiVersion", "kind", "metadata", "spec"] {
                fields.remove(&[name]);
            }
        }
        _ => {
            fields.remove(&["spec"]);
            if resource.behaviour == B::Pod {
                fields.remove(&["metadata", "deletionTimestamp"]);
                fields.remove(&["metadata", "ownerReferences"]);
            }
            if resource.behaviour == B::Crd {
                fields.remove(&["metadata"]);
            }
        }
    }
}

fn without_managed(value: &Value) -> Value {
    let mut value = value.clone();
    store::set(&mut value, "managedFields", Value::Null);
    value
}

/// Tells of a write that was no apply. `old`: none for a new object.
pub(crate) fn update(
    resource: &Resource,
    subresource: &str,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    now: Timestamp,
) {
    let empty = Value::Object(Map::new());
    let live = old.unwrap_or(&empty);
    let mut managers = choose(live, new, !subresource.is_empty());
    if managers.is_empty() && old.is_some() {
        store::set(new, "managedFields", Value::Null);
        return;
    }
    let schema = typed(resource);
    let comparison = compare::compare(&schema, &without_managed(live), &without_managed(new));
    let mut changed = comparison.modified.union(&comparison.added);
    let mut removed = comparison.removed.clone();
    reset(resource, subresource, &mut changed);
    reset(resource, subresource, &mut removed);
    for owned in managers.values_mut() {
        owned.fields = owned.fields.difference(&changed).difference(&removed);
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    strip(&mut changed);
    if !changed.is_empty() {
        let key = Manager {
            name: manager.to_owned(),
            operation: "Update".to_owned(),
            version: resource.api_version(),
            subresource: subresource.to_owned(),
        };
        let fields = match managers.get(&key) {
            Some(previous) => changed.union(&previous.fields),
            None => changed,
        };
        managers.insert(key, Owned { fields, time: Some(super::api::time(now)) });
    }
    cap(&mut managers);
    encode(new, &managers);
}

/// The managers that the request sends, else those there are.
fn choose(live: &Value, new: &Value, subresource: bool) -> Managers {
    if subresource {
        return decode(live);
    }
    if let Some([only]) = meta(new, "managedFields").and_then(Value::as_array).map(Vec::as_slice)
        && only.as_object().is_some_and(Map::is_empty)
    {
        return Managers::new();
    }
    let sent = decode(new);
    if sent.is_empty() { decode(live) } else { sent }
}

/// The oldest updaters become one, `ancient-changes`.
fn cap(managers: &mut Managers) {
    let mut updaters: Vec<_> = managers.iter().filter(|(m, _)| m.operation == "Update").collect();
    if updaters.len() <= MOST_UPDATERS {
        return;
    }
    updaters
        .sort_by_key(|(_, owned)| owned.time.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned());
    let over = updaters.len() - MOST_UPDATERS;
    let oldest: Vec<Manager> = updaters.into_iter().take(over + 1).map(|(m, _)| m.clone()).collect();
    let mut merged: Option<(Manager, Owned)> = None;
    for manager in oldest {
        let Some(owned) = managers.remove(&manager) else { continue };
        merged = Some(match merged {
            None => {
                (Manager { name: "ancient-changes".to_owned(), subresource: String::new(), ..manager }, owned)
            }
            Some((bucket, before)) => {
                (bucket, Owned { fields: before.fields.union(&owned.fields), time: owned.time })
            }
        });
    }
    managers.extend(merged);
}

/// The type that fields are compared by: that of a custom resource knows `metadata` too.
pub(crate) fn typed(resource: &Resource) -> std::sync::Arc<super::schema::Schema> {
    resource.typed.clone()
}

/// Whether two objects are the same but for the times of their managers and the version.
pub(crate) fn same_but_times(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let plain = |v: &Value| {
        let mut v = v.clone();
        store::set(&mut v, "resourceVersion", Value::Null);
        if let Some(list) = v.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
            for entry in list.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
            list.sort_by_key(Value::to_string);
        }
        v
    };
    // what differs mostly differs outside of the metadata
    let content = |v: &Value| v.as_object().map(|m| m.iter().filter(|(k, _)| *k != "metadata").count());
    content(a) == content(b) && plain(a) == plain(b)
}
