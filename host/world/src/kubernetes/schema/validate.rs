//! Whether a custom resource is what its schema asks for; errors as the real server words them.

use serde_json::{Map, Value};

use super::{Rules, Schema, Type};
use crate::kubernetes::cel;
use crate::kubernetes::status::Cause;

/// Everything that is wrong. `old`: the value before, for rules of transitions.
pub(crate) fn validate(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(schema, value, "", &mut causes);
    // As the real one: rules are not evaluated on what has the wrong shape.
    if causes.is_empty() {
        rules(schema, value, old, "", &mut causes);
    }
    causes
}

fn check(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema.nullable {
        return;
    }
    if let Some(wanted) = wrong_type(schema.kind, value) {
        let found = type_name(value);
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        causes.push(Cause::type_invalid(path, &Value::from(found), &detail));
        return;
    }
    let rules = &schema.rules;
    match value {
        Value::Object(map) => object(schema, map, path, causes),
        Value::Array(list) => array(schema, list, path, causes),
        Value::String(text) => string(rules, text, value, path, causes),
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                bounds(rules, number, value, path, causes);
            }
        }
        _ => {}
    }
    if !rules.any_of.is_empty() && !rules.any_of.contains(value) {
        let among: Vec<String> =
            rules.any_of.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let among: Vec<&str> = among.iter().map(String::as_str).collect();
        causes.push(Cause::not_supported(path, value, &among));
    }
}

fn wrong_type(kind: Type, value: &Value) -> Option<&'static str> {
    let (fits, name) = match kind {
        Type::Any => (true, ""),
        Type::Object => (value.is_object(), "object"),
        Type::Array => (value.is_array(), "array"),
        Type::String => (value.is_string(), "string"),
        Type::Integer => (value.as_f64().is_some_and(|n| n.fract() == 0.0), "integer"),
        Type::Number => (value.is_number(), "number"),
        Type::Boolean => (value.is_boolean(), "boolean"),
        Type::IntOrString => (value.is_string() || value.is_i64() || value.is_u64(), "integer,string"),
    };
    (!fits).then_some(name)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn object(schema: &Schema, map: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    let rules = &schema.rules;
    let size = map.len() as u64;
    if let Some(least) = rules.min_properties.filter(|m| size < *m) {
        let detail = format!("{path} in body should have at least {least} properties");
        causes.push(Cause::invalid(path, &Value::Object(map.clone()), &detail));
    }
    if let Some(most) = rules.max_properties.filter(|m| size > *m) {
        causes.push(Cause::too_many(path, map.len(), most));
    }
    for name in &rules.required {
        if !map.contains_key(name) {
            causes.push(Cause::required(&below(path, name), ""));
        }
    }
    for (key, value) in map {
        if let Some(inner) = schema.property(key) {
            check(inner, value, &below(path, key), causes);
        }
    }
}

fn array(schema: &Schema, list: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let size = list.len() as u64;
    if let Some(least) = schema.rules.min_items.filter(|m| size < *m) {
        let detail = format!("{path} in body should have at least {least} items");
        causes.push(Cause::invalid(path, &Value::from(size), &detail));
    }
    if let Some(most) = schema.rules.max_items.filter(|m| size > *m) {
        causes.push(Cause::too_many(path, list.len(), most));
    }
    if let Some(items) = &schema.items {
        for (i, item) in list.iter().enumerate() {
            check(items, item, &format!("{path}[{i}]"), causes);
        }
    }
}

fn string(rules: &Rules, text: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(most) = rules.max_length.filter(|m| length > *m) {
        causes.push(Cause::too_long(path, usize::try_from(most).unwrap_or(usize::MAX)));
    }
    if let Some(least) = rules.min_length.filter(|m| length < *m) {
        let detail = format!("{path} in body should be at least {least} chars long");
        causes.push(Cause::invalid(path, value, &detail));
    }
    if let Some((pattern, regex)) = &rules.pattern
        && !regex.is_match(text)
    {
        let detail = format!("{path} in body should match '{pattern}'");
        causes.push(Cause::invalid(path, value, &detail));
    }
}

fn bounds(rules: &Rules, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(most) = rules.maximum {
        let (wrong, word) = match rules.exclusive_maximum {
            true => (number >= most, "less than"),
            false => (number > most, "less than or equal to"),
        };
        if wrong {
            causes.push(Cause::invalid(path, value, &format!("{path} in body should be {word} {most}")));
        }
    }
    if let Some(least) = rules.minimum {
        let (wrong, word) = match rules.exclusive_minimum {
            true => (number <= least, "greater than"),
            false => (number < least, "greater than or equal to"),
        };
        if wrong {
            causes.push(Cause::invalid(path, value, &format!("{path} in body should be {word} {least}")));
        }
    }
}

/// The rules in CEL that [`cel`] can evaluate.
fn rules(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for rule in &schema.rules.cel {
        if cel::holds(&rule.rule, value, old) == Some(false) {
            let shown = match value {
                Value::Object(_) => Value::from("object"),
                other => other.clone(),
            };
            causes.push(Cause::invalid(path, &shown, &rule.message));
        }
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(inner) = schema.property(key) {
                    rules(inner, value, old.and_then(|o| o.get(key)), &below(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (i, item) in list.iter().enumerate() {
                    rules(items, item, None, &format!("{path}[{i}]"), causes);
                }
            }
        }
        _ => {}
    }
}
