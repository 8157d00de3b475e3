//! Decoding that a service of another release cannot break.

use serde::{Deserialize, Deserializer};

/// `null` decodes as the default; together with `#[serde(default)]` so does a missing field. Neutron writes `null`
/// where an attribute was never set, also where its API reference says "string" or "array".
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
