//! Bodies in protobuf, which kubectl sends for what it makes by itself (`kubectl create configmap`). Answers are JSON: every client
//! takes that too. The field numbers are in the schemas of the built-in kinds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::schema::{Schema, Type};

/// What a body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// A field of a message: its number, and its value as it stands there.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// From the envelope: `apiVersion`, `kind` and the object's own bytes. `None`: it is no such body.
pub(crate) fn envelope(body: &[u8]) -> Option<(String, String, &[u8])> {
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, wire) in fields(body.strip_prefix(MAGIC)?)? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                for (number, wire) in fields(meta)? {
                    let Wire::Bytes(text) = wire else { return None };
                    let text = std::str::from_utf8(text).ok()?.to_owned();
                    if number == 1 { version = text } else { kind = text }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Some((version, kind, raw))
}

/// The object that a message says, by its type.
///
/// # Errors
/// The number of a field that the model does not know, or that it is no message.
pub(crate) fn message(schema: &Schema, bytes: &[u8]) -> Result<Value, String> {
    let malformed = || "a body that is no protobuf".to_owned();
    let mut map = Map::new();
    for (number, wire) in fields(bytes).ok_or_else(malformed)? {
        let found = schema.properties.iter().find(|(_, f)| f.number == number);
        let Some((name, field)) = found else {
            return Err(format!("field {number} of a message in protobuf"));
        };
        let schema = &*field.schema;
        match (&schema.items, &schema.additional, wire) {
            (Some(items), _, wire) => {
                let list = map.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                if let Some(list) = list.as_array_mut() {
                    list.push(value(items, wire)?);
                }
            }
            (None, Some(values), Wire::Bytes(entry)) => {
                let (mut key, mut inner) = (String::new(), Value::Null);
                for (number, wire) in fields(entry).ok_or_else(malformed)? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                        (_, wire) => inner = value(values, wire)?,
                    }
                }
                let entries = map.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if let Some(entries) = entries.as_object_mut() {
                    entries.insert(key, inner);
                }
            }
            (None, _, wire) => {
                map.insert(name.clone(), value(schema, wire)?);
            }
        }
    }
    Ok(Value::Object(map))
}

fn value(schema: &Schema, wire: Wire<'_>) -> Result<Value, String> {
    Ok(match (schema.kind, wire) {
        (Type::Boolean, Wire::Number(n)) => Value::from(n != 0),
        // a negative number is written in its two's complement
        (_, Wire::Number(n)) => Value::from(n.cast_signed()),
        (Type::String, Wire::Bytes(bytes)) => match &*schema.format {
            "date-time" => time(bytes),
            "byte" => STANDARD.encode(bytes).into(),
            _ => String::from_utf8_lossy(bytes).into_owned().into(),
        },
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(schema, bytes)?,
        (_, Wire::Bytes(bytes)) => message(schema, bytes)?,
    })
}

/// `Time` and `MicroTime`: seconds and nanoseconds.
fn time(bytes: &[u8]) -> Value {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for (number, wire) in fields(bytes).into_iter().flatten() {
        match (number, wire) {
            (1, Wire::Number(n)) => seconds = n.cast_signed(),
            (2, Wire::Number(n)) => nanos = n.cast_signed(),
            _ => {}
        }
    }
    if seconds == 0 {
        return Value::Null;
    }
    match jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or_default()) {
        Ok(at) if nanos == 0 => super::api::time(at),
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
        Err(_) => Value::Null,
    }
}

/// A `Quantity` is its text; an `IntOrString` says which it is.
fn int_or_string(schema: &Schema, bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (schema.format != "int-or-string", 0_i64, String::new());
    for (field, wire) in fields(bytes).ok_or_else(|| "an IntOrString that is none".to_owned())? {
        match (field, wire) {
            (1, Wire::Number(n)) => is_text = n == 1,
            (2, Wire::Number(n)) => number = n.cast_signed(),
            (_, Wire::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// The fields of a message; `None`: it is none.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (head, tail) = bytes.split_at_checked(length)?;
                bytes = tail;
                Wire::Bytes(head)
            }
            _ => return None,
        };
        all.push((key >> 3, wire));
    }
    Some(all)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::registry::Registry;

    #[test]
    fn a_config_map_as_kubectl_sends_it() {
        let registry = Registry::new();
        let kind = registry.by_kind("", "ConfigMap").unwrap();
        // metadata {name: "c"}, data {"a": "b"}
        let raw = [0x0a, 3, 0x0a, 1, b'c', 0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
        let found = message(&kind.schema, &raw).unwrap();
        assert_eq!(found, json!({"metadata": {"name": "c"}, "data": {"a": "b"}}));
        assert!(message(&kind.schema, &[0x7a, 0]).unwrap_err().contains("field 15"));
    }
}
