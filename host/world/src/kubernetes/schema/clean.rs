//! What a round through Go's structs does to an object of a built-in kind: unknown fields, nulls and zero values go, what has
//! no `omitempty` comes.

use serde_json::{Map, Value};

use super::{Presence, Schema, Type};

/// Paths of fields that the type does not have, as `spec.containers[0].imagee`.
pub(crate) type Unknown = Vec<String>;

/// Brings a value into the form that the real server stores.
///
/// # Errors
/// A value of the wrong type, in the words of Go's JSON decoder as far as they can be known.
pub(crate) fn clean(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    unknown: &mut Unknown,
) -> Result<(), String> {
    if schema.preserve {
        return Ok(());
    }
    match (schema.kind, &mut *value) {
        (_, Value::Null) => Ok(()),
        (Type::Object, Value::Object(map)) => object(schema, map, path, unknown),
        (Type::Array, Value::Array(list)) => {
            let Some(items) = &schema.items else { return Ok(()) };
            for (i, item) in list.iter_mut().enumerate() {
                if item.is_null() {
                    *item = zero(items);
                }
                clean(items, item, &format!("{path}[{i}]"), unknown)?;
            }
            Ok(())
        }
        (Type::String, Value::String(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::IntOrString, Value::String(_) | Value::Number(_))
        | (Type::Any, _) => Ok(()),
        (Type::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(()),
        (Type::Number, Value::Number(_)) => Ok(()),
        (kind, found) => Err(wrong_type(kind, found, path)),
    }
}

/// Whole numbers without a fraction, as Go writes them: `0` and `0.0` are the same.
pub(crate) fn plain_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            // A float is shown in full, and without a fraction where it has none. What is too large stays one.
            let whole = number.as_f64().and_then(|float| float.to_string().parse::<i64>().ok());
            if let Some(whole) = whole {
                *value = whole.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(plain_numbers),
        Value::Object(map) => map.values_mut().for_each(plain_numbers),
        _ => {}
    }
}

fn wrong_type(kind: Type, found: &Value, path: &str) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = match kind {
        Type::Object => "map[string]string",
        Type::Array => "[]string",
        Type::Integer => "int32",
        Type::Boolean => "bool",
        _ => "string",
    };
    format!("json: cannot unmarshal {found} into Go struct field {path} of type {wanted}")
}

fn object(
    schema: &Schema,
    map: &mut Map<String, Value>,
    path: &str,
    unknown: &mut Unknown,
) -> Result<(), String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(values) = &schema.additional {
        for (key, value) in map.iter_mut() {
            if value.is_null() {
                *value = zero(values);
            }
            clean(values, value, &below(key), unknown)?;
        }
        return Ok(());
    }
    let mut failed = None;
    map.retain(|key, value| {
        let Some(field) = schema.properties.get(key) else {
            unknown.push(below(key));
            return false;
        };
        if let Err(error) = clean(&field.schema, value, &below(key), unknown) {
            failed.get_or_insert(error);
        }
        !value.is_null() && (field.presence != Presence::OmitEmpty || !is_zero(value, &field.schema))
    });
    if let Some(error) = failed {
        return Err(error);
    }
    for (name, field) in &schema.properties {
        if field.presence == Presence::Always && !map.contains_key(name) {
            let mut value = zero(&field.schema);
            clean(&field.schema, &mut value, "", unknown)?;
            map.insert(name.clone(), value);
        }
    }
    Ok(())
}

fn is_zero(value: &Value, schema: &Schema) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        // an IntOrString or a Quantity is a struct, and those are always written
        Value::Number(n) => n.as_i64() == Some(0) && schema.kind != Type::IntOrString,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(m) => m.is_empty(),
    }
}

fn zero(schema: &Schema) -> Value {
    match schema.kind {
        Type::String if schema.format == "date-time" => Value::Null,
        Type::String => Value::from(""),
        Type::Integer | Type::Number => Value::from(0),
        Type::Boolean => Value::from(false),
        Type::Object if !schema.properties.is_empty() => Value::Object(Map::new()),
        Type::Object if schema.additional.is_none() => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
