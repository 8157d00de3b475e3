//! Types of attributes and what Octavia says to a value of another: the rules of WSME, which it is built on
//! (`wsme.rest.json.fromjson` converts, `wsme.types` validates).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::Object;
use super::attributes::{self, Attribute, Unset};
use super::fault::{Fault, Result};
use crate::python;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// Of at most so many characters.
    Text(usize),
    /// As [`Type::Text`] of 255, without line breaks.
    Line,
    Cookie,
    Codes,
    Domain,
    Bool,
    Int(i64, i64),
    Uuid,
    Enum(&'static [&'static str]),
    /// One of these numbers.
    Number(&'static [i64]),
    HttpVersion,
    Ip,
    Cidr,
    Url,
    UrlPath,
    List(&'static Self),
    /// Texts by name.
    Texts,
    /// An object of these attributes.
    Part(&'static [Attribute], u8),
    Parts(&'static [Attribute], u8),
}

/// Why a value is refused, on its way out to what knows the rest of the message.
enum Refused {
    /// It cannot be converted: the message quotes the whole body.
    Unconvertible(String),
    Invalid {
        name: String,
        value: String,
        reason: String,
    },
    Unknown {
        path: String,
        names: Vec<String>,
    },
}

/// The object that a body has under `key`, checked, with defaults where it is a new one. `argument`: what Octavia's function
/// calls the body.
pub(super) fn checked(
    body: &Value,
    argument: &str,
    key: &str,
    table: &'static [Attribute],
    form: u8,
) -> Result<Object> {
    let part = body.get(key).filter(|part| part.is_object());
    let part = part.ok_or_else(|| Fault::bad_request(format!("Missing argument: \"{argument}\"")))?;
    convert(&Type::Part(table, form), part).map_err(|refused| fault(refused, argument, key, body)).map(object)
}

/// The objects in the list that a body has under `key`.
pub(super) fn checked_list(
    body: &Value,
    argument: &str,
    key: &str,
    table: &'static [Attribute],
    form: u8,
) -> Result<Vec<Object>> {
    let part = body.get(key).filter(|part| part.is_array());
    let part = part.ok_or_else(|| Fault::bad_request(format!("Missing argument: \"{argument}\"")))?;
    let all =
        convert(&Type::Parts(table, form), part).map_err(|refused| fault(refused, argument, key, body))?;
    Ok(match all {
        Value::Array(all) => all.into_iter().map(object).collect(),
        _ => Vec::new(),
    })
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn fault(refused: Refused, argument: &str, key: &str, body: &Value) -> Fault {
    match refused {
        Refused::Unconvertible(reason) => invalid(argument, &python::repr(body), &reason),
        Refused::Invalid { name, value, reason } => invalid(&name, &value, &reason),
        Refused::Unknown { path, names } => {
            let path = if path.is_empty() { String::new() } else { format!(".{path}") };
            let s = if names.len() > 1 { "s" } else { "" };
            let message =
                format!("Unknown attribute{s} for argument {argument}.{key}{path}: {}", names.join(", "));
            Fault::bad_request(message)
        }
    }
}

fn invalid(name: &str, value: &str, reason: &str) -> Fault {
    Fault::bad_request(format!("Invalid input for field/attribute {name}. Value: '{value}'. {reason}"))
}

type Converted = std::result::Result<Value, Refused>;

/// What `fromjson` does, and with parts all that is done when their attributes are set.
fn convert(of: &Type, value: &Value) -> Converted {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match of {
        Type::Bool => boolean(value),
        Type::Int(..) | Type::Number(_) => integer(value),
        Type::List(of) => match value.as_array() {
            Some(all) => all
                .iter()
                .map(|one| convert(of, one))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map(Value::Array),
            None => Err(Refused::Unconvertible(format!("Value not a valid list: {}", python::str(value)))),
        },
        Type::Texts if !value.is_object() => {
            Err(Refused::Unconvertible(format!("Value not a valid dict: {}", python::str(value))))
        }
        Type::Parts(table, form) => match value.as_array() {
            Some(all) => {
                let one = |one| convert(&Type::Part(table, *form), one);
                all.iter().map(one).collect::<std::result::Result<Vec<_>, _>>().map(Value::Array)
            }
            None => Err(Refused::Unconvertible(format!("Value not a valid list: {}", python::str(value)))),
        },
        Type::Part(table, form) => part(table, *form, value),
        _ => Ok(value.clone()),
    }
}

fn part(table: &'static [Attribute], form: u8, value: &Value) -> Converted {
    let Some(given) = value.as_object() else {
        return Err(Refused::Unconvertible(format!(
            "'{}' object has no attribute 'keys'",
            python::str(value)
        )));
    };
    let has = |name: &str| {
        table.iter().any(|a| a.name == name && a.forms & form != 0)
            || (name == "tenant_id" && form != attributes::PUT)
    };
    let names: Vec<String> = given.keys().filter(|name| !has(name)).cloned().collect();
    if !names.is_empty() {
        return Err(Refused::Unknown { path: String::new(), names });
    }
    let mut made = Object::new();
    for attribute in table.iter().filter(|a| a.forms & form != 0) {
        let (name, new) = (attribute.name, form != attributes::PUT);
        let set = match (given.get(name), attribute.unset) {
            (Some(value), _) => {
                let converted = convert(&attribute.of, value).map_err(|refused| below(name, refused))?;
                valid(&attribute.of, converted).map_err(|(value, reason)| Refused::Invalid {
                    name: name.to_owned(),
                    value: python::str(&value),
                    reason,
                })?
            }
            (None, Unset::Required) if new => {
                return Err(Refused::Invalid {
                    name: name.to_owned(),
                    value: "None".to_owned(),
                    reason: "Mandatory field missing.".to_owned(),
                });
            }
            (None, Unset::Bool(flag)) if new => json!(flag),
            (None, Unset::Int(number)) if new => json!(number),
            (None, Unset::Text(text)) if new => json!(text),
            (None, Unset::List) if new => json!([]),
            (None, Unset::Null) if new => Value::Null,
            (None, _) => continue,
        };
        // What says nothing about a switch turns it off.
        let set = if name == "admin_state_up" && set.is_null() { json!(false) } else { set };
        made.insert(name.to_owned(), set);
    }
    Ok(Value::Object(made))
}

/// Where a part is: unknown attributes are told with the names of all that they are in.
fn below(name: &str, refused: Refused) -> Refused {
    match refused {
        Refused::Unknown { path, names } if path.is_empty() => {
            Refused::Unknown { path: name.to_owned(), names }
        }
        Refused::Unknown { path, names } => Refused::Unknown { path: format!("{name}.{path}"), names },
        other => other,
    }
}

fn boolean(value: &Value) -> Converted {
    const TRUE: &[&str] = &["true", "t", "yes", "y", "on", "1"];
    const FALSE: &[&str] = &["false", "f", "no", "n", "off", "0"];
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|n| n != 0),
        Value::String(text) if TRUE.contains(&text.as_str()) => Some(true),
        Value::String(text) if FALSE.contains(&text.as_str()) => Some(false),
        _ => None,
    };
    flag.map(Value::Bool).ok_or_else(|| {
        Refused::Unconvertible(format!("Value not an unambiguous boolean: {}", python::str(value)))
    })
}

fn integer(value: &Value) -> Converted {
    let number = match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.map(|n| json!(n)).ok_or_else(|| {
        Refused::Unconvertible(format!("invalid literal for int() with base 10: {}", python::repr(value)))
    })
}

/// What is done when an attribute is set: the value as it is kept, or the refused one and why.
fn valid(of: &Type, value: Value) -> std::result::Result<Value, (Value, String)> {
    if value.is_null() {
        return Ok(value);
    }
    let checked = match of {
        Type::Texts => texts(&value),
        Type::List(of) => match value.as_array() {
            Some(all) => {
                let one = |one: &Value| valid(of, one.clone()).map_err(|(_, reason)| reason);
                all.iter().map(one).collect::<std::result::Result<Vec<_>, _>>().map(Value::Array)
            }
            None => Ok(value.clone()),
        },
        _ => simple(of, &value),
    };
    checked.map_err(|reason| (value, reason))
}

fn simple(of: &Type, value: &Value) -> std::result::Result<Value, String> {
    match of {
        Type::Text(most) => text(value, *most, |_| true, ""),
        Type::Line => text(value, 255, |t| !t.contains(['\r', '\n']), r"^[^\r\n]*$"),
        Type::Cookie => {
            let odd = |c: char| c.is_whitespace() || ",;\\".contains(c);
            text(value, 255, |t| !t.is_empty() && !t.contains(odd), r"^[^\s,;\\]+$")
        }
        Type::Codes => text(value, usize::MAX, codes, r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$"),
        Type::Domain => {
            text(value, 255, domain, r"^(?=.{1,253}\.?$)(?:(?!-|[^.]+_)[A-Za-z0-9-_]{1,63}(?<!-)(?:\.|$))+$")
        }
        Type::Int(least, most) => match value.as_i64() {
            Some(n) if n < *least => Err(format!("Value should be greater or equal to {least}")),
            Some(n) if n > *most => Err(format!("Value should be lower or equal to {most}")),
            _ => Ok(value.clone()),
        },
        Type::Uuid => value
            .as_str()
            .and_then(uuid)
            .map(Value::String)
            .ok_or_else(|| "Value should be UUID format".into()),
        Type::Enum(values) => one_of(value, |v| values.iter().any(|one| v == one), values),
        Type::Number(values) => one_of(value, |v| values.iter().any(|one| v == one), values),
        Type::HttpVersion => {
            let number = value.as_f64().or_else(|| value.as_str().and_then(|t| t.parse().ok()));
            match number {
                Some(n) if n == 1.0 || n == 1.1 => Ok(json!(n)),
                _ => Err("Value should be one of: 1.0, 1.1".into()),
            }
        }
        Type::Ip => match value.as_str().and_then(|t| t.parse::<IpAddr>().ok()) {
            Some(_) => Ok(value.clone()),
            None => Err("Value should be IPv4 or IPv6 format".into()),
        },
        Type::Cidr => value
            .as_str()
            .and_then(cidr)
            .map(Value::String)
            .ok_or_else(|| "Value should be IPv4 or IPv6 CIDR format".into()),
        Type::Url => match value.as_str().is_some_and(url) {
            true => Ok(value.clone()),
            false => Err("Value must be a valid URL string".into()),
        },
        Type::UrlPath => match value.as_str().is_some_and(url_path) {
            true => Ok(value.clone()),
            false => Err("Value must be a valid URL Path string".into()),
        },
        _ => Ok(value.clone()),
    }
}

fn one_of<T: ToString>(
    value: &Value,
    holds: impl Fn(&Value) -> bool,
    values: &[T],
) -> std::result::Result<Value, String> {
    if holds(value) {
        return Ok(value.clone());
    }
    let all: Vec<String> = values.iter().map(T::to_string).collect();
    Err(format!("Value should be one of: {}", all.join(", ")))
}

fn text(
    value: &Value,
    most: usize,
    fits: impl Fn(&str) -> bool,
    pattern: &str,
) -> std::result::Result<Value, String> {
    match value.as_str() {
        None => Err("Value should be string".into()),
        Some(text) if text.chars().count() > most => {
            Err(format!("Value should have a maximum character requirement of {most}"))
        }
        Some(text) if !fits(text) => Err(format!("Value should match the pattern {pattern}")),
        Some(_) => Ok(value.clone()),
    }
}

fn texts(value: &Value) -> std::result::Result<Value, String> {
    for one in value.as_object().into_iter().flat_map(|map| map.values()) {
        text(one, 255, |_| true, "")?;
    }
    Ok(value.clone())
}

/// A UUID as Python writes it.
fn uuid(text: &str) -> Option<String> {
    let hex: String =
        text.replace("urn:", "").replace("uuid:", "").chars().filter(|c| !"{}-".contains(*c)).collect();
    let valid = hex.len() == 32 && hex.chars().all(|c| c.is_ascii_hexdigit());
    let hex = hex.to_ascii_lowercase();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    valid.then(|| [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

fn cidr(text: &str) -> Option<String> {
    let net: IpNet = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(net.trunc().to_string())
}

fn codes(text: &str) -> bool {
    let code = |t: &str| t.len() == 3 && t.chars().all(|c| c.is_ascii_digit());
    match text.split_once('-') {
        Some((first, last)) => code(first) && code(last),
        None => text.split(',').map(str::trim).all(code) && text == text.trim(),
    }
}

fn domain(text: &str) -> bool {
    let label = |l: &str| {
        let known = l.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        known
            && (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && !l[1..].contains('_')
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    bare.len() <= 253 && bare.split('.').all(label)
}

fn plain(text: &str) -> bool {
    !text.chars().any(|c| c <= ' ' || ('\u{7f}'..='\u{9f}').contains(&c))
}

fn url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    plain(text) && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
}

fn url_path(text: &str) -> bool {
    plain(text) && text.starts_with('/') && !text.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_have_a_form() {
        assert!(codes("200") && codes("200,202") && codes("200 , 202") && codes("200-204"));
        assert!(!codes("20") && !codes("200-") && !codes("") && !codes("200,"));
        assert!(url("https://a.b/c") && !url("ftp://a") && !url("http://") && !url("http://a b"));
        assert!(url_path("/a?b") && !url_path("a") && !url_path("/a b"));
        assert!(domain("a-b.example.org.") && !domain("-a.b") && !domain("a..b"));
        assert_eq!(uuid("6A0A707C45EF4758B533E55ADDDBA8CE").unwrap(), "6a0a707c-45ef-4758-b533-e55adddba8ce");
        assert_eq!(uuid("6a0a707c"), None);
        assert_eq!(cidr("10.1.2.3/8").unwrap(), "10.0.0.0/8");
        assert_eq!(cidr("fd00::1").unwrap(), "fd00::1/128");
    }

    #[test]
    fn what_cannot_be_is_told_as_wsme_tells_it() {
        let refused = |body: Value| {
            let fault = checked(&body, "pool_", "pool", attributes::POOL, attributes::POST).unwrap_err();
            fault.reply().body["faultstring"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(
            refused(json!({"pool": {"colour": 1}})),
            "Unknown attribute for argument pool_.pool: colour"
        );
        assert_eq!(
            refused(json!({"pool": {"lb_algorithm": "ROUND_ROBIN"}})),
            "Invalid input for field/attribute protocol. Value: 'None'. Mandatory field missing."
        );
        assert_eq!(
            refused(json!({"pool": {"admin_state_up": "maybe"}})),
            "Invalid input for field/attribute pool_. Value: '{'pool': {'admin_state_up': 'maybe'}}'. Value not an unambiguous boolean: maybe"
        );
        assert_eq!(
            refused(json!({"pool": {"name": ["a"]}})),
            "Invalid input for field/attribute name. Value: '['a']'. Value should be string"
        );
    }
}
