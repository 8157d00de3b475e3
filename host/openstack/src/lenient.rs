//! Decoding that a service of another release cannot break.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// `null` decodes as the default; together with `#[serde(default)]` so does a missing field. Neutron writes `null`
/// where an attribute was never set, also where its API reference says "string" or "array".
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What does not fit its type (a number that is too large, say) decodes as `None`.
pub(crate) fn or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    Ok(T::deserialize(Value::deserialize(deserializer)?).ok())
}

/// The ids of `[{"id": ...}, ...]`, whatever else is in the objects.
pub(crate) fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Reference {
        #[serde(default, deserialize_with = "or_default")]
        id: String,
    }
    let all: Vec<Reference> = or_default(deserializer)?;
    Ok(all.into_iter().map(|r| r.id).filter(|id| !id.is_empty()).collect())
}

/// A map to texts; other values as JSON writes them, `null` left out.
pub(crate) fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let all: BTreeMap<String, Value> = or_default(deserializer)?;
    let text = |value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(all.into_iter().filter_map(|(key, value)| Some((key, text(value)?))).collect())
}
