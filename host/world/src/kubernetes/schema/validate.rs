//! Whether a custom resource is what its schema asks for; errors as the real server words them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{ListType, Rules, Schema, Type};
use crate::kubernetes::status::Cause;

/// Everything that is wrong. `old`: the value before, for rules of transitions. `elsewhere`: whether the metadata has the wrong shape.
pub(crate) fn validate(schema: &Schema, value: &Value, old: Option<&Value>, elsewhere: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(schema, value, "", &mut causes);
    let twice = |value: &Value| {
        let mut causes = Vec::new();
        duplicates(schema, value, "", &mut causes);
        causes
    };
    let found = twice(value);
    // What was so before may stay so.
    if !found.is_empty() && old.is_none_or(|old| twice(old).is_empty()) {
        causes.extend(found);
    }
    if elsewhere || causes.iter().any(Cause::blocks) {
        return blocked(schema, causes, elsewhere);
    }
    rules(schema, value, old, "", &mut causes);
    causes
}

/// Rules are not evaluated on what has the wrong shape, which is said.
fn blocked(schema: &Schema, mut causes: Vec<Cause>, elsewhere: bool) -> Vec<Cause> {
    if schema.has_rules() && (elsewhere || causes.iter().any(Cause::blocks)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        causes.push(Cause::invalid("<nil>", &Value::Null, why));
    }
    causes
}

/// As [`validate`], of the status alone: the real server speaks of its fields as if it were the root.
pub(crate) fn validate_status(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let (Some(inner), Some(status)) = (schema.property("status"), value.get("status")) else {
        return validate(schema, value, old, false);
    };
    let mut causes = Vec::new();
    check(inner, status, "", &mut causes);
    for cause in &mut causes {
        cause.field =
            if cause.field.is_empty() { "status".to_owned() } else { format!("status.{}", cause.field) };
    }
    if causes.is_empty() { validate(schema, value, old, false) } else { blocked(schema, causes, false) }
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
        Value::String(text) => {
            string(rules, text, value, path, causes);
            if schema.format == "date-time" && !is_date_time(text) {
                let detail = format!("{path} in body must be of type date-time: {text:?}");
                causes.push(Cause::type_invalid(path, value, &detail));
            }
        }
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                let is_small = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
                if schema.kind == Type::Integer && schema.format == "int32" && !is_small {
                    // The real server names no field here.
                    let detail = format!("Checked value must be of type integer with format int32 in {path}");
                    causes.push(Cause::invalid("<nil>", &Value::from(""), &detail));
                }
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
    // One thing is said of a text, the first.
    let length = text.chars().count() as u64;
    if let Some(most) = rules.max_length.filter(|m| length > *m) {
        causes.push(Cause::too_long(path, usize::try_from(most).unwrap_or(usize::MAX)));
    } else if let Some(least) = rules.min_length.filter(|m| length < *m) {
        let detail = format!("{path} in body should be at least {least} chars long");
        causes.push(Cause::invalid(path, value, &detail));
    } else if let Some((pattern, regex)) = &rules.pattern
        && !regex.is_match(text)
    {
        let detail = format!("{path} in body should match '{pattern}'");
        causes.push(Cause::invalid(path, value, &detail));
    }
}

/// As the real server reads it: any sign may stand before a fraction.
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new("^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?([zZ]|[+-][0-9]{2}:[0-9]{2})$").ok()
});

/// A date, and a time with its zone.
fn is_date_time(text: &str) -> bool {
    let (date, time) = text.split_once(['t', 'T']).unwrap_or_default();
    let is_date = date.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", date).is_ok();
    is_date && TIME.as_ref().is_some_and(|regex| regex.is_match(time))
}

/// Elements of sets and maps that are there twice.
fn duplicates(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(inner) = schema.property(key) {
                    duplicates(inner, value, &below(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            let mut seen = BTreeSet::new();
            for (i, item) in list.iter().enumerate() {
                let path = format!("{path}[{i}]");
                if let Some(key) = key_of(&schema.list, item)
                    && !seen.insert(key.to_string())
                {
                    causes.push(Cause::duplicate(&path, &key));
                }
                if let Some(items) = &schema.items {
                    duplicates(items, item, &path, causes);
                }
            }
        }
        _ => {}
    }
}

/// What tells an element from the others of its list.
fn key_of(list: &ListType, item: &Value) -> Option<Value> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(item.clone()),
        ListType::Map(keys) => {
            let found = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Some(Value::Object(found.collect()))
        }
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

/// The rules in CEL.
fn rules(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for rule in schema.rules.cel.iter().filter(|rule| old.is_some() || !rule.program.is_transition()) {
        let detail = match rule.program.holds(value, old) {
            Ok(true) => continue,
            Ok(false) => rule.message.clone(),
            Err(failure) => failure.detail(&rule.name),
        };
        let message = match value {
            Value::Object(_) | Value::Array(_) => format!("Invalid value: {detail}"),
            _ => Cause::invalid(path, value, &detail).message,
        };
        causes.push(Cause { message, ..Cause::invalid(path, value, "") });
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
