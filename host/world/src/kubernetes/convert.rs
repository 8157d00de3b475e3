//! Events have two forms, `v1` and `events.k8s.io/v1`; `v1` is the one that is stored. A custom resource of several versions
//! differs in `apiVersion` alone (conversion `None`); what is left of an older schema is pruned.

use serde_json::Value;

use super::registry::{Behaviour, Resource};
use super::schema;

/// `events.k8s.io/v1` and `v1`.
const FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Whether what is stored is not what is sent.
pub(crate) fn differs(resource: &Resource, stored: &Value) -> bool {
    resource.behaviour == Behaviour::NewEvent
        || resource.is_custom()
            && (resource.changed
                || stored.get("apiVersion").and_then(Value::as_str) != Some(&*resource.api_version()))
}

/// From the form of a resource to the stored one.
pub(crate) fn to_storage(resource: &Resource, value: &mut Value) {
    if resource.behaviour == Behaviour::NewEvent {
        rename(value, |(new, old)| (new, old));
        set_version(value, "v1");
        // as Go writes them: these are never left out
        if let Some(map) = value.as_object_mut() {
            for key in ["source", "involvedObject"] {
                map.entry(key).or_insert_with(|| Value::Object(serde_json::Map::new()));
            }
            for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
                map.entry(key).or_insert(Value::Null);
            }
            for key in ["reportingComponent", "reportingInstance"] {
                map.entry(key).or_insert_with(|| Value::from(""));
            }
        }
    } else if resource.is_custom() {
        set_version(value, &format!("{}/{}", resource.group, resource.storage_version));
    }
}

/// From the stored form to that of a resource.
pub(crate) fn from_storage(resource: &Resource, value: &mut Value) {
    if resource.behaviour == Behaviour::NewEvent {
        rename(value, |(new, old)| (old, new));
        if let Some(map) = value.as_object_mut() {
            for key in ["reportingController", "reportingInstance"] {
                if map.get(key).and_then(Value::as_str) == Some("") {
                    map.remove(key);
                }
            }
        }
    }
    set_version(value, &resource.api_version());
    if resource.changed {
        schema::prune(&resource.schema, value, "", true, &mut schema::Unknown::new());
        schema::default(&resource.schema, value);
    }
}

fn set_version(value: &mut Value, version: &str) {
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), version.into());
    }
}

fn rename(value: &mut Value, way: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(map) = value.as_object_mut() else { return };
    for pair in FIELDS {
        let (from, to) = way(pair);
        if let Some(field) = map.remove(from) {
            map.insert(to.to_owned(), field);
        }
    }
}
