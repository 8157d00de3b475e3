//! Which fields two objects differ in, and which fields an object has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::Set;
use crate::kubernetes::schema::{ListType, Schema};

/// How a value is walked through.
pub(super) enum Shape<'a> {
    Leaf,
    Map,
    /// An associative list.
    List(&'a ListType),
}

/// By the schema, and where that says nothing by the value.
pub(super) fn shape<'a>(schema: Option<&'a Schema>, value: &Value) -> Shape<'a> {
    match value {
        Value::Object(_) if schema.is_none_or(|s| !s.atomic) => Shape::Map,
        Value::Array(_) => match schema.map(|s| &s.list) {
            Some(list @ (ListType::Set | ListType::Map(_))) => Shape::List(list),
            _ => Shape::Leaf,
        },
        _ => Shape::Leaf,
    }
}

/// What tells an item of a list from others; a key that is absent has its default.
pub(super) fn element(list: &ListType, items: Option<&Schema>, item: &Value) -> String {
    match list {
        ListType::Map(keys) => {
            let mut map = Map::new();
            for key in keys {
                let default = || items.and_then(|s| s.property(key)).and_then(|s| s.default.clone());
                if let Some(value) = item.get(key).cloned().or_else(default) {
                    map.insert(key.clone(), value);
                }
            }
            format!("k:{}", Value::Object(map))
        }
        _ => format!("v:{item}"),
    }
}

/// The three sets that two objects differ in.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    let mut root = Comparison::default();
    children(Some(schema), Some(old), Some(new), &mut root);
    root
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// Compares what an element stands for, into `out`, which is of what the element is in.
fn one(schema: Option<&Schema>, old: Option<&Value>, new: Option<&Value>, name: &str, out: &mut Comparison) {
    if old == new {
        return;
    }
    let leaf =
        |value: Option<&Value>| value.is_none_or(|v| v.is_null() || matches!(shape(schema, v), Shape::Leaf));
    if (leaf(old) && leaf(new)) || (is_empty(old) && is_empty(new)) {
        match (old, new) {
            (None, _) => out.added.insert(name),
            (_, None) => out.removed.insert(name),
            _ => out.modified.insert(name),
        }
        return;
    }
    let mut below = Comparison::default();
    children(schema, old, new, &mut below);
    out.added.put(name, below.added);
    out.modified.put(name, below.modified);
    out.removed.put(name, below.removed);
    if old.is_none() {
        out.added.insert(name);
    } else if new.is_none() {
        out.removed.insert(name);
    }
}

fn children(schema: Option<&Schema>, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) {
    let some = new.filter(|v| !v.is_null()).or(old);
    match some.map(|v| shape(schema, v)) {
        Some(Shape::Map) => {
            let fields = |v: Option<&Value>| {
                v.and_then(Value::as_object).map(|m| m.keys().cloned().collect::<BTreeSet<_>>())
            };
            let mut names = fields(old).unwrap_or_default();
            names.extend(fields(new).unwrap_or_default());
            for name in names {
                let inner = schema.and_then(|s| s.property(&name)).map(|s| &**s);
                let (a, b) = (old.and_then(|v| v.get(&name)), new.and_then(|v| v.get(&name)));
                one(inner, a, b, &format!("f:{name}"), out);
            }
        }
        Some(Shape::List(list)) => {
            let items = schema.and_then(|s| s.items.as_deref());
            let (a, b) = (grouped(list, items, old), grouped(list, items, new));
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let none = Vec::new();
                let (a, b) = (a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none));
                if a.len() <= 1 && b.len() <= 1 {
                    one(items, a.first().copied(), b.first().copied(), name, out);
                } else if a.len() >= 2 && b.len() >= 2 {
                    if a != b {
                        out.modified.insert(name);
                    }
                } else if a.len() >= 2 {
                    if let Some(b) = b.first() {
                        one(items, None, Some(b), name, out);
                    }
                    out.removed.insert(name);
                } else {
                    if let Some(a) = a.first() {
                        one(items, Some(a), None, name, out);
                    }
                    out.added.insert(name);
                }
            }
        }
        _ => {}
    }
}

fn grouped<'a>(
    list: &ListType,
    items: Option<&Schema>,
    value: Option<&'a Value>,
) -> BTreeMap<String, Vec<&'a Value>> {
    let mut all: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in value.and_then(Value::as_array).into_iter().flatten() {
        all.entry(element(list, items, item)).or_default().push(item);
    }
    all
}

/// The fields that an object has.
pub(super) fn fields(schema: Option<&Schema>, value: &Value) -> Set {
    let mut set = Set::default();
    match shape(schema, value) {
        Shape::Leaf => {}
        Shape::Map => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let inner = schema.and_then(|s| s.property(key)).map(|s| &**s);
                let name = format!("f:{key}");
                let named = schema.is_some_and(|s| s.is_named(key));
                let leaf = matches!(shape(inner, value), Shape::Leaf);
                set.put(&name, fields(inner, value));
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if leaf || empty || !named {
                    set.insert(&name);
                }
            }
        }
        Shape::List(list) => {
            let items = schema.and_then(|s| s.items.as_deref());
            for (name, group) in grouped(list, items, Some(value)) {
                if let [one] = &*group {
                    set.put(&name, fields(items, one));
                }
                set.insert(&name);
            }
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::schema::parse;

    #[test]
    fn what_is_new_counts_with_all_that_is_above_it() {
        let schema = parse(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), None);
        let found = compare(&schema, &json!({"a": 1}), &json!({"a": 2, "b": {"c": 1}}));
        assert_eq!(found.modified.to_json(), json!({"f:a": {}}));
        assert_eq!(found.added.to_json(), json!({"f:b": {".": {}, "f:c": {}}}));
    }
}
