//! Pruning and defaulting of custom resources (structural schemas).

use serde_json::{Map, Value};

use super::{Schema, Type, Unknown};

/// Drops what the schema does not name. `root`: `apiVersion`, `kind` and `metadata` are known without being named.
pub(crate) fn prune(schema: &Schema, value: &mut Value, path: &str, root: bool, unknown: &mut Unknown) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                if root && matches!(&**key, "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match schema.property(key) {
                    Some(inner) => prune(inner, value, &below, false, unknown),
                    None if schema.preserve => {}
                    None => {
                        unknown.push(below);
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(list) => {
            for (i, item) in list.iter_mut().enumerate() {
                if let Some(items) = &schema.items {
                    prune(items, item, &format!("{path}[{i}]"), false, unknown);
                }
            }
        }
        _ => {}
    }
}

/// Takes away nulls where the schema allows none, and has no default in their place.
pub(crate) fn prune_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                !value.is_null()
                    || schema.property(key).is_none_or(|inner| {
                        inner.nullable || inner.kind == Type::Any || inner.default.is_some()
                    })
            });
            for (key, value) in map.iter_mut() {
                if let Some(inner) = schema.property(key) {
                    prune_nulls(inner, value);
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                if let Some(items) = &schema.items {
                    prune_nulls(items, item);
                }
            }
        }
        _ => {}
    }
}

/// Puts in the defaults; a null where the schema allows none counts as absent.
pub(crate) fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            fill(schema, map);
            for (key, value) in map.iter_mut() {
                if let Some(inner) = schema.property(key) {
                    default(inner, value);
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                if let Some(items) = &schema.items {
                    default(items, item);
                }
            }
        }
        _ => {}
    }
}

fn fill(schema: &Schema, map: &mut Map<String, Value>) {
    for (name, field) in &schema.properties {
        let Some(wanted) = &field.schema.default else { continue };
        let absent = map.get(name).is_none_or(|v| v.is_null() && !field.schema.nullable);
        if absent {
            map.insert(name.clone(), wanted.clone());
        }
    }
}
