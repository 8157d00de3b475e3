//! Whether what is applied fits its type; errors as the real server words them, Go's way of printing included.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::element;
use crate::kubernetes::schema::{ListType, Schema, Type};

/// Everything that does not fit: path and what is wrong.
pub(crate) fn check(schema: &Schema, value: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    walk(schema, value, "", &mut errors);
    match &*errors {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => {
            Err(format!("errors:\n{}", many.iter().map(|e| format!("  {e}")).collect::<Vec<_>>().join("\n")))
        }
    }
}

/// Whether a value does not fit, an entry that is there twice aside.
pub(super) fn unfit(schema: &Schema, value: &Value) -> bool {
    let mut errors = Vec::new();
    walk(schema, value, "", &mut errors);
    errors.iter().any(|e| !e.contains("duplicate entries for key"))
}

fn walk(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<String>) {
    let mut wrong = |text: String| {
        errors.push(if path.is_empty() { text } else { format!("{path}: {text}") });
    };
    match (schema.kind, value) {
        (_, Value::Null) | (Type::Any, _) => {}
        (Type::Object, Value::Object(map)) => {
            for (key, value) in map {
                match schema.property(key) {
                    Some(inner) => walk(inner, value, &format!("{path}.{key}"), errors),
                    None if schema.preserve || path.is_empty() && matches!(&**key, "apiVersion" | "kind") => {
                    }
                    None => {
                        errors.push(format!("{path}.{key}: field not declared in schema"));
                        return;
                    }
                }
            }
        }
        (Type::Array, Value::Array(list)) => items(schema, list, path, errors),
        (Type::Object, other) => wrong(format!("expected map, got &{{{}}}", go(other))),
        (Type::Array, other) => wrong(format!("expected list, got &{{{}}}", go(other))),
        (Type::Integer | Type::Number, Value::Number(_)) => {}
        (Type::Integer | Type::Number, other) => {
            wrong(format!("expected numeric (int or float), got {}", go_type(other)));
        }
        (Type::String, Value::String(_)) | (Type::Boolean, Value::Bool(_)) => {}
        (Type::String, other) => {
            let literal = match other {
                Value::Number(n) => n.to_string(),
                other => go(other),
            };
            wrong(format!("expected string, got &value.valueUnstructured{{Value:{literal}}}"));
        }
        (Type::Boolean, other) => wrong(format!("expected boolean, got &{{{}}}", go(other))),
        (Type::IntOrString, Value::Object(_) | Value::Array(_)) => {
            wrong(format!("expected any scalar, got &{{{}}}", go(value)));
        }
        (Type::IntOrString, _) => {}
    }
}

fn items(schema: &Schema, list: &[Value], path: &str, errors: &mut Vec<String>) {
    let any = Schema::default();
    let inner = schema.items.as_deref().unwrap_or(&any);
    let mut seen = BTreeSet::new();
    for (i, item) in list.iter().enumerate() {
        let name = match &schema.list {
            ListType::Atomic => format!("[{i}]"),
            associative => {
                if let ListType::Map(keys) = associative {
                    let defaulted = |k: &String| inner.property(k).is_some_and(|s| s.default.is_some());
                    if keys.iter().all(|k| item.get(k).is_none() && !defaulted(k)) {
                        let quoted: Vec<_> = keys.iter().map(|k| format!("{k:?}")).collect();
                        let keys = quoted.join(" ");
                        errors.push(format!(
                            "{path}: element {i}: associative list with keys has an element that omits all key fields [{keys}] (and doesn't have default values for any key fields)"
                        ));
                        return;
                    }
                }
                let name = super::set::shown(&element(associative, Some(inner), item));
                if !seen.insert(name.clone()) {
                    errors.push(format!("{path}: duplicate entries for key {name}"));
                }
                name
            }
        };
        walk(inner, item, &format!("{path}{name}"), errors);
    }
}

/// As `%v` prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let parts: Vec<_> = map.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
