//! The three patches that say what to change. (Server-side apply, which says what is wanted, is in `managed`.)

mod strategic;

pub(crate) use strategic::strategic;

use json_patch::PatchOperation;
use serde_json::Value;

/// Why a JSON patch came to nothing.
#[derive(Debug)]
pub(crate) enum JsonError {
    /// It is none.
    Malformed(String),
    /// It does not fit the object.
    Failed,
}

/// RFC 6902. As the real server does, a test for null holds for a field that is absent.
pub(crate) fn json(target: &mut Value, patch: Value) -> Result<(), JsonError> {
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|e| JsonError::Malformed(format!("error decoding patch: {e}")))?;
    for step in patch.0 {
        if let PatchOperation::Test(test) = &step
            && test.value.is_null()
            && target.pointer(test.path.as_str()).is_none()
            && test.path.parent().is_none_or(|parent| target.pointer(parent.as_str()).is_some())
        {
            continue;
        }
        json_patch::patch(target, &[step]).map_err(|_| JsonError::Failed)?;
    }
    Ok(())
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}
