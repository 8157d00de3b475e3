//! Label selectors of Kubernetes objects.

use std::fmt;

use isthmus_sdk::objects::{Map, Text};
use isthmus_sdk::prelude::*;

use crate::objects::{Expression, LabelSelector};

/// Longest text of a selector that the host takes, bytes.
const LONGEST: usize = 16 << 10;

/// A checked label selector; the empty one selects all. Its text is what kubectl takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Selects every object.
    pub(crate) const ALL: Self = Self(Vec::new());

    /// The selector at this path of the subject.
    ///
    /// # Errors
    /// `invalid` with the path of what is no selector.
    pub(crate) fn new(found: &LabelSelector<'_>, field: &str) -> Result<Self, Outcome> {
        let mut requirements = Vec::new();
        for (key, value) in found.match_labels.iter().flatten() {
            let field = format!("{field}.matchLabels[\"{key}\"]");
            let test = Test::In(vec![checked_value(value, &field)?]);
            requirements.push(Requirement { key: checked_key(key, &field)?, test });
        }
        for (i, expression) in found.match_expressions.iter().flatten().enumerate() {
            requirements.push(requirement(expression, &format!("{field}.matchExpressions[{i}]"))?);
        }
        // The same selector has the same text, however it was written.
        requirements.sort();
        requirements.dedup();
        let selector = Self(requirements);
        if selector.to_string().len() > LONGEST {
            return Err(invalid_field("a selector has at most 16 KiB", field));
        }
        Ok(selector)
    }

    /// Whether every object is selected.
    pub(crate) fn selects_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: &Map<'_>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.get(key.as_str());
            match test {
                Test::In(values) => is_one_of(value, values),
                // As in Kubernetes: an object without the key is selected.
                Test::NotIn(values) => !is_one_of(value, values),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }

    /// Whether every object that has these labels is selected, whatever else it has.
    pub(crate) fn follows_from(&self, labels: &Map<'_>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.get(key.as_str());
            match test {
                Test::In(values) => is_one_of(value, values),
                Test::NotIn(values) => value.is_some() && !is_one_of(value, values),
                Test::Exists => value.is_some(),
                Test::Absent => false,
            }
        })
    }
}

fn is_one_of(value: Option<&Text<'_>>, values: &[String]) -> bool {
    value.is_some_and(|value| values.iter().any(|own| **own == **value))
}

fn requirement(found: &Expression<'_>, field: &str) -> Result<Requirement, Outcome> {
    let key = checked_key(&found.key, &format!("{field}.key"))?;
    let values = found.values.as_deref().unwrap_or_default();
    let at_values = format!("{field}.values");
    let checked = || {
        if values.is_empty() {
            return Err(invalid_field("In and NotIn need values", &at_values));
        }
        let each = values.iter().enumerate();
        let mut checked = each
            .map(|(i, value)| checked_value(value, &format!("{at_values}[{i}]")))
            .collect::<Result<Vec<_>, _>>()?;
        checked.sort();
        checked.dedup();
        Ok(checked)
    };
    let test = match &*found.operator {
        "In" => Test::In(checked()?),
        "NotIn" => Test::NotIn(checked()?),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return Err(invalid_field("Exists and DoesNotExist take no values", &at_values));
        }
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::Absent,
        other => {
            let message = format!("expected In, NotIn, Exists or DoesNotExist, found {other:?}");
            return Err(invalid_field(message, &format!("{field}.operator")));
        }
    };
    Ok(Requirement { key, test })
}

/// A label key: a name of at most 63 bytes, with a DNS name and `/` before it or not.
fn checked_key(text: &str, field: &str) -> Result<String, Outcome> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_label = |label: &str| is_name(label) && !label.contains(['_', '.']);
    let fits = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_label);
    if is_name(name) && prefix.is_none_or(fits) {
        return Ok(text.into());
    }
    Err(invalid_field(format!("{text:?} is not a label key"), field))
}

fn checked_value(text: &str, field: &str) -> Result<String, Outcome> {
    if text.is_empty() || is_name(text) {
        return Ok(text.into());
    }
    Err(invalid_field(format!("{text:?} is not a label value"), field))
}

fn is_name(text: &str) -> bool {
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Requirement { key, test }) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}
