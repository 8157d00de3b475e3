//! The three patches that say what to change. (Server-side apply, which says what is wanted, is in `managed`.)

mod strategic;

pub(crate) use strategic::strategic;

use serde_json::Value;

/// Why a JSON patch came to nothing.
#[derive(Debug)]
pub(crate) enum JsonError {
    /// It is none.
    Malformed(String),
    /// It does not fit the object.
    Failed(String),
}

/// RFC 6902.
pub(crate) fn json(target: &mut Value, patch: Value) -> Result<(), JsonError> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|e| JsonError::Malformed(format!("error decoding patch: {e}")))?;
    json_patch::patch(target, &patch).map_err(|e| JsonError::Failed(e.to_string()))
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}
