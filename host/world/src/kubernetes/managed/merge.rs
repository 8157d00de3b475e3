//! Merging what is applied into what is there, and taking fields away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::compare::{Shape, element, shape};
use super::set::Set;
use crate::kubernetes::schema::{ListType, Schema};

/// The live value with the applied one in it. Lists keep the applied order; what is only live stays between.
pub(super) fn merge(schema: Option<&Schema>, live: &Value, applied: &Value) -> Value {
    match (shape(schema, live), shape(schema, applied)) {
        (Shape::Map, Shape::Map) => {
            let (Some(a), Some(b)) = (live.as_object(), applied.as_object()) else { return applied.clone() };
            if a.is_empty() && b.is_empty() {
                return applied.clone();
            }
            let mut out = Map::new();
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = schema.and_then(|s| s.property(name)).map(|s| &**s);
                let value = match (a.get(name), b.get(name)) {
                    (Some(x), Some(y)) => merge(inner, x, y),
                    (x, y) => y.or(x).cloned().unwrap_or_default(),
                };
                out.insert(name.clone(), value);
            }
            Value::Object(out)
        }
        (Shape::List(list), Shape::List(_)) => {
            let (Some(a), Some(b)) = (live.as_array(), applied.as_array()) else { return applied.clone() };
            Value::Array(merge_lists(list, schema.and_then(|s| s.items.as_deref()), a, b))
        }
        _ => applied.clone(),
    }
}

/// Takes the applied items in their order; an item that is only live stands before the shared one that it stood before.
fn merge_lists(list: &ListType, items: Option<&Schema>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let named =
        |values: &[Value]| -> Vec<String> { values.iter().map(|v| element(list, items, v)).collect() };
    let (left, right) = (named(live), named(applied));
    let by_name: BTreeMap<&String, &Value> = left.iter().zip(live).rev().collect();
    let theirs: BTreeMap<&String, &Value> = right.iter().zip(applied).rev().collect();
    let mut shared: VecDeque<&String> = right.iter().filter(|n| by_name.contains_key(n)).collect();
    let mut next = shared.pop_front();
    let mut merged = BTreeSet::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    let both = |name: &String| match (by_name.get(name), theirs.get(name)) {
        (Some(x), Some(y)) => merge(items, x, y),
        (x, y) => y.or(x).map(|v| (*v).clone()).unwrap_or_default(),
    };
    while l < left.len() || r < right.len() {
        if let (Some(a), Some(b)) = (left.get(l), right.get(r)) {
            if a == b {
                merged.insert(a);
                out.push(both(a));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if theirs.contains_key(a) && next.is_some_and(|n| n != a) {
                l += 1;
                continue;
            }
        }
        if let Some(a) = left.get(l) {
            if !theirs.contains_key(a) {
                out.extend(live.get(l).cloned());
                l += 1;
                continue;
            }
            if merged.contains(a) {
                l += 1;
            }
        }
        if let Some(b) = right.get(r) {
            merged.insert(b);
            out.push(both(b));
            r += 1;
            if next == Some(b) {
                next = shared.pop_front();
            }
        }
    }
    out
}

/// The value without these fields; null where nothing is left of it.
pub(super) fn remove(schema: Option<&Schema>, value: &Value, fields: &Set) -> Value {
    match shape(schema, value) {
        Shape::Map => {
            let mut out = Map::new();
            for (key, value) in value.as_object().into_iter().flatten() {
                let inner = schema.and_then(|s| s.property(key)).map(|s| &**s);
                match fields.0.get(&format!("f:{key}")) {
                    Some(node) if node.member => {}
                    Some(node) => {
                        out.insert(key.clone(), remove(inner, value, &node.below));
                    }
                    None => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        Shape::List(list) => {
            let items = schema.and_then(|s| s.items.as_deref());
            let mut out = Vec::new();
            for item in value.as_array().into_iter().flatten() {
                match fields.0.get(&element(list, items, item)) {
                    Some(node) if node.member => {}
                    Some(node) => out.push(remove(items, item, &node.below)),
                    None => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        Shape::Leaf => match value {
            // an atomic value that something below of is to go
            Value::Object(_) | Value::Array(_) => Value::Null,
            _ => value.clone(),
        },
    }
}
