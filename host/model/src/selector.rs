//! Label selectors, as kubectl takes them.
//!
//! Grammar and meaning: Kubernetes, "Labels and Selectors" (equality-based and set-based requirements).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

use crate::text::quoted;

/// Most bytes of a selector's text.
const BYTES: usize = 16 << 10;

/// Longest value of a field that objects are listed by.
const VALUE: usize = 1 << 10;

/// What an object is chosen by: its labels, and values of fields among them, each under a key that no label can have.
pub type Labels = BTreeMap<String, String>;

/// A parsed label selector; the empty one selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// Text that is no label selector.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not a label selector: {why}")]
pub struct SelectorError {
    text: String,
    why: String,
}

/// How a field stands among an object's labels; `None` where it cannot be listed by this value.
pub(crate) fn field_label(path: &str, value: &Value) -> Option<(String, String)> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    named_label(path, text)
}

/// No label's key begins with this.
const FIELD: char = '=';

fn named_label(path: &str, mut value: String) -> Option<(String, String)> {
    value.make_ascii_lowercase();
    (value.len() <= VALUE).then(|| (format!("{FIELD}{path}"), value))
}

/// Whether this key of [`Labels`] is that of a field.
pub fn is_field(key: &str) -> bool {
    key.starts_with(FIELD)
}

impl Selector {
    /// Selects by the value of a field; `None`: no object can be listed by this one.
    pub fn of_field(path: &str, value: &str) -> Option<Self> {
        let (key, value) = named_label(path, value.into())?;
        Some(Self(vec![Requirement { key, test: Test::In(vec![value]) }]))
    }

    /// A key and the one value that every selected object has there, if there is such a requirement.
    pub fn exact(&self) -> Option<(&str, &str)> {
        self.0.iter().find_map(|Requirement { key, test }| match test {
            Test::In(values) => match values.as_slice() {
                [value] => Some((key.as_str(), value.as_str())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether every object is selected.
    pub fn selects_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.get(key);
            match test {
                Test::In(values) => value.is_some_and(|v| values.contains(v)),
                // As in Kubernetes: an object without the key is selected by `!=` and `notin`.
                Test::NotIn(values) => !value.is_some_and(|v| values.contains(v)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let fail = |why: &str| SelectorError { text: quoted(text), why: why.into() };
        if text.len() > BYTES {
            return Err(fail("more than 16 KiB"));
        }
        let mut requirements = split_top_level(text)
            .map_err(fail)?
            .into_iter()
            .map(|part| requirement(part.trim()).map_err(|why| fail(&why)))
            .collect::<Result<Vec<_>, _>>()?;
        requirements.sort();
        requirements.dedup();
        Ok(Self(requirements))
    }
}

/// Splits at commas outside parentheses; no part where the text is blank.
fn split_top_level(text: &str) -> Result<Vec<&str>, &'static str> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or("a ')' without its '('")?,
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("a '(' without its ')'");
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement { key: label_key(key)?, test: Test::Absent });
    }
    for (operator, negative) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(operator) {
            let values = vec![label_value(value)?];
            let test = if negative { Test::NotIn(values) } else { Test::In(values) };
            return Ok(Requirement { key: label_key(key)?, test });
        }
    }
    let Some((head, list)) = part.split_once('(') else {
        return Ok(Requirement { key: label_key(part)?, test: Test::Exists });
    };
    let list =
        list.trim_end().strip_suffix(')').ok_or_else(|| format!("text after ')' in {:?}", quoted(part)))?;
    let mut values = list.split(',').map(label_value).collect::<Result<Vec<_>, _>>()?;
    values.sort();
    values.dedup();
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [key, "in"] => Ok(Requirement { key: label_key(key)?, test: Test::In(values) }),
        [key, "notin"] => Ok(Requirement { key: label_key(key)?, test: Test::NotIn(values) }),
        _ => Err(format!("expected `KEY in (...)` or `KEY notin (...)`, found {:?}", quoted(part))),
    }
}

fn label_key(text: &str) -> Result<String, String> {
    let key = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(fits) {
        return Err(format!("{:?} is not a label key", quoted(key)));
    }
    Ok(key.into())
}

fn label_value(text: &str) -> Result<String, String> {
    let value = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !value.chars().all(fits) {
        return Err(format!("{:?} is not a label value", quoted(value)));
    }
    Ok(value.into())
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Requirement { key, test }) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match test {
                // As kubectl takes a field selector.
                Test::In(values) if is_field(key) => {
                    write!(f, "{}={}", key.trim_start_matches(FIELD), values.join(","))?;
                }
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn selects_as_kubernetes_does() {
        let web = labels(&[("app", "web"), ("tier", "front")]);
        let table = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("missing notin (a)", true),
            ("app in (web),!missing", true),
            ("missing in (a)", false),
            ("app=", false),
        ];
        for (text, expected) in table {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&web), expected, "{text}");
            assert_eq!(
                selector.to_string().parse::<Selector>().unwrap(),
                selector,
                "{text} prints as it parses"
            );
        }
    }

    #[test]
    fn selects_by_a_field_what_no_label_can_pass_for() {
        let selector = Selector::of_field("spec.host", "WWW.example.com").unwrap();
        let host = |host: Value| field_label("spec.host", &host).into_iter().collect::<Labels>();
        assert!(selector.matches(&host("www.Example.com".into())));
        for other in [host("example.com".into()), host(json!(["www.example.com"])), host(Value::Null)] {
            assert!(!selector.matches(&other), "{other:?}");
        }
        assert!(!selector.matches(&labels(&[("spec.host", "www.example.com")])));
        assert_eq!(selector.to_string(), "spec.host=www.example.com");
        assert_eq!(host(json!(8443))["=spec.host"], "8443");
        assert!("=spec.host=www.example.com".parse::<Selector>().is_err(), "a text names no field");
        assert_eq!(Selector::of_field("spec.host", &"x".repeat(VALUE + 1)), None);
        assert_eq!(selector.exact(), Some(("=spec.host", "www.example.com")));
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["app in web", "app in (a", "a b", "=x", "app=a b", "a),(b"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
        for text in ["a b".repeat(1000), format!("app in ({}", "a,".repeat(1 << 20)), "a,".repeat(1 << 20)] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.len() < 400, "{}", error.len());
        }
    }
}
